//! What an environment is: spaces, steps, and batches of environments. No environment lives here,
//! and nothing here knows of tensors.

mod env;
mod space;
mod vec_env;

pub use env::{Action, Env, EnvError, EnvSpec, Step};
pub use space::{BoxSpace, Space};
pub use vec_env::{Actions, EpisodeStats, StepBatch, VecEnv};
