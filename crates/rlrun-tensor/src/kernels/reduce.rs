//! Reductions in a fixed order: 16 lanes times four accumulators, combined pairwise.
//!
//! Long sums are those of two halves, and so on. The order depends on the length alone, so the bits
//! depend neither on the SIMD level nor on the number of threads. Every function panics when its slices do not fit together.

use super::gemm::Activation;
use super::math::{self, Function};
use super::matrix::{Matrix, MatrixMut};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{cut, halves, threads_for};
use std::marker::PhantomData;
use std::ops::Range;

/// Accumulators of a sum: enough to hide the latency of an addition.
const UNROLL: usize = 4;

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

/// out\[j] = Σᵢ x\[i, j] for a row-major `[m, n]`: row after row if n ≥ 16, else row i joins
/// rows i ± 16 first.
pub fn column_sums(x: &[f32], out: &mut [f32]) {
    let x = Matrix::new(x, rows_of(x, out), out.len());
    ActivationBackward { act: Activation::None, y: x, dy: x, dz: None, db: out }
        .run_on(threads_for(x.data.len()));
}

/// dz = dy∘act′(z), from the output y = act(z), and db\[j] = Σᵢ dz\[i, j], in one pass over
/// `[m, n]` with n = `db.len()`.
pub fn activation_backward(act: Activation, y: &[f32], dy: &[f32], dz: &mut [f32], db: &mut [f32]) {
    assert_eq!([y.len(), dz.len()], [dy.len(); 2], "activation_backward: lengths of y, dy and dz");
    let (rows, threads) = (rows_of(dy, db), threads_for(dy.len() * 4));
    let [y, dy] = [y, dy].map(|x| Matrix::new(x, rows, db.len()));
    let dz = Some(MatrixMut::new(dz, rows, db.len()));
    ActivationBackward { act, y, dy, dz, db }.run_on(threads);
}

/// out\[i, j] = x\[i, j] − ln Σⱼ exp x\[i, j] for rows of length `n`.
pub fn log_softmax(x: &[f32], n: usize, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "log_softmax: lengths");
    dispatch(LogSoftmax { x, n, out });
}

/// The rows of `x`, which has as many columns as `columns` numbers.
fn rows_of(x: &[f32], columns: &[f32]) -> usize {
    let rows = x.len().checked_div(columns.len()).unwrap_or(0);
    assert_eq!(rows * columns.len(), x.len(), "the number of columns must divide the length");
    rows
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
    /// The terms from element (i, j) on, `len` ≤ 16 of them.
    ///
    /// # Safety
    /// They are elements of row i, or of dense rows from row i on.
    unsafe fn at<S: Simd>(&mut self, s: S, i: usize, j: usize, len: usize) -> S::F;
}

/// out\[j] = Σᵢ terms\[i, j] over `rows` rows, in strips of up to four vectors.
#[inline(always)]
fn sum_down<S: Simd>(s: S, rows: usize, out: &mut [f32], terms: &mut impl Terms) {
    if out.len() < LANES {
        return sum_down_narrow(s, rows, out, terms);
    }
    let mut j = 0;
    for strip in out.chunks_mut(UNROLL * LANES) {
        match strip.len().div_ceil(LANES) {
            4 => sum_strip::<S, 4>(s, rows, j, strip, terms),
            3 => sum_strip::<S, 3>(s, rows, j, strip, terms),
            2 => sum_strip::<S, 2>(s, rows, j, strip, terms),
            _ => sum_strip::<S, 1>(s, rows, j, strip, terms),
        }
        j += strip.len();
    }
}

/// The columns from `j` on, `NV` vectors of them.
#[inline(always)]
fn sum_strip<S: Simd, const NV: usize>(
    s: S,
    rows: usize,
    j: usize,
    out: &mut [f32],
    terms: &mut impl Terms,
) {
    let mut sums = [s.zero(); NV];
    let last = out.len() - (NV - 1) * LANES;
    for i in 0..rows {
        for (u, sum) in sums.iter_mut().enumerate() {
            let len = if u + 1 < NV { LANES } else { last };
            // SAFETY: `out` and the columns before it are columns of the terms, `rows` long.
            *sum = s.add(*sum, unsafe { terms.at(s, i, j + u * LANES, len) });
        }
    }
    for (sum, out) in sums.into_iter().zip(out.chunks_mut(LANES)) {
        s.store_any(sum, out);
    }
}

/// The same for rows shorter than a vector: 16 rows are n whole vectors, summed lane by lane over
/// the blocks of 16 rows, then row by row.
#[inline(always)]
fn sum_down_narrow<S: Simd>(s: S, rows: usize, out: &mut [f32], terms: &mut impl Terms) {
    let n = out.len();
    let mut sums = [[0.0; LANES]; LANES];
    let len = rows * n;
    for (v, i) in (0..len).step_by(LANES).enumerate() {
        let sum = &mut sums[v % n];
        // SAFETY: rows shorter than a vector are never split, so all `len` elements are dense.
        let terms = unsafe { terms.at(s, 0, i, LANES.min(len - i)) };
        let total = s.add(s.load(sum), terms);
        s.store(total, sum);
    }
    out.fill(0.0);
    for row in sums.as_flattened()[..LANES * n].chunks_exact(n.max(1)) {
        for (out, x) in out.iter_mut().zip(row) {
            *out += x;
        }
    }
}

