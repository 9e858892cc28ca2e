//! Environments stepped one after another in the calling thread.

use rlrun_core::{State, StateError};

use crate::env_batch::EnvBatch;
use crate::{Actions, Canvas, Env, EnvError, EnvSpec, StepBatch, VecEnv};

/// Steps its environments in a loop; the right choice when a step is cheap.
#[derive(Clone, Debug)]
pub struct SyncVecEnv<E>(EnvBatch<E>);

impl<E: Env> SyncVecEnv<E> {
    /// Steps `envs` together. They must have equal specs; the first one's is used.
    ///
    /// # Errors
    /// [`EnvError::NoEnvs`] if there is none, [`EnvError::SpecsDiffer`] if two specs differ,
    /// [`EnvError::Spec`] if theirs cannot be.
    pub fn new(envs: Vec<E>) -> Result<SyncVecEnv<E>, EnvError> {
        Ok(SyncVecEnv(EnvBatch::new(envs)?))
    }
}

impl<E: Env> VecEnv for SyncVecEnv<E> {
    fn spec(&self) -> &EnvSpec {
        &self.0.spec
    }

    fn num_envs(&self) -> usize {
        self.0.envs.len()
    }

    fn set_max_episode_steps(&mut self, limit: u32) -> Result<(), EnvError> {
        self.0.episodes.set_limit(limit, &mut self.0.spec)
    }

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        let EnvBatch { envs, spec, episodes, obs, .. } = &mut self.0;
        let rows = obs.chunks_exact_mut(spec.observation_space.dim());
        for (lane, (env, row)) in envs.iter_mut().zip(rows).enumerate() {
            env.reset(Some(seed.wrapping_add(lane as u64)), row)
                .map_err(|error| episodes.name_error(error, lane, 0))?;
        }
        self.0.begin()
    }

    fn obs(&self) -> &[f32] {
        &self.0.obs
    }

    fn starts(&self) -> &[bool] {
        self.0.episodes.starts()
    }

    fn masks(&self) -> &[bool] {
        self.0.masks.rows()
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.0.check(actions)?;
        let EnvBatch { envs, spec, episodes, step: batch, .. } = &mut self.0;
        let dim = spec.observation_space.dim();
        let rows = envs.iter_mut().zip(batch.next_obs.chunks_exact_mut(dim));
        for (lane, (env, row)) in rows.enumerate() {
            let step = env
                .step(actions.row(lane), row)
                .map_err(|error| episodes.name_error(error, lane, 1))?;
            batch.rewards[lane] = step.reward;
            batch.terminated[lane] = step.terminated;
            batch.truncated[lane] = step.truncated;
        }
        self.0.record()?;
        let EnvBatch { envs, episodes, obs, step: batch, .. } = &mut self.0;
        for lane in batch.finished.iter().map(|finished| finished.env) {
            envs[lane]
                .reset(None, &mut obs[lane * dim..(lane + 1) * dim])
                .map_err(|error| episodes.name_error(error, lane, 0))?;
        }
        self.0.begin_ended()?;
        Ok(&self.0.step)
    }

    fn render(&self, lane: usize) -> Option<Canvas> {
        self.0.envs.get(lane)?.render()
    }

    fn state(&self) -> Result<State, EnvError> {
        self.0.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.0.load_state(state)
    }
}
