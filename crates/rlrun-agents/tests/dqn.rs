//! What is special to DQN: target copies, ε, double and dueling, when it learns.

#![allow(clippy::unwrap_used)]

use rlrun_agents::rehearsal::{Draw, rehearse};
use rlrun_agents::schedule::Schedule;
use rlrun_agents::{
    Agent, AgentConfig, AgentContext, AgentError, DqnConfig, Memory, Metrics, Transition,
};
use rlrun_core::State;
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space, StepBatch};

fn spec(action_space: Space) -> EnvSpec {
    EnvSpec::new("Test-v0", Space::Box(BoxSpace::symmetric(&[1.0])), action_space)
}

/// One linear layer, so that action values can be set by hand; learns after every step.
fn config() -> DqnConfig {
    DqnConfig {
        net_arch: Vec::new(),
        gamma: 0.5,
        learning_starts: 0,
        train_freq: 1,
        batch_size: 4,
        buffer_size: 100,
        target_update_interval: 1000,
        ..DqnConfig::default()
    }
}

fn build(config: DqnConfig, n_envs: usize) -> Box<dyn Agent> {
    let spec = spec(Space::Discrete(2));
    let context = AgentContext::new(&spec, n_envs, 1000, 1);
    config.build(&context).unwrap()
}

/// One vector step from observation 1 to 2 with action 0 and reward 3.
fn step(agent: &mut dyn Agent, n_envs: usize) -> Result<Option<Metrics>, AgentError> {
    let mut batch = StepBatch::new(n_envs, 1);
    batch.next_obs = vec![2.0; n_envs];
    batch.rewards = vec![3.0; n_envs];
    let actions = Actions::Discrete(vec![0; n_envs]);
    let obs = vec![1.0; n_envs];
    let seen = Observations { rows: &obs, starts: &vec![false; n_envs], masks: &[] };
    agent.observe(&Transition { seen, actions: &actions, step: &batch })?;
    agent.update()
}

/// Sets Q(s, a) = weight[a] s + bias[a] of the online network or of the target.
fn set_q(agent: &mut dyn Agent, name: &str, weight: [f32; 2], bias: [f32; 2]) {
    let mut net = State::new();
    net.insert_f32("0.weight", &[2, 1], &weight);
    net.insert_f32("0.bias", &[2], &bias);
    let mut state = State::new();
    if name == "online" {
        state.insert_child("net", net);
        agent.policy_mut().load_state(&state).unwrap();
    } else {
        state = agent.state();
        state.insert_child(name, net);
        agent.load_state(&state).unwrap();
    }
}

fn online(agent: &dyn Agent) -> State {
    agent.policy().state().child("net")
}

fn loss_of_first_update(config: DqnConfig) -> f64 {
    let mut agent = build(config, 1);
    // Q(1, 0) = 1; Q(2, ·) = (1, 2); Q̂(2, ·) = (5, 3).
    set_q(&mut *agent, "online", [0.0, 1.0], [1.0, 0.0]);
    set_q(&mut *agent, "target", [0.0, 0.0], [5.0, 3.0]);
    let metrics = step(&mut *agent, 1).unwrap().unwrap();
    metrics.get("train/loss").unwrap()
}

#[test]
fn targets_take_the_best_action_of_the_target_network() {
    // y = 3 + 0.5·5 = 5.5, |y - Q| = 4.5, smooth l1 = 4.5 - 0.5.
    assert_eq!(loss_of_first_update(config()), 4.0);
}

#[test]
fn double_targets_take_the_action_that_the_online_network_prefers() {
    // The online network prefers action 1: y = 3 + 0.5·3 = 4.5.
    assert_eq!(loss_of_first_update(DqnConfig { double: true, ..config() }), 3.0);
}

#[test]
fn dueling_values_are_a_value_plus_centred_advantages() {
    let mut agent = build(DqnConfig { dueling: true, ..config() }, 1);
    let mut state = agent.policy().state();
    for (path, shape, data) in [
        ("net.value.0.weight", &[1, 1][..], &[2.0][..]),
        ("net.value.0.bias", &[1], &[1.0]),
        ("net.advantage.0.weight", &[2, 1], &[1.0, 3.0]),
        ("net.advantage.0.bias", &[2], &[0.0, 0.0]),
    ] {
        state.insert_f32(path, shape, data);
    }
    agent.policy_mut().load_state(&state).unwrap();
    // At s = 2: V = 5, A = (2, 6), Q = (5 + 2 - 4, 5 + 6 - 4); at s = -1: V = -1, A = (-1, -3).
    let seen = Observations { rows: &[2.0, -1.0], starts: &[false; 2], masks: &[] };
    let values = agent.policy().values(&seen, &Memory::none());
    assert_eq!(values, Some(vec![7.0, 0.0]));
    let mut actions = Actions::Discrete(Vec::new());
    agent.policy().act(&seen, &mut Memory::none(), None, &mut actions).unwrap();
    assert_eq!(actions, Actions::Discrete(vec![1, 0]));
}

