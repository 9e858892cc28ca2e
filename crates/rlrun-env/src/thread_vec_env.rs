//! Environments stepped by the threads of rayon's pool.

use rayon::prelude::*;
use rlrun_core::{State, StateError};

use crate::sync_vec_env::{load_vec_env_state, vec_env_state};
use crate::{Actions, Env, EnvError, EnvSpec, Episodes, Step, StepBatch, VecEnv};

/// Steps its environments in parallel; worth it when a step takes some tens of microseconds. Each
/// environment has its own generator, so results do not depend on the number of threads.
#[derive(Debug)]
pub struct ThreadVecEnv<E> {
    envs: Vec<E>,
    spec: EnvSpec,
    episodes: Episodes,
    obs: Vec<f32>,
    batch: StepBatch,
    /// What each environment answered in the last step.
    answers: Vec<Result<Step, EnvError>>,
}

impl<E: Env> ThreadVecEnv<E> {
    /// Steps `envs` together. They must have equal specs; the first one's is used.
    ///
    /// # Errors
    /// [`EnvError::NoEnvs`] if there is none, [`EnvError::SpecsDiffer`] if two specs differ.
    pub fn new(envs: Vec<E>) -> Result<ThreadVecEnv<E>, EnvError> {
        let spec = EnvSpec::shared(&envs)?;
        let (n_envs, dim) = (envs.len(), spec.observation_space.dim());
        Ok(ThreadVecEnv {
            episodes: Episodes::new(n_envs, spec.max_episode_steps),
            obs: vec![0.0; n_envs * dim],
            batch: StepBatch::new(n_envs, dim),
            answers: vec![Ok(Step { reward: 0.0, terminated: false }); n_envs],
            envs,
            spec,
        })
    }
}

impl<E: Env> VecEnv for ThreadVecEnv<E> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.envs.len()
    }

    fn reset(&mut self, seed: u64) {
        let rows = self.obs.par_chunks_exact_mut(self.spec.observation_space.dim());
        self.envs.par_iter_mut().zip(rows).enumerate().for_each(|(lane, (env, row))| {
            env.reset(Some(seed.wrapping_add(lane as u64)), row);
        });
        self.episodes.start();
    }

    fn obs(&self) -> &[f32] {
        &self.obs
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.episodes.check_started(&self.spec)?;
        actions.check(&self.spec, self.envs.len())?;
        let (batch, dim) = (&mut self.batch, self.spec.observation_space.dim());
        let rows = batch.next_obs.par_chunks_exact_mut(dim).zip(&mut self.answers);
        self.envs.par_iter_mut().zip(rows).enumerate().for_each(|(lane, (env, (row, answer)))| {
            *answer = env.step(actions.row(lane), row);
        });
        for (lane, answer) in self.answers.iter().enumerate() {
            let step = answer.clone()?;
            batch.rewards[lane] = step.reward;
            batch.terminated[lane] = step.terminated;
        }
        self.episodes.record(batch);
        self.obs.copy_from_slice(&batch.next_obs);
        let rows = self.obs.par_chunks_exact_mut(dim);
        let ended = batch.terminated.par_iter().zip(&batch.truncated);
        self.envs.par_iter_mut().zip(rows).zip(ended).for_each(|((env, row), (end, limit))| {
            if *end || *limit {
                env.reset(None, row);
            }
        });
        Ok(&self.batch)
    }

    fn state(&self) -> State {
        vec_env_state(&self.envs, &self.episodes, &self.obs)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        load_vec_env_state(state, &mut self.envs, &mut self.episodes, &mut self.obs)
    }
}
