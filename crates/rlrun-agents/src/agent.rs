//! What an agent is: it acts, observes and learns, and all of it can be saved.

use std::fmt::Display;

use documented::DocumentedFields;
use rlrun_core::{Rng, State, StateError};
use rlrun_env::{Actions, EnvSpec, StepBatch};
use rlrun_tensor::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::Metrics;

/// A learning agent. The trainer calls `act` (in inference mode), steps the environments, then
/// `observe`, then `update`.
pub trait Agent: Send {
    /// Chooses one action per row of `obs` `[n_envs, obs_dim]`, exploring, and writes them into
    /// `actions`, whose buffers are reused.
    fn act(&mut self, obs: &Tensor, actions: &mut Actions);

    /// Remembers one vector step.
    fn observe(&mut self, transition: &Transition<'_>);

    /// Learns if enough has been observed; `None` if not.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if a loss or a gradient is NaN or infinite. The parameters are
    /// then those of before the step that went wrong; training must stop.
    fn update(&mut self) -> Result<Option<Metrics>, AgentError>;

    /// What has been learnt, without exploration.
    fn policy(&self) -> &dyn Policy;

    /// Everything needed to continue: parameters, optimizer, buffers, random streams, counters.
    fn state(&self) -> State;

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

/// A rule that maps observations to actions.
pub trait Policy: Send {
    /// One action per row of `obs` `[n, obs_dim]`, written into `actions`: the policy's best
    /// without `rng`, a draw from the policy with it.
    fn act(&self, obs: &Tensor, rng: Option<&mut Rng>, actions: &mut Actions);

    /// The discounted return expected from each row of `obs` `[n, obs_dim]`, `[n]`; `None` if the
    /// policy has no estimate.
    fn values(&self, _obs: &Tensor) -> Option<Vec<f32>> {
        None
    }
}

/// One vector step as an agent sees it. Plain numbers: neither a graph nor an inference tensor can
/// reach a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// What was acted on, `[n_envs, obs_dim]`.
    pub obs: &'a [f32],
    /// What was done.
    pub actions: &'a Actions,
    /// What came of it.
    pub step: &'a StepBatch,
}

/// What an agent is built for.
#[derive(Clone, Copy, Debug)]
pub struct AgentContext<'a> {
    /// Spaces and limits of the environment.
    pub spec: &'a EnvSpec,
    /// Environments that step together.
    pub n_envs: usize,
    /// Budget in environment steps; schedules run over it.
    pub total_timesteps: u64,
    /// Seed of every random stream.
    pub seed: u64,
}

/// The settings of an algorithm: the `[agent]` table of a run file.
///
/// A plain struct with a `Default` and these attributes; the first line of each field's
/// documentation is what `rlrun config <algorithm>` prints beside its default.
///
/// ```
/// use documented::DocumentedFields;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Debug, Serialize, Deserialize, DocumentedFields)]
/// #[serde(deny_unknown_fields, default)]
/// pub struct BanditConfig {
///     /// Step size α of the running mean.
///     pub learning_rate: f32,
/// }
///
/// impl Default for BanditConfig {
///     fn default() -> BanditConfig {
///         BanditConfig { learning_rate: 0.1 }
///     }
/// }
/// ```
pub trait AgentConfig: Serialize + DeserializeOwned + Default + DocumentedFields + 'static {
    /// Checks the settings and builds the agent.
    ///
    /// # Errors
    /// [`AgentError`] naming the field, its value and the rule it breaks.
    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError>;
}

/// Why an agent cannot be built or cannot go on learning.
#[derive(Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum AgentError {
    /// A setting breaks a rule.
    #[error("`agent.{field}` is `{value}`: {rule}")]
    Config {
        /// Key in the `[agent]` table.
        field: &'static str,
        /// Value that was given.
        value: String,
        /// What was expected and what to do.
        rule: String,
    },
    /// A setting of the normalisation breaks a rule.
    #[error("`normalize.{field}` is `{value}`: {rule}")]
    Normalize {
        /// Key in the `[normalize]` table.
        field: &'static str,
        /// Value that was given.
        value: f64,
        /// What was expected.
        rule: &'static str,
    },
    /// The algorithm does not fit the action space.
    #[error("`{algorithm}` cannot act in `{env}`, whose actions are {found}: it needs {needed}")]
    ActionSpace {
        /// Algorithm.
        algorithm: &'static str,
        /// Environment.
        env: String,
        /// Its action space, written out.
        found: String,
        /// What the algorithm needs, and which algorithms fit.
        needed: String,
    },
    /// A number that learning depends on is NaN or infinite.
    #[error("{quantity} is `{value}` in update {update}: {advice}")]
    NonFinite {
        /// What is not finite.
        quantity: String,
        /// Its value.
        value: f64,
        /// Gradient steps before this one.
        update: u64,
        /// What to look at.
        advice: &'static str,
    },
}

rlrun_core::debug_is_report!(AgentError);

impl AgentError {
    /// `Ok` if `holds`, else [`AgentError::Config`] with the `rule` that `value` of `field` breaks.
    ///
    /// # Errors
    /// If `holds` is false.
    pub fn require(
        holds: bool,
        field: &'static str,
        value: impl Display,
        rule: impl Into<String>,
    ) -> Result<(), AgentError> {
        if holds {
            return Ok(());
        }
        Err(AgentError::Config { field, value: value.to_string(), rule: rule.into() })
    }

    /// `Ok` if loss and gradient norm are finite, else [`AgentError::NonFinite`] for `update`, the
    /// number of gradient steps so far.
    ///
    /// # Errors
    /// If one of them is NaN or infinite.
    pub fn check_finite(loss: f64, gradient_norm: f32, update: u64) -> Result<(), AgentError> {
        let numbers = [("the loss", loss), ("the gradient norm", f64::from(gradient_norm))];
        let Some((quantity, value)) = numbers.into_iter().find(|(_, value)| !value.is_finite())
        else {
            return Ok(());
        };
        let advice = "see that the environment's observations and rewards are finite and of \
                      moderate size, or lower `agent.learning_rate`";
        Err(AgentError::NonFinite { quantity: quantity.to_owned(), value, update, advice })
    }
}