#[test]
fn the_target_network_is_copied_at_its_interval_and_not_between() {
    let mut agent = build(DqnConfig { target_update_interval: 4, ..config() }, 1);
    let first = online(&*agent);
    assert_eq!(agent.state().child("target"), first, "both networks start equal");
    for _ in 0..3 {
        step(&mut *agent, 1).unwrap();
    }
    assert_eq!(agent.state().child("target"), first);
    let third = online(&*agent);
    assert_ne!(third, first);
    // The copy is taken before the fourth update.
    step(&mut *agent, 1).unwrap();
    assert_eq!(agent.state().child("target"), third);
}

#[test]
fn tau_below_one_moves_the_target_by_that_share() {
    let config = DqnConfig { target_update_interval: 1, tau: 0.25, train_freq: 100, ..config() };
    let mut agent = build(config, 1);
    set_q(&mut *agent, "online", [4.0, 0.0], [0.0, 8.0]);
    set_q(&mut *agent, "target", [0.0, 4.0], [0.0, 0.0]);
    step(&mut *agent, 1).unwrap();
    let target = agent.state().child("target");
    assert_eq!(target.f32("0.weight").unwrap().1, [1.0, 3.0]);
    assert_eq!(target.f32("0.bias").unwrap().1, [0.0, 2.0]);
}

#[test]
fn learning_starts_after_the_warm_up_and_happens_at_its_frequency() {
    let config = DqnConfig { learning_starts: 6, train_freq: 4, gradient_steps: 2, ..config() };
    let mut agent = build(config, 2);
    let learnt: Vec<Option<f64>> = (0..8)
        .map(|_| step(&mut *agent, 2).unwrap().map(|m| m.get("train/n_updates").unwrap()))
        .collect();
    // After 2, 4, 6, 8 … steps: 4 is due but within the warm-up.
    let due = [None, None, None, Some(2.0), None, Some(4.0), None, Some(6.0)];
    assert_eq!(learnt, due);
}

#[test]
fn gradient_steps_of_minus_one_are_as_many_as_the_steps() {
    let config = DqnConfig { train_freq: 4, gradient_steps: -1, ..config() };
    let mut agent = build(config, 2);
    let last = (0..6).filter_map(|_| step(&mut *agent, 2).unwrap()).last().unwrap();
    assert_eq!(last.get("train/n_updates"), Some(12.0));
}

/// Share of action 1 among the actions of 4000 vector steps of one environment.
fn share_of_action_1(agent: &mut dyn Agent) -> f64 {
    let mut actions = Actions::Discrete(Vec::new());
    let mut count = 0;
    for _ in 0..4000 {
        agent.act(&Observations::row(&[1.0]), &mut actions).unwrap();
        let Actions::Discrete(choices) = &actions else { panic!("{actions:?}") };
        count += choices[0];
    }
    count as f64 / 4000.0
}

#[test]
fn a_random_action_is_taken_with_probability_epsilon_and_always_during_warm_up() {
    let fixed = DqnConfig {
        exploration_initial_eps: 0.2,
        exploration_final_eps: 0.2,
        train_freq: 1000,
        ..config()
    };
    let mut agent = build(fixed.clone(), 1);
    set_q(&mut *agent, "online", [1.0, 0.0], [0.0, 0.0]);
    // The greedy action is 0; half of the random ones are 1.
    let share = share_of_action_1(&mut *agent);
    assert!((share - 0.1).abs() < 0.02, "share {share}");
    let mut warming_up = build(DqnConfig { learning_starts: 10, ..fixed }, 1);
    let share = share_of_action_1(&mut *warming_up);
    assert!((share - 0.5).abs() < 0.03, "share {share}");
}

#[test]
fn the_exploration_rate_is_reported_as_it_falls() {
    let config = DqnConfig { exploration_fraction: 0.01, train_freq: 5, ..config() };
    let mut agent = build(config, 1);
    let rate = |agent: &dyn Agent| agent.metrics().get("rollout/exploration_rate").unwrap();
    // Shown before anything was learnt.
    assert_eq!(rate(&*agent), 1.0);
    // From 1 to 0.05 over 10 steps.
    for expected in [0.525, 0.05] {
        (0..5).for_each(|_| drop(step(&mut *agent, 1).unwrap()));
        assert!((rate(&*agent) - expected).abs() < 1e-9);
    }
}

