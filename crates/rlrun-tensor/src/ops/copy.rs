//! Copies: with history (`clone`), without, and summed back to a smaller shape.

use crate::error::ok;
use crate::layout::Layout;
use crate::layout::Shape;
use crate::meta::Meta;
use crate::storage::{Buffer, DType, StorageRef};
use crate::tensor::Tensor;

impl Tensor {
    /// A contiguous copy on memory of its own, with history. (`Clone::clone` is another handle.)
    #[track_caller]
    pub fn clone_contiguous(&self) -> Tensor {
        self.contiguous_copy()
            .filled_from(self)
            .record("clone", [self], |_| |grad: &Tensor, _: &_| [Some(grad.clone())])
    }

    /// A copy on memory of its own, without history; dense memory order is kept.
    #[track_caller]
    pub fn copy(&self) -> Tensor {
        if self.dtype() == DType::F32 && self.layout.is_dense() {
            let numbers = self.read_memory();
            return Tensor::build_as(self.layout, |out| out.copy_from_slice(&numbers));
        }
        self.contiguous_copy()
    }

    #[track_caller]
    pub(crate) fn contiguous_copy(&self) -> Tensor {
        let layout = Layout::contiguous(self.dims());
        match self.dtype() {
            DType::F32 => {
                let numbers = self.read();
                Tensor::build(self.dims(), |out| out.copy_from_slice(&numbers))
            }
            DType::I64 => {
                Tensor::fresh(StorageRef::new(Buffer::I64(ok(self.read_i64("clone")))), layout)
            }
            DType::Bool => {
                Tensor::fresh(StorageRef::new(Buffer::Bool(ok(self.read_bool("clone")))), layout)
            }
        }
    }

    /// Counts the filling of a fresh normal tensor from an inference tensor as a write, as PyTorch
    /// does for copies and total sums: there, version 1 is what a copy out of the mode starts with.
    pub(crate) fn filled_from(self, source: &Tensor) -> Tensor {
        if source.is_inference() {
            self.bump();
        }
        self
    }

    /// A fresh result in another shape of as many numbers: a result of its own, not a view of one.
    #[track_caller]
    pub(crate) fn result_of_shape(self, shape: &[usize]) -> Tensor {
        let (whole, to) = (self.layout.shape, Layout::contiguous(shape));
        if self.dims() == shape && self.base().is_none() {
            return self;
        }
        let alias = match self.layout.view(&to.shape) {
            Some(layout) => self.alias(layout),
            None => self.contiguous_copy().with_shape(to.shape),
        };
        alias.record("reshape", [&self], |_| {
            move |grad: &Tensor, _: &_| [Some(grad.reshape(&whole[..]))]
        })
    }

    /// These numbers with the history of `composed`, which says in recorded operations what a
    /// kernel did in one pass.
    pub(crate) fn with_history_of(self, composed: &Tensor) -> Tensor {
        let node = composed.meta().and_then(|meta| meta.lock().grad_fn.clone());
        match node {
            Some(node) => self.with_meta(Meta::of_result(node)),
            None => self,
        }
    }

    /// This very tensor if it lies row-major without gaps, else a copy that does.
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        if self.is_contiguous() { self.clone() } else { self.clone_contiguous() }
    }

    /// The sum over every dimension that was broadcast to get from `shape` to this shape.
    #[track_caller]
    pub(crate) fn sum_to(&self, shape: &Shape) -> Tensor {
        if self.dims() == &shape[..] {
            return self.clone();
        }
        let missing = self.ndim() - shape.len();
        let spread =
            |dim: usize| dim < missing || (shape[dim - missing] == 1 && self.dims()[dim] != 1);
        let dims: Vec<isize> =
            (0..self.ndim()).filter(|&d| spread(d)).map(|d| d as isize).collect();
        self.sum_dims(&dims, true).reshape(&shape[..])
    }
}
