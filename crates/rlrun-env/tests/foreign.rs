//! Environments that others wrote: they fail, mask, truncate, draw and cannot be saved, and every
//! vector environment passes it on or refuses it with names.
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use std::fs;

use rlrun_core::{NumpyRng, State, StateError};
use rlrun_env::{
    Action, Actions, BoxSpace, Canvas, Env, EnvError, EnvSpec, Space, Step, SyncVecEnv,
    ThreadVecEnv, VecEnv, WrapperConfig,
};

/// What the second of three environments does in the second step of each episode, or at its reset.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Twist {
    Nothing,
    Observation(f32),
    FirstObservation(f32),
    Reward(f64),
    Truncates,
    TruncatesAndTerminates,
    MasksEverything,
    MasksEverythingAndTerminates,
    ReadsAFile,
    ReadsAFileAtReset,
    CannotBeSaved,
}

/// Choices 0 to 2, of which the one that equals the time is illegal. Observation: lane and time.
#[derive(Clone)]
struct Foreign {
    spec: EnvSpec,
    twist: Twist,
    lane: u64,
    time: u32,
}

impl Foreign {
    fn new(twist: Twist) -> Foreign {
        let observations = Space::Box(BoxSpace::new([0.0, 0.0], [1e3, 1e3]));
        let spec = EnvSpec::new("Foreign-v0", observations, Space::Discrete(3));
        Foreign { spec, twist, lane: 0, time: 0 }
    }

    fn twists(&self) -> bool {
        self.lane == 1 && self.time == 2
    }

    fn read_file() -> Result<(), EnvError> {
        fs::read_to_string("no/such/file")?;
        Ok(())
    }
}

impl Env for Foreign {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        self.lane = seed.unwrap_or(self.lane);
        self.time = 0;
        obs.copy_from_slice(&[self.lane as f32, 0.0]);
        match self.twist {
            Twist::ReadsAFileAtReset if self.lane == 1 => Foreign::read_file()?,
            Twist::FirstObservation(value) if self.lane == 1 => obs[0] = value,
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        self.spec.check_action(action)?;
        self.time += 1;
        obs.copy_from_slice(&[self.lane as f32, self.time as f32]);
        let step = Step::new(1.0, false);
        if !self.twists() {
            return Ok(step);
        }
        match self.twist {
            Twist::Observation(value) => obs[1] = value,
            Twist::Reward(reward) => return Ok(Step::new(reward, false)),
            Twist::Truncates => return Ok(step.with_truncated(true)),
            Twist::TruncatesAndTerminates => return Ok(Step::new(1.0, true).with_truncated(true)),
            Twist::MasksEverythingAndTerminates => return Ok(Step::new(1.0, true)),
            Twist::ReadsAFile => Foreign::read_file()?,
            _ => {}
        }
        Ok(step)
    }

    fn action_mask(&self, mask: &mut [bool]) -> bool {
        mask.fill(true);
        mask[self.time as usize % 3] = false;
        let everything = [Twist::MasksEverything, Twist::MasksEverythingAndTerminates];
        if self.twists() && everything.contains(&self.twist) {
            mask.fill(false);
        }
        true
    }

    fn render(&self) -> Option<Canvas> {
        Some(Canvas::new(1 + self.lane as usize, 1 + self.time as usize))
    }

    fn state(&self) -> Result<State, EnvError> {
        if self.twist == Twist::CannotBeSaved {
            let (id, reason) = (self.spec.id.clone(), "a simulator holds its state".to_owned());
            return Err(EnvError::NotSaveable { id, reason });
        }
        let mut state = State::new();
        state.insert_u64("state", [self.lane, self.time.into()]);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let numbers = state.u64("state")?;
        (self.lane, self.time) = (numbers[0], numbers[1] as u32);
        Ok(())
    }
}

/// Every way in which three environments step together.
fn every_way(twist: Twist) -> Vec<(&'static str, Box<dyn VecEnv>)> {
    let envs = || vec![Foreign::new(twist); 3];
    let sync = || Box::new(SyncVecEnv::new(envs()).unwrap());
    let wrapped = |toml: &str| toml::from_str::<WrapperConfig>(toml).unwrap().wrap(sync()).unwrap();
    vec![
        ("sync", sync()),
        ("threads", Box::new(ThreadVecEnv::new(envs()).unwrap())),
        ("frame stack", wrapped("frame_stack = 1")),
        ("delay", wrapped("observation_delay = 0")),
        ("sticky", wrapped("sticky_actions = 1.0")),
        ("reward", wrapped("reward_scale = 1.0")),
    ]
}

