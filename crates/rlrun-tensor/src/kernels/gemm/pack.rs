//! Copies of panels of B: rows side by side in a buffer that fits the nearest cache.

use super::Matrix;
use crate::kernels::simd::{Kernel, LANES, Simd};
use std::cell::RefCell;
use std::ops::Range;

/// Rows of a packed panel at most: 128 × 64 floats are 32 KiB.
pub(super) const MAX_DEPTH: usize = 128;
/// Columns of a packed panel at most: those of a single row of C.
const MAX_WIDTH: usize = 256;

/// A buffer for a panel, aligned to cache lines.
#[repr(align(64))]
pub(super) struct Panel(pub(super) [f32; MAX_DEPTH * MAX_WIDTH]);

thread_local! {
    pub(super) static PANEL: RefCell<Panel> =
        const { RefCell::new(Panel([0.0; MAX_DEPTH * MAX_WIDTH])) };
}

/// Copies rows `ks` and columns `js` of `b` to `panel`, whose rows are as long as `js` rounded up
/// to 16.
pub(super) struct Pack<'a> {
    pub(super) b: &'a Matrix<'a>,
    pub(super) ks: &'a Range<usize>,
    pub(super) js: &'a Range<usize>,
    pub(super) panel: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Pack { b, ks, js, panel } = self;
        let row_len = js.len().next_multiple_of(LANES);
        for (v, j) in js.clone().step_by(LANES).enumerate() {
            let columns = j..js.end.min(j + LANES);
            for k in ks.clone().step_by(LANES) {
                let rows = k..ks.end.min(k + LANES);
                let out = &mut panel[(k - ks.start) * row_len + v * LANES..];
                if b.col_stride == 1 {
                    copy(s, b, rows, columns.clone(), row_len, out);
                } else if b.row_stride == 1 {
                    transpose(s, b, rows, columns.clone(), row_len, out);
                } else {
                    gather(b, rows, columns.clone(), row_len, out);
                }
            }
        }
    }
}

/// One block of at most 16 × 16 with unit column stride.
#[inline(always)]
fn copy<S: Simd>(
    s: S,
    b: &Matrix<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    row_len: usize,
    out: &mut [f32],
) {
    for (r, k) in rows.enumerate() {
        let at = k * b.row_stride + columns.start;
        let v = s.load_any(&b.data[at..at + columns.len()]);
        s.store_any(v, &mut out[r * row_len..r * row_len + LANES]);
    }
}

/// One block of at most 16 × 16 with unit row stride.
#[inline(always)]
fn transpose<S: Simd>(
    s: S,
    b: &Matrix<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    row_len: usize,
    out: &mut [f32],
) {
    let mut block = [s.zero(); LANES];
    for (v, j) in block.iter_mut().zip(columns) {
        let at = j * b.col_stride + rows.start;
        *v = s.load_any(&b.data[at..at + rows.len()]);
    }
    let block = s.transpose(block);
    for (r, v) in block.into_iter().enumerate().take(rows.len()) {
        s.store_any(v, &mut out[r * row_len..r * row_len + LANES]);
    }
}

/// One block of at most 16 × 16 with any strides.
fn gather(
    b: &Matrix<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    row_len: usize,
    out: &mut [f32],
) {
    for (r, k) in rows.enumerate() {
        for (c, j) in columns.clone().enumerate() {
            out[r * row_len + c] = b.data[k * b.row_stride + j * b.col_stride];
        }
    }
}
