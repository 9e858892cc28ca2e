//! Nonlinear functions between layers, as settings name them.

use rlrun_tensor::{Parameter, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Layer, Module};

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

impl Module for Activation {
    fn visit_parameters(&self, _: &str, _: &mut dyn FnMut(&str, &Parameter)) {}
}

impl Layer for Activation {
    fn forward(&self, input: &Tensor) -> Tensor {
        match self {
            Activation::Tanh => input.tanh(),
            Activation::Relu => input.relu(),
        }
    }
}
