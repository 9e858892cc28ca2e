//! `check_env`: does an environment keep the promises of [`Env`], and if not, which one is broken?

mod play;
mod report;

use rlrun_core::NumpyRng;

use crate::{Action, Actions, Env, EnvError, EnvSpec, Space, SyncVecEnv, VecEnv};

use play::{Play, Shown, bits};
pub use report::{Check, CheckReport, Violation};

/// How many steps are taken, over as many episodes as they make.
const STEPS: u32 = 1000;

/// Seed of the run; lane `i` of a vector gets `SEED + i`.
const SEED: u64 = 123;

/// Checks the environment that `make` makes; every call must make an equal one.
pub fn check_env<E: Env>(mut make: impl FnMut() -> E) -> CheckReport {
    let spec = make().spec().clone();
    let mut report = CheckReport { id: spec.id.clone(), steps: STEPS, violations: Vec::new() };
    if let Err(error) = spec.check() {
        let expected = "spaces with elements and a limit above 0".to_owned();
        report.add(Check::Spaces, None, expected, error_text(&error));
        return report;
    }
    if let Err(Violation { check, step, expected, found }) =
        check_all(&mut make, &spec, &mut report)
    {
        report.add(check, step, expected, found);
    }
    report
}

/// Checks one after another; an error is a violation after which there is nothing to check.
fn check_all<E: Env>(
    make: &mut impl FnMut() -> E,
    spec: &EnvSpec,
    report: &mut CheckReport,
) -> Result<(), Violation> {
    check_refusals(make, report)?;
    check_reset(make, report)?;
    let (actions, shown) = check_steps(&mut Play::new(make()), &spec.observation_space, report)?;
    if spec.max_episode_steps.is_none() && shown.iter().all(|shown| shown.next_start.is_none()) {
        let expected = format!("an end within {STEPS} steps, or `max_episode_steps`");
        report.add(Check::EndOfEpisode, None, expected, "an episode without end".to_owned());
    }
    check_repetition(&mut Play::new(make()), &actions, &shown, report)?;
    check_round_trip(&mut Play::new(make()), &mut Play::new(make()), report)?;
    check_vector(make, report)
}

fn error_text(error: &EnvError) -> String {
    format!("the error \"{error}\"")
}

fn outcome<T>(answer: &Result<T, EnvError>) -> String {
    answer.as_ref().map_or_else(error_text, |_| "a step".to_owned())
}

fn reset<E: Env>(play: &mut Play<E>, seed: Option<u64>) -> Result<Vec<f32>, Violation> {
    play.reset(seed).map_err(|error| Violation {
        check: Check::Reset,
        step: None,
        expected: format!("an episode after `reset({seed:?})`"),
        found: error_text(&error),
    })
}

fn step<E: Env>(play: &mut Play<E>, action: Action<'_>, t: u32) -> Result<Shown, Violation> {
    play.step(action).map_err(|error| Violation {
        check: Check::ValidAction,
        step: Some(t),
        expected: format!("a step with `{action}`"),
        found: error_text(&error),
    })
}

/// Steps that must fail: before the first reset, and with actions outside the space.
fn check_refusals<E: Env>(
    make: &mut impl FnMut() -> E,
    report: &mut CheckReport,
) -> Result<(), Violation> {
    let mut play = Play::new(make());
    let space = play.env.spec().action_space.clone();
    let valid = space.sample(1, &mut NumpyRng::new(SEED));
    let answer = play.step(valid.row(0));
    if !matches!(answer, Err(EnvError::StepBeforeReset { .. })) {
        let expected = "the error `StepBeforeReset`".to_owned();
        report.add(Check::StepBeforeReset, None, expected, outcome(&answer));
    }
    reset(&mut play, Some(SEED))?;
    let nan = vec![f32::NAN; space.dim()];
    let beyond = vec![usize::MAX; space.dim()];
    let invalid = match space {
        Space::Discrete(n) => vec![Action::Discrete(n), Action::Continuous(&nan)],
        Space::Box(_) => vec![Action::Discrete(0), Action::Continuous(&nan)],
        _ => vec![Action::MultiDiscrete(&beyond), Action::Discrete(0)],
    };
    for action in invalid {
        let answer = play.step(action);
        if !matches!(answer, Err(EnvError::Action { .. })) {
            let expected = format!("the error `Action` for `{action}`, not in `{space}`");
            report.add(Check::InvalidAction, None, expected, outcome(&answer));
        }
    }
    Ok(())
}

