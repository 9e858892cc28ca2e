//! Reinforcement learning: a run file goes in, a trained and honestly evaluated agent comes out.
//!
//! ```no_run
//! use rlrun::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let text = std::fs::read_to_string("configs/cartpole.toml")?;
//!     let mut trainer = Run::load(&text, ALGORITHMS, &[])?.into_trainer()?;
//!     trainer.run()?;
//!     println!("mean return {}", trainer.evaluate()?.mean_reward);
//!     Ok(())
//! }
//! ```
//!
//! The crates below this one are re-exported: [`agents`], [`env`](mod@env), [`envs`], [`nn`],
//! [`tensor`] and [`train`].

#[cfg(feature = "toml_edit")]
mod comments;
mod config;
mod error;
mod hints;
mod one_lane;
mod overrides;
mod registry;
mod run;
mod run_file;
mod trained;

pub use documented;
pub use rand;
pub use rlrun_agents as agents;
pub use rlrun_core as core;
pub use rlrun_env as env;
pub use rlrun_envs as envs;
pub use rlrun_nn as nn;
pub use rlrun_tensor as tensor;
pub use rlrun_train as train;
pub use serde;
pub use toml;

pub use error::ConfigError;
pub use registry::{ALGORITHMS, Algorithm, Environment};
pub use run::Run;
pub use run_file::EnvConfig;
pub use trained::{Trained, load_policy};

/// What a program that trains or evaluates needs: `use rlrun::prelude::*`.
pub mod prelude {
    pub use crate::agents::{
        Agent, AgentConfig, AgentContext, AgentError, Memory, Metrics, Policy, Transition,
    };
    pub use crate::core::{Purpose, Rng, State, StateError, rng_stream};
    pub use crate::env::{
        Action, Actions, BoxSpace, Env, EnvError, EnvSpec, Observations, Space, Step, SyncVecEnv,
        VecEnv, check_env,
    };
    pub use crate::tensor::{Tensor, inference_mode, no_grad};
    pub use crate::train::{
        Evaluation, RunDir, TrainConfig, TrainError, Trainer, evaluate, evaluate_stochastic,
    };
    pub use crate::{ALGORITHMS, Algorithm, ConfigError, Environment, Run, Trained, load_policy};
    pub use documented::{self, DocumentedFields};
    pub use rand::{self, RngExt};
    pub use serde::{self, Deserialize, Serialize};
}
