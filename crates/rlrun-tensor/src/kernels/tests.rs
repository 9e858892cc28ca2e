//! Every kernel against a scalar twin, and bit for bit between the SIMD levels.

use super::simd::{Level, with_level};
use super::*;
use rand::RngExt;
use rlrun_core::{Purpose, Rng, rng_stream};

const LENGTHS: [usize; 10] = [0, 1, 2, 15, 16, 17, 63, 64, 65, 333];

fn rng(seed: u64) -> Rng {
    rng_stream(seed, Purpose::Sampling, 0)
}

fn random(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-2.0f32..2.0)).collect()
}

/// The result of `f` on every level, after checking that all have the same bits (any NaN is one).
#[track_caller]
fn same_bits(f: impl Fn() -> Vec<f32>) -> Vec<f32> {
    let bits = |x: &[f32]| -> Vec<u32> {
        x.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
    };
    let want = with_level(Level::Portable, &f);
    for level in Level::supported() {
        let got = with_level(level, &f);
        assert!(bits(&got) == bits(&want), "{level:?} differs from the portable level");
    }
    want
}

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

/// start + Σ a·b, one fused multiply-add after the other.
fn gemm_twin(a: Matrix<'_>, b: Matrix<'_>, start: &[f32]) -> Vec<f32> {
    let (m, n, k) = (a.dims()[0], b.dims()[1], a.dims()[1]);
    (0..m * n)
        .map(|x| (0..k).fold(start[x], |sum, l| a.get(x / n, l).mul_add(b.get(l, x % n), sum)))
        .collect()
}

#[test]
fn a_product_has_the_bits_of_sequential_fused_multiply_adds() {
    let mut rng = rng(1);
    for case in 0..200 {
        let ends = if case % 5 == 0 { [700, 9, 40] } else { [40, 150, 300] };
        let [m, n, k] = ends.map(|end| rng.random_range(0..end));
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
        let (bias, c0) = (random(&mut rng, n), random(&mut rng, m * n));
        let a = if case % 2 == 0 { Matrix::new(&a, m, k) } else { Matrix::new(&a, k, m).t() };
        let b = if case % 4 < 2 { Matrix::new(&b, k, n) } else { Matrix::new(&b, n, k).t() };
        let start = match case % 3 {
            0 => Start::Zero,
            1 => Start::Bias(&bias),
            _ => Start::Accumulate,
        };
        let first: Vec<f32> = (0..m * n)
            .map(|x| match case % 3 {
                0 => 0.0,
                1 => bias[x % n],
                _ => c0[x],
            })
            .collect();
        let want = gemm_twin(a, b, &first);
        let got = same_bits(|| {
            let mut c = c0.clone();
            gemm(a, b, start, Activation::None, MatrixMut::new(&mut c, m, n));
            c
        });
        assert_eq!(got, want, "{m} × {n} × {k}, case {case}");
    }
}

#[test]
fn the_activation_of_a_product_equals_the_elementwise_kernel() {
    let mut rng = rng(2);
    for (act, f) in [
        (Activation::Relu, Unary::Relu),
        (Activation::Tanh, Unary::Tanh),
        (Activation::Sigmoid, Unary::Sigmoid),
    ] {
        for [m, n, k] in [[1, 64, 64], [7, 17, 4], [13, 70, 9], [3, 2, 64], [5, 5, 0]] {
            let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
            let run = |act| {
                let mut c = vec![0.0; m * n];
                let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
                gemm(a, b, Start::Zero, act, MatrixMut::new(&mut c, m, n));
                c
            };
            let mut want = run(Activation::None);
            unary_inplace(f, &mut want);
            assert_eq!(same_bits(|| run(act)), want);
        }
    }
}

