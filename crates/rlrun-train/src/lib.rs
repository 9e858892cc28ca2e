//! Training, evaluation, checkpoints and logs, for any agent on any environment.
//!
//! This crate knows neither a concrete algorithm nor a concrete environment, and it is the only one
//! that touches files.

mod check_agent;
mod checkpoint;
mod config;
pub mod disk;
mod episodes;
mod error;
mod evaluate;
mod fsck;
pub mod logger;
mod manifest;
mod mode_trace;
mod policy_file;
mod recovery;
mod run_dir;
mod seeds;
mod statistics;
mod stopwatch;
mod trainer;

pub use check_agent::{AgentCheck, AgentReport, AgentViolation, check_agent};
pub use checkpoint::Checkpoint;
pub use config::TrainConfig;
pub use error::{CheckpointError, TrainError};
pub use evaluate::{Evaluation, ScoredEvaluation, evaluate, evaluate_stochastic};
pub use fsck::RunCheck;
pub use logger::{Logger, Record, Sink};
pub use mode_trace::{PHASES_WITHOUT_HISTORY, check_phases};
pub use policy_file::SavedPolicy;
pub use run_dir::RunDir;
pub use seeds::{evaluation_seed, training_seed};
pub use trainer::{StepReport, Trainer};
