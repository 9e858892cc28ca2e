//! Wrappers that belong to the environment: they change what it shows, takes or pays, and are
//! switched on in the run file. What a policy must remember (normalisation) is not among them.

/// The methods of [`VecEnv`] that a wrapper of `$envs` leaves as they are.
macro_rules! pass_on {
    ($($envs:ident).+) => {
        fn num_envs(&self) -> usize {
            self.$($envs).+.num_envs()
        }

        fn starts(&self) -> &[bool] {
            self.$($envs).+.starts()
        }

        fn masks(&self) -> &[bool] {
            self.$($envs).+.masks()
        }

        fn render(&self, lane: usize) -> Option<$crate::Canvas> {
            self.$($envs).+.render(lane)
        }
    };
}

mod history;
mod rescale_action;
mod reward;
mod sticky_actions;

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use crate::{EnvError, VecEnv};

pub use history::{FrameStack, ObservationDelay};
pub use rescale_action::RescaleAction;
pub use reward::TransformReward;
pub use sticky_actions::StickyActions;

/// Which wrappers are on; the run file's `[env.wrappers]`. All are off by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct WrapperConfig {
    /// Steps after which an episode is truncated, in place of the environment's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_episode_steps: Option<u32>,
    /// Probability that the previous action is repeated (Machado et al. 2018).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky_actions: Option<f64>,
    /// Steps by which observations arrive late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation_delay: Option<usize>,
    /// How many observations are shown together, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_stack: Option<usize>,
    /// Whether box actions are given in ±1 and brought to the bounds.
    pub rescale_action: bool,
    /// Factor of the rewards; episode statistics keep the environment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_scale: Option<f64>,
    /// Bounds of the rewards, applied after the factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_clip: Option<[f64; 2]>,
}

impl WrapperConfig {
    /// Names of the wrappers that are on and make another task: other rewards, lengths or dynamics.
    /// `max_episode_steps` is the limit of the environment itself, which may be given again.
    pub fn task_changes(&self, max_episode_steps: Option<u32>) -> Vec<&'static str> {
        // Written out, so that a new wrapper must be judged here.
        let WrapperConfig {
            max_episode_steps: limit,
            sticky_actions,
            observation_delay,
            frame_stack: _,
            rescale_action: _,
            reward_scale,
            reward_clip,
        } = self;
        let changes = [
            ("max_episode_steps", limit.is_some() && *limit != max_episode_steps),
            ("sticky_actions", sticky_actions.is_some_and(|probability| probability != 0.0)),
            ("observation_delay", observation_delay.is_some_and(|steps| steps != 0)),
            ("reward_scale", reward_scale.is_some_and(|scale| scale != 1.0)),
            ("reward_clip", reward_clip.is_some()),
        ];
        changes.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect()
    }

    /// The wrappers that only show or take the same task in another form, which the policy needs.
    pub fn without_task_changes(&self) -> WrapperConfig {
        let WrapperConfig { frame_stack, rescale_action, .. } = *self;
        WrapperConfig { frame_stack, rescale_action, ..WrapperConfig::default() }
    }

    /// Puts the wrappers that are on around `envs`, in the order of the fields.
    ///
    /// # Errors
    /// [`EnvError::Args`] for a value that cannot be.
    pub fn wrap(&self, mut envs: Box<dyn VecEnv>) -> Result<Box<dyn VecEnv>, EnvError> {
        if let Some(limit) = self.max_episode_steps {
            envs.set_max_episode_steps(limit)?;
        }
        if let Some(probability) = self.sticky_actions {
            envs = Box::new(StickyActions::new(envs, probability)?);
        }
        if let Some(steps) = self.observation_delay {
            envs = Box::new(ObservationDelay::new(envs, steps)?);
        }
        if let Some(frames) = self.frame_stack {
            envs = Box::new(FrameStack::new(envs, frames)?);
        }
        if self.rescale_action {
            envs = Box::new(RescaleAction::new(envs)?);
        }
        if self.reward_scale.is_some() || self.reward_clip.is_some() {
            let scale = self.reward_scale.unwrap_or(1.0);
            envs = Box::new(TransformReward::new(envs, scale, self.reward_clip)?);
        }
        envs.spec().check()?;
        Ok(envs)
    }
}

/// A wrapper's value that cannot be.
fn wrapper_error(envs: &dyn VecEnv, reason: String) -> EnvError {
    EnvError::Args { id: envs.spec().id.clone(), reason }
}
