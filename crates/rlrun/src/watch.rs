//! Episodes to look at: one environment and what acts in it.

use rlrun_agents::{Agent, Memory};
use rlrun_core::{NumpyRng, Purpose, Streams};
use rlrun_env::{Actions, Canvas, EpisodeStats, VecEnv};
use rlrun_train::evaluation_seed;

use crate::trained::FINAL_EVALUATION;
use crate::{ConfigError, Trained};

/// One environment that is drawn before each of its steps.
pub struct Watch {
    envs: Box<dyn VecEnv>,
    actor: Actor,
    actions: Actions,
}

/// Who chooses the actions.
enum Actor {
    /// A policy; with a generator, its actions are drawn.
    Trained(Box<dyn Agent>, Memory, Option<Streams>),
    /// Chance.
    Random(NumpyRng),
}

impl Watch {
    /// A trained agent, loaded for one episode, on the seeds that [`Trained::evaluate`] uses for
    /// `seed`.
    ///
    /// # Errors
    /// [`ConfigError::OneEnvironment`] if it was loaded for more.
    pub fn trained(trained: Trained, seed: u64, stochastic: bool) -> Result<Watch, ConfigError> {
        let streams = stochastic.then(|| Streams::new(seed, Purpose::EvalActions, 1));
        let memory = trained.agent.policy().memory(1);
        let actor = Actor::Trained(trained.agent, memory, streams);
        Watch::new(trained.envs, actor, evaluation_seed(seed, FINAL_EVALUATION))
    }

    /// Random actions in the only environment of `envs`.
    ///
    /// # Errors
    /// [`ConfigError::OneEnvironment`] if there are more.
    pub fn random(envs: Box<dyn VecEnv>, seed: u64) -> Result<Watch, ConfigError> {
        Watch::new(envs, Actor::Random(NumpyRng::new(seed)), seed)
    }

    fn new(mut envs: Box<dyn VecEnv>, actor: Actor, seed: u64) -> Result<Watch, ConfigError> {
        if envs.num_envs() != 1 {
            return Err(ConfigError::OneEnvironment { found: envs.num_envs() });
        }
        envs.reset(seed)?;
        let actions = Actions::zeros(&envs.spec().action_space, 1);
        Ok(Watch { envs, actor, actions })
    }

    /// The environment as it is now.
    ///
    /// # Errors
    /// [`ConfigError::Undrawable`] if it draws none.
    pub fn draw(&self) -> Result<Canvas, ConfigError> {
        let undrawable = || ConfigError::Undrawable { id: self.envs.spec().id.clone() };
        self.envs.render(0).ok_or_else(undrawable)
    }

    /// Takes one step; the episode if it ended, when the next one has begun.
    ///
    /// # Errors
    /// [`ConfigError::Env`] if the policy acts outside the action space.
    pub fn step(&mut self) -> Result<Option<EpisodeStats>, ConfigError> {
        match &mut self.actor {
            Actor::Random(rng) => self.actions = self.envs.spec().action_space.sample(1, rng),
            Actor::Trained(agent, memory, streams) => {
                let seen = self.envs.observations();
                memory.begin(seen.starts);
                let rngs = streams.as_mut().map(Streams::lanes);
                agent.policy().act(&seen, memory, rngs, &mut self.actions)?;
            }
        }
        Ok(self.envs.step(&self.actions)?.finished.first().copied())
    }
}
