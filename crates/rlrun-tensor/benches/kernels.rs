//! Kernels alone: `gemm/<k>x<n>/<m>` with bias, `gemm_dw/…`, `gemm_dx/…`, `tanh`, `exp`, `adam`.

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rlrun_tensor::kernels::{
    Activation, AdamStep, Matrix, MatrixMut, Start, Unary, adam, gemm, unary,
};
use std::hint::black_box;

const LAYERS: [[usize; 2]; 5] = [[4, 64], [64, 64], [64, 2], [17, 256], [256, 256]];
const BATCHES: [usize; 5] = [1, 8, 64, 256, 1024];

/// Numbers in [−1, 1) without a pattern that matters.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 2048) as f32 / 1024.0 - 1.0).collect()
}

/// y = x·W + b, dW = xᵀ·dy or dx = dy·Wᵀ of a layer W `[k, n]` on `m` rows.
fn products(c: &mut Criterion) {
    type Product = fn(&mut Bencher<'_>, [usize; 3]);
    let kinds: [(&str, Product); 3] = [("gemm", forward), ("gemm_dw", dw), ("gemm_dx", dx)];
    for (name, product) in kinds {
        let mut group = c.benchmark_group(name);
        for [k, n] in LAYERS {
            for m in BATCHES {
                group.throughput(Throughput::Elements((m * n * k) as u64));
                let id = BenchmarkId::new(format!("{k}x{n}"), m);
                group.bench_with_input(id, &[m, n, k], |b, &shape| product(b, shape));
            }
        }
    }
}

fn forward(b: &mut Bencher<'_>, [m, n, k]: [usize; 3]) {
    let (x, w, bias, mut y) = (numbers(m * k), numbers(k * n), numbers(n), numbers(m * n));
    b.iter(|| {
        let (x, w) = (Matrix::new(black_box(&x), m, k), Matrix::new(&w, k, n));
        gemm(x, w, Start::Bias(&bias), Activation::None, MatrixMut::new(&mut y, m, n));
    });
}

fn dw(b: &mut Bencher<'_>, [m, n, k]: [usize; 3]) {
    let (x, dy, mut dw) = (numbers(m * k), numbers(m * n), numbers(k * n));
    b.iter(|| {
        let (x, dy) = (Matrix::new(black_box(&x), m, k), Matrix::new(&dy, m, n));
        gemm(x.t(), dy, Start::Zero, Activation::None, MatrixMut::new(&mut dw, k, n));
    });
}

fn dx(b: &mut Bencher<'_>, [m, n, k]: [usize; 3]) {
    let (dy, w, mut dx) = (numbers(m * n), numbers(k * n), numbers(m * k));
    b.iter(|| {
        let (dy, w) = (Matrix::new(black_box(&dy), m, n), Matrix::new(&w, k, n));
        gemm(dy, w.t(), Start::Zero, Activation::None, MatrixMut::new(&mut dx, m, k));
    });
}

fn elementwise(c: &mut Criterion) {
    let x = numbers(4096);
    let mut y = numbers(4096);
    for (name, f) in [("tanh", Unary::Tanh), ("exp", Unary::Exp)] {
        c.bench_function(name, |b| b.iter(|| unary(f, black_box(&x), &mut y)));
    }
}

/// One step over the parameters of a 4-64-64-2 network with a value network beside it.
fn optimizers(c: &mut Criterion) {
    const LEN: usize = 9155;
    let (mut p, g, mut m, mut v) = (numbers(LEN), numbers(LEN), vec![0.0; LEN], vec![0.0; LEN]);
    let step = AdamStep::new(1e-3, (0.9, 0.999), 1e-8, 1);
    c.bench_function("adam", |b| {
        b.iter(|| adam(&mut p, black_box(&g), &mut m, &mut v, &step));
    });
}

criterion_group!(benches, products, elementwise, optimizers);
criterion_main!(benches);
