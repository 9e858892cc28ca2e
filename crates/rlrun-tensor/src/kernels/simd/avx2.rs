//! The AVX2 + FMA level: a virtual vector is two 256-bit registers.

use super::{Kernel, LANES, Simd};
use std::arch::x86_64::*;

/// Proof that the machine has AVX2 and FMA; made only by [`run`].
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Compiles `kernel` with the level's instructions.
///
/// # Safety
/// The machine has AVX2 and FMA.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

type F = [__m256; 2];
type I = [__m256i; 2];

/// Wraps intrinsics on one half as methods on both.
macro_rules! halves {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            #[inline(always)]
            unsafe fn half($($arg: <$type as Half>::T),*) -> <$out as Half>::T {
                // SAFETY: called only where the proof is at hand.
                unsafe { $body }
            }
            // SAFETY: a value of this type proves that the instructions exist.
            unsafe { [half($($arg[0]),*), half($($arg[1]),*)] }
        }
    )*};
}

trait Half {
    type T;
}
impl<T> Half for [T; 2] {
    type T = T;
}

/// Lanes 0..16 as integers, for masks.
const IOTA: [i32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The mask of the first `n` lanes.
#[inline(always)]
unsafe fn head(n: usize) -> I {
    // SAFETY: reads the 16 integers of a constant; AVX2 is promised.
    unsafe {
        let n = _mm256_set1_epi32(n as i32);
        let low = _mm256_loadu_si256(IOTA.as_ptr().cast());
        let high = _mm256_loadu_si256(IOTA.as_ptr().add(8).cast());
        [_mm256_cmpgt_epi32(n, low), _mm256_cmpgt_epi32(n, high)]
    }
}

/// 2ⁿ for integral −126 ≤ n ≤ 127.
#[inline(always)]
unsafe fn exp2(n: __m256i) -> __m256 {
    // SAFETY: AVX2 is promised.
    unsafe {
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))))
    }
}

impl Simd for Avx2 {
    type F = F;
    type I = I;
    type M = F;
    const REGISTERS: usize = 8;

    halves! {
        add(a: F, b: F) -> F = _mm256_add_ps(a, b);
        sub(a: F, b: F) -> F = _mm256_sub_ps(a, b);
        mul(a: F, b: F) -> F = _mm256_mul_ps(a, b);
        div(a: F, b: F) -> F = _mm256_div_ps(a, b);
        sqrt(a: F) -> F = _mm256_sqrt_ps(a);
        fma(a: F, b: F, c: F) -> F = _mm256_fmadd_ps(a, b, c);
        fnma(a: F, b: F, c: F) -> F = _mm256_fnmadd_ps(a, b, c);
        min(a: F, b: F) -> F = _mm256_min_ps(a, b);
        max(a: F, b: F) -> F = _mm256_max_ps(a, b);
        round(a: F) -> F = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        scale(a: F, n: F) -> F = {
            // two exact powers; only the second product rounds
            let n = _mm256_cvtps_epi32(n);
            let first = _mm256_srai_epi32::<1>(n);
            let second = _mm256_sub_epi32(n, first);
            _mm256_mul_ps(_mm256_mul_ps(a, exp2(first)), exp2(second))
        };
        lt(a: F, b: F) -> F = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        eq(a: F, b: F) -> F = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
        is_nan(a: F) -> F = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
        select(m: F, a: F, b: F) -> F = _mm256_blendv_ps(b, a, m);
        bits(a: F) -> I = _mm256_castps_si256(a);
        float(a: I) -> F = _mm256_castsi256_ps(a);
        and(a: I, b: I) -> I = _mm256_and_si256(a, b);
        xor(a: I, b: I) -> I = _mm256_xor_si256(a, b);
        add_i(a: I, b: I) -> I = _mm256_add_epi32(a, b);
        sub_i(a: I, b: I) -> I = _mm256_sub_epi32(a, b);
        convert(a: I) -> F = _mm256_cvtepi32_ps(a);
        to_int(a: F) -> I = _mm256_cvtps_epi32(a);
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        // SAFETY: a value of this type proves that the instructions exist.
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    fn splat_i(self, x: i32) -> I {
        // SAFETY: as above.
        unsafe { [_mm256_set1_epi32(x); 2] }
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F {
        // SAFETY: 16 floats are there.
        unsafe { self.load_ptr(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: F, out: &mut [f32; LANES]) {
        // SAFETY: 16 floats are there.
        unsafe { self.store_ptr(v, out.as_mut_ptr()) }
    }
    #[inline(always)]
    fn any(self, m: F) -> bool {
        // SAFETY: a value of this type proves that the instructions exist.
        unsafe { (_mm256_movemask_ps(m[0]) | _mm256_movemask_ps(m[1])) != 0 }
    }
    #[inline(always)]
    fn reduce_add(self, a: F) -> f32 {
        // SAFETY: as above.
        unsafe { reduce_add_8(_mm256_add_ps(a[0], a[1])) }
    }
    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: a value of this type proves that the instructions exist.
        unsafe { run(kernel) }
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: I) -> I {
        // SAFETY: as above.
        unsafe {
            let n = _mm_cvtsi32_si128(N as i32);
            [_mm256_sra_epi32(a[0], n), _mm256_sra_epi32(a[1], n)]
        }
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: I) -> I {
        // SAFETY: as above.
        unsafe {
            let n = _mm_cvtsi32_si128(N as i32);
            [_mm256_sll_epi32(a[0], n), _mm256_sll_epi32(a[1], n)]
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> F {
        // SAFETY: the caller's promise, and the proof in `self`.
        unsafe { [_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(8))] }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: F, out: *mut f32) {
        // SAFETY: the caller's promise, and the proof in `self`.
        unsafe {
            _mm256_storeu_ps(out, v[0]);
            _mm256_storeu_ps(out.add(8), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_head_ptr(self, x: *const f32, n: usize) -> F {
        // SAFETY: a masked load touches only the lanes of the mask.
        unsafe {
            let m = head(n);
            [_mm256_maskload_ps(x, m[0]), _mm256_maskload_ps(x.wrapping_add(8), m[1])]
        }
    }
    #[inline(always)]
    unsafe fn store_head_ptr(self, v: F, out: *mut f32, n: usize) {
        // SAFETY: a masked store touches only the lanes of the mask.
        unsafe {
            let m = head(n);
            _mm256_maskstore_ps(out, m[0], v[0]);
            _mm256_maskstore_ps(out.wrapping_add(8), m[1], v[1]);
        }
    }
}

/// Sum of eight lanes: i with i + 4, then + 2, + 1.
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
pub(super) unsafe fn reduce_add_8(a: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<0b01>(two, two)))
    }
}
