//! `check_env` passes a sound environment and names what is wrong with broken ones, one by one.
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use std::cell::Cell;

use rlrun_core::{NumpyRng, State, StateError};
use rlrun_env::{
    Action, BoxSpace, Check, Env, EnvError, EnvSpec, Space, Step, Violation, check_env,
};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    BoundsOutOfOrder,
    NoActions,
    SeedIgnored,
    SeedUsedOnce,
    HiddenRandomness,
    NanObservation,
    ComponentNotWritten,
    ObservationTooLarge,
    InfiniteReward,
    NeverEnds,
    GeneratorNotSaved,
    PositionNotSaved,
    StateNotLoadable,
    SharedBetweenLanes,
    StepsBeforeReset,
    AcceptsAnyAction,
    RefusesLastAction,
    NanReward,
    RewardTooLarge,
    BoundsOfUnequalLength,
    NoSteps,
    ResetFails,
    CannotBeSaved,
    NoLegalAction,
    MaskNowAndThen,
    /// A hidden counter of this period pays a bonus; it counts on from episode to episode.
    Period(u32),
    /// The same, begun again with every episode.
    PeriodOfEpisode(u32),
    /// Episodes are counted and every second one pays more.
    EpisodesNotSaved,
}

thread_local! {
    /// What two copies of a badly written environment share.
    static SHARED: Cell<u64> = const { Cell::new(0) };
}

/// A random walk on 0..=10 that ends at its borders.
struct Walk {
    fault: Fault,
    spec: EnvSpec,
    position: f64,
    rng: NumpyRng,
    started: bool,
    resets: u32,
    counter: u32,
}

impl Walk {
    fn new(fault: Fault) -> Walk {
        let low = if fault == Fault::BoundsOutOfOrder { 11.0 } else { 0.0 };
        let mut bounds = BoxSpace::new([low, -1.0], [10.0, 1.0]);
        if fault == Fault::BoundsOfUnequalLength {
            bounds.high.push(1.0);
        }
        let observations = Space::Box(bounds);
        let actions = Space::Discrete(if fault == Fault::NoActions { 0 } else { 2 });
        let mut spec = EnvSpec::new("Walk", observations, actions);
        spec.max_episode_steps = match fault {
            Fault::NeverEnds => None,
            Fault::NoSteps => Some(0),
            _ => Some(200),
        };
        let rng = NumpyRng::new(0);
        Walk { fault, spec, position: 5.0, rng, started: false, resets: 0, counter: 0 }
    }

    fn write(&self, obs: &mut [f32]) {
        obs[0] = match self.fault {
            Fault::NanObservation => f32::NAN,
            Fault::ObservationTooLarge if self.position > 5.5 => 10.5,
            _ => self.position as f32,
        };
        if self.fault != Fault::ComponentNotWritten {
            obs[1] = 0.0;
        }
    }

    fn count_shared() -> f64 {
        SHARED.set(SHARED.get() + 1);
        SHARED.get() as f64
    }
}

impl Env for Walk {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        let used = self.fault != Fault::SeedUsedOnce || self.resets == 0;
        if let Some(seed) = seed.filter(|_| used) {
            self.rng = NumpyRng::new(seed);
        }
        self.position = 4.0 + 2.0 * self.rng.random();
        if self.fault == Fault::SeedIgnored {
            self.position = 4.0 + Walk::count_shared() % 7.0 / 7.0;
        }
        (self.started, self.resets) = (true, self.resets + 1);
        if matches!(self.fault, Fault::PeriodOfEpisode(_)) {
            self.counter = 0;
        }
        self.write(obs);
        if self.fault == Fault::ResetFails && self.resets > 1 {
            return Err(EnvError::External { id: self.spec.id.clone(), reason: "gone".to_owned() });
        }
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        if !self.started && self.fault != Fault::StepsBeforeReset {
            return Err(EnvError::StepBeforeReset { id: self.spec.id.clone() });
        }
        if self.fault != Fault::AcceptsAnyAction {
            self.spec.check_action(action)?;
        }
        if self.fault == Fault::RefusesLastAction && action == Action::Discrete(1) {
            let (action, expected) = (action.to_string(), "nothing".to_owned());
            return Err(EnvError::Action { id: self.spec.id.clone(), action, expected });
        }
        let drift = if action == Action::Discrete(1) { 0.1 } else { -0.1 };
        self.position += drift + self.rng.uniform(-0.3, 0.3);
        match self.fault {
            Fault::HiddenRandomness => self.position += Walk::count_shared() % 3.0 * 1e-3,
            Fault::NeverEnds => self.position = self.position.clamp(1.0, 9.0),
            _ => {}
        }
        let terminated = !(0.5..=9.5).contains(&self.position);
        self.position = self.position.clamp(0.0, 10.0);
        self.write(obs);
        let shared = self.fault == Fault::SharedBetweenLanes;
        self.counter += 1;
        let reward = match self.fault {
            Fault::NanReward if self.position > 6.0 => f64::NAN,
            Fault::RewardTooLarge if self.position > 6.0 => 1e300,
            Fault::Period(n) | Fault::PeriodOfEpisode(n) if self.counter.is_multiple_of(n) => 2.0,
            Fault::EpisodesNotSaved => 1.0 + f64::from(self.resets % 2),
            Fault::InfiniteReward if self.position > 6.0 => f64::INFINITY,
            _ if shared => self.spec.id.len() as f64 + LANES.with(Cell::get) as f64,
            _ => 1.0,
        };
        Ok(Step::new(reward, terminated))
    }

    fn action_mask(&self, mask: &mut [bool]) -> bool {
        match self.fault {
            Fault::NoLegalAction => mask.fill(self.position < 6.0),
            Fault::MaskNowAndThen => return self.position < 6.0,
            _ => return false,
        }
        true
    }

    fn state(&self) -> Result<State, EnvError> {
        if self.fault == Fault::CannotBeSaved {
            let (id, reason) = (self.spec.id.clone(), "a simulator holds it".to_owned());
            return Err(EnvError::NotSaveable { id, reason });
        }
        let mut state = State::new();
        if self.fault != Fault::PositionNotSaved {
            state.insert_f64("position", [self.position]);
        }
        if self.fault != Fault::GeneratorNotSaved {
            state.insert_child("rng", self.rng.state());
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        if self.fault == Fault::StateNotLoadable {
            state.f64("velocity")?;
        }
        if self.fault != Fault::PositionNotSaved {
            self.position = state.f64("position")?[0];
        }
        if self.fault != Fault::GeneratorNotSaved {
            self.rng.load_state(&state.child("rng"))?;
        }
        Ok(())
    }
}

