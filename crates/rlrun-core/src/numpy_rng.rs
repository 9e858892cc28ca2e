//! numpy's generator: `numpy.random.default_rng(seed)`, draw for draw.
//!
//! PCG64 is O'Neill's PCG XSL-RR 128/64 (HMC-CS-2014-0905), seeded through numpy's `SeedSequence`.
//! Environments draw from it, so that `reset(seed)` gives Gymnasium's very numbers.

use std::str::FromStr;

use thiserror::Error;

use crate::{State, StateError};

const PCG_MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
const POOL_WORDS: usize = 4;

/// Why a text is not a seed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("`{text}` is not a seed, expected a whole number that is not negative")]
pub struct SeedError {
    /// What was given.
    pub text: String,
}

/// A seed of any size, mixed as `numpy.random.SeedSequence` does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedSequence {
    pool: [u32; POOL_WORDS],
}

impl SeedSequence {
    /// The sequence of a seed that fits into 64 bits.
    pub fn new(seed: u64) -> SeedSequence {
        let words = [seed as u32, (seed >> 32) as u32];
        SeedSequence::from_words(if words[1] == 0 { &words[..1] } else { &words })
    }

    /// Mixes 32-bit words, least significant first, into the pool.
    fn from_words(entropy: &[u32]) -> SeedSequence {
        let mut multiplier = 0x43b0_d7e5_u32;
        let mut hash = |word: u32| hash_step(word, &mut multiplier, 0x931e_8875);
        let mut pool = [0; POOL_WORDS];
        for (index, slot) in pool.iter_mut().enumerate() {
            *slot = hash(entropy.get(index).copied().unwrap_or(0));
        }
        for source in 0..POOL_WORDS {
            for target in (0..POOL_WORDS).filter(|&target| target != source) {
                pool[target] = mix(pool[target], hash(pool[source]));
            }
        }
        for &word in entropy.iter().skip(POOL_WORDS) {
            for slot in &mut pool {
                *slot = mix(*slot, hash(word));
            }
        }
        SeedSequence { pool }
    }

    /// The first `N` words that the sequence gives out (`generate_state(N)`).
    pub fn generate<const N: usize>(&self) -> [u32; N] {
        let mut multiplier = 0x8b51_f9dd_u32;
        std::array::from_fn(|index| {
            hash_step(self.pool[index % POOL_WORDS], &mut multiplier, 0x58f3_8ded)
        })
    }
}

impl FromStr for SeedSequence {
    type Err = SeedError;

    /// Reads a decimal seed of any length.
    fn from_str(text: &str) -> Result<SeedSequence, SeedError> {
        let error = || SeedError { text: text.to_owned() };
        if text.is_empty() {
            return Err(error());
        }
        let mut words = vec![0_u32];
        for character in text.chars() {
            let mut carry = u64::from(character.to_digit(10).ok_or_else(error)?);
            for word in &mut words {
                let value = u64::from(*word) * 10 + carry;
                *word = value as u32;
                carry = value >> 32;
            }
            if carry > 0 {
                words.push(carry as u32);
            }
        }
        Ok(SeedSequence::from_words(&words))
    }
}

fn hash_step(word: u32, multiplier: &mut u32, factor: u32) -> u32 {
    let value = word ^ *multiplier;
    *multiplier = multiplier.wrapping_mul(factor);
    let value = value.wrapping_mul(*multiplier);
    value ^ value >> 16
}

fn mix(left: u32, right: u32) -> u32 {
    let value = left.wrapping_mul(0xca01_f9dd).wrapping_sub(right.wrapping_mul(0x4973_f715));
    value ^ value >> 16
}

/// numpy's default generator, with a position that can be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumpyRng {
    state: u128,
    increment: u128,
    /// Upper half of the last 64-bit draw that was asked for 32 bits.
    half: Option<u32>,
}

impl NumpyRng {
    /// `numpy.random.default_rng(seed)`.
    pub fn new(seed: u64) -> NumpyRng {
        NumpyRng::from_sequence(&SeedSequence::new(seed))
    }

    /// `numpy.random.Generator(PCG64(sequence))`.
    pub fn from_sequence(sequence: &SeedSequence) -> NumpyRng {
        let words: [u32; 8] = sequence.generate();
        let pair = |at: usize| u128::from(words[at]) | u128::from(words[at + 1]) << 32;
        let start = pair(0) << 64 | pair(2);
        let increment = (pair(4) << 64 | pair(6)) << 1 | 1;
        let mut rng = NumpyRng { state: 0, increment, half: None };
        rng.advance();
        rng.state = rng.state.wrapping_add(start);
        rng.advance();
        rng
    }

    fn advance(&mut self) {
        self.state = self.state.wrapping_mul(PCG_MULTIPLIER).wrapping_add(self.increment);
    }

