//! Matrix products C = act(start + A·B), tiled so that the sums stay in registers.
//!
//! Every element of C is start + a₀b₀ + a₁b₁ + … with one fused multiply-add after the other, k
//! ascending; a sum of more than 512 terms is that of its first blocks of 512 plus that of the
//! others. This order depends on k alone, whatever the shape of the tiles, the packing, the SIMD
//! level and the threads; only the order in which *elements* are computed is free. So a row alone
//! has the bits it has within a batch.

mod left;
mod pack;
mod tile;

use super::math::{Function, Relu, Sigmoid, Tanh};
use super::matrix::{Matrix, MatrixMut};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{cut, halves, threads_for};
use crate::pool::Scratch;
pub(super) use left::Gathered;
use left::Left;
use pack::{MAX_DEPTH, PANEL, Pack};
use std::cell::RefCell;
use std::ops::Range;
use tile::Tile;

/// What a fused linear layer applies to its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// y = z
    None,
    /// y = max(z, 0)
    Relu,
    /// y = tanh z
    Tanh,
    /// y = 1 / (1 + e⁻ᶻ)
    Sigmoid,
}

/// What the sums of a product start from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Zero: C = A·B.
    Zero,
    /// One row for all: C\[i, j] = bias\[j] + …
    Bias(&'a [f32]),
    /// What C holds: C += A·B.
    Accumulate,
}

/// C = act(start + A·B) for A `[m, k]`, B `[k, n]`, C `[m, n]`.
///
/// Fastest with a row-major B; another B is copied, panel by panel, to a buffer of the thread.
///
/// # Panics
/// If the shapes do not fit together.
pub fn gemm(a: Matrix<'_>, b: Matrix<'_>, start: Start<'_>, act: Activation, c: MatrixMut<'_>) {
    /// Multiply-adds in the time that storing an element takes.
    const STORE: usize = 4;
    let threads = threads_for(c.rows * c.cols * (a.cols + STORE));
    multiply(a, b, start, act, c, threads);
}

/// [`gemm`] for any A, on so many threads.
pub(super) fn multiply<A: Left>(
    a: A,
    b: Matrix<'_>,
    start: Start<'_>,
    act: Activation,
    c: MatrixMut<'_>,
    threads: usize,
) {
    let [rows, inner] = a.dims();
    assert_eq!((rows, inner, b.cols), (c.rows, b.rows, c.cols), "gemm: shapes");
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), c.cols, "gemm: length of the bias");
    }
    Product { a, b, start, act, c, by_depth: false }.run_on(threads);
}

/// C = AᵀB for tall A `[k, m]` and B `[k, n]`, with the bits of [`gemm`]: each thread sums the rows
/// that it computed.
///
/// # Panics
/// If the shapes do not fit together.
pub fn gemm_tall(a: Matrix<'_>, b: Matrix<'_>, c: MatrixMut<'_>) {
    multiply_tall(a.t(), b, c);
}

/// [`gemm_tall`] for any Aᵀ.
pub(super) fn multiply_tall<A: Left>(a: A, b: Matrix<'_>, c: MatrixMut<'_>) {
    let [rows, inner] = a.dims();
    assert_eq!((rows, inner, b.cols), (c.rows, b.rows, c.cols), "gemm_tall: shapes");
    let threads = threads_for(c.rows * c.cols * inner);
    let (start, act) = (Start::Zero, Activation::None);
    Product { a, b, start, act, c, by_depth: true }.run_on(threads);
}

/// Terms of a sum that are not split further.
const BLOCK: usize = 512;

/// A product whose shapes were checked.
struct Product<'a, A> {
    a: A,
    b: Matrix<'a>,
    start: Start<'a>,
    act: Activation,
    c: MatrixMut<'a>,
    /// Whether the threads share the terms of long sums rather than the elements of C.
    by_depth: bool,
}

thread_local! {
    /// Cᵀ of a narrow product, a few rows of C at a time.
    static NARROW: RefCell<[f32; NARROW_COLS * NARROW_ROWS]> =
        const { RefCell::new([0.0; NARROW_COLS * NARROW_ROWS]) };
}
const NARROW_COLS: usize = 8;
const NARROW_ROWS: usize = 512;

