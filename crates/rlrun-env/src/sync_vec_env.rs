//! Environments stepped one after another in the calling thread.

use rlrun_core::{State, StateError};

use crate::{Actions, Env, EnvError, EnvSpec, Episodes, StepBatch, VecEnv};

/// Steps its environments in a loop; the right choice when a step is cheap.
#[derive(Clone, Debug)]
pub struct SyncVecEnv<E> {
    envs: Vec<E>,
    spec: EnvSpec,
    episodes: Episodes,
    obs: Vec<f32>,
    batch: StepBatch,
}

impl<E: Env> SyncVecEnv<E> {
    /// Steps `envs` together. They must have equal specs; the first one's is used.
    ///
    /// # Errors
    /// [`EnvError::NoEnvs`] if there is none, [`EnvError::SpecsDiffer`] if two specs differ.
    pub fn new(envs: Vec<E>) -> Result<SyncVecEnv<E>, EnvError> {
        let spec = EnvSpec::shared(&envs)?;
        let (n_envs, dim) = (envs.len(), spec.observation_space.dim());
        Ok(SyncVecEnv {
            episodes: Episodes::new(n_envs, spec.max_episode_steps),
            obs: vec![0.0; n_envs * dim],
            batch: StepBatch::new(n_envs, dim),
            envs,
            spec,
        })
    }
}

impl<E: Env> VecEnv for SyncVecEnv<E> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.envs.len()
    }

    fn reset(&mut self, seed: u64) {
        let rows = self.obs.chunks_exact_mut(self.spec.observation_space.dim());
        for (lane, (env, row)) in self.envs.iter_mut().zip(rows).enumerate() {
            env.reset(Some(seed.wrapping_add(lane as u64)), row);
        }
        self.episodes.start();
    }

    fn obs(&self) -> &[f32] {
        &self.obs
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.episodes.check_started(&self.spec)?;
        actions.check(&self.spec, self.envs.len())?;
        let (batch, dim) = (&mut self.batch, self.spec.observation_space.dim());
        let rows = self.envs.iter_mut().zip(batch.next_obs.chunks_exact_mut(dim));
        for (lane, (env, row)) in rows.enumerate() {
            let step = env.step(actions.row(lane), row)?;
            batch.rewards[lane] = step.reward;
            batch.terminated[lane] = step.terminated;
        }
        self.episodes.record(batch);
        self.obs.copy_from_slice(&batch.next_obs);
        for finished in &batch.finished {
            let row = finished.env * dim..(finished.env + 1) * dim;
            self.envs[finished.env].reset(None, &mut self.obs[row]);
        }
        Ok(&self.batch)
    }

    fn state(&self) -> State {
        vec_env_state(&self.envs, &self.episodes, &self.obs)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        load_vec_env_state(state, &mut self.envs, &mut self.episodes, &mut self.obs)
    }
}

/// State of a batch that owns its environments: `episodes.*`, `obs` and `env.<lane>.*`.
pub(crate) fn vec_env_state<E: Env>(envs: &[E], episodes: &Episodes, obs: &[f32]) -> State {
    let mut state = State::new();
    state.insert_child("episodes", episodes.state());
    state.insert_f32("obs", &[envs.len(), obs.len() / envs.len()], obs);
    for (lane, env) in envs.iter().enumerate() {
        state.insert_child(&format!("env.{lane}"), env.state());
    }
    state
}

/// The inverse of [`vec_env_state`].
pub(crate) fn load_vec_env_state<E: Env>(
    state: &State,
    envs: &mut [E],
    episodes: &mut Episodes,
    obs: &mut [f32],
) -> Result<(), StateError> {
    episodes.load_state(&state.child("episodes"))?;
    state.copy_f32("obs", obs)?;
    for (lane, env) in envs.iter_mut().enumerate() {
        env.load_state(&state.child(&format!("env.{lane}")))?;
    }
    Ok(())
}
