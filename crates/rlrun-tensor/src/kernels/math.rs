//! Elementary functions on 16-lane vectors: range reduction, then a polynomial or a rational.
//!
//! Coefficients interpolate the function at Chebyshev nodes of the reduced range; each function's
//! error is bounded in ulp by this folder's tests. Zeros keep their sign, infinities have their
//! limits, NaN stays NaN, subnormal arguments and results are exact to the same bound.

use super::simd::Simd;

/// ln 2 in two parts; the first has so few bits that n·LN2_HI is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// (eʳ − 1 − r) / r² on |r| ≤ ln 2 / 2.
const EXP: [f32; 5] = [0.5, 1.666_657_6e-1, 4.166_655_6e-2, 8.363_234e-3, 1.392_620_3e-3];
/// (ln(1 + f) − f + f²/2) / f³ on √½ ≤ 1 + f < √2.
const LOG: [f32; 8] = [
    3.333_333e-1,
    -2.500_030_7e-1,
    2.000_104_5e-1,
    -1.664_128_2e-1,
    1.421_449_6e-1,
    -1.299_818_3e-1,
    1.262_231_9e-1,
    -7.902_744e-2,
];
/// Numerator and denominator in x² of tanh x / x on |x| ≤ 9.
const TANH_P: [f32; 6] =
    [1.0, 1.362_239_4e-1, 3.797_19e-3, 2.663_288_6e-5, 2.752_982_4e-8, -1.016_46e-11];
const TANH_Q: [f32; 5] = [1.0, 4.695_572_3e-1, 2.698_302e-2, 3.815_341_3e-4, 1.194_651_8e-6];
/// (sin r − r) / r³ and (cos r − 1 + r²/2) / r⁴ in r² on |r| ≤ π/4.
const SIN: [f32; 3] = [-1.666_666_4e-1, 8.332_746e-3, -1.958_738_7e-4];
const COS: [f32; 3] = [4.166_666_4e-2, -1.388_83e-3, 2.454_743_7e-5];
/// π/2 in three parts.
const HALF_PI: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_5e-15];

/// Σ cᵢ·xⁱ by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = s.splat(c[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = s.fma(sum, x, s.splat(c[i]));
    }
    sum
}

/// x = n·ln 2 + r: returns n and eʳ − 1.
#[inline(always)]
fn exp_reduced<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fnma(n, s.splat(LN2_HI), x);
    let r = s.fnma(n, s.splat(LN2_LO), r);
    (n, s.fma(s.mul(r, r), polynomial(s, r, EXP), r))
}

/// eˣ.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let (n, e) = exp_reduced(s, x);
    s.scale(s.add(e, s.splat(1.0)), n)
}

/// eˣ − 1 = 2ⁿ·(eʳ − 1) + (2ⁿ − 1).
#[inline(always)]
pub(super) fn expm1<S: Simd>(s: S, x: S::F) -> S::F {
    let clamped = s.max(s.splat(-20.0), s.min(s.splat(89.0), x));
    let (n, e) = exp_reduced(s, clamped);
    // half of 2ⁿ, because 2¹²⁸ is no float
    let half = s.scale(s.splat(0.5), n);
    let result = s.fma(e, half, s.sub(half, s.splat(0.5)));
    s.select(s.eq(x, s.zero()), x, s.add(result, result))
}

/// ln x.
#[inline(always)]
pub(super) fn log<S: Simd>(s: S, x: S::F) -> S::F {
    let subnormal = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let scaled = s.select(subnormal, s.mul(x, s.splat(8_388_608.0)), x);
    let shift = s.select(subnormal, s.splat(-23.0), s.zero());
    // scaled = 2ᵉ·(1 + f) with √½ ≤ 1 + f < √2
    let bits = s.bits(scaled);
    let e = s.shr::<23>(s.sub_i(bits, s.splat_i(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32)));
    let f = s.sub(s.float(s.sub_i(bits, s.shl::<23>(e))), s.splat(1.0));
    let e = s.add(s.convert(e), shift);
    let tail = s.fma(f, polynomial(s, f, LOG), s.splat(-0.5));
    let tail = s.fma(s.mul(f, f), tail, s.mul(e, s.splat(LN2_LO)));
    let result = s.fma(e, s.splat(LN2_HI), s.add(f, tail));
    let infinity = s.splat(f32::INFINITY);
    let result = s.select(s.lt(x, infinity), result, x);
    let result = s.select(s.eq(x, s.zero()), s.neg(infinity), result);
    s.select(s.lt(x, s.zero()), s.splat(f32::NAN), result)
}

/// ln(1 + x): the logarithm of the rounded sum u plus what the rounding lost, divided by u.
#[inline(always)]
pub(super) fn log1p<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let u = s.add(one, x);
    let lost = s.div(s.sub(x, s.sub(u, one)), u);
    let log_u = log(s, u);
    let exact = s.lt(s.abs(log_u), s.splat(f32::INFINITY));
    let result = s.select(exact, s.add(log_u, lost), log_u);
    s.select(s.lt(s.abs(x), s.splat(2e-8)), x, result)
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|).
#[inline(always)]
pub(super) fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let small = log1p(s, exp(s, s.neg(s.abs(x))));
    s.add(s.max(s.zero(), x), small)
}

