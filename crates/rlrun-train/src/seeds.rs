//! Seeds of environments: training and evaluation never share one.
//!
//! Environment `i` of a batch is seeded with `seed + i`, so two batches overlap if their seeds are
//! close. Training seeds lie below 2⁶², evaluation seeds from 2⁶³ on: they cannot meet.

use rand::Rng as _;
use rlrun_core::{Purpose, rng_stream};

/// Seed of the training environments of the run `seed`; below 2⁶².
pub fn training_seed(seed: u64) -> u64 {
    rng_stream(seed, Purpose::Env, 0).next_u64() >> 2
}

/// Seed of the evaluation environments for evaluation number `index` of the run `seed`; from 2⁶³ on.
pub fn evaluation_seed(seed: u64, index: u64) -> u64 {
    rng_stream(seed, Purpose::EvalEnv, index).next_u64() >> 2 | 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_evaluation_seed_is_a_training_seed() {
        let lanes = 1 << 20;
        for seed in 0..100 {
            assert!(training_seed(seed) + lanes < evaluation_seed(seed, seed));
            assert!(evaluation_seed(seed, seed).checked_add(lanes).is_some());
        }
    }

    #[test]
    fn every_evaluation_has_its_own_seed() {
        assert_ne!(evaluation_seed(1, 0), evaluation_seed(1, 1));
        assert_ne!(evaluation_seed(1, 0), evaluation_seed(2, 0));
    }
}
