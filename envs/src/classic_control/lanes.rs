//! Sine, cosine and squares of many numbers at once, to the bit what libm gives for each.
//!
//! A double-double evaluation knows the result to a small fraction of its last bit. libm rounds to
//! the nearest number except close to the middle between two (glibc's bounds: `sin` and `cos`
//! 0.55 units in the last place, `pow` 0.54). So every result that is not within
//! [`TIE_WIDTH`] of such a middle is libm's, too, and the others are asked of libm itself.

use super::libm::{square, square_f32};

/// How many environments make a block.
pub const LANES: usize = 16;

/// One number for each environment of a block.
pub type Lanes = [f64; LANES];

/// Width of the zone around a middle, in units in the last place, where libm is asked: above the
/// sum of libm's excess over one half (0.05) and the error made here (below 0.01).
const TIE_WIDTH: f64 = 1.0 / 16.0;

/// The same for squares, which are known exactly. glibc's bound for `pow` is
/// 0.509 + |log2 x²| ln 2 · 1.3 · 2⁻¹⁵ units, that is 0.511 where |log2 x²| <= 64.
const SQUARE_TIE_WIDTH: f64 = 1.0 / 64.0;

/// The squares for which that holds.
const SQUARES: std::ops::Range<f64> = 5.5e-20..1.8e19;

/// Share of half a unit in the last place up to which a remainder is safe. Only glibc's bounds are
/// known; elsewhere libm is asked for everything.
const fn safe_share(tie_width: f64) -> f64 {
    if cfg!(target_env = "gnu") { 1.0 - 2.0 * tie_width } else { -1.0 }
}

/// π/2 as a sum of three numbers.
const HALF_PI: [f64; 3] =
    [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591698e-33];

/// Adding this rounds to a whole number and leaves it in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The largest size of an argument that is reduced here.
const MAX_ARGUMENT: f64 = 512.0;

/// Taylor's coefficients of (sin r - r + r³/6) / r⁵ and (cos r - 1 + r²/2 - r⁴/24) / r⁶ in r².
const SIN: [f64; 8] = inverse_factorials(5);
const COS: [f64; 7] = inverse_factorials(6);

/// ±1/n! for n = `first`, `first + 2`, …, with the signs of Taylor's series.
const fn inverse_factorials<const N: usize>(first: u32) -> [f64; N] {
    let mut coefficients = [0.0; N];
    let mut index = 0;
    while index < N {
        let n = first + 2 * index as u32;
        let (mut factorial, mut factor) = (1.0, 2);
        while factor <= n {
            factorial *= factor as f64;
            factor += 1;
        }
        coefficients[index] = if n & 2 == 0 { 1.0 } else { -1.0 } / factorial;
        index += 1;
    }
    coefficients
}

/// A number as an unevaluated sum of a leading part and a remainder.
type Double = (f64, f64);

#[inline(always)]
fn product(a: f64, b: f64) -> Double {
    let high = a * b;
    (high, a.mul_add(b, -high))
}

/// Exact if `|a| >= |b|` (Dekker 1971).
#[inline(always)]
fn ordered_sum(a: f64, b: f64) -> Double {
    let high = a + b;
    (high, b - (high - a))
}

/// Exact (Knuth).
#[inline(always)]
fn sum(a: f64, b: f64) -> Double {
    let high = a + b;
    let part = high - a;
    (high, (a - (high - part)) + (b - part))
}

#[inline(always)]
fn horner<const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    let mut value = coefficients[N - 1];
    for &coefficient in coefficients[..N - 1].iter().rev() {
        value = value.mul_add(x, coefficient);
    }
    value
}

/// How far a rounded value is into the zone where libm is asked; negative is safe.
#[inline(always)]
fn excess((value, remainder): Double, tie_width: f64) -> f64 {
    // One bit below the value: at a power of two the gap to the next smaller number counts.
    let exponent = value.to_bits().wrapping_sub(1) & 0x7ff0_0000_0000_0000;
    let half_unit = f64::from_bits(exponent) * (0.5 * f64::EPSILON);
    remainder.abs() - safe_share(tie_width) * half_unit
}