thread_local! {
    /// How many copies of a walk there are.
    static LANES: Cell<u64> = const { Cell::new(0) };
}

fn violations(fault: Fault) -> Vec<Violation> {
    SHARED.set(0);
    LANES.set(0);
    let report = check_env(|| {
        LANES.set(LANES.get() + 1);
        Walk::new(fault)
    });
    report.violations
}

#[test]
fn a_sound_environment_keeps_every_promise() {
    let report = check_env(|| Walk::new(Fault::Nothing));
    assert_eq!(report.violations, []);
    assert_eq!(report.to_string(), "`Walk` keeps every promise (1000 steps)");
}

#[test]
fn every_broken_environment_is_caught_by_the_promise_it_breaks() {
    for (fault, check) in [
        (Fault::BoundsOutOfOrder, Check::Spaces),
        (Fault::NoActions, Check::Spaces),
        (Fault::SeedIgnored, Check::ResetDeterminism),
        (Fault::SeedUsedOnce, Check::ResetDeterminism),
        (Fault::HiddenRandomness, Check::StepDeterminism),
        (Fault::NanObservation, Check::Observation),
        (Fault::ComponentNotWritten, Check::Observation),
        (Fault::ObservationTooLarge, Check::Observation),
        (Fault::InfiniteReward, Check::Reward),
        (Fault::NeverEnds, Check::EndOfEpisode),
        (Fault::GeneratorNotSaved, Check::StateRoundTrip),
        (Fault::PositionNotSaved, Check::StateRoundTrip),
        (Fault::StateNotLoadable, Check::StateRoundTrip),
        (Fault::StepsBeforeReset, Check::StepBeforeReset),
        (Fault::AcceptsAnyAction, Check::InvalidAction),
        (Fault::RefusesLastAction, Check::ValidAction),
        (Fault::NanReward, Check::Reward),
        (Fault::RewardTooLarge, Check::Reward),
        (Fault::BoundsOfUnequalLength, Check::Spaces),
        (Fault::NoSteps, Check::Spaces),
        (Fault::ResetFails, Check::Reset),
        (Fault::CannotBeSaved, Check::StateRoundTrip),
        (Fault::NoLegalAction, Check::ActionMask),
        (Fault::MaskNowAndThen, Check::ActionMask),
        (Fault::EpisodesNotSaved, Check::StateRoundTrip),
    ] {
        let found = violations(fault);
        assert!(found.iter().any(|violation| violation.check == check), "{fault:?}: {found:?}");
    }
}

#[test]
fn copies_that_share_something_are_caught() {
    let found = violations(Fault::SharedBetweenLanes);
    assert!(!found.is_empty());
}

#[test]
fn a_violation_names_step_expected_and_found() {
    let found = violations(Fault::RefusesLastAction);
    let text = found.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("valid action (step "), "{text}");
    assert!(text.contains("expected a step with `1`, found the error"), "{text}");
    let [violation] = &violations(Fault::NeverEnds)[..] else { panic!("one violation") };
    assert_eq!(
        violation.to_string(),
        "end of episode: expected an end within 1000 steps, or `max_episode_steps`, \
         found an episode without end"
    );
}

#[test]
fn a_counter_that_is_not_saved_is_caught_whatever_its_period() {
    for period in 2..=60 {
        for fault in [Fault::Period(period), Fault::PeriodOfEpisode(period)] {
            let found = violations(fault);
            let caught = |violation: &Violation| violation.check == Check::StateRoundTrip;
            assert!(found.iter().any(caught), "{fault:?}: {found:?}");
        }
    }
}

#[test]
fn a_reward_that_is_not_a_number_is_called_so_and_nothing_else_is() {
    let report = check_env(|| Walk::new(Fault::NanReward));
    let text = report.to_string();
    assert!(text.starts_with("`Walk` breaks 1 promise\n  reward (step "), "{text}");
    assert!(text.ends_with("expected a number that is finite, as `f32` too, found NaN"), "{text}");
}

#[test]
fn an_observation_outside_its_box_is_named_by_component_and_bounds() {
    let [violation] = &violations(Fault::ObservationTooLarge)[..] else { panic!("one violation") };
    let text = violation.to_string();
    let expected = "expected component 0 between 0 and 10, found 10.5 in [10.5, 0.0]";
    assert!(text.starts_with("observation (step ") && text.ends_with(expected), "{text}");
}
