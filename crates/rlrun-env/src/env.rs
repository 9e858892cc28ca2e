//! One environment.

use std::fmt;

use rlrun_core::{State, StateError};

use crate::{Canvas, EnvError, Space};

/// What is fixed about an environment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EnvSpec {
    /// Gymnasium's name, `"CartPole-v1"`.
    pub id: String,
    /// What `reset` and `step` write.
    pub observation_space: Space,
    /// What `step` takes.
    pub action_space: Space,
    /// Steps after which the vector environment truncates the episode; `None`: never.
    pub max_episode_steps: Option<u32>,
    /// Mean return from which the task counts as solved, if one is agreed.
    pub reward_threshold: Option<f64>,
}

impl EnvSpec {
    /// Without limit and threshold.
    pub fn new(id: impl Into<String>, observation_space: Space, action_space: Space) -> EnvSpec {
        EnvSpec {
            id: id.into(),
            observation_space,
            action_space,
            max_episode_steps: None,
            reward_threshold: None,
        }
    }

    /// Episodes are truncated after `max_episode_steps` steps.
    pub fn with_max_episode_steps(self, max_episode_steps: u32) -> EnvSpec {
        EnvSpec { max_episode_steps: Some(max_episode_steps), ..self }
    }

    /// The task counts as solved from this mean return on.
    pub fn with_reward_threshold(self, reward_threshold: f64) -> EnvSpec {
        EnvSpec { reward_threshold: Some(reward_threshold), ..self }
    }

    /// Whether spaces and limit can be; every vector environment asks when it is made.
    ///
    /// # Errors
    /// [`EnvError::Spec`] naming space and component, or the limit.
    pub fn check(&self) -> Result<(), EnvError> {
        let error = |reason| Err(EnvError::Spec { id: self.id.clone(), reason });
        for (name, space) in
            [("observation space", &self.observation_space), ("action space", &self.action_space)]
        {
            if let Err(reason) = space.check() {
                return error(format!("{name}: {reason}"));
            }
        }
        if self.max_episode_steps == Some(0) {
            return error("`max_episode_steps = 0` leaves no step to take".to_owned());
        }
        Ok(())
    }

    /// The spec that all of `envs` share.
    ///
    /// # Errors
    /// [`EnvError::NoEnvs`] if there is none, [`EnvError::SpecsDiffer`] if two specs differ, and as
    /// [`EnvSpec::check`].
    pub fn shared<E: Env>(envs: &[E]) -> Result<EnvSpec, EnvError> {
        let spec = envs.first().ok_or(EnvError::NoEnvs)?.spec();
        spec.check()?;
        if let Some(lane) = envs.iter().position(|env| env.spec() != spec) {
            let (expected, found) = (spec.id.clone(), envs[lane].spec().id.clone());
            return Err(EnvError::SpecsDiffer { lane, expected, found });
        }
        Ok(spec.clone())
    }

    /// Checks kind and size of `action`, choices against the space, and numbers for NaN. The
    /// bounds of a box are left to the environment, which clips or refuses.
    ///
    /// # Errors
    /// [`EnvError::Action`] with the action and the space written out.
    pub fn check_action(&self, action: Action<'_>) -> Result<(), EnvError> {
        let fits = match (&self.action_space, action) {
            (Space::Box(space), Action::Continuous(values)) => {
                values.len() == space.low.len() && !values.iter().any(|value| value.is_nan())
            }
            (space, action) => space.contains(action),
        };
        if fits {
            return Ok(());
        }
        Err(EnvError::Action {
            id: self.id.clone(),
            action: action.to_string(),
            expected: self.action_space.to_string(),
        })
    }
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// A choice of a discrete space.
    Discrete(usize),
    /// A vector of a box space.
    Continuous(&'a [f32]),
    /// Choices of a multi-discrete space, or the flags of a multi-binary one.
    MultiDiscrete(&'a [usize]),
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Discrete(choice) => write!(f, "{choice}"),
            Action::Continuous(values) => write!(f, "{values:?}"),
            Action::MultiDiscrete(choices) => write!(f, "choices {choices:?}"),
        }
    }
}

/// What one step returns beside the observation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Reward of this step.
    pub reward: f64,
    /// Whether the task itself ended the episode. A time limit is not a termination.
    pub terminated: bool,
    /// Whether the environment cut the episode off by a limit of its own, beside
    /// `max_episode_steps`.
    pub truncated: bool,
}

impl Step {
    /// A step that is not cut off.
    pub const fn new(reward: f64, terminated: bool) -> Step {
        Step { reward, terminated, truncated: false }
    }

    /// The step, cut off by a limit of the environment's own or not.
    pub const fn with_truncated(self, truncated: bool) -> Step {
        Step { truncated, ..self }
    }
}

/// An environment. The time limit `max_episode_steps` is applied by the vector environment.
pub trait Env: Send {
    /// Id, spaces, limit and threshold.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode and writes its first observation into `obs` (`observation_space.dim()`
    /// numbers). `Some(seed)` makes a new generator, `None` goes on with the old one.
    ///
    /// # Errors
    /// [`EnvError`] if no episode can be started.
    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError>;

    /// Takes one step and writes the successor observation into `obs`.
    ///
    /// # Errors
    /// [`EnvError`] if there was no reset yet, the action is not in the action space, or the
    /// environment fails; `?` turns any error that is boxed into one.
    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError>;

    /// Writes which choices are legal in the state of now into `mask`
    /// (`action_space.mask_len()` flags); `false`: all are, and `mask` is left alone.
    fn action_mask(&self, _mask: &mut [bool]) -> bool {
        false
    }

    /// A picture of the state of now; `None` if there is none.
    fn render(&self) -> Option<Canvas> {
        None
    }

    /// Everything needed to go on mid-episode, the generator included.
    ///
    /// # Errors
    /// [`EnvError::NotSaveable`] if that cannot be.
    fn state(&self) -> Result<State, EnvError>;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

impl<E: Env + ?Sized> Env for Box<E> {
    fn spec(&self) -> &EnvSpec {
        (**self).spec()
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        (**self).reset(seed, obs)
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        (**self).step(action, obs)
    }

    fn action_mask(&self, mask: &mut [bool]) -> bool {
        (**self).action_mask(mask)
    }

    fn render(&self) -> Option<Canvas> {
        (**self).render()
    }

    fn state(&self) -> Result<State, EnvError> {
        (**self).state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        (**self).load_state(state)
    }
}