/// Takes steps with a legal action in every environment until one fails.
fn first_error(envs: &mut dyn VecEnv, seed: u64) -> Option<String> {
    if let Err(error) = envs.reset(seed) {
        return Some(error.to_string());
    }
    for time in 0..5 {
        if let Err(error) = envs.step(&Actions::Discrete(vec![(time + 1) % 3; 3])) {
            return Some(error.to_string());
        }
    }
    None
}

#[test]
fn numbers_that_are_not_finite_are_refused_at_the_step_that_made_them() {
    for (twist, message) in [
        (
            Twist::Observation(f32::NAN),
            "gave `NaN` as observation component 1, environment 1, step 2 of its episode",
        ),
        (
            Twist::Observation(f32::NEG_INFINITY),
            "gave `-inf` as observation component 1, environment 1, step 2 of its episode",
        ),
        (
            Twist::FirstObservation(f32::INFINITY),
            "gave `inf` as observation component 0, environment 1, step 0 of its episode",
        ),
        (Twist::Reward(f64::NAN), "gave `NaN` as reward, environment 1, step 2 of its episode"),
        (Twist::Reward(-1e300), "as reward, environment 1, step 2 of its episode"),
    ] {
        for (way, mut envs) in every_way(twist) {
            let error = first_error(&mut envs, 0).unwrap();
            assert!(error.starts_with("`Foreign-v0` gave `"), "{way}: {error}");
            assert!(error.contains(message), "{way}: {error}");
        }
    }
}

#[test]
fn a_reward_that_scaling_makes_infinite_is_refused() {
    let config: WrapperConfig = toml::from_str("reward_scale = 1e30").unwrap();
    let envs = SyncVecEnv::new(vec![Foreign::new(Twist::Reward(1e20)); 3]).unwrap();
    let error = first_error(&mut config.wrap(Box::new(envs)).unwrap(), 0).unwrap();
    assert!(error.contains("as reward, environment 1, step 2 of its episode"), "{error}");
}

#[test]
fn an_error_of_its_own_is_named_with_environment_and_step() {
    for (twist, step) in [(Twist::ReadsAFile, 2), (Twist::ReadsAFileAtReset, 0)] {
        for (way, mut envs) in every_way(twist) {
            let error = first_error(&mut envs, 0).unwrap();
            let start = format!(
                "`Foreign-v0` failed, environment 1, step {step} of its episode: No such file"
            );
            assert!(error.starts_with(&start), "{way}: {error}");
        }
    }
}

#[test]
fn an_own_truncation_ends_the_episode_and_both_flags_may_be_set() {
    for (twist, terminated) in [(Twist::Truncates, false), (Twist::TruncatesAndTerminates, true)] {
        for (way, mut envs) in every_way(twist) {
            envs.reset(0).unwrap();
            assert_eq!(envs.starts(), [true; 3], "{way}");
            envs.step(&Actions::Discrete(vec![1; 3])).unwrap();
            assert_eq!(envs.starts(), [false; 3], "{way}");
            let batch = envs.step(&Actions::Discrete(vec![2; 3])).unwrap().clone();
            assert_eq!(batch.truncated, [false, true, false], "{way}");
            assert_eq!(batch.terminated, [false, terminated, false], "{way}");
            assert_eq!((batch.finished[0].env, batch.finished[0].length), (1, 2), "{way}");
            assert_eq!(batch.next_obs, [0.0, 2.0, 1.0, 2.0, 2.0, 2.0], "{way}");
            assert_eq!(envs.obs()[2..4], [1.0, 0.0], "{way}");
            assert_eq!(envs.starts(), [false, true, false], "{way}");
        }
    }
}

#[test]
fn masks_are_those_of_the_state_acted_on_and_of_the_true_successor() {
    for (way, mut envs) in every_way(Twist::Truncates) {
        envs.reset(0).unwrap();
        assert_eq!(envs.masks(), [false, true, true].repeat(3), "{way}");
        assert_eq!(envs.observations().masks, envs.masks(), "{way}");
        envs.step(&Actions::Discrete(vec![1; 3])).unwrap();
        let batch = envs.step(&Actions::Discrete(vec![2; 3])).unwrap().clone();
        let (start, second) = ([false, true, true], [true, true, false]);
        assert_eq!(batch.next_masks, second.repeat(3), "{way}");
        assert_eq!(envs.masks(), [second, start, second].concat(), "{way}");
        let saved = envs.state().unwrap();
        let (_, mut restored) =
            every_way(Twist::Truncates).into_iter().find(|w| w.0 == way).unwrap();
        restored.load_state(&saved).unwrap();
        assert_eq!(restored.observations(), envs.observations(), "{way}");
    }
}

