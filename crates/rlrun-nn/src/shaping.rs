//! Layers without parameters that change or keep the shape.

use rlrun_tensor::{CallGuard, Tensor};

use crate::{Layer, Module};

/// Joins all dimensions but the first, as `torch.nn.Flatten`: `[B, …]` to `[B, n]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Module)]
pub struct Flatten;

impl Layer for Flatten {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::named("Flatten");
        let rows = input.dims().first().copied().unwrap_or(1);
        input.reshape([rows, input.dims().iter().skip(1).product()])
    }
}

/// Passes its input on, as `torch.nn.Identity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Module)]
pub struct Identity;

impl Layer for Identity {
    fn forward(&self, input: &Tensor) -> Tensor {
        input.clone()
    }
}

/// How windows of images are pooled, as `torch.nn.MaxPool2d` and `AvgPool2d`: `[B, C, H, W]` to
/// `[B, C, (H + 2·padding - kernel_size) / stride + 1, …]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pool2d {
    /// The largest element of each window.
    Max {
        /// Height and width of a window.
        kernel_size: usize,
        /// Distance of two windows, down and across.
        stride: usize,
        /// Rows and columns around each image that never win.
        padding: usize,
    },
    /// The mean of each window.
    Avg {
        /// Height and width of a window.
        kernel_size: usize,
        /// Distance of two windows, down and across.
        stride: usize,
        /// Rows and columns of zeros around each image.
        padding: usize,
    },
}

impl Module for Pool2d {
    fn visit_fields(&self, _: &mut dyn FnMut(&str, &dyn Module)) {}
}

impl Layer for Pool2d {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::named("Pool2d");
        match *self {
            Pool2d::Max { kernel_size, stride, padding } => {
                input.max_pool2d(kernel_size, stride, padding)
            }
            Pool2d::Avg { kernel_size, stride, padding } => {
                input.avg_pool2d(kernel_size, stride, padding)
            }
        }
    }
}
