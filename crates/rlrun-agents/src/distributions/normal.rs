//! Normals: their formulas, component by component, and the tanh-squashed diagonal normal.

use std::f32::consts::{LN_2, PI};

use rand_distr::{Distribution as _, StandardNormal};
use rlrun_core::Rng;
use rlrun_env::Actions;
use rlrun_tensor::Tensor;

use super::actions::write_vectors;

/// Draws μ + σ ε into `actions`.
pub(super) fn sample(mean: &Tensor, std: &Tensor, rng: &mut Rng, actions: &mut Actions) {
    let std = std.to_scratch();
    write_vectors(mean, actions, |i, mean| {
        let noise: f32 = StandardNormal.sample(rng);
        mean + std[i % std.len()] * noise
    });
}

/// -(x - μ)² / 2σ² - log σ - log √2π.
pub(super) fn log_density(mean: &Tensor, std: &Tensor, x: &Tensor) -> Tensor {
    let scaled = (x - mean) / std;
    scaled.square() * -0.5 - std.log() - 0.5 * (2.0 * PI).ln()
}

/// ½ + ½ log 2π + log σ.
pub(super) fn entropy(std: &Tensor) -> Tensor {
    std.log() + (0.5 + 0.5 * (2.0 * PI).ln())
}

/// KL(p ‖ q) = ½ (σₚ²/σ_q² + (μₚ - μ_q)²/σ_q² - 1 - log σₚ²/σ_q²), each as (μ, σ).
pub(super) fn kl_divergence(p: (&Tensor, &Tensor), q: (&Tensor, &Tensor)) -> Tensor {
    let variances = (p.1 / q.1).square();
    let distance = ((p.0 - q.0) / q.1).square();
    (&variances + distance - 1.0 - variances.log()) * 0.5
}

/// tanh(u) of independent normals u, as in soft actor-critic (Haarnoja et al. 2018,
/// arXiv 1812.05905, appendix C). It has no entropy in closed form: estimate it by -log π.
#[derive(Clone, Debug)]
pub struct TanhNormal {
    /// μ of u, `[B, dim]`.
    pub mean: Tensor,
    /// σ of u, `[B, dim]` or the same for every row, `[dim]`.
    pub std: Tensor,
}

impl TanhNormal {
    /// Draws one u per row into `actions`: what [`TanhNormal::log_prob`] takes, and what
    /// [`TanhNormal::squash`] turns into actions.
    pub fn sample(&self, rng: &mut Rng, actions: &mut Actions) {
        sample(&self.mean, &self.std, rng, actions);
    }

    /// Writes the u = μ of each row into `actions`; squashed, the median.
    pub fn mode(&self, actions: &mut Actions) {
        write_vectors(&self.mean, actions, |_, mean| mean);
    }

    /// tanh of every number: actions in [-1, 1].
    pub fn squash(actions: &mut Actions) {
        if let Actions::Continuous { values, .. } = actions {
            values.iter_mut().for_each(|u| *u = u.tanh());
        }
    }

    /// log π(tanh u) of one u per row `[B, dim]`, `[B]`.
    pub fn log_prob(&self, u: &Tensor) -> Tensor {
        // log(1 - tanh² u) = 2 (log 2 - u - softplus(-2u)) keeps its digits where tanh u is ±1.
        let log_slope = (LN_2 - u - (u * -2.0).softplus()) * 2.0;
        (log_density(&self.mean, &self.std, u) - log_slope).sum_dim(-1, false)
    }
}
