//! Vector environments and wrappers against numbers worked out by hand.
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use rlrun_core::{State, StateError};
use rlrun_env::{
    Action, Actions, BoxSpace, Env, EnvError, EnvSpec, Space, Step, StepBatch, SyncVecEnv,
    ThreadVecEnv, VecEnv, WrapperConfig,
};

/// Counts: starts at `100 * seed`, and at 1 more after each further reset; a step adds the action.
/// Ends when the last digit is 9. The reward is the number.
#[derive(Clone)]
struct Counter {
    spec: EnvSpec,
    start: f64,
    value: f64,
}

impl Counter {
    fn new(limit: Option<u32>) -> Counter {
        let numbers = |high| Space::Box(BoxSpace::new([0.0], [high]));
        let mut spec = EnvSpec::new("Counter", numbers(1e6), numbers(4.0));
        spec.max_episode_steps = limit;
        Counter { spec, start: 0.0, value: 0.0 }
    }
}

impl Env for Counter {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        self.start = seed.map_or(self.start + 1.0, |seed| 100.0 * seed as f64);
        self.value = self.start;
        obs[0] = self.value as f32;
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        self.spec.check_action(action)?;
        if let Action::Continuous(step) = action {
            self.value += f64::from(step[0]);
        }
        obs[0] = self.value as f32;
        Ok(Step::new(self.value, self.value % 10.0 == 9.0))
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_f64("counter", [self.start, self.value]);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let numbers = state.f64("counter")?;
        (self.start, self.value) = (numbers[0], numbers[1]);
        Ok(())
    }
}

fn counters(n: usize, limit: Option<u32>) -> Box<dyn VecEnv> {
    Box::new(SyncVecEnv::new(vec![Counter::new(limit); n]).unwrap())
}

fn wrapped(toml: &str, limit: Option<u32>) -> Box<dyn VecEnv> {
    toml::from_str::<WrapperConfig>(toml).unwrap().wrap(counters(2, limit)).unwrap()
}

fn ones(n: usize) -> Actions {
    Actions::Continuous { values: vec![1.0; n], dim: 1 }
}

#[test]
fn a_step_shows_the_true_successor_beside_the_next_first_observation() {
    let mut envs = counters(2, Some(2));
    envs.reset(1).unwrap();
    assert_eq!(envs.obs(), [100.0, 200.0]);
    envs.step(&ones(2)).unwrap();
    assert_eq!(envs.obs(), [101.0, 201.0]);
    let batch = envs.step(&ones(2)).unwrap().clone();
    assert_eq!(batch.next_obs, [102.0, 202.0]);
    assert_eq!((batch.terminated, batch.truncated), (vec![false; 2], vec![true; 2]));
    assert_eq!(batch.finished[1].reward, 201.0 + 202.0);
    assert_eq!(envs.obs(), [101.0, 201.0]);
}

#[test]
fn threads_give_what_a_loop_gives() {
    let make = || vec![Counter::new(Some(13)); 23];
    let mut one_by_one = SyncVecEnv::new(make()).unwrap();
    one_by_one.reset(5).unwrap();
    let mut rng = rlrun_core::NumpyRng::new(0);
    let space = one_by_one.spec().action_space.clone();
    let actions: Vec<Actions> = (0..60).map(|_| space.sample(23, &mut rng)).collect();
    let expected: Vec<StepBatch> =
        actions.iter().map(|actions| one_by_one.step(actions).unwrap().clone()).collect();
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut envs = ThreadVecEnv::new(make()).unwrap();
            envs.reset(5).unwrap();
            for (actions, expected) in actions.iter().zip(&expected) {
                assert_eq!(envs.step(actions).unwrap(), expected, "{threads} threads");
            }
            assert_eq!(envs.obs(), one_by_one.obs());
            assert_eq!(envs.state().unwrap(), one_by_one.state().unwrap());
        });
    }
}

#[test]
fn a_vector_needs_environments_and_equal_specs() {
    assert!(matches!(SyncVecEnv::<Counter>::new(Vec::new()), Err(EnvError::NoEnvs)));
    let mixed = vec![Counter::new(None), Counter::new(Some(3))];
    let message = SyncVecEnv::new(mixed).err().unwrap().to_string();
    assert_eq!(
        message,
        "environment 1 (`Counter`) has another spec than environment 0 (`Counter`)"
    );
}

#[test]
fn rewards_are_scaled_then_clipped_and_statistics_are_not() {
    let mut envs = wrapped("reward_scale = 0.5\nreward_clip = [-10.0, 60.0]", Some(1));
    envs.reset(1).unwrap();
    let batch = envs.step(&ones(2)).unwrap();
    assert_eq!(batch.rewards, [50.5, 60.0]);
    assert_eq!(batch.finished[1].reward, 201.0);
}

