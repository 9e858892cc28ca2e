//! Every algorithm on probe environments so small that what it must learn is known exactly.
//!
//! The ladder is Andy Jones' ("Debugging reinforcement learning systems", 2021), with rungs for time
//! limits, resets and environments that are out of step. Each rung needs everything below it to
//! work and one thing more, so the first failing test says what is broken.

#![allow(clippy::unwrap_used)]

use rlrun::prelude::*;

/// Discount factor of every agent below.
const GAMMA: f32 = 0.5;

/// What is asked of an algorithm, easiest first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "rlrun::prelude::serde")]
enum Rung {
    /// One step of reward 1: the value of the only observation is 1.
    ConstantReward,
    /// Observation ±1 is the reward of the only step: values ±1.
    RewardFromObservation,
    /// Observations 0 and 1, reward 1 at the end of the second step: values γ and 1.
    DiscountedTwoSteps,
    /// Reward +1 for action 1 and -1 for action 0.
    RewardFromAction,
    /// Reward +1 for action 1 at observation 1 and for action 0 at observation -1, else -1.
    RewardFromBoth,
    /// Reward 1 forever, cut by a time limit of 3 steps: value 1 / (1 - γ), whatever the limit.
    TimeLimit,
    /// Three steps of reward 1 and then a true end: values 1 + γ + γ², 1 + γ, 1.
    TrueEnd,
    /// From observation 0, a step without reward leads to observation 1 and the time limit; from
    /// observation 1, a step of reward 1 ends the episode. The value of 0 is γ, which needs the true
    /// successor and not the observation after the reset.
    LastObservation,
    /// Two steps; in the second, action 0 is the only legal one and costs 1: the value of 0 is -γ,
    /// whatever the network says of the action that is not legal.
    Masked,
    /// Environment 0 takes two steps to a reward of 1, environment 1 three steps to a reward of -1:
    /// values ±γᵏ with k steps ahead, and no episode ends when the other's does.
    OutOfStep,
}

/// One environment of a rung. Its state is the time in the episode, the observation that an
/// episode started with, and how many episodes there were.
#[derive(Clone, Debug)]
struct Probe {
    rung: Rung,
    spec: EnvSpec,
    lane: u64,
    episode: u64,
    time: u32,
}

impl Probe {
    fn new(rung: Rung, action_space: Space) -> Probe {
        let dim = if rung == Rung::OutOfStep { 2 } else { 1 };
        let observations = Space::Box(BoxSpace::symmetric(&vec![3.0; dim]));
        let mut spec = EnvSpec::new(format!("{rung:?}-v0"), observations, action_space);
        spec.max_episode_steps = match rung {
            Rung::TimeLimit => Some(3),
            Rung::LastObservation => Some(1),
            _ => None,
        };
        Probe { rung, spec, lane: 0, episode: 0, time: 0 }
    }

    /// 1 and -1 in turn.
    fn sign(&self) -> f32 {
        if self.episode.is_multiple_of(2) { 1.0 } else { -1.0 }
    }

    fn observe(&self, obs: &mut [f32]) {
        let time = self.time as f32;
        match self.rung {
            Rung::ConstantReward | Rung::RewardFromAction | Rung::TimeLimit => obs[0] = 0.0,
            Rung::RewardFromObservation | Rung::RewardFromBoth => obs[0] = self.sign(),
            Rung::DiscountedTwoSteps | Rung::TrueEnd | Rung::Masked => obs[0] = time,
            Rung::LastObservation => obs[0] = if self.starts_late() { 1.0 } else { time },
            Rung::OutOfStep => obs.copy_from_slice(&[time, self.lane as f32]),
        }
    }

    fn starts_late(&self) -> bool {
        self.episode.is_multiple_of(3)
    }
}