/// `x` less its multiple of π/2, and that multiple modulo 4 (in two bits).
#[inline(always)]
fn reduce(x: f64) -> (Double, u64) {
    let shifted = x * std::f64::consts::FRAC_2_PI + ROUND;
    let multiple = shifted - ROUND;
    let first = (-multiple).mul_add(HALF_PI[0], x);
    let (second, rest) = product(multiple, HALF_PI[1]);
    let (high, low) = sum(first, -second);
    ((high, low - multiple.mul_add(HALF_PI[2], rest)), shifted.to_bits() & 3)
}

/// Sine and cosine of a reduced argument, |r| <= π/4.
#[inline(always)]
fn sin_cos_reduced((r, rest): Double) -> (Double, Double) {
    let (z, z_low) = product(r, r);
    let (w, w_low) = product(z, z);
    let w_low = (2.0 * z).mul_add(z_low, w_low);

    // cos r = 1 - z/2 + z²/24 - …, and -sin r times the rest
    let (half, half_low) = ordered_sum(1.0, -0.5 * z);
    let (quartic, quartic_low) = product(w, INVERSE_24.0);
    let quartic_low = w.mul_add(INVERSE_24.1, w_low.mul_add(INVERSE_24.0, quartic_low));
    let (cos, sum_low) = ordered_sum(half, quartic);
    let slope = -r * (-INVERSE_6.0).mul_add(z, 1.0);
    let tail = rest.mul_add(slope, (w * z).mul_add(horner(z, &COS), quartic_low));
    let cos = ordered_sum(cos, sum_low + ((-0.5f64).mul_add(z_low, half_low) + tail));

    // sin r = r - r z/6 + r z²/120 - …, and cos r times the rest
    let (sixth, sixth_low) = product(z, -INVERSE_6.0);
    let sixth_low = z.mul_add(-INVERSE_6.1, z_low.mul_add(-INVERSE_6.0, sixth_low));
    let (cubic, cubic_low) = product(sixth, r);
    let (sin, sum_low) = ordered_sum(r, cubic);
    let tail = (w * r).mul_add(horner(z, &SIN), sixth_low.mul_add(r, cubic_low));
    let sin = ordered_sum(sin, sum_low + rest.mul_add(cos.0, tail));
    (sin, cos)
}

/// 1/6 and 1/24 as sums of two numbers.
const INVERSE_6: Double = (1.0 / 6.0, 9.25185853854297e-18);
const INVERSE_24: Double = (1.0 / 24.0, 2.3129646346357427e-18);

/// `f` of every lane.
#[inline(always)]
pub(super) fn each(f: impl Fn(usize) -> f64) -> Lanes {
    // A loop, because `map` and `from_fn` are not compiled into the code for the instruction set.
    let mut values = [0.0; LANES];
    for (lane, value) in values.iter_mut().enumerate() {
        *value = f(lane);
    }
    values
}

/// Sines and cosines before libm has been asked, and how far each is into the zone.
struct Rounded {
    sin: Lanes,
    cos: Lanes,
    sin_excess: Lanes,
    cos_excess: Lanes,
}

#[inline(always)]
fn rounded_sin_cos(x: &Lanes) -> Rounded {
    let zero = [0.0; LANES];
    let mut out = Rounded { sin: zero, cos: zero, sin_excess: zero, cos_excess: zero };
    for (lane, &x) in x.iter().enumerate() {
        let (reduced, quadrant) = reduce(x);
        let (sin, cos) = sin_cos_reduced(reduced);
        let (sin_excess, cos_excess) = (excess(sin, TIE_WIDTH), excess(cos, TIE_WIDTH));
        let odd = quadrant & 1 == 1;
        let sin_sign = (quadrant & 2) << 62;
        let cos_sign = ((quadrant + 1) & 2) << 62;
        let turned_sin = if odd { cos.0 } else { sin.0 };
        let turned_cos = if odd { sin.0 } else { cos.0 };
        let outside = if x.abs() <= MAX_ARGUMENT { f64::NEG_INFINITY } else { 1.0 };
        // The sine of a tiny number is the number, with its sign.
        let tiny = x.abs() < 1.0 / (1 << 27) as f64;
        let signed_sin = f64::from_bits(turned_sin.to_bits() ^ sin_sign);
        out.sin[lane] = if tiny { x } else { signed_sin };
        out.cos[lane] = f64::from_bits(turned_cos.to_bits() ^ cos_sign);
        let turned_excess = if odd { cos_excess } else { sin_excess };
        out.sin_excess[lane] = outside.max(if tiny { -1.0 } else { turned_excess });
        out.cos_excess[lane] = outside.max(if odd { sin_excess } else { cos_excess });
    }
    out
}