#[test]
fn a_row_alone_has_the_bits_it_has_in_a_batch() {
    let mut rng = rng(3);
    for [n, k] in [[64, 64], [2, 64], [256, 17], [6, 256], [400, 300]] {
        let (a, b) = (random(&mut rng, 33 * k), random(&mut rng, k * n));
        let run = |m: usize, a: &[f32]| {
            let mut c = vec![0.0; m * n];
            let (a, b) = (Matrix::new(a, m, k), Matrix::new(&b, k, n));
            gemm(a, b, Start::Zero, Activation::None, MatrixMut::new(&mut c, m, n));
            c
        };
        let batch = run(33, &a);
        for (a, row) in a.chunks(k).zip(batch.chunks(n)) {
            assert_eq!(run(1, a), row);
        }
    }
}

#[test]
fn two_threads_give_the_bits_of_one() {
    let mut rng = rng(13);
    for [m, n, k] in [[300, 128, 256], [25, 512, 200], [2000, 3, 400]] {
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
        let start = random(&mut rng, m * n);
        let run = |threads| {
            set_num_threads(threads);
            let mut c = start.clone();
            let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            gemm(a, b, Start::Accumulate, Activation::Tanh, MatrixMut::new(&mut c, m, n));
            set_num_threads(1);
            c
        };
        assert_eq!(run(2), run(1));
    }
}

#[test]
fn a_strided_output_keeps_what_lies_between_its_rows() {
    let mut c = vec![9.0; 2 * 5];
    let (a, b) = ([1.0, 2.0], [3.0, 4.0, 5.0]);
    let out = MatrixMut::with_row_stride(&mut c, 2, 3, 5);
    gemm(Matrix::new(&a, 2, 1), Matrix::new(&b, 1, 3), Start::Zero, Activation::None, out);
    assert_eq!(c, [3.0, 4.0, 5.0, 9.0, 9.0, 6.0, 8.0, 10.0, 9.0, 9.0]);
}

#[test]
#[should_panic(expected = "does not fit")]
fn a_matrix_larger_than_its_data_is_refused() {
    Matrix::strided(&[0.0; 10], [3, 4], [4, 1]);
}

