//! Sums of columns in a fixed order, and with them the gradient through an activation.
//!
//! Runs of 32 rows are added up one row after the other, then the runs (in rows shorter than a
//! vector: row i joins rows i ± 16 first); columns of more than 512 rows are the sums of two
//! halves. The order depends on the shape alone.
//! Every function panics when its slices do not fit together.

use super::gemm::Activation;
use super::math::{self, Function};
use super::matrix::{Matrix, MatrixMut};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{cut, halves, threads_for};
use crate::pool::Scratch;
use std::marker::PhantomData;

/// Rows that are added up one after the other.
const RUN: usize = 32;

/// out\[j] = Σᵢ x\[i, j] for a row-major `[m, n]`: row after row if n ≥ 16, else row i joins
/// rows i ± 16 first.
pub fn column_sums(x: &[f32], out: &mut [f32]) {
    let x = Matrix::new(x, rows_of(x, out), out.len());
    let narrow = out.len() < LANES;
    ActivationBackward { act: Activation::None, y: x, dy: x, dz: None, db: out, narrow }
        .run_on(threads_for(x.data.len()));
}

/// dz = dy∘act′(z), from the output y = act(z), and db\[j] = Σᵢ dz\[i, j], in one pass over
/// `[m, n]` with n = `db.len()`.
pub fn activation_backward(act: Activation, y: &[f32], dy: &[f32], dz: &mut [f32], db: &mut [f32]) {
    assert_eq!([y.len(), dz.len()], [dy.len(); 2], "activation_backward: lengths of y, dy and dz");
    let (rows, threads) = (rows_of(dy, db), threads_for(dy.len() * 4));
    let [y, dy] = [y, dy].map(|x| Matrix::new(x, rows, db.len()));
    let dz = Some(MatrixMut::new(dz, rows, db.len()));
    let narrow = db.len() < LANES;
    ActivationBackward { act, y, dy, dz, db, narrow }.run_on(threads);
}

/// The rows of `x`, which has as many columns as `columns` numbers.
fn rows_of(x: &[f32], columns: &[f32]) -> usize {
    let rows = x.len().checked_div(columns.len()).unwrap_or(0);
    assert_eq!(rows * columns.len(), x.len(), "the number of columns must divide the length");
    rows
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
fn sum_down<S: Simd>(s: S, narrow: bool, rows: usize, out: &mut [f32], terms: &mut impl Terms) {
    if narrow {
        return sum_down_narrow(s, rows, out, terms);
    }
    let mut j = 0;
    for strip in out.chunks_mut(4 * LANES) {
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
    let mut totals = [s.zero(); NV];
    let last = out.len() - (NV - 1) * LANES;
    for start in (0..rows).step_by(RUN) {
        let mut sums = [s.zero(); NV];
        for i in start..rows.min(start + RUN) {
            for (u, sum) in sums.iter_mut().enumerate() {
                let len = if u + 1 < NV { LANES } else { last };
                // SAFETY: `out` and the columns before it are columns of the terms, `rows` long.
                *sum = s.add(*sum, unsafe { terms.at(s, i, j + u * LANES, len) });
            }
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = s.add(*total, sum);
        }
    }
    for (sum, out) in totals.into_iter().zip(out.chunks_mut(LANES)) {
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
    /// Whether whole rows are shorter than a vector: a part of the columns keeps their order.
    narrow: bool,
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
        let ActivationBackward { y, dy, dz, db, .. } = self;
        let (dz, dz_rest) = dz.map(|dz| dz.split_rows(at)).unzip();
        let mut sums = Scratch::new(db.len());
        let [y_rest, dy_rest] = [y, dy].map(|x| x.rows(at..rows));
        let [y, dy] = [y, dy].map(|x| x.rows(0..at));
        let upper = ActivationBackward { y, dy, dz, db: &mut *db, ..self };
        let lower =
            ActivationBackward { y: y_rest, dy: dy_rest, dz: dz_rest, db: &mut sums, ..self };
        halves(threads, |n| upper.run_on(n), |n| lower.run_on(n));
        for (db, sum) in db.iter_mut().zip(&*sums) {
            *db += sum;
        }
    }

    /// Splits the columns until each thread has a part.
    fn columns_on(self, threads: usize) {
        let at = if threads == 1 { None } else { cut(self.db.len(), threads, LANES) };
        let Some(at) = at else { return dispatch(self) };
        let ActivationBackward { y, dy, dz, db, .. } = self;
        let ((y, y_rest), (dy, dy_rest)) = (y.split_columns(at), dy.split_columns(at));
        let (dz, dz_rest) = dz.map(|dz| dz.split_columns(at)).unzip();
        let (db, db_rest) = db.split_at_mut(at);
        let first = ActivationBackward { y, dy, dz, db, ..self };
        let rest = ActivationBackward { y: y_rest, dy: dy_rest, dz: dz_rest, db: db_rest, ..self };
        halves(threads, |n| first.columns_on(n), |n| rest.columns_on(n));
    }

    #[inline(always)]
    fn through<S: Simd, T: Function<2>>(self, s: S) {
        let ActivationBackward { y, dy, dz, db, narrow, .. } = self;
        let dims = [dy.rows, db.len()];
        assert!(dy.dims() == dims && y.dims() == dims, "activation_backward: shapes");
        match dz {
            Some(dz) => {
                assert_eq!([dz.rows, dz.cols], dims, "activation_backward: shapes");
                let mut terms = Gradients { dy, y, dz, derivative: PhantomData::<T> };
                sum_down(s, narrow, dy.rows, db, &mut terms);
            }
            None => sum_down(s, narrow, dy.rows, db, &mut Elements(dy)),
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
