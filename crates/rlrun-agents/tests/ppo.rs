//! What is special to PPO: the clipped objective, its metrics, time limits, continuous actions.

#![allow(clippy::unwrap_used)]

use rlrun_agents::networks::NetArch;
use rlrun_agents::rehearsal::{Draw, Event, rehearse};
use rlrun_agents::schedule::Schedule;
use rlrun_agents::{
    Agent, AgentConfig, AgentContext, AgentError, Memory, Metrics, PpoConfig, Transition,
};
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space, StepBatch};

fn spec(action_space: Space) -> EnvSpec {
    EnvSpec::new("Test-v0", Space::Box(BoxSpace::symmetric(&[1.0])), action_space)
}

fn context(spec: &EnvSpec) -> AgentContext<'_> {
    AgentContext::new(spec, 2, 1000, 1)
}

/// A rollout of 16 steps, updated in one minibatch.
fn config() -> PpoConfig {
    PpoConfig { n_steps: 8, batch_size: 16, n_epochs: 1, ..PpoConfig::default() }
}

fn values(agent: &dyn Agent, obs: &[f32]) -> Vec<f32> {
    let seen = Observations { rows: obs, starts: &vec![false; obs.len()], masks: &[] };
    agent.policy().values(&seen, &Memory::none()).unwrap()
}

/// One rollout in which the reward of an action is `reward(action)` and each step ends its episode.
fn bandit(agent: &mut dyn Agent, reward: fn(usize) -> f64) -> Result<Metrics, AgentError> {
    let seen = Observations { rows: &[0.5, -0.5], starts: &[false; 2], masks: &[] };
    let mut actions = Actions::Discrete(Vec::new());
    loop {
        agent.act(&seen, &mut actions)?;
        let Actions::Discrete(choices) = &actions else { panic!("{actions:?}") };
        let mut step = StepBatch::new(2, 1);
        step.next_obs = vec![0.0; 2];
        step.rewards = choices.iter().map(|&choice| reward(choice)).collect();
        step.terminated = vec![true; 2];
        step.truncated = vec![false; 2];
        agent.observe(&Transition { seen, actions: &actions, step: &step })?;
        if let Some(metrics) = agent.update()? {
            return Ok(metrics);
        }
    }
}

fn build(config: PpoConfig) -> Box<dyn Agent> {
    let spec = spec(Space::Discrete(2));
    config.build(&context(&spec)).unwrap()
}

fn metric(metrics: &Metrics, tag: &str) -> f64 {
    metrics.get(tag).unwrap_or_else(|| panic!("no {tag} in {metrics:?}"))
}

fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-5, "{what} is {found}, expected {expected}");
}

#[test]
fn the_first_minibatch_has_the_losses_worked_out_by_hand() {
    let mut agent = build(PpoConfig { normalize_advantage: false, ..config() });
    // Every return is 3 and every value v(s): Â = 3 - v.
    let advantages = values(&*agent, &[0.5, -0.5]).into_iter().map(|v| 3.0 - f64::from(v));
    let advantages: Vec<f64> = advantages.collect();
    let metrics = bandit(&mut *agent, |_| 3.0).unwrap();
    let mean = advantages.iter().sum::<f64>() / 2.0;
    let mean_square = advantages.iter().map(|a| a * a).sum::<f64>() / 2.0;
    assert_close(metric(&metrics, "train/policy_gradient_loss"), -mean, "policy loss");
    assert_close(metric(&metrics, "train/value_loss"), mean_square, "value loss");
    assert_close(metric(&metrics, "train/loss"), -mean + 0.5 * mean_square, "loss");
    assert_close(metric(&metrics, "train/approx_kl"), 0.0, "approx_kl");
    assert_close(metric(&metrics, "train/clip_fraction"), 0.0, "clip_fraction");
    // The last layer of the actor starts with gain 0.01: nearly uniform over two actions.
    let entropy = metric(&metrics, "train/entropy_loss");
    assert!((entropy + 2.0_f64.ln()).abs() < 1e-3, "entropy_loss {entropy}");
    assert!(metric(&metrics, "train/explained_variance").is_nan(), "all returns are equal");
    assert_eq!(metric(&metrics, "train/n_updates"), 1.0);
}

