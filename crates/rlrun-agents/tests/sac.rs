//! What is special to SAC: squashed actions, the temperature, several critics, moving targets.

#![allow(clippy::unwrap_used)]

use rlrun_agents::{
    Agent, AgentConfig, AgentContext, Coefficient, Memory, Metrics, SacConfig, Transition,
};
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space, StepBatch};

fn spec() -> EnvSpec {
    let observations = Space::Box(BoxSpace::symmetric(&[1.0]));
    EnvSpec::new("Test-v0", observations, Space::Box(BoxSpace::new([-1.0, 0.0], [3.0, 0.5])))
}

fn config() -> SacConfig {
    SacConfig {
        net_arch: rlrun_agents::networks::NetArch::Same(vec![16]),
        learning_rate: rlrun_agents::schedule::Schedule::Constant(3e-3),
        learning_starts: 0,
        batch_size: 16,
        buffer_size: 1000,
        ..SacConfig::default()
    }
}

fn build(config: SacConfig) -> Box<dyn Agent> {
    let spec = spec();
    config.build(&AgentContext::new(&spec, 2, 1000, 1)).unwrap()
}

/// One vector step of two environments; each ends its episode with the reward of its action.
fn step(agent: &mut dyn Agent, reward: fn(&[f32]) -> f32) -> (Vec<f32>, Option<Metrics>) {
    let seen = Observations { rows: &[0.5, -0.5], starts: &[true; 2], masks: &[] };
    let mut actions = Actions::Discrete(Vec::new());
    agent.act(&seen, &mut actions).unwrap();
    let Actions::Continuous { values, dim: 2 } = &actions else { panic!("{actions:?}") };
    let mut step = StepBatch::new(2, 1);
    step.rewards = values.chunks(2).map(|action| reward(action).into()).collect();
    step.terminated = vec![true; 2];
    agent.observe(&Transition { seen, actions: &actions, step: &step }).unwrap();
    (values.clone(), agent.update().unwrap())
}

#[test]
fn actions_fill_the_box_while_warming_up_and_never_leave_it() {
    let mut agent = build(SacConfig { learning_starts: 1000, ..config() });
    let drawn: Vec<f32> = (0..400).flat_map(|_| step(&mut *agent, |_| 0.0).0).collect();
    for (component, low, high) in [(0, -1.0, 3.0), (1, 0.0, 0.5)] {
        let numbers: Vec<f32> = drawn.iter().skip(component).step_by(2).copied().collect();
        assert!(numbers.iter().all(|x| (low..=high).contains(x)));
        let mean = numbers.iter().sum::<f32>() / 800.0;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 800.0;
        // Uniform: mean in the middle, variance (high - low)² / 12.
        assert!((mean - (low + high) / 2.0).abs() < 0.05 * (high - low), "mean {mean}");
        assert!((variance * 12.0 / (high - low).powi(2) - 1.0).abs() < 0.1, "variance {variance}");
    }
}

#[test]
fn warm_up_ends_with_the_action_at_learning_starts() {
    // The actors differ, what they explore with does not; steps 0 and 2 are before, 4 is not.
    let drawn = [16, 8].map(|width| {
        let net_arch = rlrun_agents::networks::NetArch::Same(vec![width]);
        let mut agent = build(SacConfig { net_arch, learning_starts: 4, ..config() });
        [(); 3].map(|()| step(&mut *agent, |_| 0.0).0)
    });
    assert_eq!(drawn[0][..2], drawn[1][..2]);
    assert_ne!(drawn[0][2], drawn[1][2]);
}

#[test]
fn the_replay_buffer_keeps_actions_in_plus_minus_one() {
    let mut agent = build(config());
    let (values, _) = step(&mut *agent, |_| 0.0);
    let state = agent.state();
    let (_, kept) = state.f32("experience.replay.actions").unwrap();
    for (kept, value) in kept.chunks(2).zip(values.chunks(2)) {
        assert!((value[0] - (1.0 + 2.0 * kept[0])).abs() < 1e-6);
        assert!((value[1] - (0.25 + 0.25 * kept[1])).abs() < 1e-6);
    }
}

