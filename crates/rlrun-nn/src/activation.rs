//! Nonlinear functions between layers, as settings name them.

use serde::{Deserialize, Serialize};

/// A function applied to each element between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// tanh(x).
    Tanh,
    /// max(x, 0).
    Relu,
}

impl From<Activation> for rlrun_tensor::Activation {
    fn from(activation: Activation) -> rlrun_tensor::Activation {
        match activation {
            Activation::Tanh => rlrun_tensor::Activation::Tanh,
            Activation::Relu => rlrun_tensor::Activation::Relu,
        }
    }
}
