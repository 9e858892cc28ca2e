//! Policies that remember, and policies under masks, through the ordinary evaluation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rlrun::agents::distributions::Distribution;
use rlrun::nn::{LstmCell, Module};
use rlrun::prelude::*;
use rlrun::tensor::mode_counts;

/// The first observation of an episode is ±1, all later ones are 0; the last action should be the
/// sign of the first observation. Episodes of environment `lane` last `2 + lane` steps.
#[derive(Clone)]
struct FirstObservation {
    spec: EnvSpec,
    lane: u64,
    episode: u64,
    time: u64,
}

impl FirstObservation {
    fn new() -> FirstObservation {
        let observations = Space::Box(BoxSpace::symmetric(&[1.0]));
        let spec = EnvSpec::new("FirstObservation-v0", observations, Space::Discrete(2));
        FirstObservation { spec, lane: 0, episode: 0, time: 0 }
    }

    /// Signs that follow each other in no simple way.
    fn first(&self) -> f32 {
        if (self.episode * 7 + self.lane * 3) % 5 < 2 { 1.0 } else { -1.0 }
    }
}

impl Env for FirstObservation {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        if let Some(seed) = seed {
            (self.lane, self.episode) = (seed % 4, 0);
        }
        self.episode += 1;
        self.time = 0;
        obs[0] = self.first();
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        self.time += 1;
        obs[0] = 0.0;
        let right = usize::from(self.first() > 0.0);
        let last = self.time == 2 + self.lane;
        let reward = f64::from(u8::from(last && action == Action::Discrete(right)));
        Ok(Step::new(reward, last))
    }

    fn state(&self) -> Result<State, EnvError> {
        Ok(State::new())
    }

    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Acts by the sign of an LSTM's hidden state, whose gates are all open: its cell adds up what was
/// seen since the episode began.
struct Remembering(LstmCell);

impl Remembering {
    fn new() -> Remembering {
        let mut state = State::new();
        state.insert_f32("weight_ih", &[4, 1], &[0.0, 0.0, 5.0, 0.0]);
        state.insert_f32("weight_hh", &[4, 1], &[0.0; 4]);
        state.insert_f32("bias_ih", &[4], &[20.0, 20.0, 0.0, 20.0]);
        state.insert_f32("bias_hh", &[4], &[0.0; 4]);
        let cell = LstmCell::new(1, 1, &mut rng_stream(1, Purpose::Weights, 0));
        cell.load_state(&state).unwrap();
        Remembering(cell)
    }
}

impl Policy for Remembering {
    fn memory(&self, rows: usize) -> Memory {
        Memory::zeros(rows, 2)
    }

    fn act(
        &self,
        seen: &Observations<'_>,
        memory: &mut Memory,
        _rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        let rows = seen.len();
        let choices = inference_mode(|| {
            let obs = Tensor::from_slice(seen.rows, [rows, 1]);
            let states = Tensor::from_slice(memory.numbers(), [rows, 2]);
            let (h, c) = self.0.forward(&obs, &states.narrow(1, 0, 1), &states.narrow(1, 1, 1));
            memory.numbers_mut().copy_from_slice(&Tensor::cat(&[&h, &c], 1).to_vec());
            h.to_vec().iter().map(|&h| usize::from(h > 0.0)).collect()
        });
        *actions = Actions::Discrete(choices);
        Ok(())
    }

    fn state(&self) -> State {
        self.0.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.0.load_state(state)
    }
}

fn envs() -> SyncVecEnv<FirstObservation> {
    SyncVecEnv::new(vec![FirstObservation::new(); 4]).unwrap()
}

#[test]
fn a_policy_remembers_within_an_episode_and_not_beyond_it() {
    let before = mode_counts();
    let evaluation = evaluate(&Remembering::new(), &mut envs(), 60, 4).unwrap();
    assert_eq!(evaluation.mean_reward, 1.0);
    assert_eq!((mode_counts() - before).nodes, 0, "nothing is recorded");
}

#[test]
fn without_being_told_of_starts_the_past_gets_in_the_way() {
    let (policy, mut envs) = (Remembering::new(), envs());
    envs.reset(4).unwrap();
    let (mut memory, mut actions) = (policy.memory(4), Actions::Discrete(Vec::new()));
    let (mut reward, mut episodes) = (0.0, 0);
    for _ in 0..60 {
        policy.act(&envs.observations(), &mut memory, None, &mut actions).unwrap();
        let step = envs.step(&actions).unwrap();
        reward += step.rewards.iter().sum::<f64>();
        episodes += step.finished.len();
    }
    assert!(reward < 0.9 * episodes as f64, "{reward} of {episodes}");
}

#[test]
fn memory_can_be_saved_in_the_middle_of_an_episode() {
    let (policy, mut envs) = (Remembering::new(), envs());
    envs.reset(4).unwrap();
    let (mut memory, mut actions) = (policy.memory(4), Actions::Discrete(Vec::new()));
    policy.act(&envs.observations(), &mut memory, None, &mut actions).unwrap();
    let mut restored = policy.memory(4);
    assert_ne!(restored, memory);
    restored.load_state(&memory.state()).unwrap();
    assert_eq!(restored, memory);
}

/// One step: action 2 pays most and is never legal; of the others, the one that is legal changes.
#[derive(Clone)]
struct Bait {
    spec: EnvSpec,
    episode: usize,
}

impl Bait {
    fn new() -> Bait {
        let observations = Space::Box(BoxSpace::symmetric(&[1.0]));
        Bait { spec: EnvSpec::new("Bait-v0", observations, Space::Discrete(3)), episode: 0 }
    }
}

