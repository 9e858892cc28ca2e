//! Box actions given in ±1.

use rlrun_core::{State, StateError};

use super::wrapper_error;
use crate::{Actions, BoxSpace, EnvError, EnvSpec, Space, StepBatch, VecEnv};

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
            Space::Box(bounds) if bounds.is_bounded() => bounds.clone(),
            other => {
                let reason = format!("`rescale_action` needs a bounded box, found `{other}`");
                return Err(wrapper_error(&envs, reason));
            }
        };
        let dim = bounds.low.len();
        spec.action_space =
            Space::Box(BoxSpace::symmetric(&vec![1.0; dim]).with_shape(&bounds.shape));
        let rescaled = Actions::Continuous { values: Vec::new(), dim };
        Ok(RescaleAction { envs, spec, bounds, rescaled })
    }
}

impl VecEnv for RescaleAction {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    pass_on!(envs);

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.envs.reset(seed)
    }

    fn obs(&self) -> &[f32] {
        self.envs.obs()
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        actions.check(&self.spec, self.envs.num_envs())?;
        if let (Actions::Continuous { values, .. }, Actions::Continuous { values: rescaled, .. }) =
            (actions, &mut self.rescaled)
        {
            rescaled.clone_from(values);
            self.bounds.unscale(rescaled);
        }
        self.envs.step(&self.rescaled)
    }

    fn state(&self) -> Result<State, EnvError> {
        self.envs.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.envs.load_state(state)
    }
}