/// Two copies reset with one seed, again with it, without one, and again with it.
fn check_reset<E: Env>(
    make: &mut impl FnMut() -> E,
    report: &mut CheckReport,
) -> Result<(), Violation> {
    let (mut first, mut second) = (Play::new(make()), Play::new(make()));
    let mut start = Vec::new();
    for (round, seed) in [Some(SEED), Some(SEED), None, Some(SEED)].into_iter().enumerate() {
        let (a, b) = (reset(&mut first, seed)?, reset(&mut second, seed)?);
        if bits(&a) != bits(&b) {
            let expected = format!("{a:?} from every copy after `reset({seed:?})`");
            report.add(Check::ResetDeterminism, None, expected, format!("{b:?}"));
        }
        if round == 0 {
            start = a;
        } else if seed.is_some() && bits(&a) != bits(&start) {
            let expected = format!("{start:?} after every `reset({seed:?})`");
            report.add(Check::ResetDeterminism, None, expected, format!("{a:?}"));
        }
    }
    Ok(())
}

/// Takes all steps, looking at each; returns them and what they showed.
fn check_steps<E: Env>(
    play: &mut Play<E>,
    space: &Space,
    report: &mut CheckReport,
) -> Result<(Vec<Actions>, Vec<Shown>), Violation> {
    let mut rng = NumpyRng::new(SEED);
    check_observation(space, &reset(play, Some(SEED))?, None, report);
    let masks = play.mask().is_some();
    check_mask(&play.env.spec().action_space, play.mask(), masks, None, report);
    let (mut actions, mut all) = (Vec::new(), Vec::new());
    for t in 0..STEPS {
        let action = play.draw(&mut rng);
        let shown = step(play, action.row(0), t)?;
        check_observation(space, &shown.obs, Some(t), report);
        let reward = shown.step.reward;
        if !(reward as f32).is_finite() {
            let expected = "a number that is finite, as `f32` too".to_owned();
            report.add(Check::Reward, Some(t), expected, reward.to_string());
        }
        if let Some(start) = &shown.next_start {
            check_observation(space, start, Some(t), report);
        }
        check_mask(&play.env.spec().action_space, play.mask(), masks, Some(t), report);
        actions.push(action);
        all.push(shown);
    }
    Ok((actions, all))
}

fn check_observation(space: &Space, row: &[f32], step: Option<u32>, report: &mut CheckReport) {
    if let Some((expected, found)) = space.misfit(row) {
        report.add(Check::Observation, step, expected, format!("{found} in {row:?}"));
    }
}

/// The mask that is acted under next: given as always, with a legal choice in each component.
fn check_mask(
    space: &Space,
    mask: Option<Vec<bool>>,
    masks: bool,
    step: Option<u32>,
    report: &mut CheckReport,
) {
    if mask.is_some() != masks {
        let (expected, found) = if masks { ("a mask", "none") } else { ("no mask", "one") };
        let expected = format!("{expected}, as after the first reset");
        report.add(Check::ActionMask, step, expected, found.to_owned());
    }
    let Some(mask) = mask else { return };
    let mut rest = mask.as_slice();
    for (component, n) in space.choices().enumerate() {
        let (choices, others) = rest.split_at(n);
        rest = others;
        if !choices.contains(&true) {
            let expected = format!("a legal choice of component {component}");
            report.add(Check::ActionMask, step, expected, format!("the mask {choices:?}"));
        }
    }
}

/// Takes the same steps in another copy.
fn check_repetition<E: Env>(
    play: &mut Play<E>,
    actions: &[Actions],
    shown: &[Shown],
    report: &mut CheckReport,
) -> Result<(), Violation> {
    reset(play, Some(SEED))?;
    for (t, (action, expected)) in (0..).zip(actions.iter().zip(shown)) {
        let found = step(play, action.row(0), t)?;
        if !expected.equals(&found) {
            let expected = format!("{expected} as in the first copy");
            report.add(Check::StepDeterminism, Some(t), expected, found.to_string());
            break;
        }
    }
    Ok(())
}