struct Elements<'a>(Matrix<'a>);

impl Terms for Elements<'_> {
    #[inline(always)]
    unsafe fn at<S: Simd>(&mut self, s: S, i: usize, j: usize, len: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { load_part(s, &self.0, i, j, len) }
    }
}

/// Elements `j..j + len` of row `i`, `len` ≤ 16.
///
/// # Safety
/// They are elements of the row, or of dense rows from it on.
#[inline(always)]
unsafe fn load_part<S: Simd>(s: S, x: &Matrix<'_>, i: usize, j: usize, len: usize) -> S::F {
    let start = x.data.as_ptr().wrapping_add(i * x.row_stride + j);
    // SAFETY: the caller's promise; the constructors of matrices put all elements into `data`.
    unsafe { if len == LANES { s.load_ptr(start) } else { s.load_head_ptr(start, len) } }
}

struct ActivationBackward<'a> {
    act: Activation,
    y: Matrix<'a>,
    dy: Matrix<'a>,
    /// Not wanted without an activation: dz is dy.
    dz: Option<MatrixMut<'a>>,
    db: &'a mut [f32],
}

impl ActivationBackward<'_> {
    /// Sums blocks of rows, and the blocks in pairs.
    fn run_on(self, threads: usize) {
        const BLOCK: usize = 512;
        let rows = self.dy.rows;
        if rows <= BLOCK {
            return self.columns_on(threads);
        }
        let at = (rows / 2).next_multiple_of(BLOCK);
        let ActivationBackward { act, y, dy, dz, db } = self;
        let (dz, dz_rest) = dz.map(|dz| dz.split_rows(at)).unzip();
        let mut sums = vec![0.0; db.len()];
        let [y_rest, dy_rest] = [y, dy].map(|x| x.rows(at..rows));
        let [y, dy] = [y, dy].map(|x| x.rows(0..at));
        let upper = ActivationBackward { act, y, dy, dz, db: &mut *db };
        let lower = ActivationBackward { act, y: y_rest, dy: dy_rest, dz: dz_rest, db: &mut sums };
        halves(threads, |n| upper.run_on(n), |n| lower.run_on(n));
        for (db, sum) in db.iter_mut().zip(sums) {
            *db += sum;
        }
    }

    /// Splits the columns until each thread has a part.
    fn columns_on(self, threads: usize) {
        let at = if threads == 1 { None } else { cut(self.db.len(), threads, LANES) };
        let Some(at) = at else { return dispatch(self) };
        let ActivationBackward { act, y, dy, dz, db } = self;
        let ((y, y_rest), (dy, dy_rest)) = (y.split_columns(at), dy.split_columns(at));
        let (dz, dz_rest) = dz.map(|dz| dz.split_columns(at)).unzip();
        let (db, db_rest) = db.split_at_mut(at);
        let first = ActivationBackward { act, y, dy, dz, db };
        let rest = ActivationBackward { act, y: y_rest, dy: dy_rest, dz: dz_rest, db: db_rest };
        halves(threads, |n| first.columns_on(n), |n| rest.columns_on(n));
    }

    #[inline(always)]
    fn through<S: Simd, T: Function<2>>(self, s: S) {
        let ActivationBackward { y, dy, dz, db, .. } = self;
        let dims = [dy.rows, db.len()];
        assert!(dy.dims() == dims && y.dims() == dims, "activation_backward: shapes");
        match dz {
            Some(dz) => {
                assert_eq!([dz.rows, dz.cols], dims, "activation_backward: shapes");
                let mut terms = Gradients { dy, y, dz, derivative: PhantomData::<T> };
                sum_down(s, dy.rows, db, &mut terms);
            }
            None => sum_down(s, dy.rows, db, &mut Elements(dy)),
        }
    }
}

impl Kernel for ActivationBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.act {
            Activation::None => self.through::<S, math::First>(s),
            Activation::Relu => self.through::<S, math::ReluBackward>(s),
            Activation::Tanh => self.through::<S, math::TanhBackward>(s),
            Activation::Sigmoid => self.through::<S, math::SigmoidBackward>(s),
        }
    }
}

/// Gradients dz, computed and written on the way.
struct Gradients<'a, T> {
    dy: Matrix<'a>,
    y: Matrix<'a>,
    dz: MatrixMut<'a>,
    derivative: PhantomData<T>,
}

impl<T: Function<2>> Terms for Gradients<'_, T> {
    #[inline(always)]
    unsafe fn at<S: Simd>(&mut self, s: S, i: usize, j: usize, len: usize) -> S::F {
        // SAFETY: the caller's promise, and the three matrices have the same dimensions.
        unsafe {
            let dy = load_part(s, &self.dy, i, j, len);
            let value = T::at(s, [dy, load_part(s, &self.y, i, j, len)]);
            let out = self.dz.data.add(i * self.dz.row_stride + j);
            if len == LANES {
                s.store_ptr(value, out)
            } else {
                s.store_head_ptr(value, out, len)
            }
            value
        }
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
