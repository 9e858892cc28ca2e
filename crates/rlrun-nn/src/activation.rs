//! Nonlinear functions between layers.

use rlrun_tensor::Tensor;
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

impl Activation {
    /// The function of each element of `input`, same shape.
    pub fn apply(self, input: &Tensor) -> Tensor {
        match self {
            Activation::Tanh => input.tanh(),
            Activation::Relu => input.relu(),
        }
    }

    /// The name of the function in a fused layer.
    pub(crate) fn fused(self) -> rlrun_tensor::Activation {
        match self {
            Activation::Tanh => rlrun_tensor::Activation::Tanh,
            Activation::Relu => rlrun_tensor::Activation::Relu,
        }
    }
}
