//! The environments: one file is one environment, and [`ENVS`] lists them all.
//!
//! They are Gymnasium's, bit for bit: same seeds, same resets, same trajectories, rewards and ends.

pub mod classic_control;
mod registry;
pub mod render;

pub use registry::{ENVS, EnvEntry, Registered, entry, make, make_vec, spec};
