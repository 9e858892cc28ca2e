//! Nonlinear functions between layers, as settings name them.

use rlrun_tensor::{CallGuard, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Layer, Module};

/// A function applied to each element between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Module)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// tanh(x).
    Tanh,
    /// max(x, 0).
    Relu,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// x above 0, eˣ - 1 elsewhere.
    Elu,
    /// x above 0, 0.01 x elsewhere.
    LeakyRelu,
    /// x · sigmoid(x).
    Silu,
    /// x · Φ(x) with the standard normal distribution function Φ.
    Gelu,
    /// The same with Φ(x) by tanh, as `torch.nn.GELU(approximate="tanh")`.
    GeluTanh,
    /// ln(1 + eˣ).
    Softplus,
    /// x.
    Identity,
}

impl Activation {
    /// The same function where a layer applies it in the pass of its product, if one does.
    pub(crate) fn fused(self) -> Option<rlrun_tensor::Activation> {
        match self {
            Activation::Tanh => Some(rlrun_tensor::Activation::Tanh),
            Activation::Relu => Some(rlrun_tensor::Activation::Relu),
            Activation::Sigmoid => Some(rlrun_tensor::Activation::Sigmoid),
            Activation::Identity => Some(rlrun_tensor::Activation::None),
            _ => None,
        }
    }
}

impl Layer for Activation {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::named("Activation");
        match self {
            Activation::Tanh => input.tanh(),
            Activation::Relu => input.relu(),
            Activation::Sigmoid => input.sigmoid(),
            Activation::Elu => input.elu(1.0),
            Activation::LeakyRelu => input.leaky_relu(0.01),
            Activation::Silu => input.silu(),
            Activation::Gelu => input.gelu(),
            Activation::GeluTanh => input.gelu_tanh(),
            Activation::Softplus => input.softplus(),
            Activation::Identity => input.clone(),
        }
    }
}