#[test]
fn a_fixed_temperature_stays_and_a_learnt_one_follows_the_entropy() {
    let last = |ent_coef, target_entropy| {
        let mut agent = build(SacConfig { ent_coef, target_entropy, ..config() });
        let metrics = (0..200).filter_map(|_| step(&mut *agent, |_| 0.0).1).last().unwrap();
        metrics.get("train/ent_coef").unwrap()
    };
    let auto = Coefficient::Auto { initial: 0.5 };
    assert!((last(Coefficient::Fixed(0.3), auto_1()) - 0.3).abs() < 1e-6);
    // An entropy far above what is asked lowers α, one far below raises it.
    assert!(last(auto, Coefficient::Fixed(-20.0)) < 0.4);
    assert!(last(auto, Coefficient::Fixed(20.0)) > 0.6);
}

fn auto_1() -> Coefficient {
    Coefficient::Auto { initial: 1.0 }
}

#[test]
fn targets_move_by_tau_towards_the_critics_at_their_interval() {
    let weights = |agent: &dyn Agent, net: &str| {
        agent.state().f32(&format!("{net}.qf1.2.bias")).unwrap().1.to_vec()
    };
    let mut agent = build(SacConfig { tau: 0.25, ..config() });
    assert_eq!(weights(&*agent, "target"), weights(&*agent, "critic"), "they start as copies");
    let before = weights(&*agent, "target")[0];
    step(&mut *agent, |_| 5.0);
    let (critic, target) = (weights(&*agent, "critic")[0], weights(&*agent, "target")[0]);
    assert_ne!(critic, before);
    // Two minibatches per vector step of two environments: bounds by the last critic.
    assert!((target - before).abs() <= (critic - before).abs() && target != before);
}

#[test]
fn the_better_action_is_found_and_valued() {
    let net_arch = rlrun_agents::networks::NetArch::Same(vec![64]);
    let ent_coef = Coefficient::Fixed(0.02);
    let mut agent = build(SacConfig { ent_coef, net_arch, batch_size: 64, ..config() });
    // Best at 2 of [-1, 3] and 0.1 of [0, 0.5].
    for _ in 0..1500 {
        step(&mut *agent, |a| 1.0 - (a[0] - 2.0).powi(2) - 20.0 * (a[1] - 0.1).powi(2));
    }
    let seen = Observations { rows: &[0.5, -0.5], starts: &[true; 2], masks: &[] };
    let mut actions = Actions::Discrete(Vec::new());
    agent.policy().act(&seen, &mut Memory::none(), None, &mut actions).unwrap();
    let Actions::Continuous { values, .. } = actions else { unreachable!() };
    for action in values.chunks(2) {
        assert!((action[0] - 2.0).abs() < 0.3 && (action[1] - 0.1).abs() < 0.1, "{action:?}");
    }
    assert!(agent.values(&seen).unwrap().iter().all(|value| (value - 1.0).abs() < 0.3));
}

#[test]
fn a_critic_of_another_name_is_refused_as_it_was_written() {
    let (pi, vf) = (vec![8], vec![9]);
    let net_arch = rlrun_agents::networks::NetArch::PiVf { pi, vf };
    let spec = spec();
    let config = SacConfig { net_arch, ..config() };
    let error = config.build(&AgentContext::new(&spec, 1, 1000, 1)).err().unwrap();
    assert_eq!(
        error.to_string(),
        "`agent.net_arch` is `{ pi = [8], vf = [9] }`: the critic is called `qf`: write \
         { pi = […], qf = […] }"
    );
}

#[test]
fn an_action_space_without_finite_bounds_is_refused_when_the_agent_is_built() {
    for space in [
        Space::Discrete(2),
        Space::Box(BoxSpace::new([f32::NEG_INFINITY], [1.0])),
        Space::MultiBinary(3),
    ] {
        let observations = Space::Box(BoxSpace::symmetric(&[1.0]));
        let spec = EnvSpec::new("Test-v0", observations, space);
        let error = config().build(&AgentContext::new(&spec, 1, 1000, 1)).err().unwrap();
        assert!(error.to_string().contains("it needs a Box with finite bounds"), "{error}");
    }
}
