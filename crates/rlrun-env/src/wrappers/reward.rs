//! Rewards scaled and clipped.

use rlrun_core::{State, StateError};

use super::wrapper_error;
use crate::episodes::check_rewards;
use crate::{Actions, EnvError, EnvSpec, StepBatch, VecEnv};

/// Multiplies rewards by a factor, then clips them. Episode statistics stay the environment's own,
/// so that scores remain comparable.
pub struct TransformReward {
    envs: Box<dyn VecEnv>,
    scale: f64,
    clip: [f64; 2],
    batch: StepBatch,
}

impl TransformReward {
    /// Rewards become `clamp(scale * reward, low, high)`.
    ///
    /// # Errors
    /// [`EnvError::Args`] if the factor is not finite or the bounds are in the wrong order.
    pub fn new(
        envs: Box<dyn VecEnv>,
        scale: f64,
        clip: Option<[f64; 2]>,
    ) -> Result<TransformReward, EnvError> {
        let clip = clip.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
        if !scale.is_finite() {
            let reason = format!("`reward_scale = {scale}` is not a finite number");
            return Err(wrapper_error(&envs, reason));
        }
        if clip[0] <= clip[1] {
            return Ok(TransformReward { envs, scale, clip, batch: StepBatch::default() });
        }
        let reason = format!("`reward_clip = {clip:?}` is not a lower and an upper bound");
        Err(wrapper_error(&envs, reason))
    }
}

impl VecEnv for TransformReward {
    fn spec(&self) -> &EnvSpec {
        self.envs.spec()
    }

    pass_on!(envs);

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.envs.reset(seed)
    }

    fn obs(&self) -> &[f32] {
        self.envs.obs()
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.batch.copy_from(self.envs.step(actions)?);
        for reward in &mut self.batch.rewards {
            *reward = (self.scale * *reward).clamp(self.clip[0], self.clip[1]);
        }
        let StepBatch { rewards, lengths, .. } = &self.batch;
        check_rewards(&self.envs.spec().id, rewards, |lane| lengths[lane])?;
        Ok(&self.batch)
    }

    fn state(&self) -> Result<State, EnvError> {
        self.envs.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.envs.load_state(state)
    }
}