#[test]
fn an_action_that_the_mask_forbids_is_refused_with_its_environment() {
    for (way, mut envs) in every_way(Twist::Nothing) {
        envs.reset(0).unwrap();
        let error = envs.step(&Actions::Discrete(vec![1, 1, 0])).unwrap_err().to_string();
        let expected =
            "`Foreign-v0` got the action `0`, which the mask of environment 2 forbids".to_owned();
        assert_eq!(error, expected, "{way}");
    }
}

#[test]
fn a_mask_without_a_legal_action_is_an_error_unless_the_task_has_ended() {
    for (way, mut envs) in every_way(Twist::MasksEverything) {
        let error = first_error(&mut envs, 0).unwrap();
        let start = "`Foreign-v0` masks every choice of action component 0, environment 1, step 2";
        assert!(error.starts_with(start), "{way}: {error}");
    }
    for (way, mut envs) in every_way(Twist::MasksEverythingAndTerminates) {
        envs.reset(0).unwrap();
        envs.step(&Actions::Discrete(vec![1; 3])).unwrap();
        let batch = envs.step(&Actions::Discrete(vec![2; 3])).unwrap();
        assert_eq!(batch.next_masks[3..6], [true; 3], "{way}");
    }
}

#[test]
fn a_sticky_action_that_has_become_illegal_is_not_repeated() {
    let config: WrapperConfig = toml::from_str("sticky_actions = 1.0").unwrap();
    let envs = SyncVecEnv::new(vec![Foreign::new(Twist::Nothing); 3]).unwrap();
    assert_eq!(first_error(&mut config.wrap(Box::new(envs)).unwrap(), 0), None);
}

#[test]
fn pictures_are_those_of_the_environment_asked_for() {
    for (way, mut envs) in every_way(Twist::Nothing) {
        envs.reset(0).unwrap();
        envs.step(&Actions::Discrete(vec![1; 3])).unwrap();
        let picture = envs.render(2).unwrap();
        assert_eq!((picture.width, picture.height), (3, 2), "{way}");
        assert_eq!(envs.render(3), None, "{way}");
    }
}

#[test]
fn what_cannot_be_saved_says_so() {
    for (way, mut envs) in every_way(Twist::CannotBeSaved) {
        envs.reset(0).unwrap();
        assert_eq!(
            envs.state().unwrap_err().to_string(),
            "`Foreign-v0` cannot be saved: a simulator holds its state; a run on it cannot be \
             resumed where it stopped",
            "{way}"
        );
    }
}

#[test]
fn own_environments_take_the_time_limit_of_the_run_file() {
    let config: WrapperConfig = toml::from_str("max_episode_steps = 2").unwrap();
    let ways: [Box<dyn VecEnv>; 2] = [
        Box::new(SyncVecEnv::new(vec![Foreign::new(Twist::Nothing); 3]).unwrap()),
        Box::new(ThreadVecEnv::new(vec![Foreign::new(Twist::Nothing); 3]).unwrap()),
    ];
    for envs in ways {
        let mut envs = config.wrap(envs).unwrap();
        assert_eq!(envs.spec().max_episode_steps, Some(2));
        envs.reset(0).unwrap();
        envs.step(&Actions::Discrete(vec![1; 3])).unwrap();
        let batch = envs.step(&Actions::Discrete(vec![2; 3])).unwrap();
        assert_eq!((batch.truncated.as_slice(), batch.finished.len()), (&[true; 3][..], 3));
    }
    let zero: WrapperConfig = toml::from_str("max_episode_steps = 0").unwrap();
    let envs = SyncVecEnv::new(vec![Foreign::new(Twist::Nothing); 3]).unwrap();
    let error = zero.wrap(Box::new(envs)).err().unwrap().to_string();
    assert!(error.contains("`max_episode_steps = 0` leaves no step to take"), "{error}");
}

