//! Environments that only come as vectors, seen as one environment: a vector of one lane.

use rlrun_core::{State, StateError};
use rlrun_env::{Action, Actions, Canvas, Env, EnvError, EnvSpec, Step, VecEnv};

/// The only lane of a vector environment.
pub(crate) struct OneLane {
    envs: Box<dyn VecEnv>,
    seed: u64,
    /// Episodes that were cut off by a reset; a vector can only be reset with a seed.
    cut: u64,
    /// Whether the episode has ended, so that the vector has begun the next one already.
    ended: bool,
    /// Which choices are legal now; empty: all are.
    mask: Vec<bool>,
}

impl OneLane {
    pub(crate) fn new(envs: Box<dyn VecEnv>) -> OneLane {
        OneLane { envs, seed: 0, cut: 0, ended: false, mask: Vec::new() }
    }
}

impl Env for OneLane {
    fn spec(&self) -> &EnvSpec {
        self.envs.spec()
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        if let Some(seed) = seed {
            (self.seed, self.cut) = (seed, 0);
            self.envs.reset(seed)?;
        } else if !self.ended {
            self.cut += 1;
            self.envs.reset(self.seed.wrapping_add(self.cut << 32))?;
        }
        self.ended = false;
        self.mask = self.envs.masks().to_vec();
        obs.copy_from_slice(self.envs.obs());
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        self.envs.spec().check_action(action)?;
        let mut actions = Actions::zeros(&self.envs.spec().action_space, 1);
        actions.set_row(0, action);
        let batch = self.envs.step(&actions)?;
        obs.copy_from_slice(&batch.next_obs);
        self.mask.clone_from(&batch.next_masks);
        self.ended = batch.terminated[0] || batch.truncated[0];
        Ok(Step::new(batch.rewards[0], batch.terminated[0]).with_truncated(batch.truncated[0]))
    }

    fn action_mask(&self, mask: &mut [bool]) -> bool {
        let masks = !self.mask.is_empty();
        if masks {
            mask.copy_from_slice(&self.mask);
        }
        masks
    }

    fn render(&self) -> Option<Canvas> {
        self.envs.render(0)
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_child("envs", self.envs.state()?);
        state.insert_u64("resets", [self.seed, self.cut]);
        state.insert_bools("ended", &[self.ended]);
        state.insert_bools("mask", &self.mask);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.envs.load_state(&state.child("envs"))?;
        let [seed, cut] = *state.u64("resets")? else {
            let reason = "expected a seed and a count".to_owned();
            return Err(StateError::Invalid { path: "resets".to_owned(), reason });
        };
        (self.seed, self.cut) = (seed, cut);
        self.ended = state.bools("ended")? == [true];
        self.mask = state.bools("mask")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rlrun_env::check_env;

    use super::*;

    #[test]
    fn a_vector_of_one_keeps_the_promises_of_an_environment() {
        for id in ["CartPole-v1", "Pendulum-v1"] {
            let envs = || rlrun_envs::make_vec(id, 1, &toml::Table::new()).unwrap();
            let report = check_env(|| OneLane::new(envs()));
            assert!(report.is_ok(), "{report}");
        }
    }
}
