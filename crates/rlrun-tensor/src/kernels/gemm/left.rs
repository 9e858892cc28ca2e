//! The left operand of a product: a matrix with strides, or one whose elements are gathered.

use super::Matrix;
use std::ops::Range;

/// What a product reads on its left, one element at a time.
pub(in crate::kernels) trait Left: Copy + Send {
    type Terms: Terms;
    /// Rows, and terms of each.
    fn dims(&self) -> [usize; 2];
    fn rows(self, range: Range<usize>) -> Self;
    /// The terms before `at` and those from it on.
    fn split_columns(self, at: usize) -> (Self, Self);
    /// The terms from `first` on.
    fn terms(&self, first: usize) -> Self::Terms;
    /// The same as a matrix with strides, if it is one.
    fn matrix(&self) -> Option<Matrix<'_>>;
}

/// Terms of the rows of a tile.
pub(in crate::kernels) trait Terms: Copy {
    /// # Safety
    /// The operand has such a row and such a term.
    unsafe fn get(&self, row: usize, term: usize) -> f32;
    fn skip_rows(&mut self, rows: usize);
}

#[derive(Clone, Copy)]
pub(in crate::kernels) struct StridedTerms {
    data: *const f32,
    row_stride: usize,
    col_stride: usize,
}

impl Terms for StridedTerms {
    #[inline(always)]
    unsafe fn get(&self, row: usize, term: usize) -> f32 {
        // SAFETY: the constructor of the matrix checked that its elements are inside the slice.
        unsafe { *self.data.add(row * self.row_stride + term * self.col_stride) }
    }

    #[inline(always)]
    fn skip_rows(&mut self, rows: usize) {
        self.data = self.data.wrapping_add(rows * self.row_stride);
    }
}

impl Left for Matrix<'_> {
    type Terms = StridedTerms;

    fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    fn rows(self, range: Range<usize>) -> Self {
        Matrix::rows(self, range)
    }

    fn split_columns(self, at: usize) -> (Self, Self) {
        Matrix::split_columns(self, at)
    }

    #[inline(always)]
    fn terms(&self, first: usize) -> StridedTerms {
        let data = self.data.as_ptr().wrapping_add(first * self.col_stride);
        StridedTerms { data, row_stride: self.row_stride, col_stride: self.col_stride }
    }

    fn matrix(&self) -> Option<Matrix<'_>> {
        Some(*self)
    }
}

/// A matrix whose element (i, j) is `data[rows[i] + columns[j]]`: the patches of an image, say.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Gathered<'a> {
    data: &'a [f32],
    rows: &'a [usize],
    columns: &'a [usize],
}

impl<'a> Gathered<'a> {
    /// The matrix.
    ///
    /// # Panics
    /// If an element lies outside `data`.
    pub(in crate::kernels) fn new(
        data: &'a [f32],
        rows: &'a [usize],
        columns: &'a [usize],
    ) -> Gathered<'a> {
        if let (Some(&row), Some(&column)) = (rows.iter().max(), columns.iter().max()) {
            let inside = row.checked_add(column).is_some_and(|last| last < data.len());
            assert!(inside, "gathered: an element outside {} numbers", data.len());
        }
        Gathered { data, rows, columns }
    }

    /// The transpose, without moving data.
    #[must_use]
    pub(in crate::kernels) fn t(self) -> Gathered<'a> {
        Gathered { rows: self.columns, columns: self.rows, ..self }
    }
}

#[derive(Clone, Copy)]
pub(in crate::kernels) struct GatheredTerms {
    data: *const f32,
    rows: *const usize,
    columns: *const usize,
}

impl Terms for GatheredTerms {
    #[inline(always)]
    unsafe fn get(&self, row: usize, term: usize) -> f32 {
        // SAFETY: the caller's promise, and the constructor checked the sums of all places.
        unsafe { *self.data.add(*self.rows.add(row) + *self.columns.add(term)) }
    }

    #[inline(always)]
    fn skip_rows(&mut self, rows: usize) {
        self.rows = self.rows.wrapping_add(rows);
    }
}

impl Left for Gathered<'_> {
    type Terms = GatheredTerms;

    fn dims(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    fn rows(self, range: Range<usize>) -> Self {
        Gathered { rows: &self.rows[range], ..self }
    }

    fn split_columns(self, at: usize) -> (Self, Self) {
        let (columns, rest) = self.columns.split_at(at);
        (Gathered { columns, ..self }, Gathered { columns: rest, ..self })
    }

    #[inline(always)]
    fn terms(&self, first: usize) -> GatheredTerms {
        let columns = self.columns.as_ptr().wrapping_add(first);
        GatheredTerms { data: self.data.as_ptr(), rows: self.rows.as_ptr(), columns }
    }

    fn matrix(&self) -> Option<Matrix<'_>> {
        None
    }
}
