//! One step of a gated recurrent unit (Cho et al. 2014, arXiv 1406.1078).

use rlrun_core::Rng;
use rlrun_tensor::{CallGuard, Tensor};

use crate::{CellParameters, Module};

/// n = tanh(n_x + σ(r) n_h), h′ = (1 - σ(z)) n + σ(z) h, as `torch.nn.GRUCell`; each gate is an
/// affine map of input and hidden state, in the order r, z, n.
#[derive(Debug, Module)]
pub struct GruCell {
    /// The weights and biases of the three gates.
    #[module(flatten)]
    pub parameters: CellParameters,
}

impl GruCell {
    /// A cell from `inputs` features to a state of `hidden`, all its parameters drawn from `rng`
    /// uniformly in ±1/√hidden.
    pub fn new(inputs: usize, hidden: usize, rng: &mut Rng) -> GruCell {
        GruCell { parameters: CellParameters::new(3, inputs, hidden, rng) }
    }

    /// The next hidden state, h′. A sequence starts from zeros.
    ///
    /// # Shapes
    /// `input` `[B, in]`; `h` and the result `[B, hidden]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, h: &Tensor) -> Tensor {
        let _call = CallGuard::of("GRUCell", &self.parameters.path);
        input.gru_cell(h, self.parameters.weights())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, State, rng_stream};

    #[test]
    fn gates_are_read_in_the_order_r_z_n_and_reset_acts_after_the_product() {
        let cell = GruCell::new(1, 1, &mut rng_stream(1, Purpose::Weights, 0));
        let mut state = State::new();
        state.insert_f32("weight_ih", &[3, 1], &[1.0, 2.0, 3.0]);
        state.insert_f32("weight_hh", &[3, 1], &[0.5, 0.0, 0.25]);
        state.insert_f32("bias_ih", &[3], &[0.0, -1.0, -2.5]);
        state.insert_f32("bias_hh", &[3], &[0.0, -0.5, 1.0]);
        cell.load_state(&state).unwrap();
        let number = |x: f32| Tensor::from_slice(&[x], [1, 1]);
        let h = cell.forward(&number(1.0), &number(2.0));
        // r = 1 + 0.5·2, z = 2 - 1 - 0.5, n = (3 - 2.5) + σ(r) (0.25·2 + 1).
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let new = (0.5 + sigmoid(2.0) * 1.5).tanh();
        let next = (1.0 - sigmoid(0.5)) * new + sigmoid(0.5) * 2.0;
        assert!((h.item() - next).abs() < 1e-6, "{h:?}, expected {next}");
    }
}
