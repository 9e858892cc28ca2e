//! Layers, initialisers and optimizers, with PyTorch's formulas, defaults and parameter names.

mod activation;
pub mod init;
mod linear;
mod mlp;
mod module;
pub mod optim;

pub use activation::Activation;
pub use init::Init;
pub use linear::Linear;
pub use mlp::Mlp;
pub use module::{Layer, Module, join};
