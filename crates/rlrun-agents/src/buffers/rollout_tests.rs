//! What a rollout keeps, by hand.

use super::super::{gather, gather_actions};
use super::*;
use rlrun_env::{BoxSpace, Observations, Space, StepBatch};

use crate::AgentContext;

fn box_2() -> BoxSpace {
    BoxSpace::symmetric(&[1.0; 2])
}

fn spec(action_space: Space) -> EnvSpec {
    EnvSpec::new("Test-v0", Space::Box(BoxSpace::symmetric(&[9.0])), action_space)
}

/// One that leaves everything as it is.
fn normalizer() -> Normalizer {
    let spec = spec(Space::Discrete(4));
    Normalizer::of(&AgentContext::new(&spec, 2, 1, 1)).unwrap()
}

/// Two environments, three steps: environment 0 is terminated in the first step, environment 1
/// reaches its time limit in the second.
fn filled() -> RolloutBuffer {
    let mut buffer = RolloutBuffer::new(3, 2, &spec(Space::Discrete(4)));
    let steps = [
        ([0.0, 10.0], [1.0, 11.0], [true, false], [false, false]),
        ([5.0, 11.0], [6.0, 12.0], [false, false], [false, true]),
        ([6.0, 50.0], [7.0, 51.0], [false, true], [false, false]),
    ];
    for (t, (obs, next_obs, terminated, truncated)) in steps.into_iter().enumerate() {
        assert!(!buffer.is_full());
        let mut step = StepBatch::new(2, 1);
        step.next_obs = next_obs.to_vec();
        step.rewards = vec![t as f64, 1.5];
        step.terminated = terminated.to_vec();
        step.truncated = truncated.to_vec();
        let actions = Actions::Discrete(vec![t, 3]);
        let seen =
            Observations { rows: &obs, starts: &[false; 2], masks: &[true, false].repeat(4) };
        buffer.push(&Transition { seen, actions: &actions, step: &step }, &normalizer());
    }
    buffer
}

#[test]
fn next_values_are_those_of_the_true_successors() {
    let mut buffer = filled();
    assert!(buffer.is_full());
    // The truncated step of environment 1 and the last step of environment 0.
    assert_eq!(buffer.bootstrap_obs(), [12.0, 7.0]);
    // As if v(s) were the observation itself.
    let (values, bootstrap) = (buffer.obs().to_vec(), buffer.bootstrap_obs().to_vec());
    buffer.evaluate(vec![0.0; 6], values, &bootstrap);
    assert_eq!(buffer.evaluation().next_values, [0.0, 11.0, 6.0, 12.0, 7.0, 0.0]);
}

#[test]
fn rows_are_gathered_in_the_order_asked_for() {
    let buffer = filled();
    let (mut obs, mut actions) = (Vec::new(), Actions::Discrete(Vec::new()));
    gather(buffer.obs(), 1, &[5, 0, 2], &mut obs);
    gather_actions(buffer.actions(), &[5, 0, 2], &mut actions);
    assert_eq!(obs, [50.0, 0.0, 5.0]);
    assert_eq!(actions, Actions::Discrete(vec![3, 0, 1]));
}

#[test]
fn masks_belong_to_their_rows_and_advantages_follow_from_the_evaluation() {
    let mut buffer = filled();
    assert_eq!(buffer.masks(), [true, false].repeat(12));
    buffer.evaluate(vec![0.0; 6], vec![1.0; 6], &[1.0, 1.0]);
    // λ = 0: Â = r + γ v(s') - v(s).
    buffer.estimate_advantages(0.5, 0.0);
    assert_eq!(buffer.advantages(), [-1.0, 1.0, 0.5, 1.0, 1.5, 0.5]);
    assert_eq!(buffer.returns(), [0.0, 2.0, 1.5, 2.0, 2.5, 1.5]);
    let mut restored = RolloutBuffer::new(3, 2, &spec(Space::Discrete(4)));
    restored.load_state(&buffer.state()).unwrap();
    assert_eq!(restored.state(), buffer.state());
}

#[test]
fn a_half_full_buffer_is_saved_and_continued() {
    let mut buffer = RolloutBuffer::new(2, 1, &spec(Space::Box(box_2())));
    let mut step = StepBatch::new(1, 1);
    step.next_obs = vec![2.0];
    step.rewards = vec![0.25];
    step.terminated = vec![false];
    step.truncated = vec![true];
    let actions = Actions::Continuous { values: vec![0.5, -0.5], dim: 2 };
    let seen = Observations { rows: &[1.0], starts: &[false], masks: &[] };
    buffer.push(&Transition { seen, actions: &actions, step: &step }, &normalizer());
    let mut restored = RolloutBuffer::new(2, 1, &spec(Space::Box(box_2())));
    restored.load_state(&buffer.state()).unwrap();
    assert_eq!(restored, buffer);
    let mut shorter = RolloutBuffer::new(1, 2, &spec(Space::Box(box_2())));
    let message = shorter.load_state(&buffer.state()).unwrap_err().to_string();
    assert_eq!(message, "saved state `rewards` has shape [1], expected [2]");
    buffer.clear();
    assert!(buffer.is_empty() && buffer.bootstrap_obs().is_empty());
}