/// How long the original and its copy are compared after each time that the copy has taken over.
const COMPARED: [u32; 9] = [3, 5, 8, 13, 21, 34, 55, 89, 144];

/// Saves again and again and continues both the original and the copy, over resets. In between the
/// copy takes a few steps and a reset of its own, another number each time, so that whatever is
/// counted but not saved differs when it takes over, whatever its period.
fn check_round_trip<E: Env>(
    original: &mut Play<E>,
    copy: &mut Play<E>,
    report: &mut CheckReport,
) -> Result<(), Violation> {
    let mut rng = NumpyRng::new(SEED);
    reset(original, Some(SEED))?;
    reset(copy, Some(SEED + 1))?;
    let action = original.draw(&mut rng);
    step(original, action.row(0), 0)?;
    let mut t = 1;
    for (round, compared) in (0..).zip(COMPARED) {
        let state = original.env.state().map_err(|error| Violation {
            check: Check::StateRoundTrip,
            step: Some(t),
            expected: "a state to save".to_owned(),
            found: error_text(&error),
        })?;
        if let Err(error) = copy.take_over(original, &state) {
            let expected = "the state of an equal copy to load".to_owned();
            report.add(Check::StateRoundTrip, Some(t), expected, format!("\"{error}\""));
            return Ok(());
        }
        for _ in 0..compared {
            let action = original.draw(&mut rng);
            let expected = step(original, action.row(0), t)?;
            // An error here is a difference too: the original took the same step.
            let found = copy.step(action.row(0));
            if !found.as_ref().is_ok_and(|found| found.equals(&expected)) {
                let found =
                    found.map_or_else(|error| error_text(&error), |found| found.to_string());
                report.add(Check::StateRoundTrip, Some(t), expected.to_string(), found);
                return Ok(());
            }
            t += 1;
        }
        if round % 2 == 1 {
            reset(original, None)?;
        }
        for _ in 0..=round {
            let action = copy.draw(&mut rng);
            step(copy, action.row(0), t)?;
        }
        reset(copy, None)?;
    }
    Ok(())
}

/// The second lane of a vector against a single environment of its seed.
fn check_vector<E: Env>(
    make: &mut impl FnMut() -> E,
    report: &mut CheckReport,
) -> Result<(), Violation> {
    let Ok(mut envs) = SyncVecEnv::new(vec![make(), make()]) else {
        let (expected, found) = ("equal specs from every copy", "specs that differ");
        report.add(Check::SingleEqualsVector, None, expected.into(), found.into());
        return Ok(());
    };
    let mut single = Play::new(make());
    let space = single.env.spec().action_space.clone();
    let (mut obs, mut rng) = (reset(&mut single, Some(SEED + 1))?, NumpyRng::new(SEED));
    // What a vector refuses, numbers that are not finite, is a promise of its own.
    if envs.reset(SEED).is_err() {
        return Ok(());
    }
    let (mut pair, width) = (Actions::zeros(&space, 2), space.mask_len());
    for t in 0..STEPS / 2 {
        let shown = &envs.obs()[obs.len()..];
        if bits(shown) != bits(&obs) {
            let (expected, found) = (format!("{obs:?}"), format!("{shown:?}"));
            report.add(Check::SingleEqualsVector, Some(t), expected, found);
            return Ok(());
        }
        let first_mask = envs.masks().get(..width).unwrap_or_default();
        pair.set_row(0, space.sample_legal(first_mask, &mut rng).row(0));
        pair.set_row(1, single.draw(&mut rng).row(0));
        let found = step(&mut single, pair.row(1), t)?;
        let Ok(batch) = envs.step(&pair) else { return Ok(()) };
        let lane = (batch.rewards[1], batch.terminated[1]);
        if lane != (found.step.reward, found.step.terminated) {
            let expected = format!("{}, {}", found.step.reward, found.step.terminated);
            report.add(
                Check::SingleEqualsVector,
                Some(t),
                expected,
                format!("{}, {}", lane.0, lane.1),
            );
            return Ok(());
        }
        obs = found.next_start.unwrap_or(found.obs);
    }
    Ok(())
}
