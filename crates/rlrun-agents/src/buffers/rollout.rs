//! The last few steps of every environment, for algorithms that learn from fresh experience.

use rlrun_core::{State, StateError};
use rlrun_env::{Actions, EnvSpec};

use super::{
    clear_actions, empty_actions, expect_len, insert_actions, read_actions, read_bools, read_f32,
    read_masks, read_optional, write, write_actions,
};
use crate::targets::{self, Rollout};
use crate::{Normalizer, Transition};

/// `n_steps` vector steps, time-major: row `t * n_envs + e` is step `t` of environment `e`.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutBuffer {
    n_steps: usize,
    n_envs: usize,
    obs_dim: usize,
    obs: Vec<f32>,
    actions: Actions,
    masks: Vec<bool>,
    rewards: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    bootstrap_rows: Vec<usize>,
    bootstrap_obs: Vec<f32>,
    evaluation: Evaluation,
    advantages: Vec<f32>,
    returns: Vec<f32>,
}

/// What the policy that collected a rollout says of each of its rows; empty until it was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// log π(a | s).
    pub log_probs: Vec<f32>,
    /// v(s).
    pub values: Vec<f32>,
    /// v(s') of the true successors; 0 after a termination.
    pub next_values: Vec<f32>,
}

impl RolloutBuffer {
    /// An empty buffer for `n_steps` steps of `n_envs` environments like `spec`.
    pub fn new(n_steps: usize, n_envs: usize, spec: &EnvSpec) -> RolloutBuffer {
        RolloutBuffer {
            n_steps,
            n_envs,
            obs_dim: spec.observation_space.dim(),
            obs: Vec::new(),
            actions: empty_actions(&spec.action_space),
            masks: Vec::new(),
            rewards: Vec::new(),
            terminated: Vec::new(),
            truncated: Vec::new(),
            bootstrap_rows: Vec::new(),
            bootstrap_obs: Vec::new(),
            evaluation: Evaluation::default(),
            advantages: Vec::new(),
            returns: Vec::new(),
        }
    }

    /// Rows that are stored, up to `n_steps * n_envs`.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Whether `n_steps` vector steps are stored.
    pub fn is_full(&self) -> bool {
        self.len() == self.n_steps * self.n_envs
    }

    /// s as the policy saw it, `[len, obs_dim]`.
    pub fn obs(&self) -> &[f32] {
        &self.obs
    }

    /// Length of a row of [`RolloutBuffer::obs`].
    pub fn obs_dim(&self) -> usize {
        self.obs_dim
    }

    /// a, `len` rows.
    pub fn actions(&self) -> &Actions {
        &self.actions
    }

    /// Which choices were legal, as many flags for each row; empty if all were.
    pub fn masks(&self) -> &[bool] {
        &self.masks
    }

    /// Those successors s' that are not the observation of the following row and were not
    /// terminated: the truncated ones and the ones of the last vector step, `[k, obs_dim]`.
    pub fn bootstrap_obs(&self) -> &[f32] {
        &self.bootstrap_obs
    }

    /// What the policy that collected the rollout says of it.
    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// Â of [`RolloutBuffer::estimate_advantages`], `[len]`.
    pub fn advantages(&self) -> &[f32] {
        &self.advantages
    }

    /// v(s) + Â, `[len]`.
    pub fn returns(&self) -> &[f32] {
        &self.returns
    }

    /// Adds one vector step, normalised by `normalizer`.
    ///
    /// # Panics
    /// If the buffer is full, or if the actions are of another kind than the action space.
    pub fn push(&mut self, transition: &Transition<'_>, normalizer: &Normalizer) {
        assert!(!self.is_full(), "the rollout is full: clear it before the next step");
        let Transition { seen, actions, step } = transition;
        let start = self.len();
        self.obs.extend_from_slice(seen.rows);
        normalizer.normalize_obs(&mut self.obs[start * self.obs_dim..]);
        write_actions(&mut self.actions, start, actions);
        self.masks.extend_from_slice(seen.masks);
        let rewards = step.rewards.iter();
        self.rewards.extend(rewards.map(|&reward| normalizer.normalized_reward(reward) as f32));
        write(&mut self.terminated, start, &step.terminated);
        write(&mut self.truncated, start, &step.truncated);
        let last = self.is_full();
        for env in 0..self.n_envs {
            if !step.terminated[env] && (step.truncated[env] || last) {
                let first = self.bootstrap_obs.len();
                self.bootstrap_rows.push(start + env);
                let next_obs = &step.next_obs[env * self.obs_dim..(env + 1) * self.obs_dim];
                self.bootstrap_obs.extend_from_slice(next_obs);
                normalizer.normalize_obs(&mut self.bootstrap_obs[first..]);
            }
        }
    }

