//! Reductions in a fixed order: 16 lanes times four accumulators, combined pairwise.
//!
//! The order depends on the length alone, so the bits depend neither on the SIMD level nor on the
//! other rows of a matrix. Every function panics when its slices do not fit together.

use super::gemm::Activation;
use super::math::{self, Function};
use super::simd::{Kernel, LANES, Simd, dispatch};
use std::marker::PhantomData;
use std::ops::Range;

/// Accumulators of a sum: enough to hide the latency of an addition.
const UNROLL: usize = 4;

/// Σ x.
pub fn sum(x: &[f32]) -> f32 {
    dispatch(Fold { x, f: Term::Value })
}

/// Σ x².
pub fn sum_of_squares(x: &[f32]) -> f32 {
    dispatch(Fold { x, f: Term::Square })
}

/// out\[j] (+)= Σᵢ x\[i, j] for a row-major `[m, n]`: row after row if n ≥ 16, else row i
/// joins rows i ± 16 first; `accumulate` adds to `out`.
pub fn column_sums(x: &[f32], accumulate: bool, out: &mut [f32]) {
    check_columns(x, out);
    dispatch(ColumnSums { x, accumulate, out });
}

/// dz = dy∘act′(z) in place, from the output y = act(z), and db\[j] (+)= Σᵢ dz\[i, j], in one pass
/// over `[m, n]` with n = `db.len()`.
pub fn activation_backward(
    act: Activation,
    y: &[f32],
    dz: &mut [f32],
    accumulate: bool,
    db: &mut [f32],
) {
    assert_eq!(y.len(), dz.len(), "activation_backward: lengths of y and dz");
    check_columns(dz, db);
    dispatch(ActivationBackward { act, y, dz, accumulate, db });
}

/// out\[i, j] = x\[i, j] − ln Σⱼ exp x\[i, j] for rows of length `n`.
pub fn log_softmax(x: &[f32], n: usize, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "log_softmax: lengths");
    dispatch(LogSoftmax { x, n, out });
}

