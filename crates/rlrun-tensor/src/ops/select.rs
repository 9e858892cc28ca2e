//! Choices by a mask.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::layout::{Shape, broadcast_shape};
use crate::read::f32s;
use crate::storage::DType;
use crate::tensor::Tensor;

use super::apply::{reduce, zip_each};

impl Tensor {
    /// `then` where `condition` holds, `otherwise` elsewhere, broadcast.
    ///
    /// # Panics
    /// If `condition` is not a mask or the shapes do not broadcast.
    #[track_caller]
    pub fn where_(condition: &Tensor, then: &Tensor, otherwise: &Tensor) -> Tensor {
        ok(condition.expect_dtype("where", DType::Bool));
        let shape = ok(broadcast_shape("where", then.dims(), otherwise.dims()));
        let shape = ok(broadcast_shape("where", condition.dims(), &shape));
        let (a, b) = (then.layout.shape, otherwise.layout.shape);
        let mask = condition.as_mask();
        select(&mask, then, otherwise, &shape).record("where", [then, otherwise], |saver| {
            let condition = saver.input(condition);
            move |grad: &Tensor, node: &NodeRef| {
                let mask = condition.get(node).as_mask();
                [
                    reduce(|| gated(grad, &mask), node.needs(0), &a),
                    reduce(|| gated(grad, &(1.0 - &mask)), node.needs(1), &b),
                ]
            }
        })
    }

    /// `value` where a flag of `mask` is set, else this tensor's own number, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::where_`].
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: f32) -> Tensor {
        Tensor::where_(mask, &Tensor::scalar(value), self)
    }

    /// 1 where a flag is set, else 0.
    #[track_caller]
    pub(super) fn as_mask(&self) -> Tensor {
        let flags = ok(self.read_bool("where"));
        Tensor::build(self.dims(), |out| {
            for (out, flag) in out.iter_mut().zip(flags) {
                *out = f32::from(u8::from(flag));
            }
        })
    }
}

/// `grad · gate`, but 0 where the gate is shut, even for a gradient that is not finite.
pub(super) fn gated(grad: &Tensor, gate: &Tensor) -> Tensor {
    let pass = |grad: f32, gate: f32| if gate == 0.0 { 0.0 } else { grad * gate };
    zip_each("where", grad, gate, pass).record("where", [grad], |saver| {
        let gate = saver.input(gate);
        move |grad: &Tensor, node: &NodeRef| [Some(gated(grad, &gate.get(node)))]
    })
}

/// `then` where `mask` is not 0, without history.
#[track_caller]
fn select(mask: &Tensor, then: &Tensor, otherwise: &Tensor, shape: &Shape) -> Tensor {
    let spread = |tensor: &Tensor| match tensor.layout.broadcast(shape) {
        Some(layout) => layout,
        None => unreachable!("the shapes were checked"),
    };
    ok(then.expect_f32("where").and_then(|()| otherwise.expect_f32("where")));
    let (m, t, o) = (mask.storage.read(), then.storage.read(), otherwise.storage.read());
    let (m, t, o) = (f32s(&m), f32s(&t), f32s(&o));
    let places =
        spread(mask).offsets().zip(spread(then).offsets()).zip(spread(otherwise).offsets());
    Tensor::build(shape, |out| {
        for (out, ((at_m, at_t), at_o)) in out.iter_mut().zip(places) {
            *out = if m[at_m] != 0.0 { t[at_t] } else { o[at_o] };
        }
    })
}
