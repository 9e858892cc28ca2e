//! Batches of environments that step together.

use rlrun_core::{State, StateError};

use crate::{Action, Actions, Canvas, EnvError, EnvSpec};

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
#[non_exhaustive]
pub struct StepBatch {
    /// The true successors, `[n_envs, obs_dim]`; never an observation after a reset.
    pub next_obs: Vec<f32>,
    /// Which choices are legal in the true successors, `[n_envs, mask_len]`; empty: all are.
    pub next_masks: Vec<bool>,
    /// Rewards.
    pub rewards: Vec<f64>,
    /// Whether the task ended the episode.
    pub terminated: Vec<bool>,
    /// Whether the environment cut the episode off, or the time limit did. Both flags may be set;
    /// `terminated` then decides: nothing follows.
    pub truncated: Vec<bool>,
    /// Steps of each environment's episode, this one included.
    pub lengths: Vec<u32>,
    /// The episodes that finished in this step.
    pub finished: Vec<EpisodeStats>,
}

impl StepBatch {
    /// A batch of `n_envs` rows of `obs_dim` numbers, all zero.
    pub fn new(n_envs: usize, obs_dim: usize) -> StepBatch {
        StepBatch {
            next_obs: vec![0.0; n_envs * obs_dim],
            next_masks: Vec::new(),
            rewards: vec![0.0; n_envs],
            terminated: vec![false; n_envs],
            truncated: vec![false; n_envs],
            lengths: vec![0; n_envs],
            finished: Vec::with_capacity(n_envs),
        }
    }

    /// Takes over another batch without new memory, once the sizes are the same.
    pub fn copy_from(&mut self, other: &StepBatch) {
        self.next_obs.clone_from(&other.next_obs);
        self.next_masks.clone_from(&other.next_masks);
        self.rewards.clone_from(&other.rewards);
        self.terminated.clone_from(&other.terminated);
        self.truncated.clone_from(&other.truncated);
        self.lengths.clone_from(&other.lengths);
        self.finished.clone_from(&other.finished);
    }
}

/// What is acted on: plain numbers, a row per environment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observations<'a> {
    /// Observations, `[n, obs_dim]`.
    pub rows: &'a [f32],
    /// Whether a row is the first of an episode, `[n]`.
    pub starts: &'a [bool],
    /// Which choices are legal, `[n, mask_len]`; empty: all are.
    pub masks: &'a [bool],
}

impl<'a> Observations<'a> {
    /// One observation in the middle of an episode, everything legal.
    pub fn row(rows: &'a [f32]) -> Observations<'a> {
        Observations { rows, starts: &[false], masks: &[] }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// Observations that are kept while the environments go on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    rows: Vec<f32>,
    starts: Vec<bool>,
    masks: Vec<bool>,
}

impl Seen {
    /// Keeps what is seen now, in the memory of what was seen before.
    pub fn keep(&mut self, seen: &Observations<'_>) {
        let Seen { rows, starts, masks } = self;
        rows.clear();
        rows.extend_from_slice(seen.rows);
        starts.clear();
        starts.extend_from_slice(seen.starts);
        masks.clear();
        masks.extend_from_slice(seen.masks);
    }

    /// What was kept.
    pub fn observations(&self) -> Observations<'_> {
        Observations { rows: &self.rows, starts: &self.starts, masks: &self.masks }
    }
}

/// Several environments of one kind, stepped together. An environment whose episode ended is reset
/// within the same step: [`VecEnv::obs`] then holds the first observation of its next episode,
/// while [`StepBatch::next_obs`] keeps the true successor.
///
/// [`SyncVecEnv`](crate::SyncVecEnv) and [`ThreadVecEnv`](crate::ThreadVecEnv) make one of any
/// [`Env`](crate::Env). One of your own leaves time limit, statistics and the check for numbers
/// that are not finite to [`Episodes`](crate::Episodes).
pub trait VecEnv: Send {
    /// What is fixed about each environment.
    fn spec(&self) -> &EnvSpec;

    /// How many environments step together.
    fn num_envs(&self) -> usize;

    /// Truncates episodes after `limit` steps, in place of the limit in the spec. Wrappers do not
    /// take it: it belongs to what they wrap.
    ///
    /// # Errors
    /// [`EnvError::Args`] if `limit` is 0, or if these environments take no other limit.
    fn set_max_episode_steps(&mut self, limit: u32) -> Result<(), EnvError> {
        let reason = format!("`max_episode_steps = {limit}`: its limit cannot be changed");
        Err(EnvError::Args { id: self.spec().id.clone(), reason })
    }

    /// Starts new episodes everywhere; environment `i` is seeded with `seed + i` (modulo 2^64).
    ///
    /// # Errors
    /// [`EnvError`] if an environment cannot begin.
    fn reset(&mut self, seed: u64) -> Result<(), EnvError>;

    /// What to act on now, `[n_envs, obs_dim]`.
    fn obs(&self) -> &[f32];

    /// Whether a row of [`VecEnv::obs`] is the first of an episode.
    fn starts(&self) -> &[bool];

    /// Which choices are legal now, `[n_envs, mask_len]`; empty: all are.
    fn masks(&self) -> &[bool] {
        &[]
    }

    /// Whether the mask of environment `lane` allows `action`, which is in the action space.
    fn allows(&self, lane: usize, action: Action<'_>) -> bool {
        let (masks, space) = (self.masks(), &self.spec().action_space);
        let width = space.mask_len();
        masks.is_empty() || space.allows(&masks[lane * width..(lane + 1) * width], action)
    }

    /// Everything that an action is chosen by.
    fn observations(&self) -> Observations<'_> {
        Observations { rows: self.obs(), starts: self.starts(), masks: self.masks() }
    }

    /// Takes one step in every environment.
    ///
    /// # Errors
    /// [`EnvError`] if there was no reset yet, an action is not in the action space, or an
    /// environment fails or gives a number that is not finite.
    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError>;

    /// A picture of environment `lane`; `None` if it draws none.
    fn render(&self, _lane: usize) -> Option<Canvas> {
        None
    }

    /// Everything needed to go on mid-episode.
    ///
    /// # Errors
    /// [`EnvError::NotSaveable`] if an environment cannot be saved.
    fn state(&self) -> Result<State, EnvError>;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

impl<V: VecEnv + ?Sized> VecEnv for Box<V> {
    fn spec(&self) -> &EnvSpec {
        (**self).spec()
    }

    fn num_envs(&self) -> usize {
        (**self).num_envs()
    }

    fn set_max_episode_steps(&mut self, limit: u32) -> Result<(), EnvError> {
        (**self).set_max_episode_steps(limit)
    }

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        (**self).reset(seed)
    }

    fn obs(&self) -> &[f32] {
        (**self).obs()
    }

    fn starts(&self) -> &[bool] {
        (**self).starts()
    }

    fn masks(&self) -> &[bool] {
        (**self).masks()
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        (**self).step(actions)
    }

    fn render(&self, lane: usize) -> Option<Canvas> {
        (**self).render(lane)
    }

    fn state(&self) -> Result<State, EnvError> {
        (**self).state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        (**self).load_state(state)
    }
}
