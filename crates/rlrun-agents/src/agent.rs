//! What an agent is: it acts, observes and learns, and all of it can be saved.

use std::fmt::Display;
use std::sync::Mutex;

use documented::DocumentedFields;
use rlrun_core::{State, StateError};
use rlrun_env::{Actions, BoxSpace, EnvSpec, Observations, Space, StepBatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::encoder::Encoder;
use crate::policy::Locked;
use crate::{Metrics, NormalizeConfig, Policy};

/// A learning agent. The trainer calls `act`, steps the environments, then `observe`, then
/// `update`.
pub trait Agent: Send {
    /// Chooses one action per row of `seen`, exploring, and writes them into `actions`, whose
    /// buffers are reused.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if the policy computed NaN or infinity.
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError>;

    /// Remembers one vector step.
    ///
    /// # Errors
    /// [`AgentError`] if the agent cannot learn from it.
    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError>;

    /// Learns if enough has been observed; `None` if not.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if a loss or a gradient is NaN or infinite. The parameters are
    /// then those of before the step that went wrong; training must stop.
    fn update(&mut self) -> Result<Option<Metrics>, AgentError>;

    /// Numbers to log whether or not anything was learnt, such as `rollout/exploration_rate`.
    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    /// What has been learnt, without exploration.
    fn policy(&self) -> &dyn Policy;

    /// What has been learnt, to be loaded.
    fn policy_mut(&mut self) -> &mut dyn Policy;

    /// The discounted return expected from each row of `seen`, in the environment's own rewards;
    /// `None` if the agent has no estimate.
    fn values(&self, seen: &Observations<'_>) -> Option<Vec<f32>> {
        self.policy().values(seen, &self.policy().memory(seen.len()))
    }

    /// What has been learnt, without the rest of the agent. Callers of the policy of an agent that
    /// does not say how wait for each other.
    fn into_policy(self: Box<Self>) -> Box<dyn Policy>
    where
        Self: 'static,
    {
        Box::new(Locked(Mutex::new(self)))
    }

    /// Everything needed to continue beside the policy: optimizer, buffers, random streams,
    /// counters.
    fn state(&self) -> State;

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

/// One vector step as an agent sees it. Plain numbers: neither a graph nor an inference tensor can
/// reach a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// What was acted on.
    pub seen: Observations<'a>,
    /// What was done.
    pub actions: &'a Actions,
    /// What came of it.
    pub step: &'a StepBatch,
}

/// What an agent is built for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AgentContext<'a> {
    /// Spaces and limits of the environment.
    pub spec: &'a EnvSpec,
    /// Environments that step together.
    pub n_envs: usize,
    /// Budget in environment steps; schedules run over it.
    pub total_timesteps: u64,
    /// Seed of every random stream.
    pub seed: u64,
    /// Normalisation of observations and rewards; off unless asked for.
    pub normalize: NormalizeConfig,
}

impl<'a> AgentContext<'a> {
    /// For `n_envs` environments like `spec` and a run of `total_timesteps` with `seed`.
    pub fn new(
        spec: &'a EnvSpec,
        n_envs: usize,
        total_timesteps: u64,
        seed: u64,
    ) -> AgentContext<'a> {
        let normalize = NormalizeConfig::default();
        AgentContext { spec, n_envs, total_timesteps, seed, normalize }
    }

    /// With normalisation.
    pub fn with_normalize(self, normalize: NormalizeConfig) -> AgentContext<'a> {
        AgentContext { normalize, ..self }
    }

    /// How many numbers a network is fed for an observation; 0 if it cannot be encoded.
    pub fn features(&self) -> usize {
        Encoder::of(&self.spec.observation_space).map_or(0, |encoder| encoder.width())
    }

    /// The number of choices of a discrete action space, which `algorithm` needs.
    ///
    /// # Errors
    /// [`AgentError::ActionSpace`] for another one.
    pub fn discrete_actions(&self, algorithm: &'static str) -> Result<usize, AgentError> {
        match &self.spec.action_space {
            Space::Discrete(n) => Ok(*n),
            _ => Err(self.unfit(algorithm, "a Discrete action space; `ppo` and `a2c` take any")),
        }
    }

    /// The action space, a box with finite bounds, which `algorithm` needs.
    ///
    /// # Errors
    /// [`AgentError::ActionSpace`] for another one.
    pub fn bounded_box(&self, algorithm: &'static str) -> Result<&'a BoxSpace, AgentError> {
        match &self.spec.action_space {
            Space::Box(bounds)
                if bounds.low.iter().chain(&bounds.high).all(|bound| bound.is_finite()) =>
            {
                Ok(bounds)
            }
            _ => Err(self.unfit(algorithm, "a Box with finite bounds; `ppo` and `a2c` take any")),
        }
    }

    /// That `algorithm` needs another action space.
    pub fn unfit(&self, algorithm: &'static str, needed: impl Into<String>) -> AgentError {
        let (env, found) = (self.spec.id.clone(), self.spec.action_space.to_string());
        AgentError::ActionSpace { algorithm, env, found, needed: needed.into() }
    }
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
    /// Whether the agent normalises what it sees if [`AgentContext::normalize`] asks for it; if
    /// not, a run file that asks is refused.
    const NORMALIZES: bool = false;

    /// Checks the settings and builds the agent.
    ///
    /// # Errors
    /// [`AgentError`] naming the field, its value and the rule it breaks.
    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError>;
}

