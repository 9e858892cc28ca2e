//! Functions of two tensors, element by element with broadcasting, and of a tensor and a number.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::kernels::{self, Binary, Operand};
use crate::layout::{Layout, Shape, broadcast_shape, gather};
use crate::pool::Scratch;
use crate::read::f32s;
use crate::storage::DType;
use crate::tensor::Tensor;

use super::elementwise::{Keep, Unary, each};

/// A kernel over two tensors, broadcast to a common shape.
#[track_caller]
pub(super) fn zip(f: Binary, a: &Tensor, b: &Tensor) -> Tensor {
    let op = name(f);
    ok(a.expect_f32(op).and_then(|()| b.expect_f32(op)));
    if a.layout.shape == b.layout.shape
        && a.layout.strides == b.layout.strides
        && a.layout.is_dense()
    {
        let (x, y) = (a.read_memory(), b.read_memory());
        let (x, y) = (Operand::Elements(&x), Operand::Elements(&y));
        return Tensor::build_as(a.layout, |out| kernels::binary(f, x, y, out));
    }
    let shape = ok(broadcast_shape(op, a.dims(), b.dims()));
    let (Some(over_a), Some(over_b)) = (a.layout.broadcast(&shape), b.layout.broadcast(&shape))
    else {
        unreachable!("both broadcast to the common shape")
    };
    let (x, y) = (a.storage.read(), b.storage.read());
    let (x, y) = (f32s(&x), f32s(&y));
    let (mut copy_a, mut copy_b) = (Scratch::new(0), Scratch::new(0));
    let x = operand(x, &over_a, &mut copy_a);
    let y = operand(y, &over_b, &mut copy_b);
    Tensor::build(&shape, |out| kernels::binary(f, x, y, out))
}

fn name(f: Binary) -> &'static str {
    match f {
        Binary::Add => "add",
        Binary::Sub => "sub",
        Binary::Mul => "mul",
        Binary::Div => "div",
        Binary::Min => "minimum",
        Binary::Max => "maximum",
        _ => "backward",
    }
}

/// What a kernel calls a broadcast layout, or a copy of its elements in `copy`.
fn operand<'a>(memory: &'a [f32], layout: &Layout, copy: &'a mut Scratch) -> Operand<'a> {
    let (at, numel) = (layout.offset, layout.numel());
    if layout.is_contiguous() {
        return Operand::Elements(&memory[at..at + numel]);
    }
    let moves = |dim: usize| layout.shape[dim] != 1 && layout.strides[dim] != 0;
    let last = layout.shape.len() - 1;
    let (width, step) = (layout.shape[last], layout.strides[last]);
    if numel > 0 && !(0..last).any(moves) {
        match step {
            0 => return Operand::Scalar(memory[at]),
            1 => return Operand::Row(&memory[at..at + width]),
            _ => {}
        }
    }
    if last == 1 && step == 0 && layout.strides[0] == 1 {
        return Operand::Column(&memory[at..at + layout.shape[0]]);
    }
    *copy = Scratch::new(numel);
    gather(memory, layout, copy);
    Operand::Elements(copy)
}

/// `f` over two tensors, broadcast to a common shape.
#[track_caller]
pub(super) fn zip_each(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(f32, f32) -> f32,
) -> Tensor {
    ok(a.expect_f32(op).and_then(|()| b.expect_f32(op)));
    if a.layout.shape == b.layout.shape
        && a.layout.strides == b.layout.strides
        && a.layout.is_dense()
    {
        let (x, y) = (a.read_memory(), b.read_memory());
        return Tensor::build_as(a.layout, |out| {
            for ((out, &x), &y) in out.iter_mut().zip(x.iter()).zip(y.iter()) {
                *out = f(x, y);
            }
        });
    }
    let shape = ok(broadcast_shape(op, a.dims(), b.dims()));
    let (x, y) = (a.storage.read(), b.storage.read());
    let (x, y) = (f32s(&x), f32s(&y));
    let (Some(over_a), Some(over_b)) = (a.layout.broadcast(&shape), b.layout.broadcast(&shape))
    else {
        unreachable!("both broadcast to the common shape")
    };
    Tensor::build(&shape, |out| zip_rows(out, (x, &over_a), (y, &over_b), f))
}

