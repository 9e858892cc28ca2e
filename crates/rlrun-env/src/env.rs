//! One environment.

use std::fmt;

use rlrun_core::{State, StateError};
use thiserror::Error;

use crate::Space;

/// What is fixed about an environment.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvSpec {
    /// Gymnasium's name, `"CartPole-v1"`.
    pub id: String,
    /// What `reset` and `step` write.
    pub observation_space: Space,
    /// What `step` takes.
    pub action_space: Space,
    /// Steps after which the vector environment truncates the episode; `None`: never.
    pub max_episode_steps: Option<u32>,
    /// Mean return from which the task counts as solved, if one is agreed.
    pub reward_threshold: Option<f64>,
}

impl EnvSpec {
    /// The spec that all of `envs` share.
    ///
    /// # Errors
    /// [`EnvError::NoEnvs`] if there is none, [`EnvError::SpecsDiffer`] if two specs differ.
    pub fn shared<E: Env>(envs: &[E]) -> Result<EnvSpec, EnvError> {
        let spec = envs.first().ok_or(EnvError::NoEnvs)?.spec();
        match envs.iter().position(|env| env.spec() != spec) {
            None => Ok(spec.clone()),
            Some(lane) => Err(EnvError::SpecsDiffer {
                lane,
                expected: spec.id.clone(),
                found: envs[lane].spec().id.clone(),
            }),
        }
    }

    /// Checks kind and size of `action`, choices against the space, and numbers for NaN. The
    /// bounds of a box are left to the environment, which clips or refuses.
    ///
    /// # Errors
    /// [`EnvError::Action`] with the action and the space written out.
    pub fn check_action(&self, action: Action<'_>) -> Result<(), EnvError> {
        let fits = match (&self.action_space, action) {
            (Space::Box(space), Action::Continuous(values)) => {
                values.len() == space.low.len() && !values.iter().any(|value| value.is_nan())
            }
            (space, action) => space.contains(action),
        };
        if fits {
            return Ok(());
        }
        Err(EnvError::Action {
            id: self.id.clone(),
            action: action.to_string(),
            expected: self.action_space.to_string(),
        })
    }
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// A choice of a discrete space.
    Discrete(usize),
    /// A vector of a box space.
    Continuous(&'a [f32]),
    /// Choices of a multi-discrete space, or the flags of a multi-binary one.
    MultiDiscrete(&'a [usize]),
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Discrete(choice) => write!(f, "{choice}"),
            Action::Continuous(values) => write!(f, "{values:?}"),
            Action::MultiDiscrete(choices) => write!(f, "choices {choices:?}"),
        }
    }
}

/// What one step returns beside the observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Reward of this step.
    pub reward: f64,
    /// Whether the task itself ended the episode. A time limit is not a termination.
    pub terminated: bool,
}

/// Why an environment cannot do what it was asked.
#[derive(Debug, Error, Clone, PartialEq)]
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
}

/// An environment. It knows `terminated` only: the time limit is applied by the vector environment.
pub trait Env: Send {
    /// Id, spaces, limit and threshold.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode and writes its first observation into `obs` (`observation_space.dim()`
    /// numbers). `Some(seed)` makes a new generator, `None` goes on with the old one.
    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]);

    /// Takes one step and writes the successor observation into `obs`.
    ///
    /// # Errors
    /// [`EnvError`] if there was no reset yet or the action is not in the action space.
    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError>;

    /// Everything needed to go on mid-episode, the generator included.
    fn state(&self) -> State;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

impl<E: Env + ?Sized> Env for Box<E> {
    fn spec(&self) -> &EnvSpec {
        (**self).spec()
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) {
        (**self).reset(seed, obs);
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        (**self).step(action, obs)
    }

    fn state(&self) -> State {
        (**self).state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        (**self).load_state(state)
    }
}
