//! What can be wrong with a run file and with what it asks for.

use std::path::PathBuf;

use rlrun_agents::AgentError;
use rlrun_env::EnvError;
use rlrun_train::{CheckpointError, TrainError};
use thiserror::Error;

rlrun_core::debug_is_report!(ConfigError);

/// Why a run cannot be set up.
#[derive(Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The run file cannot be read: wrong syntax, unknown key, wrong type.
    #[error("{}{}", problem.to_string().trim_end(), hint.as_ref().map_or(String::new(), |hint| format!("\nhint: {hint}")))]
    Parse {
        /// What is wrong and where.
        problem: Box<toml::de::Error>,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// A value breaks a rule.
    #[error("`{key}` is `{value}`: {rule}")]
    Value {
        /// Key in the run file.
        key: &'static str,
        /// Value that was given.
        value: String,
        /// What was expected and what to do.
        rule: String,
    },
    /// An override cannot be applied or makes the run file invalid.
    #[error("override `{assignment}`: {reason}")]
    Override {
        /// The override as given.
        assignment: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings cannot be written as a run file.
    #[error("the settings of `{algorithm}` have no form in TOML")]
    Unwritable {
        /// Name of the algorithm.
        algorithm: String,
        /// Which part has none.
        source: Box<toml::ser::Error>,
    },
    /// The path is neither a run folder nor a step folder.
    #[error(
        "`{}` holds no checkpoint: expected a run folder (with `run.toml`) or a step folder of one \
         (with `manifest.toml`)", path.display()
    )]
    NoCheckpointAt {
        /// The path.
        path: PathBuf,
    },
    /// The agent's settings do not fit each other or the environment.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The environment cannot be made.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The training settings, the run folder or a checkpoint are not usable.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl From<CheckpointError> for ConfigError {
    fn from(error: CheckpointError) -> ConfigError {
        ConfigError::Train(TrainError::Checkpoint(error))
    }
}
