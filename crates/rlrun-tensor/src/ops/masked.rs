//! Elements by a condition: where they are, and which they are.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::layout::{Layout, Shape, broadcast_shape};
use crate::pool;
use crate::read::f32s;
use crate::storage::DType;
use crate::tensor::Tensor;

impl Tensor {
    /// The indices of all elements that are set, or not zero, in row-major order (`i64`): `[n, ndim]`,
    /// one row an element. NaN is not zero.
    #[track_caller]
    pub fn nonzero(&self) -> Tensor {
        let flags = self.flags();
        let mut indices = Vec::new();
        for place in set_places(&flags) {
            let start = indices.len();
            let mut rest = place as usize;
            for &extent in self.dims().iter().rev() {
                indices.push((rest % extent) as i64);
                rest /= extent;
            }
            indices[start..].reverse();
        }
        let count = set_places(&flags).count();
        Tensor::from_i64(&indices, [count, self.ndim()])
    }

    /// The elements whose flag in `mask` is set, row-major, `[n]`; both are broadcast. The gradient of
    /// an element that was not selected is 0; indices and masks are selected without one.
    ///
    /// # Panics
    /// If `mask` is not a mask or the shapes do not broadcast.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Tensor {
        let op = "masked_select";
        ok(mask.expect_dtype(op, DType::Bool));
        let spread = ok(broadcast_shape(op, self.dims(), mask.dims()));
        let places = places_of(mask, &spread);
        let Some(layout) = self.layout.broadcast(&spread) else {
            unreachable!("it broadcasts to the common shape")
        };
        if self.dtype() != DType::F32 {
            let own = Layout::contiguous(self.dims()).broadcast(&spread);
            let elements: Vec<usize> = own.iter().flat_map(Layout::offsets).collect();
            let chosen = places.iter().map(|&place| elements[place as usize]);
            return self.picked(chosen, &[places.len()]);
        }
        let numbers = self.storage.read();
        let numbers = f32s(&numbers);
        let offsets: Vec<usize> = layout.offsets().collect();
        let value = Tensor::build(&[places.len()], |out| {
            for (out, &place) in out.iter_mut().zip(&places) {
                *out = numbers[offsets[place as usize]];
            }
        });
        let shape = self.layout.shape;
        value.record(op, [self, mask], |saver| {
            let mask = saver.input(mask);
            move |grad: &Tensor, node: &NodeRef| {
                let places = places_of(&mask.get(node), &spread);
                let index = Tensor::from_i64(&places, [places.len()]);
                let whole = Tensor::zeros([spread.iter().product()]).scatter_add(0, &index, grad);
                [Some(whole.reshape(&spread[..]).sum_to(&shape)), None]
            }
        })
    }

    /// The indices or flags at some places, row-major: elements without a gradient.
    #[track_caller]
    pub(super) fn picked(
        &self,
        places: impl ExactSizeIterator<Item = usize>,
        shape: &[usize],
    ) -> Tensor {
        let count = places.len();
        if self.dtype() == DType::I64 {
            let indices = ok(self.read_i64("index"));
            return Tensor::from_i64(&pool::collected(count, places.map(|at| indices[at])), shape);
        }
        let flags = ok(self.read_bool("index"));
        Tensor::from_bool(&pool::collected(count, places.map(|at| flags[at])), shape)
    }
}

/// The places of the flags that are set.
fn set_places(flags: &[bool]) -> impl Iterator<Item = i64> {
    (0..).zip(flags).filter(|(_, flag)| **flag).map(|(place, _)| place)
}

/// Where a mask, broadcast to `shape`, is set, row-major.
fn places_of(mask: &Tensor, shape: &Shape) -> Vec<i64> {
    let flags = ok(mask.read_bool("masked_select"));
    let own = Layout::contiguous(mask.dims());
    let Some(spread) = own.broadcast(shape) else {
        unreachable!("it broadcasts to the common shape")
    };
    (0..).zip(spread.offsets()).filter(|(_, at)| flags[*at]).map(|(place, _)| place).collect()
}
