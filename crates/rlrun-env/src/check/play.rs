//! One environment, played episode after episode under its time limit.

use std::fmt;

use rlrun_core::{NumpyRng, State, StateError};

use crate::{Action, Actions, Env, EnvError, Space, Step};

/// What an environment shows. A component that was not written is a NaN.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) obs: Vec<f32>,
    pub(super) step: Step,
    /// The mask, if there is one.
    pub(super) mask: Option<Vec<bool>>,
    /// The first observation of the next episode, if this one is over.
    pub(super) next_start: Option<Vec<f32>>,
}

impl Shown {
    /// Whether two environments showed the same, to the bit.
    pub(super) fn equals(&self, other: &Shown) -> bool {
        let ends = |shown: &Shown| (shown.step.terminated, shown.step.truncated);
        let starts = |shown: &Shown| shown.next_start.as_deref().map(bits);
        bits(&self.obs) == bits(&other.obs)
            && self.step.reward.to_bits() == other.step.reward.to_bits()
            && ends(self) == ends(other)
            && self.mask == other.mask
            && starts(self) == starts(other)
    }
}

/// Rows with equal bits are equal, NaN or not.
pub(super) fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|value| value.to_bits()).collect()
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { reward, terminated, truncated, .. } = self.step;
        write!(f, "{:?}, reward {reward}", self.obs)?;
        for (name, flag) in [("terminated", terminated), ("truncated", truncated)] {
            if flag {
                write!(f, ", {name}")?;
            }
        }
        if let Some(mask) = &self.mask {
            write!(
                f,
                ", mask {:?}",
                mask.iter().map(|&legal| u8::from(legal)).collect::<Vec<_>>()
            )?;
        }
        if let Some(start) = &self.next_start {
            write!(f, ", then {start:?}")?;
        }
        Ok(())
    }
}

/// A running environment.
pub(super) struct Play<E> {
    pub(super) env: E,
    action_space: Space,
    dim: usize,
    limit: Option<u32>,
    /// Steps of the episode.
    length: u32,
}

impl<E: Env> Play<E> {
    pub(super) fn new(env: E) -> Play<E> {
        let spec = env.spec().clone();
        let (dim, limit) = (spec.observation_space.dim(), spec.max_episode_steps);
        Play { env, action_space: spec.action_space, dim, limit, length: 0 }
    }

    /// Begins an episode and returns its first observation.
    pub(super) fn reset(&mut self, seed: Option<u64>) -> Result<Vec<f32>, EnvError> {
        let mut obs = vec![f32::NAN; self.dim];
        self.length = 0;
        self.env.reset(seed, &mut obs)?;
        Ok(obs)
    }

    /// Takes one step, and begins the next episode if this one is over.
    pub(super) fn step(&mut self, action: Action<'_>) -> Result<Shown, EnvError> {
        let mut obs = vec![f32::NAN; self.dim];
        let step = self.env.step(action, &mut obs)?;
        self.length += 1;
        let mask = self.mask();
        let at_limit = self.limit.is_some_and(|limit| self.length >= limit);
        let is_over = step.terminated || step.truncated || at_limit;
        let next_start = if is_over { Some(self.reset(None)?) } else { None };
        Ok(Shown { obs, step, mask, next_start })
    }

    /// Goes on from the state of `other`.
    pub(super) fn take_over(&mut self, other: &Play<E>, state: &State) -> Result<(), StateError> {
        self.length = other.length;
        self.env.load_state(state)
    }

    /// Which choices are legal now, if the environment says so.
    pub(super) fn mask(&self) -> Option<Vec<bool>> {
        let mut mask = vec![true; self.action_space.mask_len()];
        self.env.action_mask(&mut mask).then_some(mask)
    }

    /// A legal action, drawn.
    pub(super) fn draw(&self, rng: &mut NumpyRng) -> Actions {
        self.action_space.sample_legal(&self.mask().unwrap_or_default(), rng)
    }
}
