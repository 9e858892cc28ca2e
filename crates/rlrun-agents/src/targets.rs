//! What learning aims at: advantages, returns, losses that several algorithms share, and target
//! networks.

use rlrun_nn::{Module, StatefulLayers};
use rlrun_tensor::{Reduction, Tensor, no_grad};

use crate::buffers::ReplayBatch;

/// A rollout as [`gae`] reads it. Rows are time-major: row `t * n_envs + e` is step `t` of
/// environment `e`.
#[derive(Clone, Copy, Debug)]
pub struct Rollout<'a> {
    /// Environments that stepped together.
    pub n_envs: usize,
    /// r, `[n_steps * n_envs]`.
    pub rewards: &'a [f32],
    /// v(s), the same length.
    pub values: &'a [f32],
    /// v(s') of the true successors; ignored after a termination.
    pub next_values: &'a [f32],
    /// Whether the task ended in this step.
    pub terminated: &'a [bool],
    /// Whether the time limit ended the episode in this step.
    pub truncated: &'a [bool],
}

/// Generalized advantage estimates Âₜ, written into `advantages`.
///
/// δₜ = rₜ + γ v(s'ₜ) (1 - terminatedₜ) - v(sₜ) and Âₜ = δₜ + γλ (1 - endedₜ) Âₜ₊₁, where an
/// episode has ended if it was terminated or truncated: a time limit cuts the sum but not the value
/// of what would have followed.
///
/// Schulman et al. 2016, arXiv 1506.02438, eq. 11-16; time limits: Pardo et al. 2018,
/// arXiv 1712.00378.
///
/// # Panics
/// If the slices differ in length.
pub fn gae(rollout: &Rollout<'_>, gamma: f32, gae_lambda: f32, advantages: &mut [f32]) {
    let Rollout { n_envs, rewards, values, next_values, terminated, truncated } = *rollout;
    let len = rewards.len();
    let lens = [values, next_values, advantages].map(|slice| slice.len());
    assert_eq!(lens, [len; 3], "values, next_values, advantages and rewards differ in length");
    assert_eq!([terminated.len(), truncated.len()], [len; 2], "flags and rewards differ in length");
    for row in (0..len).rev() {
        let next_value = if terminated[row] { 0.0 } else { next_values[row] };
        let delta = rewards[row] + gamma * next_value - values[row];
        let goes_on = !terminated[row] && !truncated[row] && row + n_envs < len;
        let following = if goes_on { advantages[row + n_envs] } else { 0.0 };
        advantages[row] = delta + gamma * gae_lambda * following;
    }
}

/// One-step or n-step targets y = r + d v', of the shape of `next_values`: `[B]`, or `[B, n]` for n
/// values of each successor.
///
/// The discounts d are γⁿ, or 0 after a termination; v' is what is expected from the successor,
/// max_a Q̂(s', a) in DQN (Mnih et al. 2015, algorithm 1). The result carries no history.
///
/// # Panics
/// If there is not a row for each row of `batch`.
pub fn td_target(batch: &ReplayBatch, next_values: &Tensor) -> Tensor {
    let rows = batch.rewards.len();
    assert_eq!(next_values.dims()[0], rows, "next values and rewards differ in length");
    let values = next_values.to_scratch();
    let discounted = batch.rewards.iter().zip(&batch.discounts);
    let targets = discounted.zip(values.chunks_exact(values.len() / rows));
    // A discount of 0 hides the value, even one that is not finite.
    let target = |(r, d): (&f32, &f32), v: &f32| if *d == 0.0 { *r } else { r + d * v };
    let targets = targets.flat_map(|(row, values)| values.iter().map(move |v| target(row, v)));
    Tensor::from_vec(targets.collect(), next_values.dims())
}

/// One step as [`n_step`] reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reward {
    /// r.
    pub reward: f32,
    /// Whether the task ended in this step.
    pub terminated: bool,
    /// Whether the time limit ended the episode in this step.
    pub truncated: bool,
}