impl Env for Probe {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        if let Some(seed) = seed {
            (self.lane, self.episode) = (seed % 2, seed % 2);
        }
        self.episode += 1;
        self.time = 0;
        self.observe(obs);
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        let action = match action {
            Action::Discrete(choice) => choice as f32 * 2.0 - 1.0,
            Action::Continuous(values) => values[0].signum(),
            other => panic!("no probe takes {other:?}"),
        };
        self.time += 1;
        let time = self.time;
        let (reward, terminated) = match self.rung {
            Rung::ConstantReward => (1.0, true),
            Rung::RewardFromObservation => (self.sign(), true),
            Rung::DiscountedTwoSteps => (if time == 2 { 1.0 } else { 0.0 }, time == 2),
            Rung::Masked => (if time == 2 { -1.0 } else { 0.0 }, time == 2),
            Rung::RewardFromAction => (action, true),
            Rung::RewardFromBoth => (action * self.sign(), true),
            Rung::TimeLimit => (1.0, false),
            Rung::TrueEnd => (1.0, time == 3),
            Rung::LastObservation if self.starts_late() => (1.0, true),
            Rung::LastObservation => (0.0, false),
            Rung::OutOfStep if self.lane == 0 => (if time == 2 { 1.0 } else { 0.0 }, time == 2),
            Rung::OutOfStep => (if time == 3 { -1.0 } else { 0.0 }, time == 3),
        };
        self.observe(obs);
        Ok(Step::new(f64::from(reward), terminated))
    }

    fn action_mask(&self, mask: &mut [bool]) -> bool {
        let masked = self.rung == Rung::Masked && !mask.is_empty();
        if masked {
            mask.copy_from_slice(&[true, self.time == 0]);
        }
        masked
    }

    fn state(&self) -> Result<State, EnvError> {
        Ok(State::new())
    }

    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Settings of each algorithm, fit for tiny problems.
fn settings(algorithm: &str) -> &'static str {
    match algorithm {
        "dqn" => {
            "gamma = 0.5
             learning_rate = 3e-3
             net_arch = [32]
             buffer_size = 1000
             learning_starts = 50
             batch_size = 32
             train_freq = 2
             gradient_steps = 2
             target_update_interval = 20
             exploration_fraction = 0.5
             exploration_final_eps = 0.2"
        }
        "ppo" => {
            "gamma = 0.5
             learning_rate = \"lin_1e-2\"
             net_arch = [32]
             n_steps = 32
             batch_size = 64
             n_epochs = 10"
        }
        "qrdqn" => {
            "gamma = 0.5
             learning_rate = 3e-3
             net_arch = [32]
             n_quantiles = 8
             buffer_size = 1000
             learning_starts = 50
             batch_size = 32
             train_freq = 2
             gradient_steps = 2
             target_update_interval = 20
             exploration_fraction = 0.5
             exploration_final_eps = 0.2"
        }
        "a2c" => {
            "gamma = 0.5
             learning_rate = \"lin_7e-3\"
             net_arch = [32]
             n_steps = 8
             gae_lambda = 0.95"
        }
        "sac" => {
            "gamma = 0.5
             learning_rate = 3e-3
             net_arch = [32]
             learning_starts = 100
             batch_size = 64
             train_freq = 2
             tau = 0.05
             ent_coef = 0.01"
        }
        other => panic!("give `{other}` settings for the probes"),
    }
}

/// Makes the probes that a run file asks for.
fn make_probes(n_envs: usize, args: &toml::Table) -> Result<Box<dyn VecEnv>, EnvError> {
    let rung = args["rung"].clone().try_into().unwrap();
    let action_space = match args["continuous"].as_bool() {
        Some(true) => Space::Box(BoxSpace::symmetric(&[1.0])),
        _ => Space::Discrete(2),
    };
    Ok(Box::new(SyncVecEnv::new(vec![Probe::new(rung, action_space); n_envs])?))
}

