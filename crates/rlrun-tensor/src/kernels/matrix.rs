//! Matrices over slices, to read and to write.

use std::marker::PhantomData;
use std::ops::Range;

/// A matrix to read, with any strides.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major `[rows, cols]` matrix.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, [rows, cols], [cols, 1])
    }

    /// Element (i, j) is `data[i * strides[0] + j * strides[1]]`.
    ///
    /// # Panics
    /// If an element lies outside `data`.
    pub fn strided(data: &'a [f32], dims: [usize; 2], strides: [usize; 2]) -> Self {
        let [rows, cols] = dims;
        if rows > 0 && cols > 0 {
            let last = (rows - 1).checked_mul(strides[0]).zip((cols - 1).checked_mul(strides[1]));
            let last = last.and_then(|(r, c)| r.checked_add(c));
            assert!(
                last.is_some_and(|last| last < data.len()),
                "matrix: {dims:?} with strides {strides:?} does not fit {} elements",
                data.len()
            );
        }
        Matrix { data, rows, cols, row_stride: strides[0], col_stride: strides[1] }
    }

    /// The transpose, without moving data.
    #[must_use]
    pub fn t(self) -> Self {
        Matrix {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    pub(super) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.rows, "matrix: rows {range:?} of {}", self.rows);
        let start = self.data.len().min(range.start * self.row_stride);
        Matrix { data: &self.data[start..], rows: range.len(), ..self }
    }

    /// The columns before `at` and those from it on.
    pub(super) fn split_columns(self, at: usize) -> (Self, Self) {
        let right = self.t().rows(at..self.cols).t();
        (Matrix { cols: at, ..self }, right)
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Element (i, j).
    ///
    /// # Panics
    /// If it lies outside the matrix.
    pub fn get(&self, i: usize, j: usize) -> f32 {
        assert!(i < self.rows && j < self.cols, "matrix: index ({i}, {j})");
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

/// A matrix to write: rows at any distance, elements of a row side by side.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    /// The elements at i·`row_stride` + j are inside the slice and nobody else's.
    pub(super) data: *mut f32,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: like the `&mut [f32]` it was made from, it is the only access to its elements.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// A row-major `[rows, cols]` matrix.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::with_row_stride(data, rows, cols, cols)
    }

    /// Element (i, j) is `data[i * row_stride + j]`.
    ///
    /// # Panics
    /// If an element lies outside `data`, or rows overlap.
    pub fn with_row_stride(
        data: &'a mut [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> Self {
        Matrix::strided(data, [rows, cols], [row_stride, 1]);
        assert!(row_stride >= cols || rows <= 1, "matrix: rows of the output overlap");
        MatrixMut { data: data.as_mut_ptr(), rows, cols, row_stride, slice: PhantomData }
    }

    /// The same matrix for a while.
    pub(super) fn reborrow(&mut self) -> MatrixMut<'_> {
        MatrixMut { slice: PhantomData, ..*self }
    }

    /// Row `i`.
    pub(super) fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "matrix: row {i}");
        // SAFETY: the row lies inside the slice, and the borrow of `self` keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row_stride), self.cols) }
    }

    /// The rows before `at` and those from it on.
    pub(super) fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "matrix: row {at} of {}", self.rows);
        let rest = self.data.wrapping_add(at * self.row_stride);
        (MatrixMut { rows: at, ..self }, MatrixMut { data: rest, rows: self.rows - at, ..self })
    }

    /// The columns before `at` and those from it on.
    pub(super) fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols, "matrix: column {at} of {}", self.cols);
        let right = self.data.wrapping_add(at);
        (MatrixMut { cols: at, ..self }, MatrixMut { data: right, cols: self.cols - at, ..self })
    }
}