/// Asks libm where a value is in the zone.
#[inline(always)]
fn settle(values: &mut Lanes, excess: &Lanes, x: &Lanes, libm: impl Fn(f64) -> f64) {
    let mut asked = 0_u32;
    for (lane, &excess) in excess.iter().enumerate() {
        // Not `excess >= 0`: NaN must ask, too.
        let safe = excess < 0.0;
        asked |= u32::from(!safe) << lane;
    }
    while asked != 0 {
        let lane = asked.trailing_zeros() as usize;
        values[lane] = libm(x[lane]);
        asked &= asked - 1;
    }
}

/// `sin` and `cos` of libm.
#[inline(always)]
pub(super) fn sin_cos(x: &Lanes) -> (Lanes, Lanes) {
    let mut rounded = rounded_sin_cos(x);
    settle(&mut rounded.sin, &rounded.sin_excess, x, f64::sin);
    settle(&mut rounded.cos, &rounded.cos_excess, x, f64::cos);
    (rounded.sin, rounded.cos)
}

/// `sin` of libm.
#[inline(always)]
pub(super) fn sin(x: &Lanes) -> Lanes {
    let mut rounded = rounded_sin_cos(x);
    settle(&mut rounded.sin, &rounded.sin_excess, x, f64::sin);
    rounded.sin
}

/// `cos` of libm.
#[inline(always)]
pub(super) fn cos(x: &Lanes) -> Lanes {
    let mut rounded = rounded_sin_cos(x);
    settle(&mut rounded.cos, &rounded.cos_excess, x, f64::cos);
    rounded.cos
}

/// [`square`] of each number.
#[inline(always)]
pub(super) fn squares(x: &Lanes) -> Lanes {
    let (mut values, mut excesses) = ([0.0; LANES], [0.0; LANES]);
    for lane in 0..LANES {
        let rounded = product(x[lane], x[lane]);
        values[lane] = rounded.0;
        let known = x[lane] == 0.0 || SQUARES.contains(&rounded.0);
        excesses[lane] = if known { excess(rounded, SQUARE_TIE_WIDTH) } else { 1.0 };
    }
    settle(&mut values, &excesses, x, square);
    values
}