/// `f` over two broadcast layouts, one row of the last dimension at a time.
fn zip_rows(
    out: &mut [f32],
    (x, over_x): (&[f32], &Layout),
    (y, over_y): (&[f32], &Layout),
    f: impl Fn(f32, f32) -> f32,
) {
    let width = over_x.shape.last().copied().unwrap_or(1);
    if out.is_empty() {
        return;
    }
    let (x_rows, x_step) = rows(over_x);
    let (y_rows, y_step) = rows(over_y);
    for ((out, x_start), y_start) in out.chunks_exact_mut(width).zip(x_rows).zip(y_rows) {
        match (x_step, y_step) {
            (1, 1) => {
                let (x, y) = (&x[x_start..][..width], &y[y_start..][..width]);
                for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *out = f(x, y);
                }
            }
            (1, 0) => {
                let y = y[y_start];
                for (out, &x) in out.iter_mut().zip(&x[x_start..][..width]) {
                    *out = f(x, y);
                }
            }
            _ => {
                for (i, out) in out.iter_mut().enumerate() {
                    let i = i as isize;
                    let at = |start: usize, step: isize| (start as isize + i * step) as usize;
                    *out = f(x[at(x_start, x_step)], y[at(y_start, y_step)]);
                }
            }
        }
    }
}

/// Where each row of the last dimension starts, and the step within it.
fn rows(layout: &Layout) -> (impl Iterator<Item = usize>, isize) {
    let mut outer = *layout;
    let step = layout.strides.last().copied().unwrap_or(0);
    if let Some(last) = layout.shape.len().checked_sub(1) {
        outer.shape.remove(last);
        outer.strides.remove(last);
    }
    (outer.offsets(), step)
}

/// A kernel of a tensor and a number.
pub(super) fn with_number(f: Binary, number: f32) -> impl Fn(&[f32], &mut [f32]) {
    move |x, out| kernels::binary(f, Operand::Elements(x), Operand::Scalar(number), out)
}

/// Sends the two gradients back through broadcasting.
pub(super) fn reduce(grad: impl FnOnce() -> Tensor, needed: bool, shape: &Shape) -> Option<Tensor> {
    needed.then(|| grad().sum_to(shape))
}

