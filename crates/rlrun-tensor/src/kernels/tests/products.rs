//! Products against fused multiply-adds in the documented order.

use super::*;
use crate::kernels::*;
use std::ops::Range;

/// start + Σ a·b: blocks of 512 terms in halves.
fn gemm_twin(a: Matrix<'_>, b: Matrix<'_>, start: &[f32]) -> Vec<f32> {
    let (m, n, k) = (a.dims()[0], b.dims()[1], a.dims()[1]);
    (0..m * n).map(|x| sum(start[x], 0..k, &|l| (a.get(x / n, l), b.get(l, x % n)))).collect()
}

fn sum(start: f32, ks: Range<usize>, term: &impl Fn(usize) -> (f32, f32)) -> f32 {
    if ks.len() > 512 {
        let at = ks.start + (ks.len() / 2).next_multiple_of(512);
        return sum(start, ks.start..at, term) + sum(0.0, at..ks.end, term);
    }
    ks.fold(start, |sum, k| term(k).0.mul_add(term(k).1, sum))
}

#[test]
fn a_product_has_the_bits_of_fused_multiply_adds_in_the_documented_order() {
    let mut rng = rng(1);
    for case in 0..200 {
        let ends = match case % 6 {
            0 => [700, 9, 40],
            1 => [20, 40, 2000],
            2 => [40, 17, 700],
            _ => [40, 150, 300],
        };
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
            let mut want = vec![0.0; m * n];
            unary(f, &run(Activation::None), &mut want);
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
fn more_threads_give_the_bits_of_one() {
    let mut rng = rng(13);
    for [m, n, k] in
        [[300, 128, 256], [25, 512, 200], [2000, 3, 400], [64, 250, 77], [40, 90, 3000]]
    {
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
        let start = random(&mut rng, m * n);
        let run = |threads| {
            let mut c = start.clone();
            let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            let out = MatrixMut::new(&mut c, m, n);
            let product = || gemm(a, b, Start::Accumulate, Activation::Tanh, out);
            with_threads(threads, product).unwrap();
            c
        };
        let one = run(1);
        assert!([2, 3].into_iter().all(|threads| run(threads) == one));
    }
}

#[test]
fn a_tall_product_has_the_bits_of_a_product_on_any_number_of_threads() {
    let mut rng = rng(16);
    for [m, n, k] in [[64, 64, 1500], [4, 64, 513], [70, 2, 1024], [3, 3, 0], [20, 90, 512]] {
        let (a, b) = (random(&mut rng, k * m), random(&mut rng, k * n));
        let (a, b) = (Matrix::new(&a, k, m), Matrix::new(&b, k, n));
        let run = |threads| {
            let mut c = vec![1.0; m * n];
            let out = MatrixMut::new(&mut c, m, n);
            with_threads(threads, || gemm_tall(a, b, out)).unwrap();
            c
        };
        let want = gemm_twin(a.t(), b, &vec![0.0; m * n]);
        assert!([1, 2, 3].into_iter().all(|threads| run(threads) == want), "{m} {n} {k}");
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
