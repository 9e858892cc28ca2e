//! Matrix products C = act(start + A·B), tiled so that the sums stay in registers.
//!
//! Every element of C is start + a₀b₀ + a₁b₁ + … with one fused multiply-add after the other, k
//! ascending, whatever the shape of the tiles, the packing and the SIMD level; only the order in
//! which *elements* are computed is free. So a row alone has the bits it has within a batch.

use super::math::{Function, Relu, Sigmoid, Tanh};
use super::simd::{Kernel, LANES, Simd, dispatch};
use std::cell::RefCell;

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

/// A matrix to read, with any strides.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
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

    fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }
}

/// A matrix to write: rows at any distance, elements of a row side by side.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

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
        MatrixMut { data, rows, cols, row_stride }
    }
}

/// C = act(start + A·B) for A `[m, k]`, B `[k, n]`, C `[m, n]`.
///
/// Fastest with a row-major B; another B is copied to a scratch buffer of the thread first.
///
/// # Panics
/// If the shapes do not fit together.
pub fn gemm(a: Matrix<'_>, b: Matrix<'_>, start: Start<'_>, act: Activation, c: MatrixMut<'_>) {
    assert_eq!((a.rows, a.cols, b.cols), (c.rows, b.rows, c.cols), "gemm: shapes");
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), c.cols, "gemm: length of the bias");
    }
    if c.rows == 0 || c.cols == 0 {
        return;
    }
    if b.col_stride == 1 || b.is_empty() {
        return dispatch(Product { a, b, start, act, c });
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let data = transposed(b.t(), scratch);
        let b = Matrix::new(data, b.rows, b.cols);
        dispatch(Product { a, b, start, act, c });
    });
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Writes the transpose of `x` to `scratch`, row-major.
fn transposed<'a>(x: Matrix<'_>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
    let len = x.rows * x.cols;
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let out = &mut scratch[..len];
    const BLOCK: usize = 16;
    for i0 in (0..x.rows).step_by(BLOCK) {
        for (j, row) in out.chunks_exact_mut(x.rows).enumerate() {
            let end = x.rows.min(i0 + BLOCK);
            for (i, out) in (i0..end).zip(&mut row[i0..end]) {
                *out = x.data[i * x.row_stride + j * x.col_stride];
            }
        }
    }
    out
}

/// A product whose shapes were checked and whose B has unit column stride.
struct Product<'a> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    start: Start<'a>,
    act: Activation,
    c: MatrixMut<'a>,
}

/// Raw operands of one column panel; `width` columns are alive.
#[derive(Clone, Copy)]
struct Panel<'a> {
    k: usize,
    a: *const f32,
    a_row: usize,
    a_col: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    bias: Option<&'a [f32]>,
    accumulate: bool,
    act: Activation,
    width: usize,
}

impl Kernel for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (m, n) = (self.c.rows, self.c.cols);
        let mut j = 0;
        while j < n {
            let left = n - j;
            let width = match S::REGISTERS {
                32 if left >= 4 * LANES => 4 * LANES,
                32 if left > LANES => left.min(2 * LANES),
                _ => left.min(LANES),
            };
            let panel = Panel {
                k: self.a.cols,
                a: self.a.data.as_ptr(),
                a_row: self.a.row_stride,
                a_col: self.a.col_stride,
                b: self.b.data.as_ptr().wrapping_add(j),
                b_row: self.b.row_stride,
                c: self.c.data.as_mut_ptr().wrapping_add(j),
                c_row: self.c.row_stride,
                bias: match self.start {
                    Start::Bias(bias) => Some(&bias[j..j + width]),
                    _ => None,
                },
                accumulate: matches!(self.start, Start::Accumulate),
                act: self.act,
                width,
            };
            // SAFETY: the constructors of the matrices and the checks of `gemm` cover every
            // element of rows 0..m and columns j..j + width.
            unsafe { panel.rows(s, m) };
            j += width;
        }
    }
}