impl<A: Left> Product<'_, A> {
    /// The number of terms of each sum.
    fn inner(&self) -> usize {
        self.a.dims()[1]
    }

    /// Splits the outputs until each thread has a part, and long sums.
    fn run_on(mut self, threads: usize) {
        if self.c.rows == 0 || self.c.cols == 0 {
            return;
        }
        let long = self.inner() > BLOCK;
        if long && (self.by_depth || threads == 1) {
            return self.split_depth(threads);
        }
        let (rows, columns) = (self.c.rows, self.c.cols);
        // Blocks of rows where C is tall, or else of columns, so that each panel of B is copied
        // once. Rows in even numbers, since tiles take them in pairs at least.
        let tall = rows >= columns || columns < 8 * LANES;
        let at = match (threads, tall) {
            (1, _) => None,
            (_, true) => cut(rows, threads, 2),
            (_, false) => cut(columns, threads, 4 * LANES),
        };
        let Some(at) = at else {
            return if long { self.split_depth(threads) } else { self.run() };
        };
        let (first, rest) = if tall { self.split_rows(at) } else { self.split_columns(at) };
        halves(threads, |n| first.run_on(n), |n| rest.run_on(n));
    }

    /// The sums over the first blocks of terms, over the others, and both together.
    fn split_depth(self, threads: usize) {
        let Product { a, b, act, mut c, .. } = self;
        let at = (b.rows / 2).next_multiple_of(BLOCK);
        let (a, a_rest) = a.split_columns(at);
        let (b, b_rest) = (b.rows(0..at), b.rows(at..b.rows));
        let mut sums = Scratch::new(c.rows * c.cols);
        let c_rest = MatrixMut::new(&mut sums, c.rows, c.cols);
        let rest = Product { a: a_rest, b: b_rest, start: Start::Zero, c: c_rest, ..self };
        let first = Product { a, b, c: c.reborrow(), ..self };
        let [first, rest] = [first, rest].map(|part| Product { act: Activation::None, ..part });
        halves(threads, |n| first.run_on(n), |n| rest.run_on(n));
        dispatch(Join { sums: &sums, act, c });
    }

    fn split_rows(self, at: usize) -> (Self, Self) {
        let (a, a_rest) = (self.a.rows(0..at), self.a.rows(at..self.c.rows));
        let (c, c_rest) = self.c.split_rows(at);
        (Product { a, c, ..self }, Product { a: a_rest, c: c_rest, ..self })
    }

    fn split_columns(self, at: usize) -> (Self, Self) {
        let Product { b, start, c, .. } = self;
        let ((b, b_rest), (c, c_rest)) = (b.split_columns(at), c.split_columns(at));
        let (start, rest) = match start {
            Start::Bias(bias) => {
                let (bias, rest) = bias.split_at(at);
                (Start::Bias(bias), Start::Bias(rest))
            }
            same => (same, same),
        };
        (Product { b, start, c, ..self }, Product { b: b_rest, start: rest, c: c_rest, ..self })
    }

    fn run(&mut self) {
        let a = self.a;
        match a.matrix().filter(|a| self.is_narrow(a)) {
            Some(a) => self.run_transposed(a),
            None => self.run_tiled(),
        }
    }

    fn run_tiled(&mut self) {
        if self.packs() {
            PANEL.with_borrow_mut(|panel| {
                dispatch(Blocks { product: self, panel: Some(&mut panel.0) });
            });
        } else {
            dispatch(Blocks { product: self, panel: None });
        }
    }

    /// Whether C has so few columns that most lanes would idle. Then its transpose is computed,
    /// unless the transpose of A costs more than that saves.
    fn is_narrow(&self, a: &Matrix<'_>) -> bool {
        let most = if a.row_stride == 1 { NARROW_COLS } else { NARROW_COLS / 2 };
        self.c.cols <= most && self.c.rows >= LANES
    }

    /// Cᵀ = act(start + Bᵀ·Aᵀ): the same sums with the lanes over the rows of C.
    fn run_transposed(&mut self, a: Matrix<'_>) {
        let Product { b, start, act, ref mut c, by_depth, .. } = *self;
        NARROW.with_borrow_mut(|scratch| {
            for first in (0..c.rows).step_by(NARROW_ROWS) {
                let rows = NARROW_ROWS.min(c.rows - first);
                let ct = &mut scratch[..rows * c.cols];
                let mut transposed_start = Start::Accumulate;
                match start {
                    Start::Zero => transposed_start = Start::Zero,
                    Start::Bias(bias) => {
                        for (row, bias) in ct.chunks_exact_mut(rows).zip(bias) {
                            row.fill(*bias);
                        }
                    }
                    Start::Accumulate => {
                        for i in 0..rows {
                            for (j, x) in c.row(first + i).iter().enumerate() {
                                ct[j * rows + i] = *x;
                            }
                        }
                    }
                }
                let c_transposed = MatrixMut::new(ct, c.cols, rows);
                let a = a.rows(first..first + rows);
                let (a, b, start) = (b.t(), a.t(), transposed_start);
                Product { a, b, start, act, c: c_transposed, by_depth }.run_tiled();
                for i in 0..rows {
                    for (j, x) in c.row(first + i).iter_mut().enumerate() {
                        *x = ct[j * rows + i];
                    }
                }
            }
        });
    }

    /// Whether panels of B are copied before use: to have rows side by side at all, or to keep a
    /// panel that many rows read in the nearest cache.
    #[inline]
    fn packs(&self) -> bool {
        const ROWS: usize = 96;
        self.b.col_stride != 1 || (self.c.rows >= ROWS && self.b.row_stride > 64)
    }

    /// How many of the `left` columns the next panel takes: a single row has so few sums that it
    /// takes many columns at once.
    #[inline(always)]
    fn panel_width<S: Simd>(&self, left: usize) -> usize {
        let widths: &[usize] = match (S::REGISTERS, self.c.rows) {
            (32, 1) => &[16 * LANES, 8 * LANES, 4 * LANES, 2 * LANES],
            (32, _) => &[4 * LANES, 2 * LANES],
            (_, 1) => &[4 * LANES, 2 * LANES],
            _ => &[],
        };
        let full = widths.iter().copied().find(|&width| width <= left);
        match full {
            Some(width) => width,
            None if !widths.is_empty() => left.min(2 * LANES),
            None => left.min(LANES),
        }
    }

    /// The tile of columns `j..j + width` and one block of k, B read in place.
    #[inline(always)]
    fn tile(&mut self, ks: &Range<usize>, j: usize, width: usize) -> Tile<A::Terms> {
        let first = ks.start == 0;
        let last = ks.end == self.inner();
        Tile {
            k: ks.len(),
            a: self.a.terms(ks.start),
            b: self.b.data.as_ptr().wrapping_add(ks.start * self.b.row_stride + j),
            b_row: self.b.row_stride,
            c: self.c.data.wrapping_add(j),
            c_row: self.c.row_stride,
            bias: match self.start {
                Start::Bias(bias) if first => Some(bias[j..j + width].as_ptr()),
                _ => None,
            },
            accumulate: !first || matches!(self.start, Start::Accumulate),
            act: if last { self.act } else { Activation::None },
            width,
        }
    }
}

