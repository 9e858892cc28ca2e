//! Action values from two streams.

use rlrun_core::Rng;
use rlrun_nn::{Activation, Layer, Mlp, Module};
use rlrun_tensor::Tensor;

use super::mlp;

/// Q(s, a) = V(s) + A(s, a) - mean_a' A(s, a') from two networks (Wang et al. 2016, arXiv
/// 1511.06581, eq. 9). The paper's streams share their first layers; here they do not.
#[derive(Debug, Module)]
pub struct DuelingNetwork {
    value: Mlp,
    advantage: Mlp,
}

impl DuelingNetwork {
    /// Networks with hidden layers of `widths` from `inputs` features to `n_actions` values.
    pub fn new(
        inputs: usize,
        widths: &[usize],
        n_actions: usize,
        activation: Activation,
        rng: &mut Rng,
    ) -> DuelingNetwork {
        let value = mlp(inputs, widths, 1, activation, rng);
        DuelingNetwork { value, advantage: mlp(inputs, widths, n_actions, activation, rng) }
    }
}

/// Q(s, ·) by a plain network or a [`DuelingNetwork`].
pub fn q_network(
    dueling: bool,
    inputs: usize,
    widths: &[usize],
    n_actions: usize,
    activation: Activation,
    rng: &mut Rng,
) -> Box<dyn Layer> {
    if dueling {
        Box::new(DuelingNetwork::new(inputs, widths, n_actions, activation, rng))
    } else {
        Box::new(mlp(inputs, widths, n_actions, activation, rng))
    }
}

impl Layer for DuelingNetwork {
    fn forward(&self, obs: &Tensor) -> Tensor {
        let advantage = self.advantage.forward(obs);
        self.value.forward(obs) + &advantage - advantage.mean_dim(-1, true)
    }
}
