//! The parameters that recurrent cells share.

use rlrun_core::Rng;
use rlrun_tensor::{CellWeights, LayerPath, Parameter, Tensor};

use crate::{Module, init};

/// Weights and biases of a recurrent cell, its gates one after the other.
///
/// # Shapes
/// `weight_ih` `[gates · hidden, in]`, `weight_hh` `[gates · hidden, hidden]`, `bias_ih` and
/// `bias_hh` `[gates · hidden]`.
#[derive(Debug, Module)]
pub struct CellParameters {
    /// Weight of the input.
    pub weight_ih: Parameter,
    /// Weight of the hidden state.
    pub weight_hh: Parameter,
    /// Bias of the input.
    pub bias_ih: Parameter,
    /// Bias of the hidden state.
    pub bias_hh: Parameter,
    pub(crate) path: LayerPath,
}

impl CellParameters {
    /// PyTorch's default: all uniform in ±1/√hidden.
    pub(crate) fn new(gates: usize, inputs: usize, hidden: usize, rng: &mut Rng) -> CellParameters {
        let rows = gates * hidden;
        let bound = 1.0 / (hidden as f32).sqrt();
        let mut weight = |columns: usize| {
            let numbers = init::uniform(rows * columns, bound, rng);
            Parameter::column_major(&Tensor::from_vec(numbers, [rows, columns]))
        };
        let (weight_ih, weight_hh) = (weight(inputs), weight(hidden));
        let mut bias = || Parameter::new(Tensor::from_vec(init::uniform(rows, bound, rng), [rows]));
        CellParameters {
            weight_ih,
            weight_hh,
            bias_ih: bias(),
            bias_hh: bias(),
            path: LayerPath::unknown(),
        }
    }

    pub(crate) fn weights(&self) -> CellWeights<'_> {
        CellWeights {
            w_ih: &self.weight_ih,
            w_hh: &self.weight_hh,
            b_ih: &self.bias_ih,
            b_hh: &self.bias_hh,
        }
    }
}
