//! One environment.

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

/// One action.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// A choice of a discrete space.
    Discrete(usize),
    /// A vector of a box space.
    Continuous(&'a [f32]),
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
    #[error("`{id}` got the action {action}, expected {expected}")]
    Action {
        /// Environment.
        id: String,
        /// The action, written out.
        action: String,
        /// The space, written out.
        expected: String,
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
