//! Normals: their formulas, component by component, and the tanh-squashed diagonal normal.

use std::f32::consts::{LN_2, PI};

use rlrun_core::Rng;
use rlrun_env::Actions;
use rlrun_tensor::Tensor;

use super::actions::write_vectors;
use crate::{AgentError, rehearsal};

/// Draws μ + σ ε into `actions`, ε of each row from its own stream.
pub(super) fn sample(
    mean: &Tensor,
    std: &Tensor,
    rngs: &mut [Rng],
    actions: &mut Actions,
) -> Result<(), AgentError> {
    let (std, dim) = (std.to_scratch(), mean.dims()[1]);
    write_vectors(mean, actions, |row, k, mean| {
        let mut noise = [0.0];
        rehearsal::normals(&mut noise, &mut rngs[row]);
        mean + std[(row * dim + k) % std.len()] * noise[0]
    })
}

/// μ + σ ε, with the gradients of μ and σ.
pub(super) fn rsample(mean: &Tensor, std: &Tensor, rng: &mut Rng) -> Tensor {
    mean + std * noise(mean, rng)
}

/// ε for each number of `mean`.
fn noise(mean: &Tensor, rng: &mut Rng) -> Tensor {
    let mut noise = vec![0.0; mean.numel()];
    rehearsal::normals(&mut noise, rng);
    Tensor::from_vec(noise, mean.dims())
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
    /// log σ of u, `[B, dim]`.
    pub log_std: Tensor,
}

impl TanhNormal {
    /// Draws one action in ±1 per row into `actions`.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if μ or σ is not finite.
    pub fn sample(&self, rngs: &mut [Rng], actions: &mut Actions) -> Result<(), AgentError> {
        sample(&self.mean, &self.log_std.exp(), rngs, actions)?;
        squash(actions);
        Ok(())
    }

    /// Writes tanh(μ) of each row into `actions`: the median.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if μ is not finite.
    pub fn mode(&self, actions: &mut Actions) -> Result<(), AgentError> {
        write_vectors(&self.mean, actions, |_, _, mean| mean)?;
        squash(actions);
        Ok(())
    }

    /// An action a = tanh(u), u = μ + σ ε, `[B, dim]`, through which gradients reach μ and σ, and its
    /// log π(a), `[B]`.
    ///
    /// log π(a) = log N(u) - Σ log(1 - a²), exactly; with `epsilon` above 0, log N(u) - Σ log(1 - a² +
    /// ε), which is off where 1 - a² is as small as ε.
    pub fn rsample(&self, rng: &mut Rng, epsilon: f64) -> (Tensor, Tensor) {
        let noise = noise(&self.mean, rng);
        let u = &self.mean + self.log_std.exp() * &noise;
        let actions = u.tanh();
        let log_normal = noise.square() * -0.5 - &self.log_std - 0.5 * (2.0 * PI).ln();
        let mut log_slope = log_slope(&u);
        if epsilon > 0.0 {
            log_slope = (log_slope.exp() + epsilon as f32).log();
        }
        (actions, (log_normal - log_slope).sum_dim(-1, false))
    }

    /// log π(tanh u) of one u per row `[B, dim]`, `[B]`.
    pub fn log_prob(&self, u: &Tensor) -> Tensor {
        let log_normal = log_density(&self.mean, &self.log_std.exp(), u);
        (log_normal - log_slope(u)).sum_dim(-1, false)
    }
}

/// log(1 - tanh² u) = 2 (log 2 - u - softplus(-2u)), which keeps its digits where tanh u is ±1.
fn log_slope(u: &Tensor) -> Tensor {
    (LN_2 - u - (u * -2.0).softplus()) * 2.0
}

fn squash(actions: &mut Actions) {
    if let Actions::Continuous { values, .. } = actions {
        values.iter_mut().for_each(|u| *u = u.tanh().clamp(-1.0, 1.0));
    }
}
