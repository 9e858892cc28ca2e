//! Batches of environments that step together.

use rlrun_core::{State, StateError};

use crate::{EnvError, EnvSpec};

/// One action per environment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Actions {
    /// Choices of a discrete space, one per environment.
    Discrete(Vec<usize>),
    /// Vectors of a box space, row-major `[n_envs, dim]`.
    Continuous {
        /// The numbers, row-major.
        values: Vec<f32>,
        /// Length of one action.
        dim: usize,
    },
}

/// A finished episode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpisodeStats {
    /// Which environment finished.
    pub env: usize,
    /// Undiscounted sum of rewards.
    pub reward: f64,
    /// Steps.
    pub length: u32,
}

/// The result of one vector step. Rows are environments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepBatch {
    /// The true successors, `[n_envs, obs_dim]`; never an observation after a reset.
    pub next_obs: Vec<f32>,
    /// Rewards.
    pub rewards: Vec<f64>,
    /// Whether the task ended the episode.
    pub terminated: Vec<bool>,
    /// Whether the time limit ended the episode; both flags may be set.
    pub truncated: Vec<bool>,
    /// The episodes that finished in this step.
    pub finished: Vec<EpisodeStats>,
}

/// Several environments of one kind, stepped together. An environment whose episode ended is reset
/// within the same step: [`VecEnv::obs`] then holds the first observation of its next episode,
/// while [`StepBatch::next_obs`] keeps the true successor.
pub trait VecEnv: Send {
    /// What is fixed about each environment.
    fn spec(&self) -> &EnvSpec;

    /// How many environments step together.
    fn num_envs(&self) -> usize;

    /// Starts new episodes everywhere; environment `i` is seeded with `seed + i`.
    fn reset(&mut self, seed: u64);

    /// What to act on now, `[n_envs, obs_dim]`.
    fn obs(&self) -> &[f32];

    /// Takes one step in every environment.
    ///
    /// # Errors
    /// [`EnvError`] if there was no reset yet or an action is not in the action space.
    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError>;

    /// Everything needed to go on mid-episode.
    fn state(&self) -> State;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}
