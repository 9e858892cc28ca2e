//! Episodes to look at: one environment and what acts in it.

use anyhow::{Result, anyhow};
use rlrun::Trained;
use rlrun::agents::{Memory, Policy};
use rlrun::core::{NumpyRng, Purpose, Streams};
use rlrun::env::{Actions, Canvas, EpisodeStats, VecEnv};

/// One environment that is drawn before each of its steps.
pub(crate) struct Play {
    envs: Box<dyn VecEnv>,
    actor: Actor,
    actions: Actions,
}

/// Who chooses the actions.
enum Actor {
    /// A policy; with streams, its actions are drawn.
    Trained(Box<dyn Policy>, Memory, Option<Streams>),
    /// Chance.
    Random(NumpyRng),
}

impl Play {
    /// A trained policy, loaded for one episode, on the seeds that [`Trained::evaluate`] uses for
    /// `seed`.
    pub(crate) fn trained(trained: Trained, seed: u64, stochastic: bool) -> Result<Play> {
        let streams = stochastic.then(|| Streams::new(seed, Purpose::EvalActions, 1));
        let memory = trained.policy.memory(1);
        let actor = Actor::Trained(trained.policy, memory, streams);
        Play::new(trained.envs, actor, Trained::evaluation_seed(seed))
    }

    /// Random actions in the only environment of `envs`.
    pub(crate) fn random(envs: Box<dyn VecEnv>, seed: u64) -> Result<Play> {
        Play::new(envs, Actor::Random(NumpyRng::new(seed)), seed)
    }

    fn new(mut envs: Box<dyn VecEnv>, actor: Actor, seed: u64) -> Result<Play> {
        envs.reset(seed)?;
        let actions = Actions::zeros(&envs.spec().action_space, 1);
        Ok(Play { envs, actor, actions })
    }

    /// The environment as it is now.
    pub(crate) fn draw(&self) -> Result<Canvas> {
        let id = &self.envs.spec().id;
        let undrawable = || anyhow!("`{id}` cannot be drawn: its `Env::render` gives no picture");
        self.envs.render(0).ok_or_else(undrawable)
    }

    /// Takes one step; the episode if it ended, when the next one has begun.
    pub(crate) fn step(&mut self) -> Result<Option<EpisodeStats>> {
        match &mut self.actor {
            Actor::Random(rng) => self.actions = self.envs.spec().action_space.sample(1, rng),
            Actor::Trained(policy, memory, streams) => {
                let seen = self.envs.observations();
                memory.begin(seen.starts);
                let rngs = streams.as_mut().map(Streams::lanes);
                policy.act(&seen, memory, rngs, &mut self.actions)?;
            }
        }
        Ok(self.envs.step(&self.actions)?.finished.first().copied())
    }
}
