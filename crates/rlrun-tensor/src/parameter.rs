//! Parameters: trainable leaves.

use std::cell::RefCell;

use crate::call;
use crate::layout::Layout;
use crate::mode::GradModeGuard;
use crate::pool::Scratch;
use crate::storage::Buffer;
use crate::tensor::Tensor;

/// A leaf that requires grad: what optimizers train.
#[derive(Clone, Debug)]
pub struct Parameter(Tensor);

impl Parameter {
    /// A trainable tensor with the values of `data`, on memory of its own without gaps.
    ///
    /// # Panics
    /// [`crate::TensorError::SetRequiresGradOnInference`] in inference mode: parameters made there could
    /// never be trained.
    #[track_caller]
    pub fn new(data: Tensor) -> Parameter {
        let is_own = data.is_unshared() && data.meta().is_none() && data.layout.is_dense();
        let own = if is_own { data } else { data.copy() };
        Parameter(own.requires_grad_(true)).noted()
    }

    /// A trainable matrix `[rows, columns]` whose columns lie next to each other in memory, as
    /// products with its transpose read them: the weight `[out, in]` of a layer.
    ///
    /// # Panics
    /// As [`Parameter::new`], and if `data` is not a matrix.
    #[track_caller]
    pub fn column_major(data: &Tensor) -> Parameter {
        let mode = GradModeGuard::no_grad();
        let transposed = data.transpose(0, 1).clone_contiguous();
        drop(mode);
        let mut layout = transposed.layout;
        layout.shape.swap(0, 1);
        layout.strides.swap(0, 1);
        Parameter(transposed.alias(layout).requires_grad_(true)).noted()
    }

    /// Itself, remembered if [`parameters_made`] asks.
    fn noted(self) -> Parameter {
        MADE.with_borrow_mut(|made| made.iter_mut().for_each(|made| made.push(self.clone())));
        self
    }

    /// Forgets the gradient.
    pub fn zero_grad(&self) {
        self.0.set_grad(None);
    }

    /// Changes the parameter outside history: `f` sees its numbers and those of its gradient, both
    /// in the memory order of the parameter. Does nothing without a gradient. One write.
    ///
    /// # Panics
    /// [`crate::TensorError::InplaceOnInferenceTensor`] never, since parameters are normal tensors.
    #[track_caller]
    pub fn update(&self, f: impl FnOnce(&mut [f32], &[f32])) {
        let Some(grad) = self.0.grad() else { return };
        // First, so that a panic in `f` does not leave a write uncounted.
        self.0.bump();
        let same_order = grad.layout.strides == self.0.layout.strides && grad.layout.is_dense();
        if same_order {
            self.write_memory(f, &grad.read_memory());
        } else {
            self.write_memory(f, &in_order_of(&self.0.layout, &grad));
        }
    }

    #[track_caller]
    fn write_memory(&self, f: impl FnOnce(&mut [f32], &[f32]), grad: &[f32]) {
        let mut memory = self.0.storage.write();
        memory.last_write = Some(("optimizer step", call::site()));
        let Buffer::F32(values) = &mut memory.buffer else { unreachable!("a parameter holds f32") };
        f(&mut values[self.0.layout.offset..][..grad.len()], grad);
    }
}

impl std::ops::Deref for Parameter {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.0
    }
}

impl AsRef<Tensor> for Parameter {
    fn as_ref(&self) -> &Tensor {
        &self.0
    }
}

thread_local! {
    /// The parameters that were made since [`parameters_made`] was called.
    static MADE: RefCell<Option<Vec<Parameter>>> = const { RefCell::new(None) };
}

/// Puts back what was noted for an outer call, also when the inner one panics.
struct Outer(Option<Vec<Parameter>>);

impl Drop for Outer {
    fn drop(&mut self) {
        let inner = MADE.replace(self.0.take());
        MADE.with_borrow_mut(|outer| {
            outer.iter_mut().for_each(|outer| outer.extend(inner.iter().flatten().cloned()));
        });
    }
}

/// What `f` returns, and the parameters that it made on this thread and that are still alive: those
/// that the result, or something else, holds a handle on. In the order in which they were made.
///
/// ```
/// use rlrun_tensor::{Parameter, Tensor, parameters_made};
/// let (kept, made) = parameters_made(|| {
///     drop(Parameter::new(Tensor::ones([3])));
///     Parameter::new(Tensor::ones([2]))
/// });
/// assert!(made.len() == 1 && made[0].is(&kept));
/// ```
pub fn parameters_made<R>(f: impl FnOnce() -> R) -> (R, Vec<Parameter>) {
    let _outer = Outer(MADE.replace(Some(Vec::new())));
    let result = f();
    let made = MADE.with_borrow(|made| made.clone().unwrap_or_default());
    // Two of the handles are the list's and its copy's.
    let alive = |parameter: &Parameter| parameter.0.handles() > 2;
    let alive = made.into_iter().filter(alive).collect();
    (result, alive)
}

/// The numbers of `grad` in the memory order of `layout`.
fn in_order_of(layout: &Layout, grad: &Tensor) -> Scratch {
    let mut copied = Scratch::new(grad.numel());
    let order = Layout { offset: 0, ..*layout };
    for (&value, at) in grad.read().iter().zip(order.offsets()) {
        copied[at] = value;
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_major_parameter_keeps_its_values_and_lies_by_columns() {
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let parameter = Parameter::column_major(&Tensor::from_slice(&rows, [2, 3]));
        assert_eq!((parameter.dims(), parameter.strides()), (&[2, 3][..], &[1, 2][..]));
        assert_eq!(parameter.to_vec(), rows);
        assert_eq!(parameter.read_memory()[..], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
