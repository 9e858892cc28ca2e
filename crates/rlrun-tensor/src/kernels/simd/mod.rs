//! The SIMD levels behind the kernels: one 16-lane vector type per level, chosen at run time.
//!
//! Every level computes on the same *virtual* vector of 16 `f32` lanes (one AVX-512 register, two
//! AVX2 registers, or a plain array) with the same sequence of correctly rounded operations, so a
//! kernel written once against [`Simd`] gives the same bits on every level.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::sync::OnceLock;

/// Number of `f32` lanes of the virtual vector.
pub(super) const LANES: usize = 16;

/// The instruction sets a kernel can be run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// AVX-512F.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// Plain Rust with `f32::mul_add`.
    Portable,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Avx512 => "avx512",
            Level::Avx2 => "avx2",
            Level::Portable => "portable",
        }
    }

    fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx512 | Level::Avx2 => false,
            Level::Portable => true,
        }
    }

    /// The levels this machine can run, best first.
    pub fn supported() -> impl Iterator<Item = Level> {
        [Level::Avx512, Level::Avx2, Level::Portable].into_iter().filter(|l| l.is_supported())
    }
}

/// The level all kernels use: the best supported one, or the supported one that the environment
/// variable `RLRUN_SIMD` (`avx512`, `avx2` or `portable`) named when the first kernel ran.
#[inline]
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = FORCED.get() {
        return level;
    }
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wanted = std::env::var("RLRUN_SIMD").unwrap_or_default();
        let named = Level::supported().find(|l| l.name() == wanted);
        named.or_else(|| Level::supported().next()).unwrap_or(Level::Portable)
    })
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// Runs `f` with every kernel of this thread on `level`.
#[cfg(test)]
pub(super) fn with_level<R>(level: Level, f: impl FnOnce() -> R) -> R {
    assert!(level.is_supported());
    FORCED.set(Some(level));
    let result = f();
    FORCED.set(None);
    result
}

/// A kernel body, written once for all levels. `run` must be `#[inline(always)]`, as must
/// everything it calls with vectors: only then is it compiled with the level's instructions.
pub(super) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` with the chosen level's instructions.
#[inline]
pub(super) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match level() {
        // SAFETY: `level` returns only what the running machine supports.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::run(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run(kernel) },
        _ => kernel.run(portable::Portable),
    }
}

/// The operations of one level on its 16-lane vectors. A value of an implementing type is the
/// proof that the machine has the instructions.
pub(super) trait Simd: Copy {
    /// 16 lanes of `f32`.
    type F: Copy;
    /// 16 lanes of `i32`.
    type I: Copy;
    /// 16 truth values.
    type M: Copy;
    /// How many 16-lane vectors the registers hold.
    const REGISTERS: usize;

    /// Runs `kernel` as a function of its own, so that it has the registers to itself.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, x: &[f32; LANES]) -> Self::F;
    fn store(self, v: Self::F, out: &mut [f32; LANES]);
    /// # Safety
    /// `x` points to 16 readable floats.
    unsafe fn load_ptr(self, x: *const f32) -> Self::F;
    /// # Safety
    /// `out` points to 16 writable floats.
    unsafe fn store_ptr(self, v: Self::F, out: *mut f32);
    /// The first `n` (≤ 16) lanes from memory, zero in the others.
    ///
    /// # Safety
    /// `x` points to `n` readable floats.
    unsafe fn load_head_ptr(self, x: *const f32, n: usize) -> Self::F;
    /// Stores the first `n` (≤ 16) lanes.
    ///
    /// # Safety
    /// `out` points to `n` writable floats.
    unsafe fn store_head_ptr(self, v: Self::F, out: *mut f32, n: usize);

    /// Loads a slice of at most 16 elements; the lanes after them are zero.
    #[inline(always)]
    fn load_head(self, x: &[f32]) -> Self::F {
        // SAFETY: reads at most the slice.
        unsafe { self.load_head_ptr(x.as_ptr(), x.len().min(LANES)) }
    }
    /// Stores the leading lanes to a slice of at most 16 elements.
    #[inline(always)]
    fn store_head(self, v: Self::F, out: &mut [f32]) {
        // SAFETY: writes at most the slice.
        unsafe { self.store_head_ptr(v, out.as_mut_ptr(), out.len().min(LANES)) }
    }

    /// Loads a slice of up to 16 elements, fast if it has 16.
    #[inline(always)]
    fn load_any(self, x: &[f32]) -> Self::F {
        match x.try_into() {
            Ok(x) => self.load(x),
            Err(_) => self.load_head(x),
        }
    }
    /// Stores to a slice of up to 16 elements, fast if it has 16.
    #[inline(always)]
    fn store_any(self, v: Self::F, out: &mut [f32]) {
        match out.try_into() {
            Ok(out) => self.store(v, out),
            Err(_) => self.store_head(v, out),
        }
    }

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    /// a·b + c, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// c − a·b, rounded once.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: a NaN on either side gives `b`.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: a NaN on either side gives `b`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// a·2ⁿ rounded once, for integral |n| ≤ 250 and 0.5 ≤ |a| ≤ 2 or NaN.
    fn scale(self, a: Self::F, n: Self::F) -> Self::F;
    /// Sum of the lanes: i with i + 8, then + 4, + 2, + 1.
    fn reduce_add(self, a: Self::F) -> f32;

    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    fn is_nan(self, a: Self::F) -> Self::M;
    fn any(self, m: Self::M) -> bool;
    /// `a` where `m`, else `b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;

    fn bits(self, a: Self::F) -> Self::I;
    fn float(self, a: Self::I) -> Self::F;
    fn splat_i(self, x: i32) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor(self, a: Self::I, b: Self::I) -> Self::I;
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// Arithmetic shift right.
    fn shr<const N: u32>(self, a: Self::I) -> Self::I;
    fn shl<const N: u32>(self, a: Self::I) -> Self::I;
    /// Integers as floats.
    fn convert(self, a: Self::I) -> Self::F;
    /// Floats as the nearest integers.
    fn to_int(self, a: Self::F) -> Self::I;

    /// Rows to columns.
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        let mut columns = [[0.0; LANES]; LANES];
        for (r, row) in rows.into_iter().enumerate() {
            for (column, x) in columns.iter_mut().zip(self.to_array(row)) {
                column[r] = x;
            }
        }
        let mut out = [self.zero(); LANES];
        for (v, column) in out.iter_mut().zip(&columns) {
            *v = self.load(column);
        }
        out
    }

    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        self.float(self.and(self.bits(a), self.splat_i(i32::MAX)))
    }
    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        self.float(self.xor(self.bits(a), self.splat_i(i32::MIN)))
    }
    #[inline(always)]
    fn to_array(self, a: Self::F) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(a, &mut out);
        out
    }
}
