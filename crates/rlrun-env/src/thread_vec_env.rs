//! Environments stepped by the threads of rayon's pool.

use rayon::prelude::*;
use rlrun_core::{State, StateError};

use crate::env_batch::EnvBatch;
use crate::{Actions, Canvas, Env, EnvError, EnvSpec, Episodes, StepBatch, VecEnv};

/// Steps its environments in parallel; worth it when a step takes some tens of microseconds. Each
/// environment has its own generator, so results do not depend on the number of threads.
#[derive(Debug)]
pub struct ThreadVecEnv<E>(EnvBatch<E>);

impl<E: Env> ThreadVecEnv<E> {
    /// Steps `envs` together. They must have equal specs; the first one's is used.
    ///
    /// # Errors
    /// [`EnvError::NoEnvs`] if there is none, [`EnvError::SpecsDiffer`] if two specs differ,
    /// [`EnvError::Spec`] if theirs cannot be.
    pub fn new(envs: Vec<E>) -> Result<ThreadVecEnv<E>, EnvError> {
        Ok(ThreadVecEnv(EnvBatch::new(envs)?))
    }
}

/// The error of the first lane that has one.
fn first_error(
    errors: impl IndexedParallelIterator<Item = Option<EnvError>>,
    episodes: &Episodes,
    ahead: u32,
) -> Result<(), EnvError> {
    let named = |(lane, error): (usize, Option<EnvError>)| {
        error.map(|error| episodes.name_error(error, lane, ahead))
    };
    errors.enumerate().find_map_first(named).map_or(Ok(()), Err)
}

impl<E: Env> VecEnv for ThreadVecEnv<E> {
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
        let rows = obs.par_chunks_exact_mut(spec.observation_space.dim());
        let errors =
            envs.par_iter_mut().zip(rows).enumerate().map(|(lane, (env, row))| {
                env.reset(Some(seed.wrapping_add(lane as u64)), row).err()
            });
        first_error(errors, episodes, 0)?;
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
        let ends = batch.terminated.par_iter_mut().zip(&mut batch.truncated);
        let answers = batch.rewards.par_iter_mut().zip(ends);
        let rows = batch.next_obs.par_chunks_exact_mut(dim).zip(answers);
        let errors =
            envs.par_iter_mut().zip(rows).enumerate().map(|(lane, (env, (row, answer)))| {
                let (reward, (terminated, truncated)) = answer;
                let step = match env.step(actions.row(lane), row) {
                    Ok(step) => step,
                    Err(error) => return Some(error),
                };
                (*reward, *terminated, *truncated) = (step.reward, step.terminated, step.truncated);
                None
            });
        first_error(errors, episodes, 1)?;
        self.0.record()?;
        let EnvBatch { envs, episodes, obs, .. } = &mut self.0;
        let rows = obs.par_chunks_exact_mut(dim).zip(episodes.starts());
        let errors = envs
            .par_iter_mut()
            .zip(rows)
            .map(|(env, (row, &start))| if start { env.reset(None, row).err() } else { None });
        first_error(errors, episodes, 0)?;
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
