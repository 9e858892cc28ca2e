//! The last few steps of every environment, for algorithms that learn from fresh experience.

use rlrun_core::{State, StateError};
use rlrun_env::{Actions, EnvSpec};

use super::{
    empty_actions, expect_len, gather, gather_actions, insert_actions, read_actions, read_bools,
    read_f32, write, write_actions,
};
use crate::Transition;

/// `n_steps` vector steps, time-major: row `t * n_envs + e` is step `t` of environment `e`.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutBuffer {
    n_steps: usize,
    n_envs: usize,
    obs_dim: usize,
    obs: Vec<f32>,
    actions: Actions,
    rewards: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    bootstrap_rows: Vec<usize>,
    bootstrap_obs: Vec<f32>,
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
            rewards: Vec::new(),
            terminated: Vec::new(),
            truncated: Vec::new(),
            bootstrap_rows: Vec::new(),
            bootstrap_obs: Vec::new(),
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

    /// Environments that step together.
    pub fn n_envs(&self) -> usize {
        self.n_envs
    }

    /// s, `[len, obs_dim]`.
    pub fn obs(&self) -> &[f32] {
        &self.obs
    }

    /// a, `len` rows.
    pub fn actions(&self) -> &Actions {
        &self.actions
    }

    /// r, `[len]`.
    pub fn rewards(&self) -> &[f32] {
        &self.rewards
    }

    /// Whether the task ended in the step, `[len]`.
    pub fn terminated(&self) -> &[bool] {
        &self.terminated
    }

    /// Whether the time limit ended the episode in the step, `[len]`.
    pub fn truncated(&self) -> &[bool] {
        &self.truncated
    }

    /// Those successors s' that are not the observation of the following row and were not
    /// terminated: the ones at a time limit and the ones of the last vector step, `[k, obs_dim]`.
    pub fn bootstrap_obs(&self) -> &[f32] {
        &self.bootstrap_obs
    }

    /// Adds one vector step.
    ///
    /// # Panics
    /// If the buffer is full, or if the actions are of another kind than the action space.
    pub fn push(&mut self, transition: &Transition<'_>) {
        assert!(!self.is_full(), "the rollout is full: clear it before the next step");
        let Transition { obs, actions, step } = transition;
        let start = self.len();
        self.obs.extend_from_slice(obs);
        write_actions(&mut self.actions, start, actions);
        self.rewards.extend(step.rewards.iter().map(|&reward| reward as f32));
        write(&mut self.terminated, start, &step.terminated);
        write(&mut self.truncated, start, &step.truncated);
        let last = self.is_full();
        for env in 0..self.n_envs {
            if !step.terminated[env] && (step.truncated[env] || last) {
                self.bootstrap_rows.push(start + env);
                let next_obs = &step.next_obs[env * self.obs_dim..(env + 1) * self.obs_dim];
                self.bootstrap_obs.extend_from_slice(next_obs);
            }
        }
    }

    /// v(s') of every row into `next_values`, from v of [`RolloutBuffer::obs`] and of
    /// [`RolloutBuffer::bootstrap_obs`]; 0 after a termination.
    pub fn next_values(&self, values: &[f32], bootstrap: &[f32], next_values: &mut Vec<f32>) {
        next_values.clear();
        let following = values.iter().skip(self.n_envs).chain(std::iter::repeat(&0.0));
        let rows = self.terminated.iter().zip(following);
        next_values.extend(rows.map(|(&terminated, &v)| if terminated { 0.0 } else { v }));
        for (&row, &value) in self.bootstrap_rows.iter().zip(bootstrap) {
            next_values[row] = value;
        }
    }

    /// Copies the observations of the given rows to `out`.
    pub fn gather_obs(&self, rows: &[usize], out: &mut Vec<f32>) {
        gather(&self.obs, self.obs_dim, rows, out);
    }

    /// Copies the actions of the given rows to `out`, which must be of the same kind.
    pub fn gather_actions(&self, rows: &[usize], out: &mut Actions) {
        gather_actions(&self.actions, rows, out);
    }

    /// Forgets all steps and keeps the memory.
    pub fn clear(&mut self) {
        self.obs.clear();
        match &mut self.actions {
            Actions::Discrete(choices) => choices.clear(),
            Actions::Continuous { values, .. } => values.clear(),
            other => panic!("no buffer keeps {other:?}"),
        }
        self.rewards.clear();
        self.terminated.clear();
        self.truncated.clear();
        self.bootstrap_rows.clear();
        self.bootstrap_obs.clear();
    }

    /// Every stored row.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let rows = self.len();
        state.insert_f32("obs", &[rows, self.obs_dim], &self.obs);
        insert_actions(&mut state, &self.actions);
        state.insert_f32("rewards", &[rows], &self.rewards);
        state.insert_bools("terminated", &self.terminated);
        state.insert_bools("truncated", &self.truncated);
        let bootstrap_rows: Vec<u64> = self.bootstrap_rows.iter().map(|&row| row as u64).collect();
        state.insert_f32(
            "bootstrap_obs",
            &[bootstrap_rows.len(), self.obs_dim],
            &self.bootstrap_obs,
        );
        state.insert_u64("bootstrap_rows", bootstrap_rows);
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
        let bootstrap_obs = read_f32(state, "bootstrap_obs", bootstrap_rows.len() * self.obs_dim)?;
        *self = RolloutBuffer {
            obs: read_f32(state, "obs", rows * self.obs_dim)?,
            actions: read_actions(state, &self.actions, rows)?,
            rewards: read_f32(state, "rewards", rows)?,
            terminated: read_bools(state, "terminated", rows)?,
            truncated: read_bools(state, "truncated", rows)?,
            bootstrap_rows,
            bootstrap_obs,
            ..*self
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_env::{BoxSpace, Space, StepBatch};

    fn box_2() -> BoxSpace {
        BoxSpace::symmetric(&[1.0; 2])
    }

    fn spec(action_space: Space) -> EnvSpec {
        EnvSpec::new("Test-v0", Space::Box(BoxSpace::symmetric(&[9.0])), action_space)
    }

    /// Two environments, three steps: environment 0 is terminated in the first step, environment 1
    /// reaches its time limit in the second.
    fn filled() -> RolloutBuffer {
        let mut buffer = RolloutBuffer::new(3, 2, &spec(Space::Discrete(4)));
        let steps = [
            ([0.0, 10.0], [1.0, 11.0], [true, false], [false, false]),
            ([5.0, 11.0], [6.0, 12.0], [false, false], [false, true]),
            ([6.0, 50.0], [7.0, 51.0], [false, true], [false, false]),
        ];
        for (t, (obs, next_obs, terminated, truncated)) in steps.into_iter().enumerate() {
            assert!(!buffer.is_full());
            let mut step = StepBatch::new(2, 1);
            step.next_obs = next_obs.to_vec();
            step.rewards = vec![t as f64, 1.5];
            step.terminated = terminated.to_vec();
            step.truncated = truncated.to_vec();
            let actions = Actions::Discrete(vec![t, 3]);
            buffer.push(&Transition { obs: &obs, actions: &actions, step: &step });
        }
        buffer
    }

    #[test]
    fn next_values_are_those_of_the_true_successors() {
        let buffer = filled();
        assert!(buffer.is_full());
        // The truncated step of environment 1 and the last step of environment 0.
        assert_eq!(buffer.bootstrap_obs(), [12.0, 7.0]);
        let mut next_values = Vec::new();
        // As if v(s) were the observation itself.
        let values = buffer.obs().to_vec();
        buffer.next_values(&values, buffer.bootstrap_obs(), &mut next_values);
        assert_eq!(next_values, [0.0, 11.0, 6.0, 12.0, 7.0, 0.0]);
    }

    #[test]
    fn rows_are_gathered_in_the_order_asked_for() {
        let buffer = filled();
        let (mut obs, mut actions) = (Vec::new(), Actions::Discrete(Vec::new()));
        buffer.gather_obs(&[5, 0, 2], &mut obs);
        buffer.gather_actions(&[5, 0, 2], &mut actions);
        assert_eq!(obs, [50.0, 0.0, 5.0]);
        assert_eq!(actions, Actions::Discrete(vec![3, 0, 1]));
    }

    #[test]
    fn a_half_full_buffer_is_saved_and_continued() {
        let mut buffer = RolloutBuffer::new(2, 1, &spec(Space::Box(box_2())));
        let mut step = StepBatch::new(1, 1);
        step.next_obs = vec![2.0];
        step.rewards = vec![0.25];
        step.terminated = vec![false];
        step.truncated = vec![true];
        let actions = Actions::Continuous { values: vec![0.5, -0.5], dim: 2 };
        buffer.push(&Transition { obs: &[1.0], actions: &actions, step: &step });
        let mut restored = RolloutBuffer::new(2, 1, &spec(Space::Box(box_2())));
        restored.load_state(&buffer.state()).unwrap();
        assert_eq!(restored, buffer);
        let mut shorter = RolloutBuffer::new(1, 2, &spec(Space::Box(box_2())));
        let message = shorter.load_state(&buffer.state()).unwrap_err().to_string();
        assert_eq!(message, "saved state `rewards` has shape [1], expected [2]");
        buffer.clear();
        assert!(buffer.is_empty() && buffer.bootstrap_obs().is_empty());
    }
}
