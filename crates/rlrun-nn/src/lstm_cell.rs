//! One step of a long short-term memory (Hochreiter & Schmidhuber 1997).

use rlrun_core::Rng;
use rlrun_tensor::{CallGuard, Tensor};

use crate::{CellParameters, Module};

/// c′ = σ(f) c + σ(i) tanh(g), h′ = σ(o) tanh(c′), as `torch.nn.LSTMCell`; each gate is an affine
/// map of input and hidden state, in the order i, f, g, o.
#[derive(Debug, Module)]
pub struct LstmCell {
    /// The weights and biases of the four gates.
    #[module(flatten)]
    pub parameters: CellParameters,
}

impl LstmCell {
    /// A cell from `inputs` features to a state of `hidden`, all its parameters drawn from `rng`
    /// uniformly in ±1/√hidden.
    pub fn new(inputs: usize, hidden: usize, rng: &mut Rng) -> LstmCell {
        LstmCell { parameters: CellParameters::new(4, inputs, hidden, rng) }
    }

    /// The next hidden state and cell, h′ and c′. A sequence starts from zeros.
    ///
    /// # Shapes
    /// `input` `[B, in]`; `h`, `c` and both results `[B, hidden]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, h: &Tensor, c: &Tensor) -> (Tensor, Tensor) {
        let _call = CallGuard::of("LSTMCell", &self.parameters.path);
        input.lstm_cell(h, c, self.parameters.weights())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, State, rng_stream};

    #[test]
    fn gates_are_read_in_the_order_i_f_g_o() {
        let cell = LstmCell::new(1, 1, &mut rng_stream(1, Purpose::Weights, 0));
        let mut state = State::new();
        state.insert_f32("weight_ih", &[4, 1], &[1.0, 2.0, 3.0, 4.0]);
        state.insert_f32("weight_hh", &[4, 1], &[0.5, 0.0, 0.0, 0.0]);
        state.insert_f32("bias_ih", &[4], &[0.0, 0.0, -2.5, 0.0]);
        state.insert_f32("bias_hh", &[4], &[0.0, -1.0, 0.0, -3.0]);
        cell.load_state(&state).unwrap();
        let number = |x: f32| Tensor::from_slice(&[x], [1, 1]);
        let (h, c) = cell.forward(&number(1.0), &number(2.0), &number(0.5));
        // i = 1 + 0.5·2, f = 2 - 1, g = 3 - 2.5, o = 4 - 3.
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let next_c = sigmoid(1.0) * 0.5 + sigmoid(2.0) * 0.5f64.tanh();
        let next_h = sigmoid(1.0) * next_c.tanh();
        assert!((c.item() - next_c).abs() < 1e-6, "{c:?}, expected {next_c}");
        assert!((h.item() - next_h).abs() < 1e-6, "{h:?}, expected {next_h}");
    }

    #[test]
    fn all_parameters_start_within_one_over_root_of_hidden() {
        let cell = LstmCell::new(100, 16, &mut rng_stream(1, Purpose::Weights, 0));
        for parameter in cell.parameters() {
            let largest = parameter.to_vec().iter().fold(0.0f32, |max, x| max.max(x.abs()));
            assert!((0.2..=0.25).contains(&largest), "{largest}");
        }
    }
}
