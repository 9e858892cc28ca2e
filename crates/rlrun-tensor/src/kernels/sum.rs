//! Sums of all elements in a fixed order: 16 lanes times four accumulators, combined pairwise.
//!
//! Runs of 32 terms of each accumulator are added to its total. Sums of more than 16384 terms are
//! those of two halves, and so on. The order depends on the length alone, so the bits
//! depend neither on the SIMD level nor on the number of threads.

use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{halves, threads_for};
use std::ops::Range;

/// Accumulators of a sum: enough to hide the latency of an addition.
const UNROLL: usize = 4;

/// Terms that an accumulator adds up one after the other: each rounding of a long run may go the
/// same way.
const RUN: usize = 32;

/// Σ x.
pub fn sum(x: &[f32]) -> f32 {
    fold(threads_for(x.len()), x, Term::Value)
}

/// Σ x².
pub fn sum_of_squares(x: &[f32]) -> f32 {
    fold(threads_for(x.len()), x, Term::Square)
}

/// Sums blocks, and the blocks in pairs.
fn fold(threads: usize, x: &[f32], f: Term) -> f32 {
    const BLOCK: usize = 1 << 14;
    if x.len() <= BLOCK {
        return dispatch(Fold { x, f });
    }
    let (left, right) = x.split_at((x.len() / 2).next_multiple_of(BLOCK));
    let (left, right) = halves(threads, |n| fold(n, left, f), |n| fold(n, right, f));
    left + right
}

/// What a sum adds up.
#[derive(Clone, Copy)]
enum Term {
    Value,
    Square,
}

struct Fold<'a> {
    x: &'a [f32],
    f: Term,
}

impl Kernel for Fold<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        match self.f {
            Term::Value => sum_products(s, self.x, None),
            Term::Square => sum_products(s, self.x, Some(self.x)),
        }
    }
}

/// Σ a or Σ a·b: chunk c of 16 goes to accumulator c mod 4, and those to totals after each run.
#[inline(always)]
fn sum_products<S: Simd>(s: S, a: &[f32], b: Option<&[f32]>) -> f32 {
    const STEP: usize = UNROLL * LANES;
    let mut totals = [s.zero(); UNROLL];
    for start in (0..a.len()).step_by(RUN * STEP) {
        let end = a.len().min(start + RUN * STEP);
        let whole = start + (end - start) / STEP * STEP;
        let mut sums = [s.zero(); UNROLL];
        for i in (start..whole).step_by(STEP) {
            for (u, sum) in sums.iter_mut().enumerate() {
                *sum = add_products(s, *sum, a, b, i + u * LANES..i + (u + 1) * LANES);
            }
        }
        for (u, i) in (whole..end).step_by(LANES).enumerate() {
            sums[u] = add_products(s, sums[u], a, b, i..end.min(i + LANES));
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = s.add(*total, sum);
        }
    }
    s.reduce_add(s.add(s.add(totals[0], totals[1]), s.add(totals[2], totals[3])))
}

#[inline(always)]
fn add_products<S: Simd>(
    s: S,
    sum: S::F,
    a: &[f32],
    b: Option<&[f32]>,
    range: Range<usize>,
) -> S::F {
    let x = s.load_any(&a[range.clone()]);
    match b {
        Some(b) => s.fma(x, s.load_any(&b[range]), sum),
        None => s.add(sum, x),
    }
}
