//! Actions that stick: with some probability an environment repeats the previous one.

use rand::RngExt;
use rlrun_core::{Purpose, Rng, State, StateError, rng_stream};

use super::wrapper_error;
use crate::{Actions, EnvError, EnvSpec, StepBatch, VecEnv};

/// Repeats the previous action of an episode, if it is still legal, with a probability (Machado et
/// al. 2018, §5). Every environment has a random stream of its own, named by the seed of `reset` and its index.
pub struct StickyActions {
    envs: Box<dyn VecEnv>,
    probability: f64,
    streams: Vec<Rng>,
    /// The actions of the last step.
    previous: Actions,
    /// Whether an environment has taken a step in its episode.
    moving: Vec<bool>,
}

impl StickyActions {
    /// Makes the actions of `envs` stick.
    ///
    /// # Errors
    /// [`EnvError::Args`] if `probability` is not in 0 to 1.
    pub fn new(envs: Box<dyn VecEnv>, probability: f64) -> Result<StickyActions, EnvError> {
        if !(0.0..=1.0).contains(&probability) {
            let reason = format!("`sticky_actions = {probability}` is not a probability");
            return Err(wrapper_error(&envs, reason));
        }
        let n_envs = envs.num_envs();
        Ok(StickyActions {
            probability,
            streams: streams(0, n_envs),
            previous: Actions::zeros(&envs.spec().action_space, n_envs),
            moving: vec![false; n_envs],
            envs,
        })
    }
}

fn streams(seed: u64, n_envs: usize) -> Vec<Rng> {
    (0..n_envs as u64).map(|lane| rng_stream(seed, Purpose::Wrappers, lane)).collect()
}

impl VecEnv for StickyActions {
    fn spec(&self) -> &EnvSpec {
        self.envs.spec()
    }

    pass_on!(envs);

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.streams = streams(seed, self.streams.len());
        self.moving.fill(false);
        self.envs.reset(seed)
    }

    fn obs(&self) -> &[f32] {
        self.envs.obs()
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        actions.check(self.envs.spec(), self.streams.len())?;
        for (lane, stream) in self.streams.iter_mut().enumerate() {
            let repeat = stream.random::<f64>() < self.probability;
            let legal = self.envs.allows(lane, self.previous.row(lane));
            if !(repeat && self.moving[lane] && legal) {
                self.previous.set_row(lane, actions.row(lane));
            }
        }
        let batch = self.envs.step(&self.previous)?;
        for (moving, ends) in
            self.moving.iter_mut().zip(batch.terminated.iter().zip(&batch.truncated))
        {
            *moving = !(*ends.0 || *ends.1);
        }
        Ok(batch)
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_child("inner", self.envs.state()?);
        state.insert_bools("moving", &self.moving);
        state.insert_child("previous", self.previous.state());
        for (lane, stream) in self.streams.iter().enumerate() {
            state.insert_child(&format!("stream.{lane}"), stream.state());
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let moving = state.bools("moving")?;
        if moving.len() != self.moving.len() {
            let (expected, found) = (vec![self.moving.len()], vec![moving.len()]);
            return Err(StateError::Shape { path: "moving".to_owned(), expected, found });
        }
        self.moving = moving;
        self.previous.load_state(&state.child("previous"))?;
        for (lane, stream) in self.streams.iter_mut().enumerate() {
            stream.load_state(&state.child(&format!("stream.{lane}")))?;
        }
        self.envs.load_state(&state.child("inner"))
    }
}
