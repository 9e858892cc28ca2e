//! `check_env`: does an environment keep the promises of [`Env`], and if not, which one is broken?

use std::fmt;

use rlrun_core::NumpyRng;

use crate::{Action, Actions, Env, EnvError, Space, SyncVecEnv, VecEnv};

/// How many steps are taken, over as many episodes as they make.
const STEPS: u32 = 1000;

/// Seed of the run; lane `i` of a vector gets `SEED + i`.
const SEED: u64 = 123;

/// A promise of [`Env`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// The spaces are not empty and their bounds are in order.
    Spaces,
    /// `reset` begins an episode.
    Reset,
    /// `reset` with a seed gives the same observation every time.
    ResetDeterminism,
    /// The same seed and actions give the same observations, rewards and ends.
    StepDeterminism,
    /// Observations fill their row and are in the observation space.
    Observation,
    /// Rewards are finite numbers.
    Reward,
    /// Episodes end by themselves or have a limit.
    EndOfEpisode,
    /// A state saved mid-episode continues identically in another copy.
    StateRoundTrip,
    /// A lane of a vector environment is the single environment of its seed.
    SingleEqualsVector,
    /// A step before the first reset is an error.
    StepBeforeReset,
    /// An action that is not in the action space is an error.
    InvalidAction,
    /// An action that is in the action space is not an error.
    ValidAction,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which promise.
    pub check: Check,
    /// Steps taken before it was seen, if it depends on them.
    pub step: Option<u32>,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub found: String,
}

