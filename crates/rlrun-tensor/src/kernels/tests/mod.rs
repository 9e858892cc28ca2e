//! Every kernel against a scalar twin, and bit for bit between the SIMD levels.

mod convolution;
mod elementwise;
mod optim;
mod products;
mod reduce;

use super::simd::{Level, with_level};
use rand::RngExt;
use rlrun_core::{Purpose, Rng, rng_stream};

const LENGTHS: [usize; 10] = [0, 1, 2, 15, 16, 17, 63, 64, 65, 333];

fn rng(seed: u64) -> Rng {
    rng_stream(seed, Purpose::Sampling, 0)
}

fn random(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-2.0f32..2.0)).collect()
}

/// The result of `f` on every level, after checking that all have the same bits (any NaN is one).
#[track_caller]
fn same_bits(f: impl Fn() -> Vec<f32>) -> Vec<f32> {
    let bits = |x: &[f32]| -> Vec<u32> {
        x.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
    };
    let want = with_level(Level::Portable, &f);
    for level in Level::supported() {
        let got = with_level(level, &f);
        assert!(bits(&got) == bits(&want), "{level:?} differs from the portable level");
    }
    want
}