/// Goes through k in blocks, and through the columns in panels, copied to `panel` if there is one.
struct Blocks<'a, 'b, A> {
    product: &'a mut Product<'b, A>,
    panel: Option<&'a mut [f32]>,
}

impl<A: Left> Kernel for Blocks<'_, '_, A> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Blocks { product, mut panel } = self;
        let (m, n, k) = (product.c.rows, product.c.cols, product.inner());
        let blocked = panel.is_some() || m > 16;
        let count = if blocked { k.div_ceil(MAX_DEPTH).max(1) } else { 1 };
        let depth = k.div_ceil(count);
        for block in 0..count {
            let ks = block * depth..k.min((block + 1) * depth);
            let mut j = 0;
            while j < n {
                let width = product.panel_width::<S>(n - j);
                let mut tile = product.tile(&ks, j, width);
                if let Some(panel) = panel.as_deref_mut() {
                    let js = j..j + width;
                    s.call(Pack { b: &product.b, ks: &ks, js: &js, panel });
                    (tile.b, tile.b_row) = (panel.as_ptr(), width.next_multiple_of(LANES));
                }
                // SAFETY: the constructors of the matrices and the checks of `gemm` put all rows
                // of A and C, the k range of A and B, and columns j..j + width inside the slices.
                unsafe { tile.run(s, m) };
                j += width;
            }
        }
    }
}

/// C = act(C + sums), `sums` as many rows as C, one after the other.
struct Join<'a> {
    sums: &'a [f32],
    act: Activation,
    c: MatrixMut<'a>,
}

impl Kernel for Join<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Join { sums, act, mut c } = self;
        for (i, sums) in sums.chunks_exact(c.cols).enumerate() {
            for (out, sums) in c.row(i).chunks_mut(LANES).zip(sums.chunks(LANES)) {
                let sum = [s.add(s.load_any(out), s.load_any(sums))];
                let value = match act {
                    Activation::None => sum[0],
                    Activation::Relu => Relu::at(s, sum),
                    Activation::Tanh => Tanh::at(s, sum),
                    Activation::Sigmoid => Sigmoid::at(s, sum),
                };
                s.store_any(value, out);
            }
        }
    }
}