/// Trains on the rung and returns the agent; `None` if the algorithm does not take such actions.
fn train(algorithm: &str, rung: Rung, continuous: bool) -> Option<Box<dyn Agent>> {
    let text = format!(
        "algorithm = \"{algorithm}\"
         [env]
         id = \"Probe-v0\"
         n_envs = 2
         args = {{ rung = \"{rung:?}\", continuous = {continuous} }}
         [agent]
         {}
         [train]
         total_timesteps = 6000",
        settings(algorithm)
    );
    let probes = Environment::new("Probe-v0", make_probes);
    let mut trainer = match Run::load(&text, ALGORITHMS, &[probes]).unwrap().into_trainer() {
        Err(ConfigError::Agent(AgentError::ActionSpace { .. })) => return None,
        trainer => trainer.unwrap(),
    };
    while !trainer.is_done() {
        trainer.step().unwrap();
    }
    Some(trainer.agent)
}

/// What must have been learnt at one observation.
struct Known {
    obs: &'static [f32],
    /// The value, to within `tolerance`.
    value: f32,
    /// The only good action, as a sign; 0 if it does not matter.
    action: f32,
}

fn at(obs: &'static [f32], value: f32) -> Known {
    Known { obs, value, action: 0.0 }
}

/// Checks what every algorithm learns of the rung, with each kind of actions that it takes.
fn assert_learns(rung: Rung, tolerance: f32, known: &[Known]) {
    for algorithm in ALGORITHMS {
        let agents = [false, true].map(|continuous| train(algorithm.name, rung, continuous));
        assert!(agents.iter().any(Option::is_some), "`{}` takes no actions", algorithm.name);
        for (kind, agent) in ["discrete", "continuous"].into_iter().zip(agents) {
            for Known { obs, value: expected, action: best } in known {
                let Some(agent) = &agent else { continue };
                let what = format!("{}, {kind} actions, at {obs:?}", algorithm.name);
                let (value, action) = ask(&**agent, obs);
                let near = (value - expected).abs() < tolerance;
                assert!(near, "{what}: value {value}, expected {expected}");
                assert!(action * best >= 0.0, "{what}: action {action}, expected {best}");
            }
        }
    }
}

/// Value and greedy action, as a number around 0, at one observation.
fn ask(agent: &dyn Agent, obs: &[f32]) -> (f32, f32) {
    let seen = Observations::row(obs);
    let mut actions = Actions::Discrete(Vec::new());
    agent.policy().act(&seen, &mut Memory::none(), None, &mut actions).unwrap();
    let action = match actions.row(0) {
        Action::Discrete(choice) => choice as f32 * 2.0 - 1.0,
        Action::Continuous(values) => values[0],
        other => panic!("no probe takes {other:?}"),
    };
    (agent.values(&seen).unwrap()[0], action)
}

#[test]
fn a_constant_reward_is_its_value() {
    assert_learns(Rung::ConstantReward, 0.05, &[at(&[0.0], 1.0)]);
}

#[test]
fn a_reward_that_follows_the_observation_is_told_apart() {
    assert_learns(Rung::RewardFromObservation, 0.1, &[at(&[1.0], 1.0), at(&[-1.0], -1.0)]);
}

#[test]
fn a_later_reward_is_discounted() {
    assert_learns(Rung::DiscountedTwoSteps, 0.05, &[at(&[0.0], GAMMA), at(&[1.0], 1.0)]);
}

#[test]
fn the_better_action_is_chosen() {
    let known = Known { obs: &[0.0], value: 1.0, action: 1.0 };
    assert_learns(Rung::RewardFromAction, 0.2, &[known]);
}

#[test]
fn the_better_action_depends_on_the_observation() {
    let known = |obs, action| Known { obs, value: 1.0, action };
    assert_learns(Rung::RewardFromBoth, 0.2, &[known(&[1.0], 1.0), known(&[-1.0], -1.0)]);
}

#[test]
fn a_time_limit_does_not_change_values() {
    assert_learns(Rung::TimeLimit, 0.1, &[at(&[0.0], 1.0 / (1.0 - GAMMA))]);
}

#[test]
fn a_true_end_is_worth_nothing_more() {
    let known = [at(&[0.0], 1.0 + GAMMA + GAMMA * GAMMA), at(&[1.0], 1.0 + GAMMA), at(&[2.0], 1.0)];
    assert_learns(Rung::TrueEnd, 0.1, &known);
}

#[test]
fn values_come_from_the_last_observation_and_not_from_the_reset() {
    assert_learns(Rung::LastObservation, 0.05, &[at(&[0.0], GAMMA), at(&[1.0], 1.0)]);
}

#[test]
fn what_is_not_legal_is_worth_nothing() {
    assert_learns(Rung::Masked, 0.05, &[at(&[0.0], -GAMMA)]);
}

#[test]
fn environments_that_are_out_of_step_are_kept_apart() {
    let known = [
        at(&[0.0, 0.0], GAMMA),
        at(&[1.0, 0.0], 1.0),
        at(&[0.0, 1.0], -GAMMA * GAMMA),
        at(&[1.0, 1.0], -GAMMA),
        at(&[2.0, 1.0], -1.0),
    ];
    assert_learns(Rung::OutOfStep, 0.1, &known);
}
