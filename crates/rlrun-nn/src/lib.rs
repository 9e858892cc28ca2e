//! Layers, initialisers and optimizers, with PyTorch's formulas, defaults and parameter names.
//!
//! A [`Module`] lists its fields by name, and [`Module::state`] is PyTorch's `state_dict`: a file
//! saved there with `safetensors.torch.save_file` loads here into the same layers.
//!
//! ```
//! use rlrun_core::{Purpose, State, rng_stream};
//! use rlrun_nn::{Activation, Dropout, Init, Layer, Linear, Module, Sequential};
//! use rlrun_tensor::Tensor;
//! let rng = &mut rng_stream(0, Purpose::Weights, 0);
//! let network = Sequential::new(vec![
//!     Box::new(Linear::new(4, 64, Init::KaimingUniform, rng)),
//!     Box::new(Activation::Relu),
//!     Box::new(Dropout::new(0.1, rng_stream(0, Purpose::Layers, 0))),
//!     Box::new(Linear::new(64, 2, Init::KaimingUniform, rng)),
//! ]);
//! let bytes = network.state().to_safetensors()?; // or std::fs::read("network.safetensors")
//! network.load_state(&State::from_safetensors(&bytes)?)?;
//!
//! let input = Tensor::zeros([8, 4]);
//! let loss = network.train(|| network.forward(&input).sum()); // dropout for the loss ...
//! loss.backward();
//! // ... and none for acting and evaluating.
//! assert_eq!(network.forward(&input).dims(), [8, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation;
mod batch_norm;
mod batch_renorm;
mod cell;
mod check;
mod containers;
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
mod parameters;
mod sequential;
mod shaping;
mod stateful;
mod training;

pub use activation::Activation;
pub use batch_norm::BatchNorm;
pub use batch_renorm::{BatchRenorm, BatchRenormConfig};
pub use cell::CellParameters;
pub use check::{ModuleReport, ModuleViolation, check_module};
pub use conv2d::{Conv2d, Conv2dConfig};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use gru_cell::GruCell;
pub use init::Init;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use lstm_cell::LstmCell;
pub use mlp::Mlp;
use module::distinct;
pub use module::{Layer, Module};
pub use parameters::Parameters;
pub use rlrun_nn_derive::Module;
pub use sequential::Sequential;
pub use shaping::{Flatten, Identity, Pool2d};
pub use stateful::Stateful;
pub use training::{StatefulLayers, Training, UntrainedLayer};