/// Why an agent cannot be built or cannot go on learning.
#[derive(Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Anything that went wrong in an agent of your own, so that `?` works there.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
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
    /// The run file asks for a normalisation that the algorithm does not have.
    #[error(
        "`{algorithm}` does not normalise what it sees: set `normalize.obs` and `normalize.reward` \
         to false, or let its settings say `NORMALIZES` and its agent use a `Normalizer`"
    )]
    NoNormalization {
        /// Algorithm.
        algorithm: String,
    },
    /// A policy was shown what is no observation of its environment.
    #[error("a policy was shown {found}, expected {expected}")]
    Observation {
        /// What was given.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// No network takes such observations.
    #[error(
        "observations are {found}: no network takes them; use a Box, Discrete, MultiDiscrete or MultiBinary space"
    )]
    ObservationSpace {
        /// The space, written out.
        found: String,
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
    /// A layer evaluated where it should have trained.
    #[error(transparent)]
    Untrained(#[from] rlrun_nn::UntrainedLayer),
    /// A number that acting or learning depends on is NaN or infinite.
    #[error(
        "{quantity} is `{value}`{}: {advice}",
        update.map_or(String::new(), |update| format!(" in update {update}"))
    )]
    NonFinite {
        /// What is not finite.
        quantity: String,
        /// Its value.
        value: f64,
        /// Gradient steps before this one; `None` while acting.
        update: Option<u64>,
        /// What to look at.
        advice: &'static str,
    },
}

rlrun_core::debug_is_report!(AgentError);

impl From<std::io::Error> for AgentError {
    fn from(error: std::io::Error) -> AgentError {
        AgentError::Other(error.into())
    }
}

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
    /// number of gradient steps so far; `parameter` is one whose gradient is not finite.
    ///
    /// # Errors
    /// If one of them is NaN or infinite.
    pub fn check_finite(
        loss: f64,
        gradient_norm: f32,
        parameter: Option<&str>,
        update: u64,
    ) -> Result<(), AgentError> {
        let (quantity, value) = match parameter {
            _ if !loss.is_finite() => ("the loss".to_owned(), loss),
            _ if gradient_norm.is_finite() => return Ok(()),
            Some(name) => (format!("the gradient of `{name}`"), f64::from(gradient_norm)),
            None => ("the gradient norm".to_owned(), f64::from(gradient_norm)),
        };
        let advice = "see that the environment's observations and rewards are of moderate size, \
                      or lower `agent.learning_rate`";
        Err(AgentError::NonFinite { quantity, value, update: Some(update), advice })
    }

    /// That the policy computed `value` for `row` of what it saw.
    pub(crate) fn not_finite_output(row: usize, value: f32) -> AgentError {
        let advice = "its parameters have diverged, or the observation is far outside of what it \
                      learnt on: lower `agent.learning_rate`, or go back to an earlier checkpoint";
        let quantity = format!("what the policy computed for row {row}");
        AgentError::NonFinite { quantity, value: value.into(), update: None, advice }
    }
}