#[test]
fn the_clip_range_bounds_how_far_one_rollout_moves_the_policy() {
    let kl = |clip_range: f64| {
        let clip_range = Schedule::Constant(clip_range);
        // Small steps, since Adam's momentum carries on for a while where the gradient is 0.
        let learning_rate = Schedule::Constant(3e-4);
        let mut agent = build(PpoConfig { clip_range, learning_rate, n_epochs: 300, ..config() });
        let metrics = bandit(&mut *agent, |action| action as f64).unwrap();
        (metric(&metrics, "train/approx_kl"), metric(&metrics, "train/clip_fraction"))
    };
    let ((clipped, fraction), (free, none)) = (kl(0.1), kl(1e6));
    assert!(clipped < 0.02 && fraction > 0.5, "approx_kl {clipped}, clip_fraction {fraction}");
    assert!(free > 0.2 && none == 0.0, "approx_kl {free}, clip_fraction {none}");
}

#[test]
fn the_value_clip_range_bounds_how_far_one_rollout_moves_the_value() {
    let moved = |clip_range_vf: Option<Schedule>| {
        let learning_rate = Schedule::Constant(3e-3);
        let mut agent = build(PpoConfig { clip_range_vf, learning_rate, n_epochs: 60, ..config() });
        let before = values(&*agent, &[0.5])[0];
        bandit(&mut *agent, |_| 10.0).unwrap();
        values(&*agent, &[0.5])[0] - before
    };
    let (clipped, free) = (moved(Some(Schedule::Constant(0.1))), moved(None));
    assert!((0.1..1.0).contains(&clipped), "moved by {clipped}");
    assert!(free > 2.0, "moved by {free}");
}

#[test]
fn a_divergence_above_the_target_stops_the_updates_of_a_rollout() {
    let learning_rate = Schedule::Constant(1e-2);
    let target_kl = Some(1e-4);
    let mut agent = build(PpoConfig { target_kl, learning_rate, n_epochs: 10, ..config() });
    let metrics = bandit(&mut *agent, |action| action as f64).unwrap();
    assert_eq!(metric(&metrics, "train/n_updates"), 2.0, "the second epoch sees the first step");
    assert!(metric(&metrics, "train/approx_kl") > 1.5e-4);
}

#[test]
fn linear_schedules_fall_with_the_steps_observed() {
    let learning_rate = Schedule::Linear(1e-3);
    let clip_range = Schedule::Linear(0.2);
    let mut agent = build(PpoConfig { learning_rate, clip_range, ..config() });
    bandit(&mut *agent, |_| 1.0).unwrap();
    let metrics = bandit(&mut *agent, |_| 1.0).unwrap();
    // 32 of 1000 steps.
    assert_close(metric(&metrics, "train/learning_rate"), 0.968e-3, "learning_rate");
    assert_close(metric(&metrics, "train/clip_range"), 0.1936, "clip_range");
}

#[test]
fn continuous_actions_reach_the_environment_within_their_bounds() {
    let spec = spec(Space::Box(BoxSpace::new([-1.0, 0.0], [1.0, 0.5])));
    let mut agent = PpoConfig { log_std_init: 2.0, ..config() }.build(&context(&spec)).unwrap();
    let seen = Observations { rows: &[0.1, 0.2], starts: &[false; 2], masks: &[] };
    let mut actions = Actions::Discrete(Vec::new());
    let metrics = loop {
        agent.act(&seen, &mut actions).unwrap();
        let Actions::Continuous { values, dim: 2 } = &actions else { panic!("{actions:?}") };
        assert!(values.chunks(2).all(|a| a[0].abs() <= 1.0 && (0.0..=0.5).contains(&a[1])));
        let mut step = StepBatch::new(2, 1);
        step.rewards = vec![1.0; 2];
        agent.observe(&Transition { seen, actions: &actions, step: &step }).unwrap();
        if let Some(metrics) = agent.update().unwrap() {
            break metrics;
        }
    };
    // The density is that of the actions as drawn: the first minibatch has ratio 1.
    assert_close(metric(&metrics, "train/approx_kl"), 0.0, "approx_kl");
    let std = metric(&metrics, "train/std");
    assert!((std - 2.0_f64.exp()).abs() < 0.01, "std {std}");
    // Σ over two components of ½ + ½ log 2π + 2.
    let entropy = 1.0 + (2.0 * std::f64::consts::PI).ln() + 4.0;
    assert_close(metric(&metrics, "train/entropy_loss"), -entropy, "entropy_loss");
}