#[test]
fn a_gradient_that_is_not_finite_stops_before_it_reaches_the_parameters() {
    let mut agent = build(config(), 1);
    set_q(&mut *agent, "target", [0.0, 0.0], [f32::INFINITY, 0.0]);
    let before = online(&*agent);
    let error = step(&mut *agent, 1).unwrap_err();
    assert!(error.to_string().starts_with("the loss is `inf` in update 0: "), "{error}");
    assert_eq!(online(&*agent), before);
}

#[test]
fn the_step_size_falls_with_its_schedule_and_the_gradient_is_clipped() {
    let learning_rate = Schedule::Linear(1e-3);
    let config = DqnConfig { learning_rate, max_grad_norm: 0.01, ..config() };
    let mut agent = build(config, 1);
    let rate = |metrics: Metrics| metrics.get("train/learning_rate").unwrap();
    let (_, events, _) = rehearse(vec![Draw::Rows(vec![0; 4])], || step(&mut *agent, 1).unwrap());
    let event = events.iter().find(|event| event.name == "step").unwrap();
    let numbers = event.values.iter().flat_map(|(_, numbers)| numbers);
    let norm = numbers.map(|g| g * g).sum::<f32>().sqrt();
    assert!((norm - 0.01).abs() < 1e-5, "{norm}");
    let metrics = (0..9).map(|_| step(&mut *agent, 1).unwrap().unwrap()).last().unwrap();
    // 10 of 1000 steps.
    assert!((rate(metrics) - 0.99e-3).abs() < 1e-12);
}

#[test]
fn as_many_minibatches_and_target_updates_are_made_for_any_number_of_environments() {
    for n_envs in [1, 4, 16, 40] {
        let config = DqnConfig { target_update_interval: 30, train_freq: 4, ..config() };
        let mut agent = build(config, n_envs);
        let (mut copies, mut before) = (0, agent.state().child("target"));
        for _ in 0..240 / n_envs {
            step(&mut *agent, n_envs).unwrap();
            let target = agent.state().child("target");
            copies += usize::from(target != before);
            before = target;
        }
        assert_eq!(agent.state().counter("learner.n_updates"), Ok(60), "{n_envs} environments");
        // 8 are due; several in one vector step are one.
        let expected = if n_envs == 40 { 6 } else { 8 };
        assert!((expected - 1..=expected).contains(&copies), "{copies} with {n_envs} environments");
    }
}

#[test]
fn masks_bind_the_greedy_choice_the_random_one_and_the_target() {
    let mut agent = build(config(), 1);
    set_q(&mut *agent, "online", [0.0, 0.0], [5.0, 1.0]);
    set_q(&mut *agent, "target", [0.0, 0.0], [5.0, 1.0]);
    let seen = Observations { masks: &[false, true], ..Observations::row(&[1.0]) };
    let mut actions = Actions::Discrete(Vec::new());
    for _ in 0..50 {
        agent.act(&seen, &mut actions).unwrap();
        assert_eq!(actions, Actions::Discrete(vec![1]));
    }
    let mut batch = StepBatch::new(1, 1);
    (batch.rewards, batch.next_masks) = (vec![3.0], vec![false, true]);
    agent.observe(&Transition { seen, actions: &actions, step: &batch }).unwrap();
    // y = 3 + 0.5·1 = 3.5 and not 5.5; |y - Q(1, 1)| = 2.5.
    let metrics = agent.update().unwrap().unwrap();
    assert_eq!(metrics.get("train/loss"), Some(2.0));
}

#[test]
fn settings_out_of_range_are_named_with_their_rule() {
    let message = |change: fn(&mut DqnConfig), action_space: Space| {
        let mut config = config();
        change(&mut config);
        let spec = spec(action_space);
        let context = AgentContext::new(&spec, 8, 1000, 1);
        config.build(&context).err().map(|error| error.to_string()).unwrap()
    };
    let with = |change| message(change, Space::Discrete(2));
    for (found, expected) in [
        (
            with(|c| c.buffer_size = 7),
            "`agent.buffer_size` is `7`: must hold at least one step of each of 8 environments",
        ),
        (
            with(|c| c.gradient_steps = 0),
            "`agent.gradient_steps` is `0`: must be at least 1, or -1",
        ),
        (
            with(|c| c.tau = 0.0),
            "`agent.tau` is `0`: must be above 0, and finite and not 0 as an f32",
        ),
        (
            with(|c| c.learning_rate = Schedule::Constant(-1.0)),
            "`agent.learning_rate` is `-1`: must start above 0, and finite as an f32",
        ),
        (
            message(|_| {}, Space::Box(BoxSpace::symmetric(&[2.0]))),
            "`dqn` cannot act in `Test-v0`, whose actions are Box(-2, 2): it needs a Discrete \
             action space; `ppo` and `a2c` take any",
        ),
    ] {
        assert_eq!(found, expected);
    }
}