#[test]
fn spaces_and_limits_that_cannot_be_are_refused_when_the_environments_are_made() {
    let numbers = || Space::Box(BoxSpace::new([0.0], [1.0]));
    let low_nan = BoxSpace::new([0.0, f32::NAN], [1.0, 1.0]);
    for (space, reason) in [
        (Space::Discrete(0), "component 0 has 0 choices, expected 1 to 16777216"),
        (Space::Discrete(usize::MAX), "choices, expected 1 to 16777216"),
        (Space::MultiDiscrete(vec![3, 0]), "component 1 has 0 choices"),
        (Space::MultiDiscrete(Vec::new()), "`MultiDiscrete([])` has no components"),
        (Space::MultiBinary(0), "`MultiBinary(0)` has no components"),
        (Space::Box(BoxSpace::new([], [])), "a box without components"),
        (Space::Box(BoxSpace::new([0.0, 1.0], [1.0])), "2 lower bounds and 1 upper bounds"),
        (
            Space::Box(BoxSpace::new([0.0, 2.0], [1.0, -2.0])),
            "component 1 has its bounds the wrong way round: low is 2, high is -2",
        ),
        (
            Space::Box(low_nan),
            "component 1 has a bound that is not a number: low is NaN, high is 1",
        ),
        (
            Space::Box(BoxSpace::new([f32::INFINITY], [f32::INFINITY])),
            "component 0 has no finite number between its bounds",
        ),
        (
            Space::Box(BoxSpace::symmetric(&[1.0; 6]).with_shape(&[2, 2])),
            "shape [2, 2] for 6 components",
        ),
        (
            Space::Box(BoxSpace::symmetric(&[1.0]).with_shape(&[usize::MAX, usize::MAX])),
            "for 1 components",
        ),
    ] {
        for (name, observations, actions) in [
            ("observation space", space.clone(), Space::Discrete(2)),
            ("action space", numbers(), space.clone()),
        ] {
            let spec = EnvSpec::new("Foreign-v0", observations, actions);
            let env = Foreign { spec, ..Foreign::new(Twist::Nothing) };
            let refusals = [
                SyncVecEnv::new(vec![env.clone(); 2]).err().unwrap(),
                ThreadVecEnv::new(vec![env.clone(); 2]).err().unwrap(),
            ];
            for error in refusals.map(|error| error.to_string()) {
                assert!(error.starts_with(&format!("spec of `Foreign-v0`: {name}: ")), "{error}");
                assert!(error.contains(reason), "{error}");
            }
        }
    }
    let mut env = Foreign::new(Twist::Nothing);
    env.spec.max_episode_steps = Some(0);
    let error = SyncVecEnv::new(vec![env]).err().unwrap().to_string();
    assert_eq!(error, "spec of `Foreign-v0`: `max_episode_steps = 0` leaves no step to take");
}

#[test]
fn wrappers_of_absurd_size_are_refused_with_their_key() {
    for value in [1_usize << 62, usize::MAX, (1 << 62) + 1, 1 << 40, 1 << 31] {
        for key in ["frame_stack", "observation_delay"] {
            let mut config = WrapperConfig::default();
            match key {
                "frame_stack" => config.frame_stack = Some(value),
                _ => config.observation_delay = Some(value),
            }
            let envs = SyncVecEnv::new(vec![Foreign::new(Twist::Nothing); 3]).unwrap();
            let error = config.wrap(Box::new(envs)).err().unwrap().to_string();
            assert!(error.contains(&format!("`{key} = {value}` is too much")), "{error}");
        }
    }
}

#[test]
fn a_stack_of_pictures_keeps_their_shape() {
    let pictures = Space::Box(BoxSpace::new([0.0; 12], [255.0; 12]).with_shape(&[3, 2, 2]));
    let spec = EnvSpec::new("Foreign-v0", pictures, Space::Discrete(3));
    let env = Foreign { spec, ..Foreign::new(Twist::Nothing) };
    let config = WrapperConfig { frame_stack: Some(4), ..WrapperConfig::default() };
    let envs = config.wrap(Box::new(SyncVecEnv::new(vec![env]).unwrap())).unwrap();
    let Space::Box(space) = &envs.spec().observation_space else { panic!("a box") };
    assert_eq!((space.shape.as_slice(), space.low.len()), (&[12, 2, 2][..], 48));
}

#[test]
fn legal_samples_are_legal_in_every_component_and_cover_what_is() {
    let mut rng = NumpyRng::new(0);
    for (space, mask, count) in [
        (Space::Discrete(4), vec![false, true, false, true], 2),
        (Space::MultiDiscrete(vec![2, 3]), vec![true, false, false, true, true], 2),
        (Space::MultiBinary(2), vec![false, true, true, true], 2),
    ] {
        let mut drawn = Vec::new();
        for _ in 0..200 {
            let actions = space.sample_legal(&mask, &mut rng);
            assert!(space.contains(actions.row(0)) && space.allows(&mask, actions.row(0)));
            if !drawn.contains(&actions) {
                drawn.push(actions);
            }
        }
        assert_eq!(drawn.len(), count, "{space}");
        assert_eq!(space.mask_len(), mask.len());
    }
    let space = Space::MultiDiscrete(vec![5; 4]);
    let (all, none) = (NumpyRng::new(5), NumpyRng::new(5));
    assert_eq!(space.sample_legal(&[], &mut all.clone()), space.sample(1, &mut none.clone()));
}