/// What `check_env` found.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    /// Environment.
    pub id: String,
    /// Steps taken.
    pub steps: u32,
    /// Broken promises, at most one of each kind; empty if all is well.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::Spaces => "spaces",
            Check::Reset => "reset",
            Check::ResetDeterminism => "reset determinism",
            Check::StepDeterminism => "step determinism",
            Check::Observation => "observation",
            Check::Reward => "reward",
            Check::EndOfEpisode => "end of episode",
            Check::StateRoundTrip => "state round trip",
            Check::SingleEqualsVector => "single equals vector",
            Check::StepBeforeReset => "step before reset",
            Check::InvalidAction => "invalid action",
            Check::ValidAction => "valid action",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.check)?;
        if let Some(step) = self.step {
            write!(f, " (step {step})")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

impl CheckReport {
    /// Whether every promise is kept.
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }

    fn add(&mut self, check: Check, step: Option<u32>, expected: String, found: String) {
        if self.violations.iter().all(|violation| violation.check != check) {
            self.violations.push(Violation { check, step, expected, found });
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return write!(f, "`{}` keeps every promise ({} steps)", self.id, self.steps);
        }
        write!(f, "`{}` breaks {} promises", self.id, self.violations.len())?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

/// What a step shows: observation, reward, whether it terminated.
type Shown = (Vec<f32>, f64, bool);

/// Checks the environment that `make` makes; every call must make an equal one.
pub fn check_env<E: Env>(mut make: impl FnMut() -> E) -> CheckReport {
    let spec = make().spec().clone();
    let mut report = CheckReport { id: spec.id.clone(), steps: STEPS, violations: Vec::new() };
    if let Err(error) = spec.check() {
        let expected = "spaces with elements and a limit above 0".to_owned();
        report.add(Check::Spaces, None, expected, format!("\"{error}\""));
        return report;
    }
    if let Err(error) = make().reset(Some(SEED), &mut vec![0.0; spec.observation_space.dim()]) {
        let (expected, found) =
            ("a first observation".to_owned(), format!("the error \"{error}\""));
        report.add(Check::Reset, None, expected, found);
        return report;
    }
    let mut rng = NumpyRng::new(SEED);
    let actions = spec.action_space.sample(STEPS as usize, &mut rng);
    check_refusals(&mut make, &mut report);
    check_reset(&mut make, &mut report);
    let Some(shown) = check_steps(&mut make(), &actions, &mut report) else {
        return report;
    };
    check_repetition(&mut make(), &actions, &shown, &mut report);
    check_round_trip(&mut make, &actions, &mut report);
    check_vector(&mut make, &actions, &mut report);
    report
}

/// Steps that must fail: before the first reset, and with actions outside the space.
fn check_refusals<E: Env>(make: &mut impl FnMut() -> E, report: &mut CheckReport) {
    let mut env = make();
    let space = env.spec().action_space.clone();
    let mut obs = vec![0.0; env.spec().observation_space.dim()];
    let valid = space.sample(1, &mut NumpyRng::new(SEED));
    let answer = env.step(valid.row(0), &mut obs);
    if !matches!(answer, Err(EnvError::StepBeforeReset { .. })) {
        let expected = "the error `StepBeforeReset`".to_owned();
        report.add(Check::StepBeforeReset, None, expected, outcome(&answer));
    }
    reset(&mut env, Some(SEED), &mut obs, report);
    let nan = vec![f32::NAN; space.dim()];
    let beyond = vec![usize::MAX; space.dim()];
    let invalid = match space {
        Space::Discrete(n) => vec![Action::Discrete(n), Action::Continuous(&nan)],
        Space::Box(_) => vec![Action::Discrete(0), Action::Continuous(&nan)],
        _ => vec![Action::MultiDiscrete(&beyond), Action::Discrete(0)],
    };
    for action in invalid {
        let answer = env.step(action, &mut obs);
        if !matches!(answer, Err(EnvError::Action { .. })) {
            let expected = format!("the error `Action` for `{action}`, not in `{space}`");
            report.add(Check::InvalidAction, None, expected, outcome(&answer));
        }
    }
}

/// Begins an episode; an error is a broken promise.
fn reset<E: Env>(env: &mut E, seed: Option<u64>, row: &mut [f32], report: &mut CheckReport) {
    if let Err(error) = env.reset(seed, row) {
        let expected = format!("an episode after `reset({seed:?})`");
        report.add(Check::Reset, None, expected, format!("the error \"{error}\""));
    }
}

fn outcome<T>(answer: &Result<T, EnvError>) -> String {
    match answer {
        Ok(_) => "a step".to_owned(),
        Err(error) => format!("the error \"{error}\""),
    }
}

/// Two copies, and one copy twice, reset with one seed; then without one.
fn check_reset<E: Env>(make: &mut impl FnMut() -> E, report: &mut CheckReport) {
    let (mut first, mut second) = (make(), make());
    let dim = first.spec().observation_space.dim();
    let (mut a, mut b) = (vec![f32::NAN; dim], vec![f32::NAN; dim]);
    for seed in [Some(SEED), Some(SEED), None] {
        reset(&mut first, seed, &mut a, report);
        reset(&mut second, seed, &mut b, report);
        if !same_bits(&a, &b) {
            let expected = format!("{a:?} from every copy after `reset({seed:?})`");
            report.add(Check::ResetDeterminism, None, expected, format!("{b:?}"));
        }
    }
    let before = a.clone();
    reset(&mut first, Some(SEED), &mut a, report);
    reset(&mut second, Some(SEED), &mut b, report);
    reset(&mut first, Some(SEED), &mut a, report);
    if !same_bits(&a, &b) {
        let expected = format!("{b:?} again after `reset(Some({SEED}))`");
        report.add(
            Check::ResetDeterminism,
            None,
            expected,
            format!("{a:?}, before that {before:?}"),
        );
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// A row that `write` must fill: what it leaves alone stays a NaN.
fn filled(dim: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut row = vec![f32::NAN; dim];
    write(&mut row);
    row
}

/// Takes all steps, looking at each; `None` if a valid action is refused.
fn check_steps<E: Env>(
    env: &mut E,
    actions: &Actions,
    report: &mut CheckReport,
) -> Option<Vec<Shown>> {
    let (space, limit) = (env.spec().observation_space.clone(), env.spec().max_episode_steps);
    let obs = filled(space.dim(), |row| reset(env, Some(SEED), row, report));
    check_observation(&space, &obs, None, report);
    let (mut shown, mut length, mut ended) = (Vec::new(), 0, false);
    for t in 0..STEPS {
        let mut row = vec![f32::NAN; space.dim()];
        let answer = env.step(actions.row(t as usize), &mut row);
        let Ok(step) = answer else {
            let expected = format!("a step with `{}`", actions.row(t as usize));
            report.add(Check::ValidAction, Some(t), expected, outcome(&answer));
            return None;
        };
        check_observation(&space, &row, Some(t), report);
        if !step.reward.is_finite() {
            let (expected, found) = ("a finite number".to_owned(), step.reward.to_string());
            report.add(Check::Reward, Some(t), expected, found);
        }
        shown.push((row, step.reward, step.terminated));
        length += 1;
        if step.terminated || limit.is_some_and(|limit| length >= limit) {
            let obs = filled(space.dim(), |row| reset(env, None, row, report));
            check_observation(&space, &obs, Some(t), report);
            (length, ended) = (0, true);
        }
    }
    if !ended && limit.is_none() {
        let expected = format!("an end within {STEPS} steps, or `max_episode_steps`");
        report.add(Check::EndOfEpisode, None, expected, "an episode without end".to_owned());
    }
    Some(shown)
}

fn check_observation(space: &Space, row: &[f32], step: Option<u32>, report: &mut CheckReport) {
    if !space.contains_row(row) {
        let expected = format!("an element of `{space}` in every component");
        report.add(Check::Observation, step, expected, format!("{row:?}"));
    }
}

/// Takes the same steps in another copy.
fn check_repetition<E: Env>(
    env: &mut E,
    actions: &Actions,
    shown: &[Shown],
    report: &mut CheckReport,
) {
    let (dim, limit) = (env.spec().observation_space.dim(), env.spec().max_episode_steps);
    let mut row = vec![f32::NAN; dim];
    reset(env, Some(SEED), &mut row, report);
    let mut length = 0;
    for (t, (obs, reward, terminated)) in (0..).zip(shown) {
        let Ok(step) = env.step(actions.row(t as usize), &mut row) else { return };
        let same = same_bits(&row, obs) && step.reward.to_bits() == reward.to_bits();
        if !same || step.terminated != *terminated {
            let expected = format!("{obs:?}, {reward}, {terminated} as in the first copy");
            let found = format!("{row:?}, {}, {}", step.reward, step.terminated);
            return report.add(Check::StepDeterminism, Some(t), expected, found);
        }
        length += 1;
        if step.terminated || limit.is_some_and(|limit| length >= limit) {
            reset(env, None, &mut row, report);
            length = 0;
        }
    }
}

/// Saves after some steps and continues both the original and a copy, over a reset.
fn check_round_trip<E: Env>(
    make: &mut impl FnMut() -> E,
    actions: &Actions,
    report: &mut CheckReport,
) {
    const SAVED_AT: u32 = 7;
    let (mut original, mut copy) = (make(), make());
    let dim = original.spec().observation_space.dim();
    let (mut a, mut b) = (vec![0.0; dim], vec![0.0; dim]);
    reset(&mut original, Some(SEED), &mut a, report);
    reset(&mut copy, Some(SEED + 1), &mut b, report);
    for t in 0..SAVED_AT as usize {
        if original.step(actions.row(t), &mut a).is_ok_and(|step| step.terminated) {
            reset(&mut original, None, &mut a, report);
        }
    }
    let saved = match original.state() {
        Ok(saved) => saved,
        Err(error) => {
            let expected = "a state to save".to_owned();
            return report.add(
                Check::StateRoundTrip,
                Some(SAVED_AT),
                expected,
                format!("\"{error}\""),
            );
        }
    };
    if let Err(error) = copy.load_state(&saved) {
        let expected = "the state of an equal copy to load".to_owned();
        return report.add(Check::StateRoundTrip, Some(SAVED_AT), expected, format!("\"{error}\""));
    }
    for t in SAVED_AT..STEPS / 2 {
        let action = actions.row(t as usize);
        let (expected, found) = (original.step(action, &mut a), copy.step(action, &mut b));
        let same = matches!((&expected, &found), (Ok(expected), Ok(found)) if expected == found);
        if !same || !same_bits(&a, &b) {
            let (expected, found) = (format!("{a:?}, {expected:?}"), format!("{b:?}, {found:?}"));
            return report.add(Check::StateRoundTrip, Some(t), expected, found);
        }
        if expected.is_ok_and(|step| step.terminated) || t % 50 == 0 {
            reset(&mut original, None, &mut a, report);
            reset(&mut copy, None, &mut b, report);
        }
    }
}

/// The second lane of a vector against a single environment of its seed.
fn check_vector<E: Env>(make: &mut impl FnMut() -> E, actions: &Actions, report: &mut CheckReport) {
    let Ok(mut envs) = SyncVecEnv::new(vec![make(), make()]) else {
        let (expected, found) = ("equal specs from every copy", "specs that differ");
        return report.add(Check::SingleEqualsVector, None, expected.into(), found.into());
    };
    let mut single = make();
    let spec = single.spec().clone();
    let dim = spec.observation_space.dim();
    let mut obs = vec![0.0; dim];
    if envs.reset(SEED).is_err() {
        return;
    }
    reset(&mut single, Some(SEED + 1), &mut obs, report);
    let mut pair = Actions::zeros(&spec.action_space, 2);
    for t in 0..STEPS / 2 {
        if !same_bits(&envs.obs()[dim..], &obs) {
            let (expected, found) = (format!("{obs:?}"), format!("{:?}", &envs.obs()[dim..]));
            return report.add(Check::SingleEqualsVector, Some(t), expected, found);
        }
        pair.set_row(0, actions.row(STEPS as usize - 1 - t as usize));
        pair.set_row(1, actions.row(t as usize));
        let (Ok(batch), Ok(step)) = (envs.step(&pair), single.step(pair.row(1), &mut obs)) else {
            return;
        };
        if (batch.rewards[1], batch.terminated[1]) != (step.reward, step.terminated) {
            let found = format!("{}, {}", batch.rewards[1], batch.terminated[1]);
            let expected = format!("{}, {}", step.reward, step.terminated);
            return report.add(Check::SingleEqualsVector, Some(t), expected, found);
        }
        if batch.terminated[1] || batch.truncated[1] {
            reset(&mut single, None, &mut obs, report);
        }
    }
}
