//! Several critics of one action.

use rlrun_nn::{Layer, Module};
use rlrun_tensor::Tensor;

use crate::rehearsal::trace;

/// Q_i(s, a), independent networks, each from features and action to one value.
///
/// Named `qf0`, `qf1`, … as in Stable-Baselines3.
pub struct Critics(Vec<Box<dyn Layer>>);

impl Critics {
    /// `n_critics` networks that `critic` makes, each from its index.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(n_critics: usize, critic: impl Fn(u64) -> Box<dyn Layer>) -> Critics {
        assert!(n_critics > 0, "a critic is needed, got none");
        Critics((0..n_critics as u64).map(critic).collect())
    }

    /// Q_i(s, a) of each critic, `[B]`, for features `[B, width]` and actions `[B, action_dim]`.
    pub fn values(&self, obs: &Tensor, actions: &Tensor) -> Vec<Tensor> {
        let input = Tensor::cat(&[obs, actions], -1);
        self.0.iter().map(|critic| critic.forward(&input).squeeze_dim(-1)).collect()
    }

    /// min_i Q_i(s, a), `[B]` (van Hasselt 2010; Fujimoto et al. 2018, arXiv 1802.09477).
    pub fn min(&self, obs: &Tensor, actions: &Tensor) -> Tensor {
        let q_values = self.values(obs, actions);
        trace!("critics": q_values);
        q_values[1..].iter().fold(q_values[0].clone(), |min, value| min.minimum(value))
    }
}

impl Module for Critics {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        for (index, critic) in self.0.iter().enumerate() {
            visit(&format!("qf{index}"), critic);
        }
    }
}
