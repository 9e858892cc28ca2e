//! The AVX-512F level: a virtual vector is one 512-bit register.

use super::{Kernel, LANES, Simd};
use std::arch::x86_64::*;

/// Proof that the machine has AVX-512F; made only by [`run`].
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Compiles `kernel` with the level's instructions.
///
/// # Safety
/// The machine has AVX-512F.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Wraps intrinsics as methods.
macro_rules! intrinsics {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            // SAFETY: a value of this type proves that the instructions exist.
            unsafe { $body }
        }
    )*};
}

#[inline(always)]
fn head(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type M = __mmask16;
    const REGISTERS: usize = 32;

    intrinsics! {
        splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        load(x: &[f32; LANES]) -> __m512 = _mm512_loadu_ps(x.as_ptr());
        store(v: __m512, out: &mut [f32; LANES]) -> () = _mm512_storeu_ps(out.as_mut_ptr(), v);
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fnma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        round(a: __m512) -> __m512 = _mm512_roundscale_ps::<0>(a);
        scale(a: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(a, n);
        reduce_add(a: __m512) -> f32 = reduce_add(a);
        transpose(rows: [__m512; LANES]) -> [__m512; LANES] = transpose(rows);
        lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        eq(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
        is_nan(a: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
        select(m: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(m, b, a);
        bits(a: __m512) -> __m512i = _mm512_castps_si512(a);
        float(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);
        splat_i(x: i32) -> __m512i = _mm512_set1_epi32(x);
        and(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        xor(a: __m512i, b: __m512i) -> __m512i = _mm512_xor_si512(a, b);
        add_i(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        sub_i(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        convert(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        to_int(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
    }

    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }
    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: a value of this type proves that the instructions exist.
        unsafe { run(kernel) }
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: a value of this type proves that the instructions exist.
        unsafe { _mm512_srai_epi32::<N>(a) }
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> __m512 {
        // SAFETY: the caller's promise, and the proof in `self`.
        unsafe { _mm512_loadu_ps(x) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: __m512, out: *mut f32) {
        // SAFETY: the caller's promise, and the proof in `self`.
        unsafe { _mm512_storeu_ps(out, v) }
    }
    #[inline(always)]
    unsafe fn load_head_ptr(self, x: *const f32, n: usize) -> __m512 {
        // SAFETY: a masked load touches only the lanes of the mask.
        unsafe { _mm512_maskz_loadu_ps(head(n), x) }
    }
    #[inline(always)]
    unsafe fn store_head_ptr(self, v: __m512, out: *mut f32, n: usize) {
        // SAFETY: a masked store touches only the lanes of the mask.
        unsafe { _mm512_mask_storeu_ps(out, head(n), v) }
    }
}

/// 16 × 16 transpose: pairs, quadruples, then 128-bit quarters twice.
///
/// # Safety
/// The machine has AVX-512F.
#[inline(always)]
unsafe fn transpose(x: [__m512; LANES]) -> [__m512; LANES] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut pairs = x;
        for i in (0..LANES).step_by(2) {
            pairs[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
        }
        let mut fours = x;
        for i in (0..LANES).step_by(4) {
            for (j, [a, b]) in [[0, 2], [1, 3]].into_iter().enumerate() {
                let a = _mm512_castps_pd(pairs[i + a]);
                let b = _mm512_castps_pd(pairs[i + b]);
                fours[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                fours[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
        }
        let mut eights = x;
        for i in 0..4 {
            for half in [0, 8] {
                let (a, b) = (fours[half + i], fours[half + i + 4]);
                eights[half + i] = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                eights[half + i + 4] = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            }
        }
        let mut out = x;
        for i in 0..8 {
            let (a, b) = (eights[i], eights[i + 8]);
            out[i] = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            out[i + 8] = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
        }
        out
    }
}

/// # Safety
/// The machine has AVX-512F (and so AVX).
#[inline(always)]
unsafe fn reduce_add(a: __m512) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let high = _mm512_castpd_ps(_mm512_shuffle_f64x2::<0b1110>(
            _mm512_castps_pd(a),
            _mm512_castps_pd(a),
        ));
        let eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_castps512_ps256(high));
        super::avx2::reduce_add_8(eight)
    }
}