#[test]
#[should_panic(expected = "gemm: shapes")]
fn shapes_that_do_not_fit_are_refused() {
    let x = [0.0; 4];
    let a = Matrix::new(&x, 2, 2);
    gemm(a, a, Start::Zero, Activation::None, MatrixMut::new(&mut [0.0; 6], 3, 2));
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
        (Binary::ReluBackward, |g, y| if y > 0.0 { g } else { 0.0 }),
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
fn clamp_keeps_nan() {
    let mut x = [f32::NAN, -5.0, 0.5, 5.0];
    clamp_inplace(&mut x, -1.0, 1.0);
    assert!(x[0].is_nan());
    assert_eq!(x[1..], [-1.0, 0.5, 1.0]);
}

#[test]
fn sums_agree_with_f64_at_every_length() {
    let mut rng = rng(5);
    for len in LENGTHS {
        let (x, y) = (random(&mut rng, len), random(&mut rng, len));
        let got = same_bits(|| vec![sum(&x), sum_of_squares(&x), dot(&x, &y)]);
        let exact = |f: &dyn Fn(usize) -> f64| (0..len).map(f).sum::<f64>();
        let want = [
            exact(&|i| x[i].into()),
            exact(&|i| f64::from(x[i]).powi(2)),
            exact(&|i| f64::from(x[i]) * f64::from(y[i])),
        ];
        for (got, want) in got.into_iter().zip(want) {
            assert!((f64::from(got) - want).abs() < 1e-6 * (len + 1) as f64, "{len}: {got} {want}");
        }
    }
}

#[test]
fn maxima_take_the_first_of_equals_and_any_nan() {
    assert_eq!(max(&[]), f32::NEG_INFINITY);
    assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
    assert_eq!(argmax(&[1.0, f32::NAN, 3.0, f32::NAN]), 1);
    let mut rng = rng(6);
    for len in LENGTHS {
        let mut x = random(&mut rng, len);
        let want = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(same_bits(|| vec![max(&x)]), [want]);
        for i in 0..len {
            let before = std::mem::replace(&mut x[i], f32::NAN);
            assert!(same_bits(|| vec![max(&x)])[0].is_nan());
            assert_eq!(argmax(&x), i);
            x[i] = before;
        }
    }
    let x = [1.0, 5.0, 2.0, 7.0, 7.0, -1.0];
    let (mut values, mut indices) = ([0.0; 2], [0; 2]);
    row_max(&x, &mut values);
    row_argmax(&x, &mut indices);
    assert_eq!((values, indices), ([5.0, 7.0], [1, 0]));
}

#[test]
fn row_and_column_sums_agree_with_loops() {
    let mut rng = rng(7);
    for [m, n] in [[0, 3], [1, 1], [5, 2], [33, 17], [9, 64], [4, 100], [130, 6]] {
        let x = random(&mut rng, m * n);
        let start = random(&mut rng, n);
        let columns = same_bits(|| {
            let mut out = start.clone();
            column_sums(&x, true, &mut out);
            out
        });
        for (j, got) in columns.into_iter().enumerate() {
            // rows shorter than a vector are summed in blocks of 16
            let lane = |r: usize| (r..m).step_by(16).fold(0.0, |sum, i| sum + x[i * n + j]);
            let want = match n {
                ..16 => (0..16).map(lane).fold(start[j], |sum, x| sum + x),
                _ => (0..m).fold(start[j], |sum, i| sum + x[i * n + j]),
            };
            assert_eq!(got, want);
        }
        let rows = same_bits(|| {
            let mut out = vec![0.0; m];
            row_sums(&x, &mut out);
            out
        });
        for (i, got) in rows.into_iter().enumerate() {
            assert_eq!(got, sum(&x[i * n..(i + 1) * n]));
        }
    }
}

#[test]
fn activation_backward_is_the_elementwise_gradient_and_its_column_sums() {
    let mut rng = rng(8);
    for (act, f) in [
        (Activation::None, None),
        (Activation::Relu, Some(Binary::ReluBackward)),
        (Activation::Tanh, Some(Binary::TanhBackward)),
        (Activation::Sigmoid, Some(Binary::SigmoidBackward)),
    ] {
        for [m, n] in [[1, 1], [7, 2], [33, 64], [5, 90]] {
            let (y, dy) = (random(&mut rng, m * n), random(&mut rng, m * n));
            let got = same_bits(|| {
                let (mut dz, mut db) = (dy.clone(), vec![1.0; n]);
                activation_backward(act, &y, &mut dz, false, &mut db);
                dz.extend(db);
                dz
            });
            let mut dz = dy;
            if let Some(f) = f {
                binary(f, Operand::Output, Operand::Elements(&y), &mut dz);
            }
            let mut db = vec![0.0; n];
            column_sums(&dz, false, &mut db);
            assert_eq!(got, [dz, db].concat());
        }
    }
}

#[test]
fn log_softmax_rows_agree_with_f64() {
    let mut rng = rng(9);
    for [m, n] in [[1, 1], [3, 2], [5, 16], [4, 50]] {
        let x: Vec<f32> = random(&mut rng, m * n).iter().map(|x| x * 20.0).collect();
        let got = same_bits(|| {
            let mut out = vec![0.0; m * n];
            log_softmax(&x, n, &mut out);
            out
        });
        for (x, got) in x.chunks(n).zip(got.chunks(n)) {
            let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
            for (x, got) in x.iter().zip(got) {
                assert!((f64::from(*got) - (f64::from(*x) - total.ln())).abs() < 2e-5);
            }
        }
    }
}

#[test]
fn adam_follows_its_formula() {
    let mut rng = rng(10);
    for len in LENGTHS {
        let (p0, g, m0) = (random(&mut rng, len), random(&mut rng, len), random(&mut rng, len));
        let v0: Vec<f32> = random(&mut rng, len).iter().map(|v| v * v).collect();
        let mut step = AdamStep::new(1e-2, (0.9, 0.999), 1e-5, 3);
        step.weight_decay = 0.1;
        step.decay = 0.9;
        let got = same_bits(|| {
            let (mut p, mut m, mut v) = (p0.clone(), m0.clone(), v0.clone());
            adam(&mut p, &g, &mut m, &mut v, &step);
            [p, m, v].concat()
        });
        for i in 0..len {
            let [p, g, m, v] = [p0[i], g[i], m0[i], v0[i]].map(f64::from);
            let g = g + 0.1 * p;
            let m = 0.9 * m + 0.1 * g;
            let v = 0.999 * v + 0.001 * g * g;
            let denominator = (v / (1.0 - 0.999f64.powi(3))).sqrt() + 1e-5;
            let p = 0.9 * p - 1e-2 / (1.0 - 0.9f64.powi(3)) * m / denominator;
            for (got, want) in [got[i], got[len + i], got[2 * len + i]].into_iter().zip([p, m, v]) {
                assert!((f64::from(got) - want).abs() < 3e-6 * want.abs().max(1.0), "{got} {want}");
            }
        }
    }
}

#[test]
fn sgd_and_rmsprop_follow_their_formulas() {
    let mut rng = rng(11);
    for len in LENGTHS {
        let (p0, g, b0) = (random(&mut rng, len), random(&mut rng, len), random(&mut rng, len));
        let v0: Vec<f32> = random(&mut rng, len).iter().map(|v| v * v).collect();
        for nesterov in [false, true] {
            let step = SgdStep {
                learning_rate: 0.1,
                momentum: 0.9,
                gain: 0.8,
                nesterov,
                weight_decay: 0.01,
            };
            let got = same_bits(|| {
                let (mut p, mut b) = (p0.clone(), b0.clone());
                sgd(&mut p, &g, &mut b, &step);
                [p, b].concat()
            });
            for i in 0..len {
                let grad = 0.01f32.mul_add(p0[i], g[i]);
                let b = 0.9f32.mul_add(b0[i], 0.8 * grad);
                let direction = if nesterov { 0.9f32.mul_add(b, grad) } else { b };
                assert_eq!([got[i], got[len + i]], [(-0.1f32).mul_add(direction, p0[i]), b]);
            }
        }
        let step = RmspropStep {
            learning_rate: 0.1,
            alpha: 0.99,
            eps: 1e-3,
            momentum: 0.5,
            weight_decay: 0.01,
        };
        let got = same_bits(|| {
            let (mut p, mut v, mut b) = (p0.clone(), v0.clone(), b0.clone());
            rmsprop(&mut p, &g, &mut v, &mut b, &step);
            [p, v, b].concat()
        });
        for i in 0..len {
            let grad = 0.01f32.mul_add(p0[i], g[i]);
            let v = ((1.0 - 0.99) * grad).mul_add(grad, 0.99 * v0[i]);
            let b = 0.5f32.mul_add(b0[i], grad / (v.sqrt() + 1e-3));
            let want = [(-0.1f32).mul_add(b, p0[i]), v, b];
            assert_eq!([got[i], got[len + i], got[2 * len + i]], want);
        }
    }
}

#[test]
fn lerp_and_axpy_are_one_fused_multiply_add() {
    let mut rng = rng(12);
    for len in LENGTHS {
        let (x0, y) = (random(&mut rng, len), random(&mut rng, len));
        let got = same_bits(|| {
            let (mut a, mut b) = (x0.clone(), x0.clone());
            lerp(&mut a, &y, 0.005);
            axpy(0.3, &y, &mut b);
            [a, b].concat()
        });
        for i in 0..len {
            let want = [0.005f32.mul_add(y[i] - x0[i], x0[i]), 0.3f32.mul_add(y[i], x0[i])];
            assert_eq!([got[i], got[len + i]], want);
        }
    }
}
