//! The portable level: a virtual vector is an array of 16 numbers.

use super::{Kernel, LANES, Simd};
use std::array::from_fn;

/// Plain Rust; every machine has it.
#[derive(Clone, Copy)]
pub(super) struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];
type M = [bool; LANES];

/// Writes lane-wise functions as methods on arrays.
macro_rules! lanes {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            from_fn(|i| {
                $(let $arg = $arg[i];)*
                $body
            })
        }
    )*};
}

/// 2ⁿ for integral −126 ≤ n ≤ 127.
fn exp2(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// a·b + c. Without the instruction it is 16 calls of the C library, too much code to repeat.
#[cfg_attr(target_arch = "x86_64", inline(never))]
#[cfg_attr(not(target_arch = "x86_64"), inline(always))]
fn mul_add(a: &F, b: &F, c: &F) -> F {
    from_fn(|i| a[i].mul_add(b[i], c[i]))
}

impl Simd for Portable {
    type F = F;
    type I = I;
    type M = M;
    const REGISTERS: usize = 8;

    lanes! {
        add(a: F, b: F) -> F = a + b;
        sub(a: F, b: F) -> F = a - b;
        mul(a: F, b: F) -> F = a * b;
        div(a: F, b: F) -> F = a / b;
        sqrt(a: F) -> F = a.sqrt();
        min(a: F, b: F) -> F = if a < b { a } else { b };
        max(a: F, b: F) -> F = if a > b { a } else { b };
        round(a: F) -> F = a.round_ties_even();
        scale(a: F, n: F) -> F = {
            let n = n as i32;
            let first = n >> 1;
            a * exp2(first) * exp2(n - first)
        };
        lt(a: F, b: F) -> M = a < b;
        eq(a: F, b: F) -> M = a == b;
        is_nan(a: F) -> M = a.is_nan();
        select(m: M, a: F, b: F) -> F = if m { a } else { b };
        bits(a: F) -> I = a.to_bits() as i32;
        float(a: I) -> F = f32::from_bits(a as u32);
        and(a: I, b: I) -> I = a & b;
        xor(a: I, b: I) -> I = a ^ b;
        add_i(a: I, b: I) -> I = a.wrapping_add(b);
        sub_i(a: I, b: I) -> I = a.wrapping_sub(b);
        convert(a: I) -> F = a as f32;
        to_int(a: F) -> I = a.round_ties_even() as i32;
    }

    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        mul_add(&a, &b, &c)
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        mul_add(&self.neg(a), &b, &c)
    }
    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    fn splat_i(self, x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F {
        *x
    }
    #[inline(always)]
    fn store(self, v: F, out: &mut [f32; LANES]) {
        *out = v;
    }
    #[inline(always)]
    fn any(self, m: M) -> bool {
        m.contains(&true)
    }
    #[inline(always)]
    fn reduce_add(self, a: F) -> f32 {
        let eight: [f32; 8] = from_fn(|i| a[i] + a[i + 8]);
        let four: [f32; 4] = from_fn(|i| eight[i] + eight[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: I) -> I {
        from_fn(|i| a[i] >> N)
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: I) -> I {
        from_fn(|i| a[i] << N)
    }
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> F {
        // SAFETY: the caller's promise; an array of floats has their alignment.
        unsafe { *x.cast() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: F, out: *mut f32) {
        // SAFETY: the caller's promise; an array of floats has their alignment.
        unsafe { *out.cast() = v }
    }
    #[inline(always)]
    unsafe fn load_head_ptr(self, x: *const f32, n: usize) -> F {
        // SAFETY: reads `n` floats, the caller's promise.
        from_fn(|i| if i < n { unsafe { *x.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_head_ptr(self, v: F, out: *mut f32, n: usize) {
        for (i, lane) in v.into_iter().enumerate().take(n) {
            // SAFETY: writes `n` floats, the caller's promise.
            unsafe { *out.add(i) = lane }
        }
    }
}