fn check_columns(x: &[f32], columns: &[f32]) {
    let fits = x.len().checked_rem(columns.len()).unwrap_or(x.len()) == 0;
    assert!(fits, "the number of columns must divide the length");
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

/// Σ a or Σ a·b: chunk c of 16 goes to accumulator c mod 4.
#[inline(always)]
fn sum_products<S: Simd>(s: S, a: &[f32], b: Option<&[f32]>) -> f32 {
    let mut sums = [s.zero(); UNROLL];
    let blocks = a.len() / (UNROLL * LANES) * (UNROLL * LANES);
    for i in (0..blocks).step_by(UNROLL * LANES) {
        for (u, sum) in sums.iter_mut().enumerate() {
            *sum = add_products(s, *sum, a, b, i + u * LANES..i + (u + 1) * LANES);
        }
    }
    for (u, i) in (blocks..a.len()).step_by(LANES).enumerate() {
        sums[u] = add_products(s, sums[u], a, b, i..a.len().min(i + LANES));
    }
    s.reduce_add(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
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

/// What a column sum adds up.
trait Terms {
    /// The terms from element `i` on, `len` ≤ 16 of them.
    fn at<S: Simd>(&mut self, s: S, i: usize, len: usize) -> S::F;
}

/// out\[j] (+)= Σᵢ terms\[i, j] over `rows` rows, in strips of four vectors.
#[inline(always)]
fn sum_down<S: Simd>(s: S, rows: usize, accumulate: bool, out: &mut [f32], terms: &mut impl Terms) {
    let n = out.len();
    if n < LANES {
        return sum_down_narrow(s, rows, accumulate, out, terms);
    }
    for (strip, out) in out.chunks_mut(UNROLL * LANES).enumerate() {
        let j = strip * UNROLL * LANES;
        let mut sums = [s.zero(); UNROLL];
        if accumulate {
            for (sum, out) in sums.iter_mut().zip(out.chunks(LANES)) {
                *sum = s.load_any(out);
            }
        }
        if out.len() == UNROLL * LANES {
            for i in 0..rows {
                for (u, sum) in sums.iter_mut().enumerate() {
                    *sum = s.add(*sum, terms.at(s, i * n + j + u * LANES, LANES));
                }
            }
        } else {
            for (u, sum) in sums.iter_mut().enumerate().take(out.len().div_ceil(LANES)) {
                let len = LANES.min(out.len() - u * LANES);
                for i in 0..rows {
                    *sum = s.add(*sum, terms.at(s, i * n + j + u * LANES, len));
                }
            }
        }
        for (sum, out) in sums.into_iter().zip(out.chunks_mut(LANES)) {
            s.store_any(sum, out);
        }
    }
}

/// The same for rows shorter than a vector: 16 rows are n whole vectors, summed lane by lane over
/// the blocks of 16 rows, then row by row.
#[inline(always)]
fn sum_down_narrow<S: Simd>(
    s: S,
    rows: usize,
    accumulate: bool,
    out: &mut [f32],
    terms: &mut impl Terms,
) {
    let n = out.len();
    let mut sums = [[0.0; LANES]; LANES];
    let len = rows * n;
    for (v, i) in (0..len).step_by(LANES).enumerate() {
        let sum = &mut sums[v % n];
        let total = s.add(s.load(sum), terms.at(s, i, LANES.min(len - i)));
        s.store(total, sum);
    }
    if !accumulate {
        out.fill(0.0);
    }
    for row in sums.as_flattened()[..LANES * n].chunks_exact(n.max(1)) {
        for (out, x) in out.iter_mut().zip(row) {
            *out += x;
        }
    }
}

struct ColumnSums<'a> {
    x: &'a [f32],
    accumulate: bool,
    out: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let m = self.x.len().checked_div(self.out.len()).unwrap_or(0);
        sum_down(s, m, self.accumulate, self.out, &mut Elements(self.x));
    }
}

struct Elements<'a>(&'a [f32]);

impl Terms for Elements<'_> {
    #[inline(always)]
    fn at<S: Simd>(&mut self, s: S, i: usize, len: usize) -> S::F {
        s.load_any(&self.0[i..i + len])
    }
}

struct ActivationBackward<'a> {
    act: Activation,
    y: &'a [f32],
    dz: &'a mut [f32],
    accumulate: bool,
    db: &'a mut [f32],
}

impl Kernel for ActivationBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.act {
            Activation::None => {
                ColumnSums { x: self.dz, accumulate: self.accumulate, out: self.db }.run(s);
            }
            Activation::Relu => self.through::<S, math::ReluBackward>(s),
            Activation::Tanh => self.through::<S, math::TanhBackward>(s),
            Activation::Sigmoid => self.through::<S, math::SigmoidBackward>(s),
        }
    }
}

impl ActivationBackward<'_> {
    #[inline(always)]
    fn through<S: Simd, T: Function<2>>(self, s: S) {
        let m = self.dz.len().checked_div(self.db.len()).unwrap_or(0);
        let mut terms = Gradients::<T> { dz: self.dz, y: self.y, derivative: PhantomData };
        sum_down(s, m, self.accumulate, self.db, &mut terms);
    }
}

/// Gradients dz, computed and written back on the way.
struct Gradients<'a, T> {
    dz: &'a mut [f32],
    y: &'a [f32],
    derivative: PhantomData<T>,
}

impl<T: Function<2>> Terms for Gradients<'_, T> {
    #[inline(always)]
    fn at<S: Simd>(&mut self, s: S, i: usize, len: usize) -> S::F {
        let dz = &mut self.dz[i..i + len];
        let value = T::at(s, [s.load_any(dz), s.load_any(&self.y[i..i + len])]);
        s.store_any(value, dz);
        value
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
