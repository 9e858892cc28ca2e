//! Elementwise kernels against f64 and scalar twins.

use super::*;
use crate::kernels::*;

/// Distance in units of the last place of `want`, 0 for equal specials.
fn ulps(got: f32, want: f64) -> f64 {
    if got.is_nan() && want.is_nan() || f64::from(got) == want {
        return 0.0;
    }
    let rounded = want as f32;
    if !got.is_finite() || !rounded.is_finite() {
        return if got == rounded { 0.0 } else { f64::INFINITY };
    }
    let unit = f64::from(rounded.abs().next_up()) - f64::from(rounded.abs());
    (f64::from(got) - want).abs() / unit
}

/// Arguments of every magnitude, both signs, and the special ones.
fn arguments() -> Vec<f32> {
    let mut x: Vec<f32> = (0..u32::MAX / 50_021).map(|i| f32::from_bits(i * 50_021)).collect();
    x.extend((-20_000..20_000).map(|i| i as f32 * 1e-3));
    x.extend([0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    x.extend([f32::MIN_POSITIVE, 1e-45, -1e-45, f32::MAX, f32::MIN, 88.722_84, 88.722_83, -103.9]);
    x
}

#[test]
fn elementary_functions_are_within_their_ulps_on_all_magnitudes() {
    type Exact = fn(f64) -> f64;
    let exact: [(Unary, f64, Exact); 15] = [
        (Unary::Abs, 0.0, f64::abs),
        (Unary::Cos, 2.0, f64::cos),
        (Unary::Exp, 2.0, f64::exp),
        (Unary::Expm1, 2.0, f64::exp_m1),
        (Unary::Log, 2.0, f64::ln),
        (Unary::Log1p, 2.0, f64::ln_1p),
        (Unary::Neg, 0.0, |x| -x),
        (Unary::Reciprocal, 0.5, f64::recip),
        (Unary::Relu, 0.0, |x| if x > 0.0 || x.is_nan() { x } else { 0.0 }),
        (Unary::Sigmoid, 3.0, |x| 1.0 / (1.0 + (-x).exp())),
        (Unary::Sin, 2.0, f64::sin),
        (Unary::Softplus, 3.0, |x| x.max(0.0) + (-x.abs()).exp().ln_1p() + 0.0 * x.signum()),
        (Unary::Sqrt, 0.5, f64::sqrt),
        (Unary::Square, 0.5, |x| x * x),
        (Unary::Tanh, 5.0, f64::tanh),
    ];
    let x = arguments();
    for (f, bound, exact) in exact {
        let got = same_bits(|| {
            let mut out = vec![0.0; x.len()];
            unary(f, &x, &mut out);
            out
        });
        let mut worst = (0.0, 0.0, 0.0);
        for (&x, &got) in x.iter().zip(&got) {
            let off = ulps(got, exact(f64::from(x)));
            if off > worst.0 || off.is_nan() {
                worst = (off, x, got);
            }
        }
        assert!(worst.0 <= bound, "{f:?} is {} ulp off at {}: {}", worst.0, worst.1, worst.2);
    }
}

#[test]
fn binary_functions_broadcast_rows_columns_and_numbers() {
    let mut rng = rng(4);
    type Exact = fn(f32, f32) -> f32;
    let exact: [(Binary, Exact); 9] = [
        (Binary::Add, |a, b| a + b),
        (Binary::Sub, |a, b| a - b),
        (Binary::Mul, |a, b| a * b),
        (Binary::Div, |a, b| a / b),
        (Binary::Min, |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) }),
        (Binary::Max, |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }),
        (Binary::TanhBackward, |g, y| g * (-y).mul_add(y, 1.0)),
        (Binary::ReluBackward, |g, y| if y == 0.0 { 0.0 } else { g }),
        (Binary::SigmoidBackward, |g, y| g * (y * (1.0 - y))),
    ];
    for (f, exact) in exact {
        for [m, n] in [[1, 1], [3, 2], [5, 16], [2, 17], [1, 333], [7, 40]] {
            let mut a = random(&mut rng, m * n);
            let (row, column) = (random(&mut rng, n), random(&mut rng, m));
            a[0] = f32::NAN;
            let b = random(&mut rng, m * n);
            let at = |operand: Operand<'_>, i: usize| match operand {
                Operand::Elements(x) => x[i],
                Operand::Row(x) => x[i % n],
                Operand::Column(x) => x[i / n],
                Operand::Scalar(x) => x,
                Operand::Output => b[i],
            };
            for operand in [
                Operand::Elements(&b),
                Operand::Row(&row),
                Operand::Column(&column),
                Operand::Scalar(0.7),
                Operand::Output,
            ] {
                let got = same_bits(|| {
                    let mut out = b.clone();
                    binary(f, Operand::Elements(&a), operand, &mut out);
                    out
                });
                for (i, got) in got.into_iter().enumerate() {
                    let want = exact(a[i], at(operand, i));
                    assert!(got == want || got.is_nan() && want.is_nan(), "{f:?}: {got} {want}");
                }
            }
        }
    }
}

#[test]
fn more_threads_give_the_bits_of_one_for_every_broadcast() {
    let mut rng = rng(17);
    let (m, n) = (700, 300);
    let (x, row, column) = (random(&mut rng, m * n), random(&mut rng, n), random(&mut rng, m));
    let run = |threads| {
        let all = || {
            let mut results = Vec::new();
            let operands = [
                (Operand::Output, Operand::Scalar(2.0)),
                (Operand::Elements(&x), Operand::Row(&row)),
                (Operand::Column(&column), Operand::Elements(&x)),
                (Operand::Elements(&x), Operand::Row(&x)),
                (Operand::Row(&row[..1]), Operand::Column(&x)),
            ];
            for (a, b) in operands {
                let mut out = x.clone();
                binary(Binary::Div, a, b, &mut out);
                results.extend(out);
            }
            let mut out = vec![0.0; m * n];
            unary(Unary::Tanh, &x, &mut out);
            results.extend(out);
            results
        };
        with_threads(threads, all).unwrap()
    };
    let one = run(1);
    assert_eq!(one[m * n + n + 1], x[n + 1] / row[1]);
    assert_eq!(one[2 * m * n + n + 1], column[1] / x[n + 1]);
    assert_eq!(one[3 * m * n + 5], 1.0);
    assert_eq!(one[4 * m * n + 5], row[0] / x[5]);
    assert!([2, 3].into_iter().all(|threads| run(threads) == one));
}
