//! Layers, initialisers and optimizers, with PyTorch's formulas, defaults and parameter names.

mod activation;
mod cell;
mod conv2d;
mod dropout;
mod embedding;
mod gru_cell;
pub mod init;
mod layer_norm;
mod linear;
mod lstm_cell;
mod mlp;
mod module;
pub mod optim;
mod sequential;

pub use activation::Activation;
pub use cell::CellParameters;
pub use conv2d::{Conv2d, Conv2dConfig};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use gru_cell::GruCell;
pub use init::Init;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use lstm_cell::LstmCell;
pub use mlp::Mlp;
pub use module::{Layer, Module, join};
pub use sequential::Sequential;
