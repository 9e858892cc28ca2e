//! What an environment is: spaces, steps, and batches of environments. No environment lives here,
//! and nothing here knows of tensors.

mod check;
mod env;
mod episodes;
mod space;
mod sync_vec_env;
mod thread_vec_env;
mod vec_env;
pub mod wrappers;

pub use check::{Check, CheckReport, Violation, check_env};
pub use env::{Action, Env, EnvError, EnvSpec, Step};
pub use episodes::Episodes;
pub use space::{BoxSpace, Space};
pub use sync_vec_env::SyncVecEnv;
pub use thread_vec_env::ThreadVecEnv;
pub use vec_env::{Actions, EpisodeStats, StepBatch, VecEnv};
pub use wrappers::WrapperConfig;