    /// Takes over log π(a | s) and v(s) of every row, and v(s') of [`RolloutBuffer::bootstrap_obs`].
    pub fn evaluate(&mut self, log_probs: Vec<f32>, values: Vec<f32>, bootstrap: &[f32]) {
        let following = values.iter().skip(self.n_envs).chain(std::iter::repeat(&0.0));
        let rows = self.terminated.iter().zip(following);
        let mut next_values: Vec<f32> =
            rows.map(|(&terminated, &v)| if terminated { 0.0 } else { v }).collect();
        for (&row, &value) in self.bootstrap_rows.iter().zip(bootstrap) {
            next_values[row] = value;
        }
        self.evaluation = Evaluation { log_probs, values, next_values };
    }

    /// Â by [`targets::gae`] and v(s) + Â, from what [`RolloutBuffer::evaluate`] was told.
    pub fn estimate_advantages(&mut self, gamma: f64, gae_lambda: f64) {
        let Evaluation { values, next_values, .. } = &self.evaluation;
        self.advantages.resize(self.rewards.len(), 0.0);
        let steps = Rollout {
            n_envs: self.n_envs,
            rewards: &self.rewards,
            values,
            next_values,
            terminated: &self.terminated,
            truncated: &self.truncated,
        };
        targets::gae(&steps, gamma as f32, gae_lambda as f32, &mut self.advantages);
        self.returns.clear();
        self.returns.extend(self.advantages.iter().zip(values).map(|(a, value)| a + value));
    }

    /// Forgets all steps and keeps the memory.
    pub fn clear(&mut self) {
        self.obs.clear();
        clear_actions(&mut self.actions);
        self.masks.clear();
        self.rewards.clear();
        self.terminated.clear();
        self.truncated.clear();
        self.bootstrap_rows.clear();
        self.bootstrap_obs.clear();
        self.evaluation = Evaluation::default();
    }

    /// Every stored row.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let rows = self.len();
        state.insert_f32("obs", &[rows, self.obs_dim], &self.obs);
        insert_actions(&mut state, &self.actions);
        state.insert_bools("masks", &self.masks);
        state.insert_f32("rewards", &[rows], &self.rewards);
        state.insert_bools("terminated", &self.terminated);
        state.insert_bools("truncated", &self.truncated);
        let bootstrap_rows: Vec<u64> = self.bootstrap_rows.iter().map(|&row| row as u64).collect();
        let shape = [bootstrap_rows.len(), self.obs_dim];
        state.insert_f32("bootstrap_obs", &shape, &self.bootstrap_obs);
        state.insert_u64("bootstrap_rows", bootstrap_rows);
        let Evaluation { log_probs, values, next_values } = &self.evaluation;
        state.insert_f32("log_probs", &[log_probs.len()], log_probs);
        state.insert_f32("values", &[values.len()], values);
        state.insert_f32("next_values", &[next_values.len()], next_values);
        state
    }

    /// Takes over saved rows.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing, or if the rows are more than fit or no whole vector
    /// steps.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let rows = state.f32("rewards")?.1.len();
        if rows > self.n_steps * self.n_envs || !rows.is_multiple_of(self.n_envs) {
            expect_len("rewards", rows, self.n_steps * self.n_envs)?;
        }
        let bootstrap_rows: Vec<usize> =
            state.u64("bootstrap_rows")?.iter().map(|&row| row as usize).collect();
        if let Some(row) = bootstrap_rows.iter().find(|&&row| row >= rows) {
            let reason = format!("row `{row}` of `{rows}`");
            return Err(StateError::Invalid { path: "bootstrap_rows".to_owned(), reason });
        }
        *self = RolloutBuffer {
            obs: read_f32(state, "obs", rows * self.obs_dim)?,
            actions: read_actions(state, &self.actions, rows)?,
            masks: read_masks(state, "masks", rows)?,
            rewards: read_f32(state, "rewards", rows)?,
            terminated: read_bools(state, "terminated", rows)?,
            truncated: read_bools(state, "truncated", rows)?,
            bootstrap_obs: read_f32(state, "bootstrap_obs", bootstrap_rows.len() * self.obs_dim)?,
            bootstrap_rows,
            evaluation: Evaluation {
                log_probs: read_optional(state, "log_probs", rows)?,
                values: read_optional(state, "values", rows)?,
                next_values: read_optional(state, "next_values", rows)?,
            },
            advantages: Vec::new(),
            returns: Vec::new(),
            ..*self
        };
        Ok(())
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