#[test]
fn a_reward_that_is_not_a_number_stops_before_it_reaches_the_parameters() {
    let mut agent = build(config());
    let before = agent.policy().state();
    let error = bandit(&mut *agent, |_| f64::NAN).unwrap_err();
    assert!(error.to_string().starts_with("the loss is `NaN` in update 0: "), "{error}");
    assert_eq!(agent.policy().state(), before);
}

#[test]
fn the_last_minibatch_of_an_epoch_has_what_is_left() {
    // 16 rows in minibatches of 5: 5, 5, 5 and 1, whose advantage stays as it is.
    let mut agent = build(PpoConfig { batch_size: 5, ..config() });
    bandit(&mut *agent, |action| action as f64).unwrap();
    assert_eq!(agent.state().counter("learner.n_updates"), Ok(4));
}

/// What one rollout of the bandit computed, with the rows of each epoch in the order `draws`.
fn rehearsed(config: PpoConfig, draws: Vec<Draw>) -> (Box<dyn Agent>, Vec<Event>) {
    let mut agent = build(config);
    let (metrics, events, left) =
        rehearse(draws, || bandit(&mut *agent, |action| 10.0 * action as f64));
    metrics.unwrap();
    assert!(left.is_empty());
    (agent, events)
}

/// The first number of each tensor called `name`.
fn traced(events: &[Event], name: &str) -> Vec<f64> {
    let values = events.iter().flat_map(|event| &event.values);
    values.filter(|(found, _)| found == name).map(|(_, numbers)| numbers[0].into()).collect()
}

fn forwards() -> Draw {
    Draw::Permutation((0..16).collect())
}

#[test]
fn the_loss_is_the_weighted_sum_of_its_parts() {
    let config = PpoConfig { ent_coef: 0.1, vf_coef: 0.25, ..config() };
    let (_, events) = rehearsed(config, vec![forwards()]);
    let [policy, value, entropy, loss] =
        ["policy_loss", "value_loss", "entropy_loss", "loss"].map(|name| traced(&events, name)[0]);
    assert!(entropy < -0.6 && value > 0.0);
    assert_close(loss, policy + 0.25 * value + 0.1 * entropy, "loss");
}

#[test]
fn the_gradient_of_all_parameters_is_no_longer_than_asked() {
    let norms = |max_grad_norm: f64| {
        let (_, events) = rehearsed(PpoConfig { max_grad_norm, ..config() }, vec![forwards()]);
        ["gradient", "step"].map(|name| {
            let event = events.iter().find(|event| event.name == name).unwrap();
            let numbers = event.values.iter().flat_map(|(_, numbers)| numbers);
            numbers.map(|g| f64::from(g * g)).sum::<f64>().sqrt()
        })
    };
    let [before, after] = norms(0.01);
    assert!(before > 0.02 && (after - 0.01).abs() < 1e-5, "{before} {after}");
    let [before, after] = norms(1e6);
    assert_eq!(before, after);
}

#[test]
fn minibatches_follow_the_order_that_was_drawn_anew_for_each_epoch() {
    let config = || PpoConfig { batch_size: 8, n_epochs: 2, ..config() };
    let backwards = || Draw::Permutation((0..16).rev().collect());
    let (one, first) = rehearsed(config(), vec![forwards(), backwards()]);
    let (other, second) = rehearsed(config(), vec![backwards(), forwards()]);
    assert_ne!(traced(&first, "loss"), traced(&second, "loss"));
    assert_ne!(one.policy().state(), other.policy().state());
    // What is drawn is neither the identity nor the same again.
    let mut agent = build(config());
    let before = agent.state().child("sampling");
    bandit(&mut *agent, |action| action as f64).unwrap();
    assert_ne!(agent.state().child("sampling"), before);
}