impl Tensor {
    /// `self + other`, broadcast.
    ///
    /// # Panics
    /// If the shapes do not broadcast or a tensor is not `f32`.
    #[track_caller]
    pub fn add(&self, other: &Tensor) -> Tensor {
        zip(Binary::Add, self, other).record("add", [self, other], |_| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            move |grad: &Tensor, node: &NodeRef| {
                [
                    reduce(|| grad.clone(), node.needs(0), &a),
                    reduce(|| grad.clone(), node.needs(1), &b),
                ]
            }
        })
    }

    /// `self - other`, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn sub(&self, other: &Tensor) -> Tensor {
        zip(Binary::Sub, self, other).record("sub", [self, other], |_| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            move |grad: &Tensor, node: &NodeRef| {
                [reduce(|| grad.clone(), node.needs(0), &a), reduce(|| -grad, node.needs(1), &b)]
            }
        })
    }

    /// `self · other`, element by element, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn mul(&self, other: &Tensor) -> Tensor {
        zip(Binary::Mul, self, other).record("mul", [self, other], |saver| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            let x = saver.input_if(saver.needs(1), self);
            let y = saver.input_if(saver.needs(0), other);
            move |grad: &Tensor, node: &NodeRef| {
                [
                    y.as_ref().map(|y| (grad * y.get(node)).sum_to(&a)),
                    x.as_ref().map(|x| (grad * x.get(node)).sum_to(&b)),
                ]
            }
        })
    }

    /// `self / other`, element by element, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn div(&self, other: &Tensor) -> Tensor {
        zip(Binary::Div, self, other).record("div", [self, other], |saver| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            let x = saver.input_if(saver.needs(1), self);
            let y = saver.input(other);
            move |grad: &Tensor, node: &NodeRef| {
                let y = y.get(node);
                let to_y = x.as_ref().map(|x| (-grad * x.get(node) / (&y * &y)).sum_to(&b));
                [reduce(|| grad / &y, node.needs(0), &a), to_y]
            }
        })
    }

    /// The larger of two numbers, broadcast; at a tie each gets half the gradient; NaN wins.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        self.choose("maximum", other, Binary::Max, |x, y| x > y)
    }

    /// The smaller of two numbers, broadcast; at a tie each gets half the gradient; NaN wins.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        self.choose("minimum", other, Binary::Min, |x, y| x < y)
    }

    #[track_caller]
    fn choose(
        &self,
        op: &'static str,
        other: &Tensor,
        value: Binary,
        wins: fn(f32, f32) -> bool,
    ) -> Tensor {
        zip(value, self, other).record(op, [self, other], |saver| {
            let (a, b) = (self.layout.shape, other.layout.shape);
            let (x, y) = (saver.input(self), saver.input(other));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, y) = (x.get(node), y.get(node));
                // Of a NaN and a number, neither loses: both get the whole gradient.
                let share = |x: f32, y: f32| match x == y {
                    true => 0.5,
                    false => f32::from(u8::from(!wins(y, x))),
                };
                [
                    reduce(|| grad * zip_each(op, &x, &y, share), node.needs(0), &a),
                    reduce(|| grad * zip_each(op, &y, &x, share), node.needs(1), &b),
                ]
            }
        })
    }

    /// `self ^ exponent`, element by element, broadcast.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn pow_tensor(&self, exponent: &Tensor) -> Tensor {
        let (a, b) = (self.layout.shape, exponent.layout.shape);
        let value = zip_each("pow", self, exponent, f32::powf);
        let result = value.clone();
        value.record("pow", [self, exponent], |saver| {
            let (x, e) = (saver.input(self), saver.input(exponent));
            let y = saver.needs(1).then(|| saver.result(&result));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, e) = (x.get(node), e.get(node));
                let to_x = || {
                    let zero = zip_each("pow", &e, &e, |e, _| f32::from(u8::from(e != 0.0)));
                    let slope = &e * x.pow_tensor(&(&e - 1.0));
                    grad * zip_where(&zero, &slope)
                };
                let to_e = y.as_ref().map(|y| {
                    // ln 1 = 0 in the place of ln 0, whose factor 0^e is 0.
                    let lift = |x: f32, e: f32| f32::from(u8::from(x == 0.0 && e >= 0.0));
                    let log = (&x + zip_each("pow", &x, &e, lift)).log();
                    (grad * (y.get(node) * log)).sum_to(&b)
                });
                [reduce(to_x, node.needs(0), &a), to_e]
            }
        })
    }

    /// `self + number`.
    #[track_caller]
    pub fn add_scalar(&self, number: f32) -> Tensor {
        let forward = with_number(Binary::Add, number);
        self.unary(Unary::new("add", Keep::Nothing, forward, |_: &Tensor, grad: &Tensor| {
            grad.clone()
        }))
    }

    /// `self - number`.
    #[track_caller]
    pub fn sub_scalar(&self, number: f32) -> Tensor {
        let forward = with_number(Binary::Sub, number);
        self.unary(Unary::new("sub", Keep::Nothing, forward, |_: &Tensor, grad: &Tensor| {
            grad.clone()
        }))
    }

    /// `number - self`.
    #[track_caller]
    pub fn rsub_scalar(&self, number: f32) -> Tensor {
        let forward = each(move |x| number - x);
        self.unary(Unary::new("rsub", Keep::Nothing, forward, |_: &Tensor, grad: &Tensor| -grad))
    }

    /// `self · number`.
    #[track_caller]
    pub fn mul_scalar(&self, number: f32) -> Tensor {
        self.scaled("mul", with_number(Binary::Mul, number), move |grad| grad * number)
    }

    /// `self / number`.
    #[track_caller]
    pub fn div_scalar(&self, number: f32) -> Tensor {
        self.scaled("div", with_number(Binary::Div, number), move |grad| grad / number)
    }

    /// Scaling by a constant: a second backward is refused, as if something had been saved.
    #[track_caller]
    fn scaled(
        &self,
        op: &'static str,
        forward: impl Fn(&[f32], &mut [f32]),
        backward: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    ) -> Tensor {
        ok(self.expect_f32(op));
        self.map(forward).record(op, [self], |saver| {
            saver.frees();
            move |grad: &Tensor, _: &NodeRef| [Some(backward(grad))]
        })
    }

    /// `number / self`.
    #[track_caller]
    pub fn rdiv_scalar(&self, number: f32) -> Tensor {
        let forward = each(move |x| number / x);
        self.unary(Unary::new("rdiv", Keep::Input, forward, move |x: &Tensor, grad: &Tensor| {
            grad * (-number) / (x * x)
        }))
    }

    /// `self + weight · (end - self)`.
    ///
    /// # Panics
    /// As [`Tensor::add`].
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: f32) -> Tensor {
        self + (end - self) * weight
    }

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
                let zero = Tensor::scalar(0.0);
                let (one, other) =
                    (select(&mask, grad, &zero, &shape), select(&mask, &zero, grad, &shape));
                [
                    reduce(|| through(&one, grad, &mask), node.needs(0), &a),
                    reduce(|| through(&other, grad, &(1.0 - &mask)), node.needs(1), &b),
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

/// `value` with the history of `grad · mask` where a second derivative is recorded.
fn through(value: &Tensor, grad: &Tensor, mask: &Tensor) -> Tensor {
    if grad.requires_grad() && crate::mode::recording() { grad * mask } else { value.clone() }
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

/// `value` where `keep` is not 0, else 0 even for a value that is not finite.
fn zip_where(keep: &Tensor, value: &Tensor) -> Tensor {
    if value.requires_grad() && crate::mode::recording() {
        return keep * value;
    }
    zip_each("where", keep, value, |keep, value| if keep != 0.0 { value } else { 0.0 })
}
