//! Strided `f32` tensors with reverse-mode autograd and three gradient modes.
//!
//! A [`Tensor`] is a cheap handle. Operations on tensors that require grad are recorded, and
//! [`Tensor::backward`] walks the record. [`no_grad`] stops recording; [`inference_mode`] also
//! drops version counters and view tracking of what is made in it. The rules are PyTorch's.
//!
//! ```
//! use rlrun_tensor::{Parameter, Tensor, inference_mode};
//! let w = Parameter::new(Tensor::from_slice(&[1.0, -1.0], [2]));
//! let x = Tensor::from_slice(&[3.0, 2.0], [2]);
//! (&*w * &x).sum().backward();
//! assert_eq!(w.grad().unwrap().to_vec(), [3.0, 2.0]);
//! let y = inference_mode(|| (&*w * &x).sum());
//! assert!(y.is_inference() && !y.requires_grad());
//! ```

mod autograd;
mod call;
mod constructors;
mod diagnostics;
mod display;
mod error;
mod graph_watch;
mod inplace;
pub mod kernels;
mod layout;
mod meta;
mod mode;
mod ops;
mod parameter;
mod phase;
mod pool;
mod read;
mod storage;
mod tensor;
mod view;

pub use autograd::{Backward, Function, FunctionContext, grad};
pub use call::{CallGuard, InCall, LayerPath};
pub use diagnostics::{GraphStats, ModeCounts, assert_no_graph, graph_stats, mode_counts};
pub use error::{Origin, Site, TensorError, catch};
pub use graph_watch::{GraphWarning, GraphWatch};
pub use layout::MAX_DIMS;
pub use mode::{
    GradModeGuard, ThreadMode, enable_grad, inference_mode, is_grad_enabled,
    is_inference_mode_enabled, no_grad, set_grad_enabled,
};
pub use ops::{Activation, CellWeights, IndexList, IndexOf, NewAxis, Reduction, ReshapeTo};
pub use parameter::{Parameter, parameters_made};
pub use phase::{PhaseCounts, phase, phase_counts};
pub use pool::Scratch;
pub use storage::DType;
pub use tensor::Tensor;
pub use view::ViewMadeIn;
