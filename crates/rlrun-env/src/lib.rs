//! What an environment is: spaces, steps, and batches of environments. No environment lives here,
//! and nothing here knows of tensors.

mod actions;
mod box_space;
mod canvas;
mod check;
mod env;
mod env_batch;
mod episodes;
mod error;
mod masks;
mod space;
mod sync_vec_env;
mod thread_vec_env;
mod vec_env;
pub mod wrappers;

pub use actions::Actions;
pub use box_space::BoxSpace;
pub use canvas::{Canvas, Color};
pub use check::{Check, CheckReport, Violation, check_env};
pub use env::{Action, Env, EnvSpec, Step};
pub use episodes::Episodes;
pub use error::EnvError;
pub use space::Space;
pub use sync_vec_env::SyncVecEnv;
pub use thread_vec_env::ThreadVecEnv;
pub use vec_env::{EpisodeStats, Observations, Seen, StepBatch, VecEnv};
pub use wrappers::WrapperConfig;