    /// The position and the stream, as numpy's `bit_generator.state` shows them.
    pub fn position(&self) -> (u128, u128) {
        (self.state, self.increment)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.advance();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// 32 random bits: the lower half of a 64-bit draw first, then the upper one.
    pub fn next_u32(&mut self) -> u32 {
        if let Some(half) = self.half.take() {
            return half;
        }
        let bits = self.next_u64();
        self.half = Some((bits >> 32) as u32);
        bits as u32
    }

    /// `random()`: uniform in [0, 1).
    pub fn random(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `uniform(low, high)`: uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }

    /// `integers(n)`: one of `0..n` without bias (Lemire 2019); 0 if `n` is 0 or 1.
    pub fn integers(&mut self, n: u64) -> u64 {
        match n {
            0 | 1 => 0,
            _ if n < 1 << 32 => u64::from(self.bounded_u32(n as u32)),
            _ if n == 1 << 32 => u64::from(self.next_u32()),
            _ => self.bounded_u64(n),
        }
    }

    fn bounded_u32(&mut self, n: u32) -> u32 {
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    fn bounded_u64(&mut self, n: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// Stream and position.
    pub fn state(&self) -> State {
        let words = |value: u128| [value as u64, (value >> 64) as u64];
        let mut state = State::new();
        state.insert_u64("position", words(self.state));
        state.insert_u64("increment", words(self.increment));
        state.insert_u64("half", self.half.map(u64::from).into_iter().collect::<Vec<_>>());
        state
    }

    /// Continues at a saved position.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or cannot be a generator's.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let wide = |path: &str| match state.u64(path)? {
            [low, high] => Ok(u128::from(*high) << 64 | u128::from(*low)),
            words => Err(StateError::Shape {
                path: path.to_owned(),
                expected: vec![2],
                found: vec![words.len()],
            }),
        };
        let invalid = |path: &str, reason: &str| StateError::Invalid {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let (position, increment) = (wide("position")?, wide("increment")?);
        if increment & 1 == 0 {
            return Err(invalid("increment", "the increment of PCG64 is odd"));
        }
        let half = match state.u64("half")? {
            [] => None,
            [half] if u32::try_from(*half).is_ok() => Some(*half as u32),
            _ => return Err(invalid("half", "expected at most one number of 32 bits")),
        };
        *self = NumpyRng { state: position, increment, half };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // numpy 2: np.random.SeedSequence(0).generate_state(8), default_rng(0)
    #[test]
    fn seed_zero_gives_numpys_words_and_draws() {
        let words: [u32; 4] = SeedSequence::new(0).generate();
        assert_eq!(words, [2_968_811_710, 3_677_149_159, 745_650_761, 2_884_920_346]);
        let mut rng = NumpyRng::new(0);
        assert_eq!(rng.position().0, 35_399_562_948_360_463_058_890_781_895_381_311_971);
        assert_eq!(rng.random(), 0.636_961_687_321_454_3);
        assert_eq!(rng.next_u64(), 4_976_686_463_289_251_617);
    }

    #[test]
    fn decimal_seeds_agree_with_numbers_and_go_beyond_64_bits() {
        for seed in [0, 7, 1 << 32, u64::MAX] {
            assert_eq!(seed.to_string().parse(), Ok(SeedSequence::new(seed)));
        }
        // 2^128 is the words 0, 0, 0, 0, 1.
        let wide: SeedSequence = "340282366920938463463374607431768211456".parse().unwrap();
        assert_eq!(wide, SeedSequence::from_words(&[0, 0, 0, 0, 1]));
        assert_ne!(wide, SeedSequence::new(0));
        for text in ["", "-1", "1.5", "1e3"] {
            let message = text.parse::<SeedSequence>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("`{text}` is not a seed")), "{message}");
        }
    }

    #[test]
    fn integers_stay_below_their_bound_and_use_both_halves() {
        let mut rng = NumpyRng::new(3);
        let mut twin = rng.clone();
        let bits = twin.next_u64();
        assert_eq!(rng.integers(2), bits >> 31 & 1);
        assert_eq!(rng.integers(2), bits >> 63);
        assert_eq!(rng, twin);
        assert_eq!(rng.integers(1), 0);
        for bound in [3, 1 << 32, 3 << 40] {
            assert!((0..100).all(|_| rng.integers(bound) < bound));
        }
    }

    #[test]
    fn a_saved_generator_goes_on_where_it_was() {
        let mut rng = NumpyRng::new(5);
        rng.next_u32();
        let mut restored = NumpyRng::new(0);
        restored.load_state(&rng.state()).unwrap();
        assert_eq!(restored, rng);
        let mut broken = rng.state();
        broken.insert_u64("increment", [2, 0]);
        assert!(restored.load_state(&broken).is_err());
    }
}
