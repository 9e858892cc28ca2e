//! The logarithm of softmax, row by row: the bits of a row depend on nothing but the row.

use super::math::{self, Function};
use super::simd::{Kernel, LANES, Simd, dispatch};

/// out\[i, j] = x\[i, j] − ln Σⱼ exp x\[i, j] for rows of length `n`.
///
/// # Panics
/// If the lengths differ.
pub fn log_softmax(x: &[f32], n: usize, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "log_softmax: lengths");
    dispatch(LogSoftmax { x, n, out });
}

struct Max<'a> {
    x: &'a [f32],
}

impl Kernel for Max<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (chunks, tail) = self.x.as_chunks::<LANES>();
        let mut largest = [s.splat(f32::NEG_INFINITY); 2];
        for (i, chunk) in chunks.iter().enumerate() {
            largest[i % 2] = math::Max::at(s, [largest[i % 2], s.load(chunk)]);
        }
        let lanes = s.to_array(math::Max::at(s, largest));
        let mut max = f32::NEG_INFINITY;
        for &x in lanes.iter().chain(tail) {
            if x > max || x.is_nan() {
                max = x;
            }
            if max.is_nan() {
                return max;
            }
        }
        max
    }
}

struct LogSoftmax<'a> {
    x: &'a [f32],
    n: usize,
    out: &'a mut [f32],
}

impl Kernel for LogSoftmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let LogSoftmax { x, n, out } = self;
        if n == 0 {
            return;
        }
        if n > LANES {
            for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
                log_softmax_row(s, x, out);
            }
            return;
        }
        for (x, out) in x.chunks(n * LANES).zip(out.chunks_mut(n * LANES)) {
            log_softmax_rows(s, x, n, out);
        }
    }
}

/// The same for up to `LANES` short rows, a lane for each row.
#[inline(always)]
fn log_softmax_rows<S: Simd>(s: S, x: &[f32], n: usize, out: &mut [f32]) {
    let mut columns = [[0.0; LANES]; LANES];
    let columns = &mut columns[..n];
    for (lane, row) in x.chunks_exact(n).enumerate() {
        for (column, &x) in columns.iter_mut().zip(row) {
            column[lane] = x;
        }
    }
    let mut max = s.load(&columns[0]);
    for column in &columns[1..] {
        max = math::Max::at(s, [max, s.load(column)]);
    }
    let mut total = s.zero();
    for column in columns.iter_mut() {
        let shifted = s.sub(s.load(column), max);
        s.store(shifted, column);
        total = s.add(total, math::exp(s, shifted));
    }
    let log_total = math::log(s, total);
    for column in columns.iter_mut() {
        let v = s.sub(s.load(column), log_total);
        s.store(v, column);
    }
    for (lane, row) in out.chunks_exact_mut(n).enumerate() {
        for (out, column) in row.iter_mut().zip(&*columns) {
            *out = column[lane];
        }
    }
}

/// x − max x − ln Σ exp(x − max x).
#[inline(always)]
fn log_softmax_row<S: Simd>(s: S, x: &[f32], out: &mut [f32]) {
    let max = s.splat(Max { x }.run(s));
    let mut total = s.zero();
    for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let shifted = s.sub(s.load_any(x), max);
        s.store_any(shifted, out);
        let mut e = [0.0; LANES];
        s.store_any(math::exp(s, shifted), &mut e[..out.len()]);
        total = s.add(total, s.load(&e));
    }
    let total = s.splat(s.reduce_add(total));
    let log_total = math::log(s, total);
    for out in out.chunks_mut(LANES) {
        let v = s.sub(s.load_any(out), log_total);
        s.store_any(v, out);
    }
}