/// [`square_f32`] of each number (of 42 million, `powf` differed from the nearest number in 30 000, none
/// further than 0.002 units from a middle); all of `x` are `f32` numbers.
#[inline(always)]
pub(super) fn squares_f32(x: &Lanes) -> Lanes {
    let (mut values, mut excesses) = ([0.0; LANES], [0.0; LANES]);
    for lane in 0..LANES {
        let exact = x[lane] * x[lane];
        let value = exact as f32;
        values[lane] = f64::from(value);
        let exponent = value.to_bits().wrapping_sub(1) & 0x7f80_0000;
        let half_unit = f64::from(f32::from_bits(exponent)) * (0.5 * f64::from(f32::EPSILON));
        let known = x[lane] == 0.0 || SQUARES.contains(&exact);
        let share = safe_share(SQUARE_TIE_WIDTH);
        let excess = (exact - f64::from(value)).abs() - share * half_unit;
        excesses[lane] = if known { excess } else { 1.0 };
    }
    settle(&mut values, &excesses, x, |x| f64::from(square_f32(x as f32)));
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::NumpyRng;

    /// Compares bits on blocks of `argument(rng)`; returns how many values libm was asked for.
    fn compare(
        blocks: usize,
        lanes: fn(&Lanes) -> Lanes,
        libm: fn(f64) -> f64,
        mut argument: impl FnMut(&mut NumpyRng) -> f64,
    ) {
        let mut rng = NumpyRng::new(11);
        for _ in 0..blocks {
            let x: Lanes = std::array::from_fn(|_| argument(&mut rng));
            for (found, x) in lanes(&x).into_iter().zip(x) {
                let expected = libm(x);
                let same =
                    found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
                assert!(same, "f({x:e}) is {found:e}, libm gives {expected:e}");
            }
        }
    }

    /// Arguments of every size that the tasks meet, more beyond, and neighbours of multiples of π/4.
    fn compare_trigonometric(lanes: fn(&Lanes) -> Lanes, libm: fn(f64) -> f64) {
        for size in [1e-9, 1e-4, 0.05, 0.126, 0.3, 0.9, 2.5, 4.0, 30.0, 500.0, 1e9] {
            compare(20_000, lanes, libm, |rng| rng.uniform(-size, size));
        }
        compare(20_000, lanes, libm, |rng| {
            let near = (rng.integers(1200) as f64 - 600.0) * std::f64::consts::FRAC_PI_4;
            near + rng.uniform(-1.0, 1.0) * 10f64.powi(-(rng.integers(17) as i32))
        });
        compare(1, lanes, libm, |rng| {
            [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, 512.0, f64::INFINITY, f64::NAN]
                [rng.integers(8) as usize]
        });
    }

    #[test]
    fn sines_are_libms() {
        compare_trigonometric(sin, f64::sin);
        compare_trigonometric(|x| sin_cos(x).0, f64::sin);
    }

    #[test]
    fn cosines_are_libms() {
        compare_trigonometric(cos, f64::cos);
        compare_trigonometric(|x| sin_cos(x).1, f64::cos);
    }

    #[test]
    fn squares_are_libms_powers() {
        for size in [1e-160, 1e-3, 1.0, 10.0, 1e160] {
            compare(20_000, squares, square, |rng| rng.uniform(-size, size));
            let powf = |x: f64| f64::from(square_f32(x as f32));
            compare(20_000, squares_f32, powf, |rng| {
                f64::from(rng.uniform(-size.max(1e-16), size.min(1e10)) as f32)
            });
        }
        compare(1, squares, square, |rng| [0.0, -0.0, 1e200, 1e-200][rng.integers(4) as usize]);
    }

    #[test]
    fn most_values_do_not_need_libm() {
        let mut rng = NumpyRng::new(2);
        let x: Vec<Lanes> =
            (0..1000).map(|_| std::array::from_fn(|_| rng.uniform(-4.0, 4.0))).collect();
        let asked = |x: &Lanes| {
            let rounded = rounded_sin_cos(x);
            let excesses = rounded.sin_excess.iter().chain(&rounded.cos_excess);
            excesses.filter(|&&excess| excess >= 0.0).count()
        };
        let share = x.iter().map(asked).sum::<usize>() as f64 / (2 * LANES * x.len()) as f64;
        assert!(cfg!(not(target_env = "gnu")) || (0.1..0.15).contains(&share), "{share}");
    }

    /// Of 90 million values none was further than 0.016 from a middle (glibc 2.36).
    #[test]
    fn libm_differs_from_the_nearest_number_only_well_inside_the_zone() {
        let mut rng = NumpyRng::new(3);
        let mut differing = 0;
        for size in [0.1, 0.8, 4.0, 80.0].repeat(25_000) {
            let x: Lanes = std::array::from_fn(|_| rng.uniform(-size, size));
            let rounded = rounded_sin_cos(&x);
            let values = rounded.sin.iter().zip(&rounded.sin_excess).zip(x.map(f64::sin));
            for ((value, excess), _) in values.filter(|((value, _), libm)| *value != libm) {
                let unit = f64::from_bits(value.abs().to_bits() + 1) - value.abs();
                assert!(excess / unit > TIE_WIDTH / 3.0, "{value:e}");
                differing += 1;
            }
        }
        assert!(cfg!(not(target_env = "gnu")) || differing > 100, "{differing}");
    }
}
