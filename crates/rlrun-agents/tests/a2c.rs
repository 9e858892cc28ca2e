//! What is special to A2C: one step per rollout, its loss, its optimizers.

#![allow(clippy::unwrap_used)]

use rlrun_agents::a2c::RmsPropKind;
use rlrun_agents::{
    A2cConfig, Agent, AgentConfig, AgentContext, Memory, Metrics, Transition, rehearsal,
};
use rlrun_core::State;
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space, StepBatch};

const OBS: [f32; 2] = [0.5, -0.5];

fn build(config: A2cConfig) -> Box<dyn Agent> {
    let observations = Space::Box(BoxSpace::symmetric(&[1.0]));
    let spec = EnvSpec::new("Test-v0", observations, Space::Discrete(2));
    config.build(&AgentContext::new(&spec, 2, 1000, 1)).unwrap()
}

/// One rollout of episodes of one step whose reward is `reward(action)`.
fn rollout(agent: &mut dyn Agent, reward: fn(usize) -> f64) -> Metrics {
    let seen = Observations { rows: &OBS, starts: &[true; 2], masks: &[] };
    let mut actions = Actions::Discrete(Vec::new());
    loop {
        agent.act(&seen, &mut actions).unwrap();
        let Actions::Discrete(choices) = &actions else { panic!("{actions:?}") };
        let mut step = StepBatch::new(2, 1);
        step.rewards = choices.iter().map(|&choice| reward(choice)).collect();
        step.terminated = vec![true; 2];
        agent.observe(&Transition { seen, actions: &actions, step: &step }).unwrap();
        if let Some(metrics) = agent.update().unwrap() {
            return metrics;
        }
    }
}

fn values(agent: &dyn Agent) -> Vec<f32> {
    let seen = Observations { rows: &OBS, starts: &[true; 2], masks: &[] };
    agent.policy().values(&seen, &Memory::none()).unwrap()
}

fn event<'a>(events: &'a [rehearsal::Event], event: &str, name: &str) -> &'a [f32] {
    let values = events.iter().filter(|found| found.name == event).flat_map(|found| &found.values);
    &values.into_iter().find(|(found, _)| found == name).unwrap().1
}

#[test]
fn the_loss_is_the_weighted_sum_of_its_parts() {
    let mut agent = build(A2cConfig { ent_coef: 0.1, vf_coef: 0.25, ..A2cConfig::default() });
    // Every return is 3 and every value v(s): Â = 3 - v.
    let advantages: Vec<f64> = values(&*agent).iter().map(|&v| 3.0 - f64::from(v)).collect();
    let (metrics, events, _) = rehearsal_of(&mut *agent, |_| 3.0);
    let loss = |name| f64::from(event(&events, "loss", name)[0]);
    let log_prob = event(&events, "loss", "log_prob");
    let weighted = log_prob.iter().zip(advantages.iter().cycle()).map(|(l, a)| f64::from(*l) * a);
    assert!((loss("policy_loss") + weighted.sum::<f64>() / 10.0).abs() < 1e-5);
    let squares = advantages.iter().map(|a| a * a).sum::<f64>() / 2.0;
    assert!((loss("value_loss") - squares).abs() < 1e-5);
    let entropy = -f64::from(event(&events, "loss", "entropy").iter().sum::<f32>()) / 10.0;
    assert!((loss("entropy_loss") - entropy).abs() < 1e-5 && entropy < -0.6);
    let sum = loss("policy_loss") + 0.25 * loss("value_loss") + 0.1 * loss("entropy_loss");
    assert!((loss("loss") - sum).abs() < 1e-5);
    assert_eq!(metrics.get("train/n_updates"), Some(1.0), "one step per rollout");
}

fn rehearsal_of(
    agent: &mut dyn Agent,
    reward: fn(usize) -> f64,
) -> (Metrics, Vec<rehearsal::Event>, Vec<rehearsal::Draw>) {
    // Four of the five vector steps happen before, since draws of actions are not rehearsed.
    rehearsal::rehearse(Vec::new(), || rollout(agent, reward))
}

#[test]
fn advantages_are_scaled_over_the_whole_rollout_if_asked() {
    let spread = |normalize_advantage| {
        let mut agent = build(A2cConfig { normalize_advantage, ..A2cConfig::default() });
        let (_, events, _) = rehearsal_of(&mut *agent, |action| 50.0 * action as f64);
        let advantages = event(&events, "loss", "advantages");
        let mean = advantages.iter().sum::<f32>() / 10.0;
        advantages.iter().map(|a| (a - mean).powi(2)).sum::<f32>() / 9.0
    };
    assert!(spread(false) > 10.0 && (spread(true) - 1.0).abs() < 1e-4);
}

#[test]
fn each_optimizer_takes_its_own_step_and_gradients_are_clipped() {
    let learnt = |config: A2cConfig| {
        let mut agent = build(config);
        let (_, events, _) = rehearsal_of(&mut *agent, |action| 100.0 * action as f64);
        let norm = |name: &str| {
            let event = events.iter().find(|event| event.name == name).unwrap();
            let squares = event.values.iter().flat_map(|(_, grad)| grad).map(|g| g * g);
            squares.sum::<f32>().sqrt()
        };
        assert!(norm("gradient") > 10.0 && (norm("step") - 0.5).abs() < 1e-4);
        agent.policy().state()
    };
    let torch = A2cConfig::default();
    let tensorflow = A2cConfig { rms_prop_kind: RmsPropKind::TensorFlow, ..torch.clone() };
    let adam = A2cConfig { use_rms_prop: false, ..torch.clone() };
    let [torch, tensorflow, adam] = [torch, tensorflow, adam].map(learnt);
    assert!(torch != tensorflow && torch != adam && tensorflow != adam);
    // From an average of 1, the first step of the second kind is nearly lr · g.
    let start = build(A2cConfig::default()).policy().state();
    let moved = |state: &State| {
        let [(_, a), (_, b)] = [state, &start].map(|s| s.f32("net.actor.4.bias").unwrap());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(moved(&tensorflow) < moved(&torch) / 3.0);
}

#[test]
fn the_better_of_two_actions_becomes_likely() {
    let mut agent = build(A2cConfig::default());
    let mut actions = Actions::Discrete(Vec::new());
    for _ in 0..400 {
        rollout(&mut *agent, |action| action as f64);
    }
    let seen = Observations { rows: &OBS, starts: &[true; 2], masks: &[] };
    agent.policy().act(&seen, &mut Memory::none(), None, &mut actions).unwrap();
    assert_eq!(actions, Actions::Discrete(vec![1, 1]));
    assert!(values(&*agent).iter().all(|value| (value - 1.0).abs() < 0.1));
}
