//! A ring of past steps to sample from, for algorithms that learn from old experience.

use rand::RngExt;
use rlrun_core::{Rng, State, StateError};
use rlrun_env::{Actions, EnvSpec};

use super::{
    empty_actions, expect_len, gather, gather_actions, insert_actions, read_actions, read_bools,
    read_f32, write, write_actions,
};
use crate::Transition;
use crate::targets::{NStep, Reward, n_step};

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
}

/// How [`ReplayBuffer::sample`] draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// B, rows to draw.
    pub batch_size: usize,
    /// n, rewards to sum from each row on.
    pub n_steps: usize,
    /// γ, discount factor.
    pub gamma: f32,
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
        let Transition { obs, actions, step } = transition;
        let start = self.next_slot * self.n_envs;
        if start == self.len() {
            self.rewards.extend(step.rewards.iter().map(|&reward| reward as f32));
        } else {
            let old = &mut self.rewards[start..start + self.n_envs];
            old.iter_mut().zip(&step.rewards).for_each(|(old, &reward)| *old = reward as f32);
        }
        write(&mut self.obs, start * self.obs_dim, obs);
        write(&mut self.next_obs, start * self.obs_dim, &step.next_obs);
        write_actions(&mut self.actions, start, actions);
        write(&mut self.terminated, start, &step.terminated);
        write(&mut self.truncated, start, &step.truncated);
        self.next_slot = (self.next_slot + 1) % self.slots;
    }

    /// An empty batch to [`sample`](ReplayBuffer::sample) into.
    pub fn batch(&self) -> ReplayBatch {
        let actions = match &self.actions {
            Actions::Continuous { dim, .. } => {
                Actions::Continuous { values: Vec::new(), dim: *dim }
            }
            _ => Actions::Discrete(Vec::new()),
        };
        ReplayBatch {
            obs: Vec::new(),
            actions,
            rewards: Vec::new(),
            next_obs: Vec::new(),
            discounts: Vec::new(),
            rows: Vec::new(),
            last_rows: Vec::new(),
        }
    }

    /// Draws steps uniformly with replacement and sums the rewards of up to n steps from each on.
    ///
    /// # Panics
    /// If the buffer is empty.
    pub fn sample(&self, sampling: Sampling, rng: &mut Rng, batch: &mut ReplayBatch) {
        let Sampling { batch_size, n_steps, gamma } = sampling;
        let ReplayBatch { rewards, discounts, rows, last_rows, .. } = batch;
        let stored = self.len() as u64;
        rows.clear();
        rows.extend((0..batch_size).map(|_| rng.random_range(0..stored) as usize));
        rewards.clear();
        discounts.clear();
        last_rows.clear();
        for &row in rows.iter() {
            let NStep { reward, steps, discount } = n_step(self.steps_from(row, n_steps), gamma);
            rewards.push(reward);
            discounts.push(discount);
            last_rows.push((row + (steps - 1) * self.n_envs) % (self.slots * self.n_envs));
        }
        gather(&self.obs, self.obs_dim, rows, &mut batch.obs);
        gather(&self.next_obs, self.obs_dim, last_rows, &mut batch.next_obs);
        gather_actions(&self.actions, rows, &mut batch.actions);
    }

    /// Up to `n_steps` consecutive steps of one environment, from `row` to the newest one.
    fn steps_from(&self, row: usize, n_steps: usize) -> impl Iterator<Item = Reward> {
        let slot = row / self.n_envs;
        let newest = (self.next_slot + self.slots - 1) % self.slots;
        let stored = (newest + self.slots - slot) % self.slots + 1;
        let ring = self.slots * self.n_envs;
        (0..n_steps.min(stored)).map(move |k| (row + k * self.n_envs) % ring).map(|row| Reward {
            reward: self.rewards[row],
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
            ..*self
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, rng_stream};
    use rlrun_env::{BoxSpace, Space, StepBatch};

    fn spec() -> EnvSpec {
        let observations = Space::Box(BoxSpace::symmetric(&[9.0]));
        EnvSpec::new("Test-v0", observations, Space::Discrete(100))
    }

    /// Observation, action and reward of step `t` are `t` in environment 0 and `100 + t` in 1.
    fn push(buffer: &mut ReplayBuffer, t: usize, terminated: bool, truncated: bool) {
        let (zero, one) = (t as f32, 100.0 + t as f32);
        let mut step = StepBatch::new(2, 1);
        step.next_obs = vec![zero + 0.5, one + 0.5];
        step.rewards = vec![f64::from(zero), f64::from(one)];
        step.terminated = vec![terminated, false];
        step.truncated = vec![truncated, false];
        let actions = Actions::Discrete(vec![t, t]);
        buffer.push(&Transition { obs: &[zero, one], actions: &actions, step: &step });
    }

    fn sample(buffer: &ReplayBuffer, n_steps: usize) -> ReplayBatch {
        let mut batch = buffer.batch();
        let mut rng = rng_stream(1, Purpose::Sampling, 0);
        buffer.sample(Sampling { batch_size: 200, n_steps, gamma: 0.5 }, &mut rng, &mut batch);
        batch
    }

    #[test]
    fn rows_of_a_sample_belong_together_and_old_steps_are_gone() {
        let mut buffer = ReplayBuffer::new(8, 2, &spec());
        (0..6).for_each(|t| push(&mut buffer, t, t == 4, false));
        assert_eq!(buffer.len(), 8);
        let batch = sample(&buffer, 1);
        let Actions::Discrete(actions) = &batch.actions else { panic!("{:?}", batch.actions) };
        for (i, &action) in actions.iter().enumerate() {
            assert_eq!(batch.rewards[i], batch.obs[i]);
            assert_eq!(batch.next_obs[i], batch.obs[i] + 0.5);
            assert_eq!(action as f32, batch.obs[i] % 100.0);
            assert_eq!(batch.discounts[i], if batch.obs[i] == 4.0 { 0.0 } else { 0.5 });
        }
        let mut seen = batch.obs.clone();
        seen.sort_by(f32::total_cmp);
        seen.dedup();
        assert_eq!(seen, [2.0, 3.0, 4.0, 5.0, 102.0, 103.0, 104.0, 105.0]);
    }

    #[test]
    fn n_step_sums_stop_at_ends_and_at_the_newest_step() {
        let mut buffer = ReplayBuffer::new(8, 2, &spec());
        (0..6).for_each(|t| push(&mut buffer, t, t == 3, false));
        let batch = sample(&buffer, 3);
        for i in 0..200 {
            let (reward, next_obs, discount) = match batch.obs[i] {
                2.0 => (2.0 + 0.5 * 3.0, 3.5, 0.0),
                3.0 => (3.0, 3.5, 0.0),
                4.0 => (4.0 + 0.5 * 5.0, 5.5, 0.25),
                5.0 => (5.0, 5.5, 0.5),
                102.0 => (102.0 + 0.5 * 103.0 + 0.25 * 104.0, 104.5, 0.125),
                103.0 => (103.0 + 0.5 * 104.0 + 0.25 * 105.0, 105.5, 0.125),
                104.0 => (104.0 + 0.5 * 105.0, 105.5, 0.25),
                _ => (105.0, 105.5, 0.5),
            };
            let found = (batch.rewards[i], batch.next_obs[i], batch.discounts[i]);
            assert_eq!(found, (reward, next_obs, discount), "from {}", batch.obs[i]);
        }
    }

    #[test]
    fn a_time_limit_ends_the_sum_but_keeps_the_value() {
        let mut buffer = ReplayBuffer::new(8, 2, &spec());
        (0..3).for_each(|t| push(&mut buffer, t, false, t == 1));
        let batch = sample(&buffer, 3);
        let first = batch.obs.iter().position(|&obs| obs == 0.0).unwrap();
        let found = (batch.rewards[first], batch.next_obs[first], batch.discounts[first]);
        assert_eq!(found, (0.5, 1.5, 0.25));
    }

    #[test]
    fn a_restored_buffer_samples_the_same() {
        let mut buffer = ReplayBuffer::new(8, 2, &spec());
        (0..7).for_each(|t| push(&mut buffer, t, t == 3, t == 5));
        let mut restored = ReplayBuffer::new(8, 2, &spec());
        restored.load_state(&buffer.state()).unwrap();
        push(&mut buffer, 7, false, false);
        push(&mut restored, 7, false, false);
        assert_eq!(sample(&restored, 3), sample(&buffer, 3));
        assert_eq!(restored, buffer);
        let message = ReplayBuffer::new(6, 2, &spec()).load_state(&buffer.state()).unwrap_err();
        assert_eq!(message.to_string(), "saved state `rewards` has shape [8], expected [6]");
    }
}
