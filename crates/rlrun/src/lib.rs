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
//! A crate of your own needs this one alone (`rlrun = "0.1"`); what settings take of serde,
//! documented, rand and toml is re-exported. Features, all on by default: `csv` and `tensorboard`
//! (logs), `gif` and `png` (pictures), `toml_edit` (overrides, and comments in written run files).
//!
//! # A tour
//!
//! **Runs.** [`Run::load`] reads a run file; [`Run::into_trainer`] and [`Run::create`] make a
//! [`Trainer`](train::Trainer), whose [`step`](train::Trainer::step) is the loop; [`Run::resume`]
//! goes on with a folder; [`Trained::load`] evaluates; [`load_policy`] acts without an environment.
//!
//! **Your own parts.** [`Environment`] and [`Algorithm`] are rows of the tables that run files name;
//! [`config!`] makes settings; [`check_env`](env::check_env), [`check_agent`] and
//! [`check_module`](nn::check_module) find broken promises and what was forgotten.
//!
//! **Pieces of algorithms.** They lie in [`agents`], each a function or a type that several
//! algorithms share: [`buffers`](agents::buffers) hold plain numbers, [`targets`](agents::targets)
//! are cited formulas, [`distributions`](agents::distributions) draw and score actions,
//! [`networks`](agents::networks) say what a network of your own must be.
//!
//! ```
//! use rlrun::agents::distributions::Distribution;
//! use rlrun::agents::networks;
//! use rlrun::agents::targets::{Rollout, gae};
//! use rlrun::nn::{Activation, Layer};
//! use rlrun::prelude::*;
//!
//! // A network and the distribution that its numbers mean.
//! let mut rng = rng_stream(1, Purpose::Weights, 0);
//! let net = networks::mlp(4, &[64, 64], 2, Activation::Tanh, &mut rng);
//! let obs = Tensor::from_slice(&[0.1, 0.0, -0.1, 0.2], [1, 4]);
//! let policy = Distribution::Categorical { logits: net.forward(&obs) };
//! let mut actions = Actions::Discrete(vec![0]);
//! policy.mode(&mut actions).unwrap();
//! assert!(policy.entropy().item() <= f64::ln(2.0));
//!
//! // Advantages of two steps of one environment, the second the last of its episode.
//! let rollout = Rollout {
//!     n_envs: 1,
//!     rewards: &[1.0, 1.0],
//!     values: &[0.5, 0.5],
//!     next_values: &[0.5, 9.0],
//!     terminated: &[false, true],
//!     truncated: &[false, false],
//! };
//! let mut advantages = [0.0; 2];
//! gae(&rollout, 0.9, 0.8, &mut advantages);
//! assert_eq!(advantages[1], 1.0 - 0.5);
//! ```
//!
//! **Below.** [`tensor`] is PyTorch's tensors and autograd in Rust, [`nn`] layers and optimizers;
//! both are useful alone. [`env`](mod@env) says what an environment is, [`envs`] holds those of the
//! library, [`mod@train`] trainer, evaluation, checkpoints and logs, [`mod@core`] random streams and
//! saved state.

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
pub use run::{Run, check_agent};
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
    pub use crate::nn::{Layer, Module, check_module};
    pub use crate::tensor::{Parameter, Tensor, inference_mode, no_grad};
    pub use crate::train::{
        Evaluation, RunDir, TrainConfig, TrainError, Trainer, evaluate, evaluate_stochastic,
    };
    pub use crate::{
        ALGORITHMS, Algorithm, ConfigError, Environment, Run, Trained, check_agent, load_policy,
    };
    pub use documented::{self, DocumentedFields};
    pub use rand::{self, RngExt};
    pub use serde::{self, Deserialize, Serialize};
}