#[test]
fn rescaled_actions_reach_the_bounds() {
    let mut envs = wrapped("rescale_action = true", None);
    assert_eq!(envs.spec().action_space.to_string(), "Box(-1, 1)");
    envs.reset(1).unwrap();
    let actions = Actions::Continuous { values: vec![-1.0, 1.0], dim: 1 };
    assert_eq!(envs.step(&actions).unwrap().next_obs, [100.0, 204.0]);
}

#[test]
fn a_frame_stack_begins_with_the_first_observation_repeated() {
    let mut envs = wrapped("frame_stack = 3", Some(2));
    assert_eq!(envs.spec().observation_space.dim(), 3);
    envs.reset(1).unwrap();
    assert_eq!(envs.obs()[..3], [100.0, 100.0, 100.0]);
    assert_eq!(envs.step(&ones(2)).unwrap().next_obs[3..], [200.0, 200.0, 201.0]);
    assert_eq!(envs.step(&ones(2)).unwrap().next_obs[3..], [200.0, 201.0, 202.0]);
    assert_eq!(envs.obs()[3..], [201.0, 201.0, 201.0]);
}

#[test]
fn a_delayed_observation_is_the_one_of_earlier() {
    let mut envs = wrapped("observation_delay = 2", Some(4));
    envs.reset(1).unwrap();
    let shown: Vec<f32> = (0..4).map(|_| envs.step(&ones(2)).unwrap().next_obs[0]).collect();
    assert_eq!(shown, [100.0, 100.0, 101.0, 102.0]);
    assert_eq!(envs.obs()[0], 101.0);
}

#[test]
fn sticky_actions_repeat_within_an_episode_as_often_as_asked() {
    let mut envs = wrapped("sticky_actions = 1.0", Some(3));
    envs.reset(1).unwrap();
    let mut shown = Vec::new();
    for step in 1..=4 {
        let actions = Actions::Continuous { values: vec![step as f32; 2], dim: 1 };
        shown.push(envs.step(&actions).unwrap().next_obs[0]);
    }
    // The first action of each episode is taken as it is: 1, 1, 1, then 4 from 101 on.
    assert_eq!(shown, [101.0, 102.0, 103.0, 105.0]);

    let mut envs = wrapped("sticky_actions = 0.25", None);
    envs.reset(7).unwrap();
    // Two actions in turn: an executed one differs from the one asked for with q = p (1 - q) = 0.2.
    let (mut repeated, mut before) = (0, 700.0);
    for step in 0..4000 {
        let value = 0.25 * (1 + step % 2) as f32;
        let actions = Actions::Continuous { values: vec![value; 2], dim: 1 };
        let batch = envs.step(&actions).unwrap();
        let moved = batch.next_obs[0] - before;
        repeated += u32::from(moved != value);
        before = if batch.terminated[0] { envs.obs()[0] } else { batch.next_obs[0] };
    }
    assert!((700..900).contains(&repeated), "{repeated}");
}

#[test]
fn wrapped_environments_continue_from_a_saved_state() {
    let config = "sticky_actions = 0.5\nobservation_delay = 1\nframe_stack = 2\n\
                  rescale_action = true\nreward_scale = 0.1";
    let mut envs = wrapped(config, Some(7));
    envs.reset(3).unwrap();
    let mut rng = rlrun_core::NumpyRng::new(0);
    let space = envs.spec().action_space.clone();
    let actions: Vec<Actions> = (0..60).map(|_| space.sample(2, &mut rng)).collect();
    let run = |envs: &mut Box<dyn VecEnv>, actions: &[Actions]| -> Vec<StepBatch> {
        actions.iter().map(|actions| envs.step(actions).unwrap().clone()).collect()
    };
    run(&mut envs, &actions[..25]);
    let mut restored = wrapped(config, Some(7));
    restored.load_state(&envs.state().unwrap()).unwrap();
    assert_eq!(restored.obs(), envs.obs());
    assert_eq!(run(&mut restored, &actions[25..]), run(&mut envs, &actions[25..]));
}

#[test]
fn wrappers_refuse_what_cannot_be() {
    for (config, reason) in [
        ("frame_stack = 0", "`frame_stack = 0` shows nothing"),
        ("sticky_actions = 1.5", "`sticky_actions = 1.5` is not a probability"),
        ("reward_clip = [1.0, -1.0]", "`reward_clip = [1.0, -1.0]` is not a lower and an upper"),
        ("reward_scale = inf", "`reward_scale = inf` is not a finite number"),
    ] {
        let config: WrapperConfig = toml::from_str(config).unwrap();
        let message = config.wrap(counters(1, None)).err().unwrap().to_string();
        assert!(message.contains(reason), "{message}");
    }
    let unknown = toml::from_str::<WrapperConfig>("frame_stak = 4").unwrap_err().to_string();
    assert!(unknown.contains("unknown field `frame_stak`, expected one of"), "{unknown}");
}
