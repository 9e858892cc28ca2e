//! Named random streams.
//!
//! Every consumer of randomness owns a stream named by seed, purpose and index, so that adding a
//! consumer never shifts the draws of another. A stream's position can be saved and restored.

use rand::SeedableRng;
use rand::rand_core::{Infallible, TryRng};
use rand_chacha::ChaCha8Rng;

use crate::{State, StateError};

/// What a random stream is for. The numbers are part of the checkpoint format: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights of networks.
    Weights = 1,
    /// Actions while learning.
    Exploration = 2,
    /// Minibatches and replay samples.
    Sampling = 3,
    /// Seeds of training environments.
    Env = 4,
    /// Seeds of evaluation environments.
    EvalEnv = 5,
    /// Actions of a stochastic evaluation.
    EvalActions = 6,
    /// Layers that draw while learning (dropout, noise).
    Layers = 7,
    /// Resampling in statistics (bootstrap intervals).
    Bootstrap = 8,
    /// Draws of environment wrappers.
    Wrappers = 9,
}

/// A random stream whose position can be saved: ChaCha with 8 rounds (Bernstein 2008).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(ChaCha8Rng);

/// The stream of `seed` for `purpose`, number `index`; streams of different names are independent.
pub fn rng_stream(seed: u64, purpose: Purpose, index: u64) -> Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&index.to_le_bytes());
    key[24..].copy_from_slice(b"rlrun-01");
    Rng(ChaCha8Rng::from_seed(key))
}

impl Rng {
    /// Key and position.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let key = self.0.get_seed();
        let words = key
            .chunks_exact(8)
            .map(|word| word.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte)));
        state.insert_u64("key", words.collect::<Vec<_>>());
        let position = self.0.get_word_pos();
        state.insert_u64("position", [position as u64, (position >> 64) as u64]);
        state
    }

    /// Continues at a saved position.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or has another length.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let (key, position) = (state.u64("key")?, state.u64("position")?);
        if key.len() != 4 || position.len() != 2 {
            let reason = "a generator has 4 key words and 2 position words".to_owned();
            return Err(StateError::Invalid { path: "key".to_owned(), reason });
        }
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(key) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        self.0 = ChaCha8Rng::from_seed(bytes);
        self.0.set_word_pos(u128::from(position[1]) << 64 | u128::from(position[0]));
        Ok(())
    }
}

/// One stream for each of several environments, so that whoever acts for an environment, in whatever
/// process, draws what anybody would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams(Vec<Rng>);

impl Streams {
    /// The streams `0..count` of `seed` for `purpose`.
    pub fn new(seed: u64, purpose: Purpose, count: usize) -> Streams {
        Streams((0..count as u64).map(|lane| rng_stream(seed, purpose, lane)).collect())
    }

    /// The streams, one per environment.
    pub fn lanes(&mut self) -> &mut [Rng] {
        &mut self.0
    }

    /// Key and position of each.
    pub fn state(&self) -> State {
        let mut state = State::new();
        for (lane, rng) in self.0.iter().enumerate() {
            state.insert_child(&lane.to_string(), rng.state());
        }
        state
    }

    /// Continues at saved positions.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit, or if there are more streams.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let saved = state.0.keys().filter(|path| path.ends_with(".key")).count();
        if saved != self.0.len() {
            let (expected, found) = (vec![self.0.len()], vec![saved]);
            return Err(StateError::Shape { path: "streams".to_owned(), expected, found });
        }
        for (lane, rng) in self.0.iter_mut().enumerate() {
            rng.load_state(&state.child(&lane.to_string()))?;
        }
        Ok(())
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn draw(rng: &mut Rng) -> [u64; 4] {
        [(); 4].map(|()| rng.random())
    }

    #[test]
    fn streams_differ_in_every_part_of_their_name() {
        let first = draw(&mut rng_stream(1, Purpose::Weights, 0));
        assert_eq!(first, draw(&mut rng_stream(1, Purpose::Weights, 0)));
        assert_ne!(first, draw(&mut rng_stream(2, Purpose::Weights, 0)));
        assert_ne!(first, draw(&mut rng_stream(1, Purpose::Sampling, 0)));
        assert_ne!(first, draw(&mut rng_stream(1, Purpose::Weights, 1)));
    }

    #[test]
    fn a_saved_stream_goes_on_where_it_was() {
        let mut rng = rng_stream(7, Purpose::Exploration, 3);
        let _: u32 = rng.random();
        draw(&mut rng);
        let saved = rng.state();
        let expected = draw(&mut rng);
        let mut restored = rng_stream(0, Purpose::Env, 0);
        restored.load_state(&saved).unwrap();
        assert_eq!(draw(&mut restored), expected);
    }
}