impl Env for Bait {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, _seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        self.episode += 1;
        obs[0] = 0.0;
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        obs[0] = 0.0;
        let Action::Discrete(choice) = action else { unreachable!() };
        Ok(Step::new([1.0, 2.0, 1000.0][choice], true))
    }

    fn action_mask(&self, mask: &mut [bool]) -> bool {
        mask.copy_from_slice(&[true, self.episode.is_multiple_of(2), false]);
        true
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_u64("episode", [self.episode as u64]);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.episode = state.counter("episode")? as usize;
        Ok(())
    }
}

/// Likes action 2 best, then 1, then 0, and keeps to the mask.
struct Greedy;

impl Policy for Greedy {
    fn act(
        &self,
        seen: &Observations<'_>,
        _memory: &mut Memory,
        rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        let logits = Tensor::from_slice(&[0.0, 3.0, 9.0].repeat(seen.len()), [seen.len(), 3]);
        let policy = Distribution::Categorical { logits }.masked(seen.masks);
        match rngs {
            Some(rngs) => policy.sample(rngs, actions),
            None => policy.mode(actions),
        }
    }

    fn state(&self) -> State {
        State::new()
    }

    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

#[test]
fn a_policy_under_a_mask_leaves_the_bait() {
    let mut envs = SyncVecEnv::new(vec![Bait::new(); 2]).unwrap();
    let evaluation = evaluate(&Greedy, &mut envs, 40, 1).unwrap();
    assert!(evaluation.returns.iter().all(|&reward| reward <= 2.0));
    assert_eq!(evaluation.mean_reward, 1.5, "2 where it is legal, else 1");
    let drawn = evaluate_stochastic(&Greedy, &mut envs, 40, 1).unwrap();
    assert!(drawn.returns.iter().all(|&reward| reward <= 2.0));
}

#[test]
fn algorithms_learn_under_a_mask_without_ever_taking_the_bait() {
    for (algorithm, agent) in [
        ("ppo", "n_steps = 16, batch_size = 32, learning_rate = 1e-2"),
        ("a2c", "learning_rate = 1e-2"),
        ("dqn", "learning_starts = 50, learning_rate = 1e-2, train_freq = 1"),
        ("qrdqn", "learning_starts = 50, learning_rate = 1e-2, train_freq = 1, n_quantiles = 4"),
    ] {
        let text = format!(
            "algorithm = \"{algorithm}\"\nenv = {{ id = \"Bait-v0\", n_envs = 2 }}\n\
             agent = {{ net_arch = [16], {agent} }}\n\
             train = {{ total_timesteps = 2000, n_eval_episodes = 0 }}"
        );
        let bait = Environment::new("Bait-v0", |n_envs, _: &toml::Table| {
            Ok(Box::new(SyncVecEnv::new(vec![Bait::new(); n_envs])?) as Box<dyn VecEnv>)
        });
        let mut trainer = Run::load(&text, ALGORITHMS, &[bait]).unwrap().into_trainer().unwrap();
        // An illegal action would be refused by the environments.
        trainer.run().unwrap();
        let mut envs = SyncVecEnv::new(vec![Bait::new(); 2]).unwrap();
        let evaluation = evaluate(trainer.agent.policy(), &mut envs, 40, 1).unwrap();
        assert_eq!(evaluation.mean_reward, 1.5, "{algorithm}");
    }
}

#[test]
fn one_policy_serves_two_threads() {
    let policy = Remembering::new();
    let play = || evaluate(&policy, &mut envs(), 20, 4).unwrap().returns;
    let (one, other) = std::thread::scope(|scope| {
        let threads = [scope.spawn(play), scope.spawn(play)];
        let [one, other] = threads.map(|thread| thread.join().unwrap());
        (one, other)
    });
    assert_eq!(one, other);
}

/// Nothing ever happens.
#[derive(Clone)]
struct Endless(EnvSpec);

impl Env for Endless {
    fn spec(&self) -> &EnvSpec {
        &self.0
    }

    fn reset(&mut self, _seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        obs[0] = 0.0;
        Ok(())
    }

    fn step(&mut self, _action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        obs[0] = 0.0;
        Ok(Step::new(1.0, false))
    }

    fn state(&self) -> Result<State, EnvError> {
        Ok(State::new())
    }

    fn load_state(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

#[test]
fn an_evaluation_gives_up_on_an_episode_that_never_ends_and_a_limit_helps() {
    let observations = Space::Box(BoxSpace::symmetric(&[1.0]));
    let endless = Endless(EnvSpec::new("Endless-v0", observations, Space::Discrete(3)));
    let mut envs = SyncVecEnv::new(vec![endless.clone(); 2]).unwrap();
    let message = evaluate(&Greedy, &mut envs, 2, 1).unwrap_err().to_string();
    let named = "the episode of `Endless-v0` in environment 0 has not ended after 1000000 steps";
    assert!(message.starts_with(named), "{message}");

    // What the message advises, for an environment of one's own.
    let own = Environment::single("Endless-v0", move |_args| Ok(endless.clone()));
    let text = "algorithm = 'ppo'\nenv.id = 'Endless-v0'\nenv.wrappers.max_episode_steps = 7";
    let mut envs = Run::load(text, ALGORITHMS, &[own]).unwrap().make_envs(2).unwrap();
    assert_eq!(evaluate(&Greedy, &mut *envs, 4, 1).unwrap().mean_reward, 7.0);
}
