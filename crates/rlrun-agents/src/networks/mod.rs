//! Networks of the algorithms, and what a network of one's own must be.
//!
//! | role | trait | shapes |
//! |---|---|---|
//! | actor and critic of PPO and A2C | [`ActorCritic`] | `[B, features]` → a [`Distribution`], `[B]` |
//! | action values of DQN | [`Layer`](rlrun_nn::Layer) | `[B, features]` → `[B, n_actions]` |
//! | quantiles of QR-DQN | [`Layer`](rlrun_nn::Layer) | `[B, features]` → `[B, n_quantiles * n_actions]` |
//! | actor of SAC | [`Layer`](rlrun_nn::Layer) | `[B, features]` → `[B, 2 * action_dim]`: mean, then log σ |
//! | a critic of SAC | [`Layer`](rlrun_nn::Layer) | `[B, features + action_dim]` → `[B, 1]` |

mod actor_critic;
mod critics;
mod gaussian_head;
mod net_arch;
mod q_network;
mod temperature;

use rlrun_core::Rng;
use rlrun_nn::{Activation, Init, Mlp, Module};
use rlrun_tensor::Tensor;

use crate::distributions::Distribution;

pub use actor_critic::{ActorCriticConfig, MlpActorCritic};
pub use critics::Critics;
pub use gaussian_head::GaussianHead;
pub use net_arch::NetArch;
pub use q_network::{DuelingNetwork, q_network};
pub use temperature::Temperature;

/// A policy π(a | s) and a value function v(s).
pub trait ActorCritic: Module + Send + Sync {
    /// π(· | s) for features `[B, width]`.
    fn policy(&self, obs: &Tensor) -> Distribution;

    /// v(s) for features `[B, width]`, `[B]`.
    fn value(&self, obs: &Tensor) -> Tensor;

    /// Both; a network whose halves share layers computes those once.
    fn policy_and_value(&self, obs: &Tensor) -> (Distribution, Tensor) {
        (self.policy(obs), self.value(obs))
    }

    /// Mean of σ over the components of a continuous action, for the log.
    fn mean_std(&self) -> Option<f64> {
        None
    }
}

/// A plain network with PyTorch's initial weights: hidden layers of `widths` between `inputs` and
/// `outputs`.
pub fn mlp(
    inputs: usize,
    widths: &[usize],
    outputs: usize,
    activation: Activation,
    rng: &mut Rng,
) -> Mlp {
    let sizes = [&[inputs], widths, &[outputs]].concat();
    Mlp::new(&sizes, activation, Init::KaimingUniform, Init::KaimingUniform, rng)
}
