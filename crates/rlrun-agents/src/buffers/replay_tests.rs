//! What is sampled, by hand.

use super::*;
use rlrun_core::{Purpose, rng_stream};
use rlrun_env::{BoxSpace, Observations, Space, StepBatch};

use crate::{AgentContext, NormalizeConfig};

fn spec() -> EnvSpec {
    let observations = Space::Box(BoxSpace::symmetric(&[9.0]));
    EnvSpec::new("Test-v0", observations, Space::Discrete(100))
}

fn normalizer(config: NormalizeConfig) -> Normalizer {
    Normalizer::of(&AgentContext::new(&spec(), 2, 1, 1).with_normalize(config)).unwrap()
}

/// Observation, action and reward of step `t` are `t` in environment 0 and `100 + t` in 1.
fn push(buffer: &mut ReplayBuffer, t: usize, terminated: bool, truncated: bool) {
    let (zero, one) = (t as f32, 100.0 + t as f32);
    let mut step = StepBatch::new(2, 1);
    step.next_obs = vec![zero + 0.5, one + 0.5];
    step.rewards = vec![f64::from(zero), f64::from(one)];
    step.terminated[0] = terminated;
    step.truncated[0] = truncated;
    step.next_masks = vec![t.is_multiple_of(2), true, false, true];
    let actions = Actions::Discrete(vec![t, t]);
    let seen = Observations { rows: &[zero, one], starts: &[false; 2], masks: &[] };
    buffer.push(&Transition { seen, actions: &actions, step: &step });
}

fn sample(buffer: &ReplayBuffer, n_steps: usize) -> ReplayBatch {
    let mut batch = buffer.batch();
    let mut rng = rng_stream(1, Purpose::Sampling, 0);
    let sampling = Sampling { batch_size: 200, n_steps, gamma: 0.5 };
    buffer.sample(sampling, &normalizer(NormalizeConfig::default()), &mut rng, &mut batch);
    batch
}

#[test]
fn rows_of_a_sample_belong_together_and_old_steps_are_gone() {
    let mut buffer = ReplayBuffer::new(8, 2, &spec());
    (0..6).for_each(|t| push(&mut buffer, t, t == 4, false));
    assert_eq!(buffer.len(), 8);
    let batch = sample(&buffer, 1);
    let Actions::Discrete(actions) = &batch.actions else { panic!("{:?}", batch.actions) };
    for (i, &action) in actions.iter().enumerate() {
        assert_eq!(batch.rewards[i], batch.obs[i]);
        assert_eq!(batch.next_obs[i], batch.obs[i] + 0.5);
        assert_eq!(action as f32, batch.obs[i] % 100.0);
        let mask = if batch.obs[i] < 100.0 { [action % 2 == 0, true] } else { [false, true] };
        assert_eq!(batch.next_masks[2 * i..2 * i + 2], mask);
        assert_eq!(batch.discounts[i], if batch.obs[i] == 4.0 { 0.0 } else { 0.5 });
    }
    let mut seen = batch.obs.clone();
    seen.sort_by(f32::total_cmp);
    seen.dedup();
    assert_eq!(seen, [2.0, 3.0, 4.0, 5.0, 102.0, 103.0, 104.0, 105.0]);
}

#[test]
fn n_step_sums_stop_at_ends_and_at_the_newest_step() {
    let mut buffer = ReplayBuffer::new(8, 2, &spec());
    (0..6).for_each(|t| push(&mut buffer, t, t == 3, false));
    let batch = sample(&buffer, 3);
    for i in 0..200 {
        let (reward, next_obs, discount) = match batch.obs[i] {
            2.0 => (2.0 + 0.5 * 3.0, 3.5, 0.0),
            3.0 => (3.0, 3.5, 0.0),
            4.0 => (4.0 + 0.5 * 5.0, 5.5, 0.25),
            5.0 => (5.0, 5.5, 0.5),
            102.0 => (102.0 + 0.5 * 103.0 + 0.25 * 104.0, 104.5, 0.125),
            103.0 => (103.0 + 0.5 * 104.0 + 0.25 * 105.0, 105.5, 0.125),
            104.0 => (104.0 + 0.5 * 105.0, 105.5, 0.25),
            _ => (105.0, 105.5, 0.5),
        };
        let found = (batch.rewards[i], batch.next_obs[i], batch.discounts[i]);
        assert_eq!(found, (reward, next_obs, discount), "from {}", batch.obs[i]);
    }
}

#[test]
fn a_time_limit_ends_the_sum_but_keeps_the_value() {
    let mut buffer = ReplayBuffer::new(8, 2, &spec());
    (0..3).for_each(|t| push(&mut buffer, t, false, t == 1));
    let batch = sample(&buffer, 3);
    let first = batch.obs.iter().position(|&obs| obs == 0.0).unwrap();
    let found = (batch.rewards[first], batch.next_obs[first], batch.discounts[first]);
    assert_eq!(found, (0.5, 1.5, 0.25));
}

#[test]
fn a_restored_buffer_samples_the_same() {
    let mut buffer = ReplayBuffer::new(8, 2, &spec());
    (0..7).for_each(|t| push(&mut buffer, t, t == 3, t == 5));
    let mut restored = ReplayBuffer::new(8, 2, &spec());
    restored.load_state(&buffer.state()).unwrap();
    push(&mut buffer, 7, false, false);
    push(&mut restored, 7, false, false);
    assert_eq!(sample(&restored, 3), sample(&buffer, 3));
    assert_eq!(restored, buffer);
    let message = ReplayBuffer::new(6, 2, &spec()).load_state(&buffer.state()).unwrap_err();
    assert_eq!(message.to_string(), "saved state `rewards` has shape [8], expected [6]");
}

#[test]
fn a_sample_is_normalised_by_the_statistics_of_its_moment() {
    let config = NormalizeConfig { obs: true, reward: true, ..NormalizeConfig::default() };
    let (raw, mut normalizer) = (normalizer(NormalizeConfig::default()), normalizer(config));
    let mut buffer = ReplayBuffer::new(8, 2, &spec());
    (0..4).for_each(|t| push(&mut buffer, t, false, false));
    let sampling = Sampling { batch_size: 50, n_steps: 1, gamma: 0.5 };
    let draw = |normalizer: &Normalizer| {
        let mut batch = buffer.batch();
        let mut rng = rng_stream(1, Purpose::Sampling, 0);
        buffer.sample(sampling, normalizer, &mut rng, &mut batch);
        batch
    };
    let raw = draw(&raw);
    // Mean 5 and deviation 2, taken in after the steps were stored.
    normalizer.observe(&[3.0, 7.0]);
    let later = draw(&normalizer);
    for (raw, later) in [(&raw.obs, &later.obs), (&raw.next_obs, &later.next_obs)] {
        for (raw, later) in raw.iter().zip(later) {
            let expected = ((raw - 5.0) / 2.0).clamp(-10.0, 10.0);
            assert!((later - expected).abs() < 2e-3, "{later}, expected {expected}");
        }
    }
}
