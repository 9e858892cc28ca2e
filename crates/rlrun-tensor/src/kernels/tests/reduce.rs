//! Reductions against loops.

use super::*;
use crate::kernels::*;

#[test]
fn sums_agree_with_f64_at_every_length() {
    let mut rng = rng(5);
    for len in LENGTHS {
        let x = random(&mut rng, len);
        let got = same_bits(|| vec![sum(&x), sum_of_squares(&x)]);
        let exact = |f: &dyn Fn(usize) -> f64| (0..len).map(f).sum::<f64>();
        let want = [exact(&|i| x[i].into()), exact(&|i| f64::from(x[i]).powi(2))];
        for (got, want) in got.into_iter().zip(want) {
            assert!((f64::from(got) - want).abs() < 1e-6 * (len + 1) as f64, "{len}: {got} {want}");
        }
    }
}

#[test]
fn column_sums_agree_with_loops() {
    let mut rng = rng(7);
    for [m, n] in [[0, 3], [1, 1], [5, 2], [33, 17], [9, 64], [4, 100], [130, 6], [200, 20]] {
        let x = random(&mut rng, m * n);
        let columns = same_bits(|| {
            let mut out = vec![1.0; n];
            column_sums(&x, &mut out);
            out
        });
        for (j, got) in columns.into_iter().enumerate() {
            // rows shorter than a vector are summed in blocks of 16
            let lane = |r: usize| (r..m).step_by(16).fold(0.0, |sum, i| sum + x[i * n + j]);
            let want = match n {
                ..16 => (0..16).map(lane).fold(0.0, |sum, x| sum + x),
                _ => (0..m).step_by(32).fold(0.0, |total, start| {
                    let run = start..m.min(start + 32);
                    total + run.fold(0.0, |sum, i| sum + x[i * n + j])
                }),
            };
            assert_eq!(got, want);
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
        for [m, n] in [[1, 1], [7, 2], [33, 64], [5, 90], [1300, 20]] {
            let (y, dy) = (random(&mut rng, m * n), random(&mut rng, m * n));
            let got = same_bits(|| {
                let (mut dz, mut db) = (dy.clone(), vec![1.0; n]);
                activation_backward(act, &y, &dy, &mut dz, &mut db);
                dz.extend(db);
                dz
            });
            let mut dz = dy;
            if let Some(f) = f {
                binary(f, Operand::Output, Operand::Elements(&y), &mut dz);
            }
            let mut db = vec![0.0; n];
            column_sums(&dz, &mut db);
            assert_eq!(got, [dz, db].concat());
        }
    }
}

#[test]
fn log_softmax_rows_agree_with_f64() {
    let mut rng = rng(9);
    for [m, n] in [[1, 1], [3, 2], [40, 2], [33, 5], [5, 16], [4, 50]] {
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
fn long_sums_are_sums_of_halves_on_any_number_of_threads() {
    let mut rng = rng(15);
    for [m, n] in [[5000, 64], [513, 3], [40_000, 1]] {
        let (x, y) = (random(&mut rng, m * n), random(&mut rng, m * n));
        let run = |threads| {
            let sums = || {
                let (mut dz, mut db) = (vec![0.0; m * n], vec![0.0; n]);
                activation_backward(Activation::Tanh, &y, &x, &mut dz, &mut db);
                let mut columns = vec![0.0; n];
                column_sums(&x, &mut columns);
                [dz, db, columns, vec![sum(&x), sum_of_squares(&x)]].concat()
            };
            with_threads(threads, sums).unwrap()
        };
        let one = run(1);
        assert!([2, 3].into_iter().all(|threads| run(threads) == one));
        let exact = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        assert!((f64::from(one[one.len() - 1]) - exact).abs() < 1e-5 * exact);
        for (j, got) in one[(m + 1) * n..(m + 2) * n].iter().enumerate() {
            let exact: f64 = (0..m).map(|i| f64::from(x[i * n + j])).sum();
            assert!((f64::from(*got) - exact).abs() < 1e-5 * m as f64, "{got} {exact}");
        }
    }
}

#[test]
fn a_part_of_the_columns_has_the_sums_of_the_whole_on_any_number_of_threads() {
    let mut rng = rng(17);
    for [m, n] in [[512, 40], [500, 70], [512, 100], [300, 300], [512, 17]] {
        let (x, y) = (random(&mut rng, m * n), random(&mut rng, m * n));
        let run = |threads| {
            let sums = || {
                let (mut dz, mut db) = (vec![0.0; m * n], vec![0.0; n]);
                activation_backward(Activation::Tanh, &y, &x, &mut dz, &mut db);
                [dz, db].concat()
            };
            with_threads(threads, sums).unwrap()
        };
        let one = run(1);
        assert!([2, 3].into_iter().all(|threads| run(threads) == one), "{m} {n}");
    }
}
