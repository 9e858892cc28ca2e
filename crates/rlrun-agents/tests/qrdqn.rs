//! What is special to QR-DQN: quantiles of returns, their targets and their loss.

#![allow(clippy::unwrap_used)]

use rlrun_agents::qrdqn::QrDqn;
use rlrun_agents::rehearsal::{Draw, rehearse};
use rlrun_agents::{Agent, AgentConfig, AgentContext, Memory, Metrics, QrDqnConfig, Transition};
use rlrun_core::State;
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space, StepBatch};

fn spec() -> EnvSpec {
    let observations = Space::Box(BoxSpace::symmetric(&[1.0]));
    EnvSpec::new("Test-v0", observations, Space::Discrete(2))
}

/// One linear layer with two quantiles per action, set by hand; learns after every step.
fn config() -> QrDqnConfig {
    QrDqnConfig {
        net_arch: Vec::new(),
        n_quantiles: 2,
        gamma: 0.5,
        learning_starts: 0,
        train_freq: 1,
        batch_size: 1,
        buffer_size: 100,
        ..QrDqnConfig::default()
    }
}

/// Quantile-major outputs: θ_1(a = 0), θ_1(a = 1), θ_2(a = 0), θ_2(a = 1), whatever is seen.
fn net(biases: [f32; 4]) -> State {
    let mut net = State::new();
    net.insert_f32("0.weight", &[4, 1], &[0.0; 4]);
    net.insert_f32("0.bias", &[4], &biases);
    net
}

fn agent(online: [f32; 4], target: [f32; 4]) -> Box<dyn Agent> {
    let spec = spec();
    let mut agent = config().build(&AgentContext::new(&spec, 1, 1000, 1)).unwrap();
    let mut policy = State::new();
    policy.insert_child("net", net(online));
    agent.policy_mut().load_state(&policy).unwrap();
    let mut state = agent.state();
    state.insert_child("target", net(target));
    agent.load_state(&state).unwrap();
    agent
}

/// Action 0 with reward 3.
fn step(agent: &mut dyn Agent, terminated: bool, next_masks: &[bool]) -> Metrics {
    let mut step = StepBatch::new(1, 1);
    step.rewards = vec![3.0];
    step.terminated = vec![terminated];
    step.next_masks = next_masks.to_vec();
    let (seen, actions) = (Observations::row(&[1.0]), Actions::Discrete(vec![0]));
    agent.observe(&Transition { seen, actions: &actions, step: &step }).unwrap();
    agent.update().unwrap().unwrap()
}

#[test]
fn the_action_with_the_highest_mean_is_taken() {
    // Means 1.5 and 2, though action 0 has the largest quantile.
    let agent = agent([0.0, 2.0, 3.0, 2.0], [0.0; 4]);
    let seen = Observations::row(&[1.0]);
    let mut actions = Actions::Discrete(Vec::new());
    agent.policy().act(&seen, &mut Memory::none(), None, &mut actions).unwrap();
    assert_eq!(actions, Actions::Discrete(vec![1]));
    assert_eq!(agent.policy().values(&seen, &Memory::none()), Some(vec![2.0]));
    let legal = Observations { masks: &[true, false], ..seen };
    agent.policy().act(&legal, &mut Memory::none(), None, &mut actions).unwrap();
    assert_eq!(actions, Actions::Discrete(vec![0]));
}

#[test]
fn targets_are_the_quantiles_of_the_target_networks_best_action() {
    // Best of the target: action 1 with quantiles 2 and 6. Targets 3 + ½·2 = 4 and 3 + ½·6 = 6;
    // errors from θ = 1: 3 and 5, Huber 2.5 and 4.5, mean 3.5; weights ¼ and ¾ for the two θ.
    let loss = |masks: &[bool], terminated| {
        let mut agent = agent([1.0, 9.0, 1.0, 9.0], [0.0, 2.0, 4.0, 6.0]);
        step(&mut *agent, terminated, masks).get("train/loss").unwrap()
    };
    assert!((loss(&[], false) - 3.5).abs() < 1e-6);
    // Only action 0 is legal: quantiles 0 and 4, targets 3 and 5, Huber 1.5 and 3.5.
    assert!((loss(&[true, false], false) - 2.5).abs() < 1e-6);
    // After the end, 3 twice: Huber 1.5.
    assert!((loss(&[], true) - 1.5).abs() < 1e-6);
}

#[test]
fn minibatches_are_the_rows_that_were_drawn() {
    let spec = spec();
    let network = |inputs, n_actions: usize, rng: &mut rlrun_core::Rng| {
        let layer = rlrun_nn::Init::KaimingUniform;
        let net = rlrun_nn::Mlp::new(
            &[inputs, 2 * n_actions],
            rlrun_nn::Activation::Relu,
            layer,
            layer,
            rng,
        );
        Box::new(net) as Box<dyn rlrun_nn::Layer>
    };
    let context = AgentContext::new(&spec, 1, 1000, 1);
    let mut agent = QrDqn::new(config(), &context, network).unwrap();
    for reward in [1.0, 5.0] {
        let mut step = StepBatch::new(1, 1);
        (step.rewards, step.terminated) = (vec![reward], vec![true]);
        let (seen, actions) = (Observations::row(&[0.0]), Actions::Discrete(vec![0]));
        agent.observe(&Transition { seen, actions: &actions, step: &step }).unwrap();
    }
    for (row, reward) in [(1, 5.0), (0, 1.0)] {
        let draws = vec![Draw::Rows(vec![row])];
        let (trained, events, left) = rehearse(draws, || agent.train(1));
        trained.unwrap();
        let values = events.iter().flat_map(|event| &event.values);
        let mut targets = values.filter(|(name, _)| name == "target_quantiles");
        assert_eq!(targets.next().unwrap().1, [reward; 2]);
        assert!(left.is_empty());
    }
}
