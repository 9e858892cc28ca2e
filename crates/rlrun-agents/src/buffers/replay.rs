//! A ring of past steps to sample from, for algorithms that learn from old experience.

use rlrun_core::{Rng, State, StateError};
use rlrun_env::{Actions, EnvSpec};

use super::{
    empty_actions, expect_len, gather, gather_actions, insert_actions, read_actions, read_bools,
    read_f32, read_masks, write, write_actions,
};
use crate::targets::{NStep, Reward, n_step};
use crate::{Normalizer, Transition, rehearsal};

/// The last steps of every environment, up to a capacity; the oldest are overwritten.
///
/// Row `slot * n_envs + e` is environment `e` in the vector step that was written to `slot`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayBuffer {
    slots: usize,
    n_envs: usize,
    obs_dim: usize,
    /// Slot that is written next; the oldest one once the ring is full.
    next_slot: usize,
    obs: Vec<f32>,
    next_obs: Vec<f32>,
    actions: Actions,
    rewards: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    /// Which choices the successors allow; empty if all.
    next_masks: Vec<bool>,
}

/// How [`ReplayBuffer::sample`] draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// B, rows to draw.
    pub batch_size: usize,
    /// n, rewards to sum from each row on.
    pub n_steps: usize,
    /// γ, discount factor.
    pub gamma: f64,
}

/// A sample of steps; row `i` of every field belongs together.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayBatch {
    /// s, `[B, obs_dim]`.
    pub obs: Vec<f32>,
    /// a, `B` rows.
    pub actions: Actions,
    /// r, or the n-step sum of rewards, `[B]`.
    pub rewards: Vec<f32>,
    /// The successor after the last summed reward, `[B, obs_dim]`.
    pub next_obs: Vec<f32>,
    /// Factor of the successor's value: γⁿ, 0 after a termination, `[B]`.
    pub discounts: Vec<f32>,
    /// Which choices that successor allows, `[B * n_actions]`; empty if all.
    pub next_masks: Vec<bool>,
    rows: Vec<usize>,
    last_rows: Vec<usize>,
}

impl ReplayBuffer {
    /// An empty buffer for `capacity` steps, at least one of each of the `n_envs` environments like
    /// `spec`.
    pub fn new(capacity: usize, n_envs: usize, spec: &EnvSpec) -> ReplayBuffer {
        ReplayBuffer {
            slots: (capacity / n_envs).max(1),
            n_envs,
            obs_dim: spec.observation_space.dim(),
            next_slot: 0,
            obs: Vec::new(),
            next_obs: Vec::new(),
            actions: empty_actions(&spec.action_space),
            rewards: Vec::new(),
            terminated: Vec::new(),
            truncated: Vec::new(),
            next_masks: Vec::new(),
        }
    }

    /// Steps that are stored.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Adds one vector step, over the oldest if the buffer is full.
    ///
    /// # Panics
    /// If the actions are of another kind than the action space.
    pub fn push(&mut self, transition: &Transition<'_>) {
        let Transition { seen, actions, step } = transition;
        let start = self.next_slot * self.n_envs;
        if start == self.len() {
            self.rewards.extend(step.rewards.iter().map(|&reward| reward as f32));
        } else {
            let old = &mut self.rewards[start..start + self.n_envs];
            old.iter_mut().zip(&step.rewards).for_each(|(old, &reward)| *old = reward as f32);
        }
        write(&mut self.obs, start * self.obs_dim, seen.rows);
        write(&mut self.next_obs, start * self.obs_dim, &step.next_obs);
        write_actions(&mut self.actions, start, actions);
        write(&mut self.terminated, start, &step.terminated);
        write(&mut self.truncated, start, &step.truncated);
        let choices = step.next_masks.len() / self.n_envs;
        write(&mut self.next_masks, start * choices, &step.next_masks);
        self.next_slot = (self.next_slot + 1) % self.slots;
    }

    /// An empty batch to [`sample`](ReplayBuffer::sample) into.
    pub fn batch(&self) -> ReplayBatch {
        let actions = match &self.actions {
            Actions::Continuous { dim, .. } => {
                Actions::Continuous { values: Vec::new(), dim: *dim }
            }
            Actions::MultiDiscrete { dim, .. } => {
                Actions::MultiDiscrete { values: Vec::new(), dim: *dim }
            }
            _ => Actions::Discrete(Vec::new()),
        };
        ReplayBatch {
            obs: Vec::new(),
            actions,
            rewards: Vec::new(),
            next_obs: Vec::new(),
            discounts: Vec::new(),
            next_masks: Vec::new(),
            rows: Vec::new(),
            last_rows: Vec::new(),
        }
    }

