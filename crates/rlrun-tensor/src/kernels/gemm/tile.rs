//! The inner kernel of a product: a tile of C whose sums stay in registers.

use super::Activation;
use super::left::Terms;
use crate::kernels::math::{Function, Relu, Sigmoid, Tanh};
use crate::kernels::simd::{Kernel, LANES, Simd};
use std::marker::PhantomData;

/// Raw operands of `width` columns of C; B and C have unit column stride.
pub(super) struct Tile<A> {
    pub(super) k: usize,
    pub(super) a: A,
    pub(super) b: *const f32,
    pub(super) b_row: usize,
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
    pub(super) bias: Option<*const f32>,
    pub(super) accumulate: bool,
    pub(super) act: Activation,
    pub(super) width: usize,
}

impl<A: Terms> Tile<A> {
    /// Computes `m` rows.
    ///
    /// # Safety
    /// A has `m` × k, B k × `width` and C `m` × `width` elements, and nobody else uses C's.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&mut self, s: S, m: usize) {
        const L: usize = LANES;
        match (S::REGISTERS, self.width) {
            (32, 256) => self.rows::<S, 1, 16, true>(s, m),
            (32, 128) => self.rows::<S, 1, 8, true>(s, m),
            (32, 64) => self.rows::<S, 6, 4, true>(s, m),
            (32, 32) => self.rows::<S, 12, 2, true>(s, m),
            (32, 17..32) => self.rows::<S, 12, 2, false>(s, m),
            (32, L) => self.rows::<S, 12, 1, true>(s, m),
            (32, _) => self.rows::<S, 12, 1, false>(s, m),
            (_, 64) => self.rows::<S, 1, 4, true>(s, m),
            (_, 32) => self.rows::<S, 1, 2, true>(s, m),
            (_, 17..32) => self.rows::<S, 1, 2, false>(s, m),
            (_, L) => self.rows::<S, 6, 1, true>(s, m),
            _ => self.rows::<S, 6, 1, false>(s, m),
        }
    }

    #[inline(always)]
    fn rows<S: Simd, const R: usize, const NV: usize, const FULL: bool>(&mut self, s: S, m: usize) {
        s.call(Rows::<A, R, NV, FULL> { tile: self, m });
    }
}

/// A column of tiles of up to `R` rows × `NV` vectors, the last one partial unless `FULL`.
struct Rows<'a, A, const R: usize, const NV: usize, const FULL: bool> {
    tile: &'a mut Tile<A>,
    m: usize,
}

impl<A: Terms, const R: usize, const NV: usize, const FULL: bool> Kernel
    for Rows<'_, A, R, NV, FULL>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows { tile, m: mut left } = self;
        // SAFETY: `Tile::run` promised `m` rows, and the blocks take no more.
        unsafe {
            while left >= R {
                tile.block::<S, R, NV, FULL>(s);
                left -= R;
            }
            while R > 4 && left >= 4 {
                tile.block::<S, 4, NV, FULL>(s);
                left -= 4;
            }
            if R > 2 && left >= 2 {
                tile.block::<S, 2, NV, FULL>(s);
                left -= 2;
            }
            if R > 1 && left >= 1 {
                tile.block::<S, 1, NV, FULL>(s);
            }
        }
    }
}

impl<A: Terms> Tile<A> {
    /// Computes `R` rows of `NV` vectors and moves on to the next rows.
    ///
    /// # Safety
    /// A has `R` × k, B k × `width` and C `R` × `width` elements.
    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize, const NV: usize, const FULL: bool>(&mut self, s: S) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = self.start::<S, R, NV, FULL>(s);
            for k in 0..self.k {
                self.add_term::<S, R, NV, FULL>(s, k, &mut sums);
            }
            if self.act == Activation::Relu {
                for sum in sums.as_flattened_mut() {
                    *sum = Relu::at(s, [*sum]);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                self.store::<S, NV, FULL>(s, sums, self.c.add(r * self.c_row));
            }
        }
        match self.act {
            Activation::Tanh => s.call(Apply::<A, Tanh> { tile: self, rows: R, f: PhantomData }),
            Activation::Sigmoid => {
                s.call(Apply::<A, Sigmoid> { tile: self, rows: R, f: PhantomData })
            }
            Activation::None | Activation::Relu => {}
        }
        self.a.skip_rows(R);
        self.c = self.c.wrapping_add(R * self.c_row);
    }

    /// Adds the products of column `k` of A and row `k` of B.
    ///
    /// # Safety
    /// As [`Tile::block`], and `k` is within the sum.
    #[inline(always)]
    unsafe fn add_term<S: Simd, const R: usize, const NV: usize, const FULL: bool>(
        &self,
        s: S,
        k: usize,
        sums: &mut [[S::F; NV]; R],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let b = self.load::<S, NV, FULL>(s, self.b.add(k * self.b_row));
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = s.splat(self.a.get(r, k));
                for j in 0..NV {
                    sums[j] = s.fma(a, b[j], sums[j]);
                }
            }
        }
    }

    /// What the sums of `R` rows start from.
    #[inline(always)]
    unsafe fn start<S: Simd, const R: usize, const NV: usize, const FULL: bool>(
        &self,
        s: S,
    ) -> [[S::F; NV]; R] {
        let mut sums = [[s.zero(); NV]; R];
        // SAFETY: the bias has `width` elements, as has every row of C.
        unsafe {
            if let Some(bias) = self.bias {
                sums = [self.load::<S, NV, FULL>(s, bias); R];
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
        &self,
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
        &self,
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
}

/// Applies a function to rows of the tile just computed, still in the nearest cache.
struct Apply<'a, A, T> {
    tile: &'a Tile<A>,
    rows: usize,
    f: PhantomData<T>,
}

impl<A: Terms, T: Function<1>> Kernel for Apply<'_, A, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for r in 0..self.rows {
            let start = self.tile.c.wrapping_add(r * self.tile.c_row);
            // SAFETY: the tile's rows have `width` elements, and nobody else uses them.
            let row = unsafe { std::slice::from_raw_parts_mut(start, self.tile.width) };
            for part in row.chunks_mut(LANES) {
                let v = T::at(s, [s.load_any(part)]);
                s.store_any(v, part);
            }
        }
    }
}