#[test]
fn updates_stop_above_one_and_a_half_times_the_target_and_not_below() {
    let learning_rate = Schedule::Constant(1e-2);
    let config = PpoConfig { learning_rate, n_epochs: 2, ..config() };
    let run = |target_kl| {
        let mut agent = build(PpoConfig { target_kl, ..config.clone() });
        let metrics = bandit(&mut *agent, |action| action as f64).unwrap();
        let steps = agent.state().counter("learner.n_updates").unwrap();
        (metric(&metrics, "train/approx_kl"), steps)
    };
    let (kl, steps) = run(None);
    assert_eq!(steps, 2);
    assert_eq!(run(Some(kl / 1.4)), (kl, 2), "1.4 times the target");
    assert_eq!(run(Some(kl / 1.6)), (kl, 1), "1.6 times the target");
}

#[test]
fn the_rollout_keeps_the_actions_that_were_drawn_and_not_the_clipped_ones() {
    let spec = spec(Space::Box(BoxSpace::new([-0.1], [0.1])));
    let mut agent = config().build(&context(&spec)).unwrap();
    let seen = Observations { rows: &[0.1, 0.2], starts: &[false; 2], masks: &[] };
    let mut actions = Actions::Discrete(Vec::new());
    agent.act(&seen, &mut actions).unwrap();
    let Actions::Continuous { values, .. } = &actions else { panic!("{actions:?}") };
    assert!(values.iter().all(|value| value.abs() <= 0.1));
    agent.observe(&Transition { seen, actions: &actions, step: &StepBatch::new(2, 1) }).unwrap();
    let state = agent.state();
    let (_, kept) = state.f32("collector.rollout.actions").unwrap();
    assert!(kept.iter().any(|value| value.abs() > 0.1), "{kept:?}");
}

#[test]
fn several_choices_and_flags_are_learnt() {
    for space in [Space::MultiDiscrete(vec![2, 3]), Space::MultiBinary(2)] {
        let spec = spec(space);
        let learning_rate = Schedule::Constant(1e-2);
        let config = PpoConfig { learning_rate, n_epochs: 10, ..config() };
        let mut agent = config.build(&context(&spec)).unwrap();
        let seen = Observations { rows: &[0.5, -0.5], starts: &[false; 2], masks: &[] };
        let mut actions = Actions::Discrete(Vec::new());
        for _ in 0..80 {
            agent.act(&seen, &mut actions).unwrap();
            let Actions::MultiDiscrete { values, dim: 2 } = &actions else { panic!("{actions:?}") };
            let mut step = StepBatch::new(2, 1);
            // The first should be 1, the second 0.
            let reward = |row: &[usize]| row[0] as f64 - row[1] as f64;
            step.rewards = values.chunks(2).map(reward).collect();
            step.terminated = vec![true; 2];
            agent.observe(&Transition { seen, actions: &actions, step: &step }).unwrap();
            agent.update().unwrap();
        }
        agent.policy().act(&seen, &mut Memory::none(), None, &mut actions).unwrap();
        assert_eq!(actions, Actions::MultiDiscrete { values: vec![1, 0, 1, 0], dim: 2 });
    }
}

#[test]
fn settings_out_of_range_are_named_with_their_rule() {
    let message = |config: PpoConfig| {
        let spec = spec(Space::Discrete(2));
        config.build(&context(&spec)).err().map(|error| error.to_string()).unwrap()
    };
    let with = |change: fn(&mut PpoConfig)| {
        let mut config = config();
        change(&mut config);
        message(config)
    };
    for (found, expected) in [
        (
            with(|c| c.batch_size = 0),
            "`agent.batch_size` is `0`: must be between 1 and 1099511627776",
        ),
        (with(|c| c.gamma = 1.5), "`agent.gamma` is `1.5`: must be between 0 and 1"),
        (with(|c| c.gae_lambda = f64::NAN), "`agent.gae_lambda` is `NaN`: must be between 0 and 1"),
        (
            with(|c| c.learning_rate = Schedule::Linear(0.0)),
            "`agent.learning_rate` is `lin_0`: must start above 0, and finite as an f32",
        ),
        (
            with(|c| c.target_kl = Some(-1.0)),
            "`agent.target_kl` is `-1`: must be above 0, and finite and not 0 as an f32",
        ),
        (
            with(|c| c.net_arch = NetArch::Same(vec![64, 0])),
            "`agent.net_arch` is `[64, 0]`: must list widths between 1 and 131072",
        ),
    ] {
        assert_eq!(found, expected);
    }
}