/// tanh x as a rational function, cut off at ±1, which its rounding would pass from 8 on.
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(-9.0), s.min(s.splat(9.0), x));
    let y = s.mul(x, x);
    let t = s.div(s.mul(x, polynomial(s, y, TANH_P)), polynomial(s, y, TANH_Q));
    s.max(s.splat(-1.0), s.min(s.splat(1.0), t))
}

/// 1 / (1 + e^−x), from e^−|x| so that neither tail loses digits.
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.neg(s.abs(x)));
    let one = s.splat(1.0);
    s.div(s.select(s.lt(x, s.zero()), e, one), s.add(one, e))
}

/// sin(x + quarter·π/2) for |x| < 10⁵.
#[inline(always)]
fn sin_shifted<S: Simd>(s: S, x: S::F, quarter: i32) -> S::F {
    let n = s.round(s.mul(x, s.splat(std::f32::consts::FRAC_2_PI)));
    let r = s.fnma(n, s.splat(HALF_PI[0]), x);
    let r = s.fnma(n, s.splat(HALF_PI[1]), r);
    let r = s.fnma(n, s.splat(HALF_PI[2]), r);
    let y = s.mul(r, r);
    let sine = s.fma(s.mul(r, y), polynomial(s, y, SIN), r);
    let cosine = s.fma(s.mul(y, y), polynomial(s, y, COS), s.fma(y, s.splat(-0.5), s.splat(1.0)));
    let q = s.add_i(s.to_int(n), s.splat_i(quarter));
    let odd = s.lt(s.convert(s.shl::<31>(q)), s.zero());
    let value = s.select(odd, cosine, sine);
    // the second bit of q is the sign
    let sign = s.and(s.shl::<30>(q), s.splat_i(i32::MIN));
    s.float(s.xor(s.bits(value), sign))
}

/// Replaces the lanes too large for the range reduction by the standard library's value.
#[inline(always)]
fn with_large<S: Simd>(s: S, x: S::F, result: S::F, exact: fn(f64) -> f64) -> S::F {
    const LIMIT: f32 = 1e5;
    if !s.any(s.lt(s.splat(LIMIT), s.abs(x))) {
        return result;
    }
    let mut lanes = s.to_array(result);
    for (lane, x) in lanes.iter_mut().zip(s.to_array(x)) {
        if x.abs() > LIMIT {
            *lane = exact(f64::from(x)) as f32;
        }
    }
    s.load(&lanes)
}

/// sin x.
#[inline(always)]
pub(super) fn sin<S: Simd>(s: S, x: S::F) -> S::F {
    let result = s.select(s.eq(x, s.zero()), x, sin_shifted(s, x, 0));
    with_large(s, x, result, f64::sin)
}

/// cos x.
#[inline(always)]
pub(super) fn cos<S: Simd>(s: S, x: S::F) -> S::F {
    with_large(s, x, sin_shifted(s, x, 1), f64::cos)
}

/// An elementwise function of `N` vectors as a type: unlike a closure it is inlined for certain,
/// and so compiled with the instructions of the level.
pub(super) trait Function<const N: usize> {
    fn at<S: Simd>(s: S, x: [S::F; N]) -> S::F;
}

/// Declares types that implement [`Function`].
macro_rules! functions {
    ($($name:ident($s:ident, $($x:ident),*) = $body:expr;)*) => {$(
        pub(super) struct $name;
        impl Function<{ [$(stringify!($x)),*].len() }> for $name {
            #[inline(always)]
            fn at<S: Simd>($s: S, [$($x),*]: [S::F; [$(stringify!($x)),*].len()]) -> S::F {
                $body
            }
        }
    )*};
}

functions! {
    Abs(s, x) = s.abs(x);
    Cos(s, x) = cos(s, x);
    Exp(s, x) = exp(s, x);
    Expm1(s, x) = expm1(s, x);
    Log(s, x) = log(s, x);
    Log1p(s, x) = log1p(s, x);
    Neg(s, x) = s.neg(x);
    Reciprocal(s, x) = s.div(s.splat(1.0), x);
    // a NaN is the second operand, which the comparison passes on
    Relu(s, x) = s.max(s.zero(), x);
    Sigmoid(s, x) = sigmoid(s, x);
    Sin(s, x) = sin(s, x);
    Softplus(s, x) = softplus(s, x);
    Sqrt(s, x) = s.sqrt(x);
    Square(s, x) = s.mul(x, x);
    Tanh(s, x) = tanh(s, x);

    Add(s, a, b) = s.add(a, b);
    Sub(s, a, b) = s.sub(a, b);
    Mul(s, a, b) = s.mul(a, b);
    Div(s, a, b) = s.div(a, b);
    Min(s, a, b) = s.select(s.is_nan(a), a, s.min(a, b));
    Max(s, a, b) = s.select(s.is_nan(a), a, s.max(a, b));
    First(_s, g, _y) = g;
    TanhBackward(s, g, y) = s.mul(g, s.fnma(y, y, s.splat(1.0)));
    // a NaN passes the gradient on
    ReluBackward(s, g, y) = s.select(s.eq(y, s.zero()), s.zero(), g);
    SigmoidBackward(s, g, y) = s.mul(g, s.mul(y, s.sub(s.splat(1.0), y)));
}
