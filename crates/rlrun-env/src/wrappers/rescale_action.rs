//! Box actions given in ±1.

use rlrun_core::{State, StateError};

use super::wrapper_error;
use crate::{Actions, BoxSpace, Canvas, EnvError, EnvSpec, Space, StepBatch, VecEnv};

/// Takes actions in ±1 and brings them to the bounds of the environment's box.
pub struct RescaleAction {
    envs: Box<dyn VecEnv>,
    spec: EnvSpec,
    bounds: BoxSpace,
    rescaled: Actions,
}

impl RescaleAction {
    /// Rescales the actions of `envs`.
    ///
    /// # Errors
    /// [`EnvError::Args`] if the action space is not a box with finite bounds.
    pub fn new(envs: Box<dyn VecEnv>) -> Result<RescaleAction, EnvError> {
        let mut spec = envs.spec().clone();
        let bounds = match &spec.action_space {
            Space::Box(bounds)
                if bounds.low.iter().chain(&bounds.high).all(|bound| bound.is_finite()) =>
            {
                bounds.clone()
            }
            other => {
                let reason = format!("`rescale_action` needs a bounded box, found `{other}`");
                return Err(wrapper_error(&envs, reason));
            }
        };
        let dim = bounds.low.len();
        spec.action_space = Space::Box(BoxSpace::symmetric(&vec![1.0; dim]));
        let rescaled = Actions::Continuous { values: Vec::new(), dim };
        Ok(RescaleAction { envs, spec, bounds, rescaled })
    }
}

impl VecEnv for RescaleAction {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.envs.num_envs()
    }

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.envs.reset(seed)
    }

    fn obs(&self) -> &[f32] {
        self.envs.obs()
    }

    fn starts(&self) -> &[bool] {
        self.envs.starts()
    }

    fn masks(&self) -> &[bool] {
        self.envs.masks()
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        actions.check(&self.spec, self.envs.num_envs())?;
        if let (Actions::Continuous { values, .. }, Actions::Continuous { values: rescaled, dim }) =
            (actions, &mut self.rescaled)
        {
            let BoxSpace { low, high, .. } = &self.bounds;
            rescaled.clear();
            rescaled.extend(values.iter().enumerate().map(|(index, value)| {
                let (low, high) = (low[index % *dim], high[index % *dim]);
                low + (high - low) * ((value + 1.0) / 2.0)
            }));
        }
        self.envs.step(&self.rescaled)
    }

    fn render(&self, lane: usize) -> Option<Canvas> {
        self.envs.render(lane)
    }

    fn state(&self) -> Result<State, EnvError> {
        self.envs.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.envs.load_state(state)
    }
}