impl Panel<'_> {
    /// Computes the first `m` rows of the panel.
    ///
    /// # Safety
    /// A has `m` × k, B k × `width` and C `m` × `width` elements.
    #[inline(always)]
    unsafe fn rows<S: Simd>(self, s: S, m: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match (S::REGISTERS, self.width) {
                (32, 64) => self.blocks::<S, 6, 4, true>(s, m),
                (32, 32) => self.blocks::<S, 12, 2, true>(s, m),
                (32, 17..32) => self.blocks::<S, 12, 2, false>(s, m),
                (32, 16) => self.blocks::<S, 12, 1, true>(s, m),
                (32, _) => self.blocks::<S, 12, 1, false>(s, m),
                (_, 16) => self.blocks::<S, 6, 1, true>(s, m),
                _ => self.blocks::<S, 6, 1, false>(s, m),
            }
        }
    }

    #[inline(always)]
    unsafe fn blocks<S: Simd, const R: usize, const NV: usize, const FULL: bool>(
        mut self,
        s: S,
        m: usize,
    ) {
        let mut left = m;
        // SAFETY: the caller's promise; each block advances A and C by its rows.
        unsafe {
            while left >= R {
                self.block::<S, R, NV, FULL>(s);
                self.advance(R);
                left -= R;
            }
            while left >= 4 {
                self.block::<S, 4, NV, FULL>(s);
                self.advance(4);
                left -= 4;
            }
            if left >= 2 {
                self.block::<S, 2, NV, FULL>(s);
                self.advance(2);
                left -= 2;
            }
            if left >= 1 {
                self.block::<S, 1, NV, FULL>(s);
            }
        }
    }

    #[inline(always)]
    fn advance(&mut self, rows: usize) {
        self.a = self.a.wrapping_add(rows * self.a_row);
        self.c = self.c.wrapping_add(rows * self.c_row);
    }

    /// `R` rows × `NV` vectors, the last one partial unless `FULL`.
    ///
    /// # Safety
    /// A has `R` × k, B k × `width` and C `R` × `width` elements.
    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize, const NV: usize, const FULL: bool>(self, s: S) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = self.start::<S, R, NV, FULL>(s);
            for k in 0..self.k {
                let b = self.load::<S, NV, FULL>(s, self.b.add(k * self.b_row));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = s.splat(*self.a.add(r * self.a_row + k * self.a_col));
                    for j in 0..NV {
                        sums[j] = s.fma(a, b[j], sums[j]);
                    }
                }
            }
            if self.act == Activation::Relu {
                for sum in sums.as_flattened_mut() {
                    *sum = Relu::at(s, [*sum]);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                self.store::<S, NV, FULL>(s, sums, self.c.add(r * self.c_row));
            }
            match self.act {
                Activation::Tanh => self.apply::<S, Tanh>(s, R),
                Activation::Sigmoid => self.apply::<S, Sigmoid>(s, R),
                Activation::None | Activation::Relu => {}
            }
        }
    }

    /// What the sums of `R` rows start from.
    #[inline(always)]
    unsafe fn start<S: Simd, const R: usize, const NV: usize, const FULL: bool>(
        self,
        s: S,
    ) -> [[S::F; NV]; R] {
        let mut sums = [[s.zero(); NV]; R];
        // SAFETY: the bias has `width` elements, as has every row of C.
        unsafe {
            if let Some(bias) = self.bias {
                sums = [self.load::<S, NV, FULL>(s, bias.as_ptr()); R];
            } else if self.accumulate {
                for (r, sums) in sums.iter_mut().enumerate() {
                    *sums = self.load::<S, NV, FULL>(s, self.c.add(r * self.c_row));
                }
            }
        }
        sums
    }

    /// `width` elements as `NV` vectors.
    #[inline(always)]
    unsafe fn load<S: Simd, const NV: usize, const FULL: bool>(
        self,
        s: S,
        x: *const f32,
    ) -> [S::F; NV] {
        let mut v = [s.zero(); NV];
        for (j, v) in v.iter_mut().enumerate() {
            // SAFETY: (NV − 1)·16 < `width` ≤ NV·16, with equality if `FULL`.
            *v = unsafe {
                if FULL || j + 1 < NV {
                    s.load_ptr(x.add(j * LANES))
                } else {
                    s.load_head_ptr(x.add(j * LANES), self.width - j * LANES)
                }
            };
        }
        v
    }

    #[inline(always)]
    unsafe fn store<S: Simd, const NV: usize, const FULL: bool>(
        self,
        s: S,
        v: &[S::F; NV],
        out: *mut f32,
    ) {
        for (j, &v) in v.iter().enumerate() {
            // SAFETY: as for `load`.
            unsafe {
                if FULL || j + 1 < NV {
                    s.store_ptr(v, out.add(j * LANES));
                } else {
                    s.store_head_ptr(v, out.add(j * LANES), self.width - j * LANES);
                }
            }
        }
    }

    /// Applies a function to the first `rows` rows of the panel of C.
    #[inline(always)]
    unsafe fn apply<S: Simd, T: Function<1>>(self, s: S, rows: usize) {
        for r in 0..rows {
            // SAFETY: row r of C has `width` elements, and nobody else holds them.
            let row =
                unsafe { std::slice::from_raw_parts_mut(self.c.add(r * self.c_row), self.width) };
            for part in row.chunks_mut(LANES) {
                let v = T::at(s, [s.load_any(part)]);
                s.store_any(v, part);
            }
        }
    }
}
