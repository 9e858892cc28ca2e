//! What goes wrong with environments.

use std::{error, io};

use thiserror::Error;

rlrun_core::debug_is_report!(EnvError);

/// Why an environment cannot do what it was asked.
#[derive(Error)]
#[non_exhaustive]
pub enum EnvError {
    /// `step` before the first `reset`.
    #[error("`{id}` was stepped before its first reset; call reset first")]
    StepBeforeReset {
        /// Environment.
        id: String,
    },
    /// The action is not in the action space.
    #[error("`{id}` got the action `{action}`, expected an element of `{expected}`")]
    Action {
        /// Environment.
        id: String,
        /// The action, written out.
        action: String,
        /// The space, written out.
        expected: String,
    },
    /// Not one action per environment.
    #[error("`{id}` got {found} actions for {expected} environments")]
    ActionCount {
        /// Environment.
        id: String,
        /// Actions given.
        found: usize,
        /// Environments.
        expected: usize,
    },
    /// A vector environment of nothing.
    #[error("a vector environment needs at least one environment, got `n_envs = 0`")]
    NoEnvs,
    /// A vector environment of different environments.
    #[error("environment {lane} (`{found}`) has another spec than environment 0 (`{expected}`)")]
    SpecsDiffer {
        /// Index of the first that differs.
        lane: usize,
        /// Id of environment 0.
        expected: String,
        /// Id of the one that differs.
        found: String,
    },
    /// No environment of that name.
    #[error("there is no environment `{id}`; nearest names: {nearest}")]
    UnknownId {
        /// What was asked for.
        id: String,
        /// The nearest names, separated by commas, each in backticks.
        nearest: String,
    },
    /// The environment does not take these arguments.
    #[error("arguments of `{id}`: {reason}")]
    Args {
        /// Environment.
        id: String,
        /// Which argument, what is wrong with it, what is expected.
        reason: String,
    },
    /// A space or the limit cannot be.
    #[error("spec of `{id}`: {reason}")]
    Spec {
        /// Environment.
        id: String,
        /// Which space and component, what is wrong with it, what is expected.
        reason: String,
    },
    /// An environment gave a number that is not finite, or too large for `f32`.
    #[error(
        "`{id}` gave `{value}` as {what}, environment {lane}, step {step} of its episode; observations and \
         rewards are finite numbers"
    )]
    NonFinite {
        /// Environment.
        id: String,
        /// Which of the environments that step together.
        lane: usize,
        /// Steps of its episode, this one included; 0: the reset.
        step: u32,
        /// `"observation component 3"` or `"reward"`.
        what: String,
        /// The number.
        value: f64,
    },
    /// An environment's mask leaves no action.
    #[error(
        "`{id}` masks every choice of action component {component}, environment {lane}, step {step} of \
         its episode; terminate the episode where nothing can be done"
    )]
    NoLegalAction {
        /// Environment.
        id: String,
        /// Which of the environments that step together.
        lane: usize,
        /// Steps of its episode so far; 0: the reset.
        step: u32,
        /// Component of the action, 0 if there is only one.
        component: usize,
    },
    /// The mask forbids the action.
    #[error("`{id}` got the action `{action}`, which the mask of environment {lane} forbids")]
    MaskedAction {
        /// Environment.
        id: String,
        /// Which of the environments that step together.
        lane: usize,
        /// The action, written out.
        action: String,
    },
    /// The environment cannot be saved, so that a run on it cannot be resumed exactly.
    #[error("`{id}` cannot be saved: {reason}; a run on it cannot be resumed where it stopped")]
    NotSaveable {
        /// Environment.
        id: String,
        /// Why.
        reason: String,
    },
    /// What an environment is made of (a simulator, another process) fails.
    #[error("`{id}` failed: {reason}")]
    External {
        /// Environment.
        id: String,
        /// What happened.
        reason: String,
    },
    /// One of the environments that step together failed with an error of its own.
    #[error("`{id}` failed, environment {lane}, step {step} of its episode: {source}")]
    Failed {
        /// Environment.
        id: String,
        /// Which of the environments that step together.
        lane: usize,
        /// Steps of its episode, this one included; 0: the reset.
        step: u32,
        /// What happened.
        source: BoxError,
    },
    /// Any other error of an environment, so that `?` works in its methods.
    #[error(transparent)]
    Other(#[from] BoxError),
}

/// Any error.
type BoxError = Box<dyn error::Error + Send + Sync>;

impl EnvError {
    /// An error of your own type: `.map_err(EnvError::other)?`.
    pub fn other(error: impl Into<BoxError>) -> EnvError {
        EnvError::Other(error.into())
    }
}

impl From<io::Error> for EnvError {
    fn from(error: io::Error) -> EnvError {
        EnvError::Other(error.into())
    }
}
