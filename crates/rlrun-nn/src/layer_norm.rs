//! Layer normalisation (Ba, Kiros & Hinton 2016, arXiv 1607.06450).

use rlrun_tensor::{CallGuard, LayerPath, Parameter, Tensor};

use crate::{Layer, Module};

/// y = (x - mean) / √(var + ε) · weight + bias over the last dimensions, as `torch.nn.LayerNorm`.
///
/// # Shapes
/// input and output `[…, shape]`, `weight` and `bias` `shape`.
#[derive(Debug, Module)]
pub struct LayerNorm {
    /// Factor of each normalised element, `shape`; starts as 1.
    pub weight: Parameter,
    /// Summand of each normalised element, `shape`; starts as 0.
    pub bias: Parameter,
    /// ε, added to the variance; starts as 1e-5.
    #[module(skip)]
    pub eps: f32,
    path: LayerPath,
}

impl LayerNorm {
    /// A layer that normalises over the last dimensions, whose extents are `shape`.
    pub fn new(shape: &[usize]) -> LayerNorm {
        LayerNorm {
            weight: Parameter::new(Tensor::ones(shape)),
            bias: Parameter::new(Tensor::zeros(shape)),
            eps: 1e-5,
            path: LayerPath::unknown(),
        }
    }
}

impl Layer for LayerNorm {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Tensor {
        let _call = CallGuard::of("LayerNorm", &self.path);
        input.layer_norm(self.weight.dims(), Some(&self.weight), Some(&self.bias), self.eps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_mean_zero_and_variance_one_before_they_are_scaled() {
        let layer = LayerNorm { eps: 0.0, ..LayerNorm::new(&[4]) };
        // Mean 3 and variance 1; mean 2 and variance 4.
        let input = Tensor::from_slice(&[2.0, 4.0, 4.0, 2.0, 0.0, 4.0, 4.0, 0.0], [2, 4]);
        let normalised = [-1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0];
        assert_eq!(layer.forward(&input).to_vec(), normalised);

        let mut state = layer.state();
        state.insert_f32("weight", &[4], &[1.0, 2.0, 3.0, 4.0]);
        state.insert_f32("bias", &[4], &[0.0, 0.5, 0.0, -1.0]);
        layer.load_state(&state).unwrap();
        let scaled = [-1.0, 2.5, 3.0, -5.0, -1.0, 2.5, 3.0, -5.0];
        assert_eq!(layer.forward(&input).to_vec(), scaled);
    }
}
