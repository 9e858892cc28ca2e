//! Updates of Stable-Baselines3 and sb3-contrib, recorded with every random draw, and the same
//! updates here: parameters, moments, losses, gradients and logged values must meet.
//!
//! ```text
//! cargo test --release --workspace --test sb3
//! RLRUN_SB3_FIXTURES=FOLDER cargo test --release --workspace --test sb3
//! ```
//!
//! The rows come from the folder `RLRUN_SB3_FIXTURES`, or else from `tests/fixtures/sb3`, one gzipped
//! file of JSON lines per algorithm. Nothing is computed here: a row's numbers go into the agent's
//! own buffers and networks, its draws into [`rlrun_agents::rehearsal`], and the agent's own `train`
//! runs. Tolerances are the row's, eight times what the rounding of `f32` does to it.

#![allow(clippy::unwrap_used)]

mod agents;
mod compare;
mod functions;
mod rollout;
mod rows;
mod update;
mod vecnormalize;

use rows::{Check, outcome};

/// How the rows of each file are checked.
const FILES: [(&str, Check); 7] = [
    ("ppo", |row| outcome(agents::ppo(row))),
    ("a2c", |row| outcome(agents::a2c(row))),
    ("dqn", |row| outcome(agents::dqn(row))),
    ("qrdqn", |row| outcome(agents::qrdqn(row))),
    ("sac", |row| outcome(agents::sac(row))),
    ("vecnormalize", |row| outcome(vecnormalize::check(row))),
    ("functions", functions::check),
];

#[test]
fn updates_are_those_of_stable_baselines3() {
    rows::check_files(&FILES);
}
