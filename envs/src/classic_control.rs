//! The classic-control tasks, and what they have in common.

mod acrobot;
mod batched;
mod cartpole;
mod lanes;
mod libm;
mod mountain_car;
mod mountain_car_continuous;
mod pendulum;
mod single;

use rlrun_core::NumpyRng;
use rlrun_env::{Action, Space, Step};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use acrobot::{Acrobot, AcrobotArgs, BookOrNips};
pub use batched::{BatchedVecEnv, BlockStep};
pub use cartpole::{CartPole, CartPoleArgs, Integrator};
pub use lanes::{LANES, Lanes};
pub use mountain_car::{MountainCar, MountainCarArgs};
pub use mountain_car_continuous::{MountainCarContinuous, MountainCarContinuousArgs};
pub use pendulum::{Pendulum, PendulumArgs, PendulumReset};
pub use single::ClassicEnv;

/// The equations of one task. Seeding, checks, saving and time limits are [`ClassicEnv`]'s.
pub trait Task: Clone + Send + Sync + Sized + 'static {
    /// The page of its documentation, in Markdown.
    const PAGE: &'static str;

    /// Constructor arguments: Gymnasium's, the physical constants and the reset options.
    type Args: Clone + Default + Serialize + DeserializeOwned;

    /// An array of `f64`: everything that changes from step to step.
    type State: Copy + Default + Send + AsRef<[f64]> + AsMut<[f64]>;

    /// The states of [`LANES`] environments: an array of one [`Lanes`] for each number of a state.
    type Block: Copy + Default + Send + AsRef<[Lanes]> + AsMut<[Lanes]>;

    /// A task with these arguments.
    ///
    /// # Errors
    /// What is wrong with an argument.
    fn new(args: Self::Args) -> Result<Self, String>;

    /// The arguments it was made with.
    fn args(&self) -> &Self::Args;

    /// Observation space and action space.
    fn spaces(&self) -> (Space, Space);

    /// Draws a first state.
    fn reset(&self, rng: &mut NumpyRng) -> Self::State;

    /// Advances `state`; `action` is in the action space, except for the bounds of a box.
    fn step(&self, state: &mut Self::State, action: Action<'_>) -> Step;

    /// Writes the observation of `state`.
    fn observe(&self, state: &Self::State, obs: &mut [f32]);

    /// [`Task::step`] and [`Task::observe`] for [`LANES`] environments at once, to the bit the
    /// same; `actions` are choices or forces as numbers.
    fn step_block(&self, block: &mut Self::Block, actions: &Lanes, out: &mut BlockStep);
}

/// Bounds of the first state, Gymnasium's `reset(options={"low": …, "high": …})`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResetBounds {
    /// Smallest value; the task's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Largest value; the task's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

impl ResetBounds {
    /// The bounds, with the task's own where none is given.
    fn resolve(self, low: f64, high: f64) -> Result<(f64, f64), String> {
        let (low, high) = (self.low.unwrap_or(low), self.high.unwrap_or(high));
        if low <= high && low.is_finite() && high.is_finite() {
            return Ok((low, high));
        }
        Err(format!("`reset.low = {low}` is not below `reset.high = {high}`"))
    }
}

/// Refuses numbers that are not finite and greater than zero.
fn check_positive(args: &[(&str, f64)]) -> Result<(), String> {
    match args.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
        None => Ok(()),
        Some((name, value)) => Err(format!("`{name} = {value}` is not a number above 0")),
    }
}

/// Refuses numbers that are not finite.
fn check_finite(args: &[(&str, f64)]) -> Result<(), String> {
    match args.iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((name, value)) => Err(format!("`{name} = {value}` is not a finite number")),
    }
}

/// The choice of a discrete action that has been checked.
fn choice(action: Action<'_>) -> usize {
    match action {
        Action::Discrete(choice) => choice,
        _ => 0,
    }
}

/// The number of a one-dimensional action that has been checked.
fn force_of(action: Action<'_>) -> f32 {
    match action {
        Action::Continuous(&[force]) => force,
        _ => 0.0,
    }
}
