//! What a trainer saves of itself, and how it goes on from it.

use rlrun_core::{State, StateError};
use tracing::info;

use super::{Best, Trainer};
use crate::{Checkpoint, CheckpointError, RunDir, TrainError};

impl Trainer {
    pub(super) fn state(&self) -> State {
        let mut state = State::new();
        state.insert_child("clock", self.clock.state());
        state.insert_u64("updates", [self.updates]);
        if self.unfinished {
            state.insert_u64("unfinished", [1]);
        }
        if let Some(best) = self.best {
            state.insert_u64("best.step", [best.step]);
            state.insert_f64("best.score", [best.score]);
        }
        state.insert_child("episodes", self.episodes.state());
        state.insert_child("logger", self.logger.state());
        state
    }

    pub(super) fn load(
        &mut self,
        run_dir: &RunDir,
        checkpoint: &Checkpoint,
    ) -> Result<(), TrainError> {
        let path = run_dir.path().join(Checkpoint::folder_name(checkpoint.step));
        checkpoint.policy.check_env(&self.envs.spec().id, &path)?;
        run_dir.check_settings(checkpoint)?;
        if checkpoint.step > self.total_timesteps() {
            let rule =
                format!("the run has reached step {} already; use at least that", checkpoint.step);
            let value = self.total_timesteps().to_string();
            return Err(TrainError::Config { key: "train.total_timesteps", value, rule });
        }
        let misfit = |source| CheckpointError::Misfit { path: path.clone(), source };
        self.load_state(checkpoint).map_err(misfit)?;
        info!("continuing at step {} of {}", self.timesteps(), self.total_timesteps());
        Ok(())
    }

    fn load_state(&mut self, checkpoint: &Checkpoint) -> Result<(), StateError> {
        self.agent.policy_mut().load_state(&checkpoint.policy.state)?;
        self.agent.load_state(&checkpoint.agent)?;
        self.envs.load_state(&checkpoint.envs)?;
        let state = &checkpoint.trainer;
        self.updates = state.counter("updates")?;
        self.unfinished = state.0.contains_key("unfinished");
        let best = state.child("best");
        if !best.0.is_empty() {
            let score = best.f64("score")?.first().copied().unwrap_or(f64::NAN);
            self.best = Some(Best { step: best.counter("step")?, score });
        }
        self.episodes.load_state(&state.child("episodes"))?;
        self.logger.load_row(&state.child("logger"))?;
        self.clock.load_state(&state.child("clock"))?;
        Ok(())
    }
}
