//! What vector environments of any [`Env`] share; they differ in how they go through the
//! environments.

use rlrun_core::{State, StateError};

use crate::masks::Masks;
use crate::{Actions, Env, EnvError, EnvSpec, Episodes, StepBatch};

/// Environments of one kind, and what they show.
#[derive(Clone, Debug)]
pub(crate) struct EnvBatch<E> {
    pub(crate) envs: Vec<E>,
    pub(crate) spec: EnvSpec,
    pub(crate) episodes: Episodes,
    pub(crate) masks: Masks,
    pub(crate) obs: Vec<f32>,
    /// The last step.
    pub(crate) step: StepBatch,
}

impl<E: Env> EnvBatch<E> {
    pub(crate) fn new(envs: Vec<E>) -> Result<EnvBatch<E>, EnvError> {
        let spec = EnvSpec::shared(&envs)?;
        let (n_envs, dim) = (envs.len(), spec.observation_space.dim());
        Ok(EnvBatch {
            episodes: Episodes::new(&spec, n_envs),
            masks: Masks::new(&spec.action_space),
            obs: vec![0.0; n_envs * dim],
            step: StepBatch::new(n_envs, dim),
            envs,
            spec,
        })
    }

    /// All environments have been reset and have written `obs`.
    pub(crate) fn begin(&mut self) -> Result<(), EnvError> {
        self.episodes.start(&self.obs)?;
        self.masks.read_all(&self.envs);
        self.masks.check_rows(&self.spec, &self.episodes, 0, |_| false)
    }

    /// Refuses what cannot be acted out now.
    pub(crate) fn check(&self, actions: &Actions) -> Result<(), EnvError> {
        self.episodes.check_started()?;
        actions.check(&self.spec, self.envs.len())?;
        self.masks.check_actions(actions, &self.spec)
    }

    /// Every environment has written its part of `step`; those in `step.finished` are to be reset
    /// into `obs`.
    pub(crate) fn record(&mut self) -> Result<(), EnvError> {
        self.masks.read_all(&self.envs);
        let terminated = &self.step.terminated;
        self.masks.check_rows(&self.spec, &self.episodes, 1, |lane| terminated[lane])?;
        self.episodes.record(&mut self.step)?;
        self.step.next_masks.clear();
        self.step.next_masks.extend_from_slice(self.masks.rows());
        self.obs.copy_from_slice(&self.step.next_obs);
        Ok(())
    }

    /// The environments in `step.finished` have been reset.
    pub(crate) fn begin_ended(&mut self) -> Result<(), EnvError> {
        let dim = self.spec.observation_space.dim();
        for lane in self.step.finished.iter().map(|finished| finished.env) {
            self.episodes.begin(lane, &self.obs[lane * dim..(lane + 1) * dim])?;
            self.masks.read(&self.envs, lane);
        }
        self.masks.check_rows(&self.spec, &self.episodes, 0, |_| false)
    }

    /// `episodes.*`, `obs` and `env.<lane>.*`.
    pub(crate) fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_child("episodes", self.episodes.state());
        let shape = [self.envs.len(), self.spec.observation_space.dim()];
        state.insert_f32("obs", &shape, &self.obs);
        for (lane, env) in self.envs.iter().enumerate() {
            state.insert_child(&format!("env.{lane}"), env.state()?);
        }
        Ok(state)
    }

    pub(crate) fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.episodes.load_state(&state.child("episodes"))?;
        state.copy_f32("obs", &mut self.obs)?;
        for (lane, env) in self.envs.iter_mut().enumerate() {
            env.load_state(&state.child(&format!("env.{lane}")))?;
        }
        self.masks.read_all(&self.envs);
        Ok(())
    }
}
