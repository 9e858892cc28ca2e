//! The affine map y = x Wᵀ + b.

use rlrun_core::Rng;
use rlrun_tensor::{CallGuard, LayerPath, Parameter, Tensor};

use crate::{Activation, Init, Layer, Module};

/// y = x Wᵀ + b, as `torch.nn.Linear`.
///
/// # Shapes
/// input `[B, in]`, `weight` `[out, in]`, `bias` `[out]`, output `[B, out]`.
#[derive(Debug, Module)]
pub struct Linear {
    /// W, `[out, in]`.
    pub weight: Parameter,
    /// b, `[out]`.
    pub bias: Parameter,
    path: LayerPath,
}

impl Linear {
    /// A layer from `inputs` to `outputs` features, its weights drawn from `rng` by `init`.
    pub fn new(inputs: usize, outputs: usize, init: Init, rng: &mut Rng) -> Linear {
        let (weight, bias) = init.linear(inputs, outputs, rng);
        Linear {
            weight: Parameter::column_major(&Tensor::from_vec(weight, [outputs, inputs])),
            bias: Parameter::new(Tensor::from_vec(bias, [outputs])),
            path: LayerPath::unknown(),
        }
    }

    /// act(x Wᵀ + b), in one pass where the product can apply the function.
    #[track_caller]
    pub fn forward_act(&self, input: &Tensor, activation: Activation) -> Tensor {
        let _call = CallGuard::of("Linear", &self.path);
        match activation.fused() {
            Some(act) => input.linear_act(&self.weight, Some(&self.bias), act),
            None => activation.forward(&self.forward(input)),
        }
    }
}

impl Layer for Linear {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::of("Linear", &self.path);
        input.linear(&self.weight, Some(&self.bias))
    }
}