    /// Draws steps uniformly with replacement and sums the rewards of up to n steps from each on. The
    /// numbers are kept raw, and normalised here by the statistics of this moment.
    ///
    /// # Panics
    /// If the buffer is empty.
    pub fn sample(
        &self,
        sampling: Sampling,
        normalizer: &Normalizer,
        rng: &mut Rng,
        batch: &mut ReplayBatch,
    ) {
        let Sampling { batch_size, n_steps, gamma } = sampling;
        let ReplayBatch { rewards, discounts, rows, last_rows, .. } = batch;
        rehearsal::rows(batch_size, self.len(), rng, rows);
        rewards.clear();
        discounts.clear();
        last_rows.clear();
        for &row in rows.iter() {
            let steps = self.steps_from(row, n_steps, normalizer);
            let NStep { reward, steps, discount } = n_step(steps, gamma as f32);
            rewards.push(reward);
            discounts.push(discount);
            last_rows.push((row + (steps - 1) * self.n_envs) % (self.slots * self.n_envs));
        }
        gather(&self.obs, self.obs_dim, rows, &mut batch.obs);
        gather(&self.next_obs, self.obs_dim, last_rows, &mut batch.next_obs);
        normalizer.normalize_obs(&mut batch.obs);
        normalizer.normalize_obs(&mut batch.next_obs);
        gather_actions(&self.actions, rows, &mut batch.actions);
        let choices = self.next_masks.len() / self.len();
        gather(&self.next_masks, choices, last_rows, &mut batch.next_masks);
    }

    /// Up to `n_steps` consecutive steps of one environment, from `row` to the newest one.
    fn steps_from(
        &self,
        row: usize,
        n_steps: usize,
        normalizer: &Normalizer,
    ) -> impl Iterator<Item = Reward> {
        let slot = row / self.n_envs;
        let newest = (self.next_slot + self.slots - 1) % self.slots;
        let stored = (newest + self.slots - slot) % self.slots + 1;
        let ring = self.slots * self.n_envs;
        (0..n_steps.min(stored)).map(move |k| (row + k * self.n_envs) % ring).map(|row| Reward {
            reward: normalizer.normalized_reward(self.rewards[row].into()) as f32,
            terminated: self.terminated[row],
            truncated: self.truncated[row],
        })
    }

    /// Every stored step and the place of the next one.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let rows = self.len();
        state.insert_u64("next_slot", [self.next_slot as u64]);
        state.insert_f32("obs", &[rows, self.obs_dim], &self.obs);
        state.insert_f32("next_obs", &[rows, self.obs_dim], &self.next_obs);
        insert_actions(&mut state, &self.actions);
        state.insert_f32("rewards", &[rows], &self.rewards);
        state.insert_bools("terminated", &self.terminated);
        state.insert_bools("truncated", &self.truncated);
        state.insert_bools("next_masks", &self.next_masks);
        state
    }

    /// Takes over saved steps.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing, if there are more steps than the capacity or no whole
    /// vector steps, or if the place of the next one is not the first free or oldest slot.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let rows = state.f32("rewards")?.1.len();
        if rows > self.slots * self.n_envs || !rows.is_multiple_of(self.n_envs) {
            expect_len("rewards", rows, self.slots * self.n_envs)?;
        }
        let next_slot = state.counter("next_slot")? as usize;
        let filled = rows / self.n_envs;
        if next_slot >= self.slots || (filled < self.slots && next_slot != filled) {
            let reason = format!("slot `{next_slot}` of `{}` with `{filled}` filled", self.slots);
            return Err(StateError::Invalid { path: "next_slot".to_owned(), reason });
        }
        *self = ReplayBuffer {
            next_slot,
            obs: read_f32(state, "obs", rows * self.obs_dim)?,
            next_obs: read_f32(state, "next_obs", rows * self.obs_dim)?,
            actions: read_actions(state, &self.actions, rows)?,
            rewards: read_f32(state, "rewards", rows)?,
            terminated: read_bools(state, "terminated", rows)?,
            truncated: read_bools(state, "truncated", rows)?,
            next_masks: read_masks(state, "next_masks", rows)?,
            ..*self
        };
        Ok(())
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
