//! Targets, by hand.

use rlrun_core::{Purpose, rng_stream};
use rlrun_env::{BoxSpace, EnvSpec, Space};
use rlrun_nn::{Init, Linear};

use super::*;
use crate::buffers::ReplayBuffer;

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

/// A batch of these rewards and discounts.
fn batch(rewards: &[f32], discounts: &[f32]) -> ReplayBatch {
    let space = || Space::Box(BoxSpace::symmetric(&[1.0]));
    let mut batch = ReplayBuffer::new(1, 1, &EnvSpec::new("Test-v0", space(), space())).batch();
    (batch.rewards, batch.discounts) = (rewards.to_vec(), discounts.to_vec());
    batch
}

#[test]
fn td_targets_ignore_the_value_after_a_termination() {
    let batch = batch(&[1.0, 2.0], &[0.9, 0.0]);
    let values = Tensor::from_slice(&[10.0, f32::NAN], [2]);
    assert_eq!(td_target(&batch, &values).to_vec(), [10.0, 2.0]);
    let several = Tensor::from_slice(&[10.0, 20.0, f32::NAN, 1.0], [2, 2]);
    let targets = td_target(&batch, &several);
    assert_eq!((targets.dims(), targets.to_vec()), (&[2, 2][..], vec![10.0, 19.0, 2.0, 2.0]));
}

#[test]
fn the_quantile_loss_weighs_errors_by_their_side() {
    // Quantiles 0 and 1 at τ = ¼ and ¾, one target 3: errors 3 and 2, Huber 2.5 and 1.5.
    let quantiles = Tensor::from_slice(&[0.0, 1.0], [1, 2]);
    let loss = |target: &[f32]| {
        quantile_huber_loss(&quantiles, &Tensor::from_slice(target, [1, target.len()])).item()
    };
    assert_eq!(loss(&[3.0]), 0.25 * 2.5 + 0.75 * 1.5);
    // From above, weights are 1 - τ; an error of exactly 0 counts nothing.
    assert_eq!(loss(&[-1.0]), 0.75 * 0.5 + 0.25 * 1.5);
    assert_eq!(loss(&[1.0]), 0.25 * 0.5);
    assert_eq!(loss(&[3.0, -1.0]), (1.75 + 0.75) / 2.0);
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
    let layer = |bias: &[f32]| {
        let mut rng = rng_stream(1, Purpose::Weights, 0);
        let layer = Linear::new(1, 2, Init::KaimingUniform, &mut rng);
        no_grad(|| layer.bias.copy_(&Tensor::from_slice(bias, [2])));
        layer
    };
    let (online, target) = (layer(&[4.0, 4.0]), layer(&[0.0, 8.0]));
    polyak_update(&online, &target, 0.25);
    assert_eq!(target.bias.to_vec(), [1.0, 7.0]);
    polyak_update(&online, &target, 1.0);
    assert_eq!(target.bias.to_vec(), [4.0, 4.0]);
    assert!(target.bias.requires_grad() && !target.bias.shares_storage(&online.bias));
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
