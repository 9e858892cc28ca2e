//! What learning aims at: advantages, returns and target networks. All but the last are pure
//! functions of plain numbers.

use rlrun_tensor::{Parameter, no_grad};

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

/// One-step or n-step targets y = r + d v', written into `targets`.
///
/// `discounts` d are γⁿ, or 0 after a termination; `next_values` v' are what is expected from the
/// successor, max_a Q̂(s', a) in DQN (Mnih et al. 2015, algorithm 1).
pub fn td_target(rewards: &[f32], discounts: &[f32], next_values: &[f32], targets: &mut Vec<f32>) {
    targets.clear();
    let rows = rewards.iter().zip(discounts).zip(next_values);
    // A discount of 0 hides the value, even one that is not finite.
    targets.extend(rows.map(|((r, &d), v)| if d == 0.0 { *r } else { r + d * v }));
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
/// θ̂ ← θ̂ + τ (θ - θ̂).
///
/// Lillicrap et al. 2016, arXiv 1509.02971, algorithm 1; τ = 1 copies, as in DQN.
pub fn polyak_update(online: &[Parameter], target: &[Parameter], tau: f32) {
    no_grad(|| {
        for (online, target) in online.iter().zip(target) {
            if tau == 1.0 { target.copy_(online) } else { target.lerp_(online, tau) }
        }
    });
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
mod tests {
    use super::*;
    use rlrun_tensor::Tensor;

    const NO: bool = false;
    const YES: bool = true;

    fn advantages(rollout: &Rollout<'_>, gamma: f32, gae_lambda: f32) -> Vec<f32> {
        let mut advantages = vec![f32::NAN; rollout.rewards.len()];
        gae(rollout, gamma, gae_lambda, &mut advantages);
        advantages
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}");
    }

    #[test]
    fn gae_sums_discounted_errors_backwards() {
        // δ = [1 + .5·2 - 1, 2 + .5·3 - 2, 3 + .5·4 - 3] = [1, 1.5, 2], γλ = 0.25.
        let rollout = Rollout {
            n_envs: 1,
            rewards: &[1.0, 2.0, 3.0],
            values: &[1.0, 2.0, 3.0],
            next_values: &[2.0, 3.0, 4.0],
            terminated: &[NO; 3],
            truncated: &[NO; 3],
        };
        assert_close(&advantages(&rollout, 0.5, 0.5), &[1.5, 2.0, 2.0]);
    }

    #[test]
    fn gae_bootstraps_at_a_time_limit_and_not_at_a_termination() {
        // The middle step ends an episode; its successor is worth 10.
        let rollout = Rollout {
            n_envs: 1,
            rewards: &[1.0, 1.0, 1.0],
            values: &[0.0; 3],
            next_values: &[0.0, 10.0, 0.0],
            terminated: &[NO; 3],
            truncated: &[NO, YES, NO],
        };
        assert_close(&advantages(&rollout, 0.5, 1.0), &[4.0, 6.0, 1.0]);
        let terminated = &[NO, YES, NO];
        let terminal = Rollout { terminated, truncated: &[NO; 3], ..rollout };
        assert_close(&advantages(&terminal, 0.5, 1.0), &[1.5, 1.0, 1.0]);
        // A step that reaches both ends is terminal.
        let both = Rollout { terminated, ..rollout };
        assert_close(&advantages(&both, 0.5, 1.0), &[1.5, 1.0, 1.0]);
    }

    #[test]
    fn gae_keeps_environments_apart() {
        // Environment 0 gives 1, 2 and is terminated first; environment 1 gives 10, 20.
        let rollout = Rollout {
            n_envs: 2,
            rewards: &[1.0, 10.0, 2.0, 20.0],
            values: &[0.0; 4],
            next_values: &[0.0, 0.0, 100.0, 200.0],
            terminated: &[YES, NO, NO, NO],
            truncated: &[NO; 4],
        };
        assert_close(&advantages(&rollout, 0.5, 1.0), &[1.0, 70.0, 52.0, 120.0]);
    }

    #[test]
    fn an_endless_reward_of_one_is_worth_one_over_one_minus_gamma_at_a_time_limit() {
        // If v already is 1 / (1 - γ), nothing is better or worse than expected.
        let rollout = Rollout {
            n_envs: 1,
            rewards: &[1.0; 4],
            values: &[10.0; 4],
            next_values: &[10.0; 4],
            terminated: &[NO; 4],
            truncated: &[NO, NO, YES, NO],
        };
        assert_close(&advantages(&rollout, 0.9, 0.95), &[0.0; 4]);
    }

    #[test]
    fn td_targets_ignore_the_value_after_a_termination() {
        let mut targets = vec![7.0];
        td_target(&[1.0, 2.0], &[0.9, 0.0], &[10.0, f32::NAN], &mut targets);
        assert_eq!(targets, [10.0, 2.0]);
    }

    #[test]
    fn n_step_sums_stop_at_the_end_of_the_episode() {
        let step = |reward, terminated, truncated| Reward { reward, terminated, truncated };
        let steps = [step(1.0, NO, NO), step(2.0, NO, NO), step(4.0, NO, NO)];
        let sum = |steps: &[Reward]| n_step(steps.iter().copied(), 0.5);
        assert_eq!(sum(&steps[..1]), NStep { reward: 1.0, steps: 1, discount: 0.5 });
        assert_eq!(sum(&steps), NStep { reward: 3.0, steps: 3, discount: 0.125 });
        let truncated = [steps[0], step(2.0, NO, YES), steps[2]];
        assert_eq!(sum(&truncated), NStep { reward: 2.0, steps: 2, discount: 0.25 });
        let terminated = [steps[0], step(2.0, YES, NO), steps[2]];
        assert_eq!(sum(&terminated), NStep { reward: 2.0, steps: 2, discount: 0.0 });
    }

    #[test]
    fn polyak_moves_by_tau() {
        let parameter = |numbers| [Parameter::new(Tensor::from_slice(numbers, [2]))];
        let (online, target) = (parameter(&[4.0, 4.0]), parameter(&[0.0, 8.0]));
        polyak_update(&online, &target, 0.25);
        assert_eq!(target[0].to_vec(), [1.0, 7.0]);
        polyak_update(&online, &target, 1.0);
        assert_eq!(target[0].to_vec(), [4.0, 4.0]);
        assert!(target[0].requires_grad() && !target[0].shares_storage(&online[0]));
    }

    #[test]
    fn normalized_numbers_have_mean_zero_and_unbiased_deviation_one() {
        // Mean 2, deviation √((1 + 0 + 1) / 2) = 1.
        let mut numbers = [1.0, 2.0, 3.0];
        normalize(&mut numbers);
        assert_close(&numbers, &[-1.0, 0.0, 1.0]);
        let mut one = [5.0];
        normalize(&mut one);
        assert_eq!(one, [5.0]);
        let mut same = [2.0; 4];
        normalize(&mut same);
        assert_eq!(same, [0.0; 4]);
    }
}