/// What [`n_step`] finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NStep {
    /// Σ γᵏ rₖ over the steps that were summed.
    pub reward: f32,
    /// How many steps were summed, n or fewer.
    pub steps: usize,
    /// Factor of the value of the last successor: γⁿ, 0 if the last step was terminated.
    pub discount: f32,
}

/// The discounted sum of consecutive rewards of one environment, up to the end of its episode.
///
/// Sutton & Barto 2018, eq. 7.1. After a time limit the last successor still has a value.
pub fn n_step(rewards: impl Iterator<Item = Reward>, gamma: f32) -> NStep {
    let mut sum = NStep { reward: 0.0, steps: 0, discount: 1.0 };
    for step in rewards {
        sum.reward += sum.discount * step.reward;
        sum.steps += 1;
        sum.discount = if step.terminated { 0.0 } else { sum.discount * gamma };
        if step.terminated || step.truncated {
            break;
        }
    }
    sum
}

/// Moves the parameters of a target network towards those of the online one:
/// θ̂ ← (1 - τ) θ̂ + τ θ. Running statistics are taken over whole, as in SB3.
///
/// Lillicrap et al. 2016, arXiv 1509.02971, algorithm 1; τ = 1 copies, as in DQN.
///
/// # Panics
/// If the two are not the same network.
pub fn polyak_update(online: &dyn Module, target: &dyn Module, tau: f64) {
    no_grad(|| {
        for (online, target) in online.parameters().iter().zip(target.parameters()) {
            if tau == 1.0 {
                target.copy_(online);
            } else {
                target.mul_scalar_((1.0 - tau) as f32);
                target.add_scaled_(online, tau as f32);
            }
        }
    });
    let statistics = StatefulLayers::of(online).buffers();
    let taken_over = StatefulLayers::of(target).load_buffers(&statistics);
    taken_over.unwrap_or_else(|error| panic!("the target is another network: {error}"));
}

/// The quantile Huber loss with κ = 1 between quantiles `[B, N]` and samples of their targets
/// `[B, M]`: Σ_i E_j[ |τ_i - 1(u_ij < 0)| L(u_ij) ], u_ij = target_j - quantile_i, mean over the
/// batch.
///
/// Dabney et al. 2018, arXiv 1710.10044, eq. 10, with τ_i in the middle of the i-th of N shares.
pub fn quantile_huber_loss(quantiles: &Tensor, targets: &Tensor) -> Tensor {
    let [rows, n, m] = [quantiles.dims()[0], quantiles.dims()[1], targets.dims()[1]];
    let errors = targets.unsqueeze(1) - quantiles.unsqueeze(-1);
    let taus: Vec<f32> = (0..n).map(|i| (i as f32 + 0.5) / n as f32).collect();
    let weight = |(index, error): (usize, &f32)| {
        let tau: f32 = taus[index / m % n];
        if *error < 0.0 { 1.0 - tau } else { tau }
    };
    let weights = errors.to_scratch().iter().enumerate().map(weight).collect();
    let weights = Tensor::from_vec(weights, [rows, n, m]);
    let huber = errors.huber_loss_with(&errors.zeros_like(), 1.0, Reduction::None);
    (weights * huber).sum_dim(1, false).mean()
}

/// Shifts and scales to mean 0 and standard deviation 1: x ← (x - mean) / (std + 1e-8), with the
/// unbiased deviation, as SB3 does with the advantages of a minibatch. One number stays as it is.
pub fn normalize(numbers: &mut [f32]) {
    if numbers.len() < 2 {
        return;
    }
    let count = numbers.len() as f64;
    let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let squares = numbers.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>();
    let std = (squares / (count - 1.0)).sqrt();
    let scale = 1.0 / (std + 1e-8);
    numbers.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * scale) as f32);
}

#[cfg(test)]
#[path = "targets_tests.rs"]
mod tests;
