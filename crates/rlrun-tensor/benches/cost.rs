//! What grows with the graph: backward from many leaves, through many rows of one tensor, and through
//! views of views. `leaves/<how>/<n>`, `rows/<how>/<n>`, `views/<n>`; each should grow as `n` does.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rlrun_tensor::{Backward, Tensor, grad};

const COUNTS: [usize; 3] = [4_000, 16_000, 50_000];

fn chain(parts: &[Tensor]) -> Tensor {
    parts[1..].iter().fold(parts[0].clone(), |sum, part| sum + part)
}

fn leaves(c: &mut Criterion) {
    let mut group = c.benchmark_group("leaves");
    group.sample_size(10);
    type Join = fn(&[Tensor]) -> Tensor;
    let joins: [(&str, Join); 2] = [
        ("added", |leaves| chain(leaves).sum()),
        ("joined", |leaves| Tensor::cat(&leaves.iter().collect::<Vec<_>>(), 0).sum()),
    ];
    for (name, join) in joins {
        for n in COUNTS {
            group.throughput(Throughput::Elements(n as u64));
            let leaves: Vec<_> = (0..n).map(|_| Tensor::ones([4]).requires_grad_(true)).collect();
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter_batched(|| join(&leaves), |loss| loss.backward(), BatchSize::PerIteration);
            });
        }
    }
}

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows");
    group.sample_size(10);
    type Rows = fn(&Tensor) -> Vec<Tensor>;
    let kinds: [(&str, Rows); 3] = [
        ("unbind", |x| x.unbind(0)),
        ("split", |x| x.split(1, 0)),
        ("select", |x| (0..x.dims()[0]).map(|i| x.select(0, i as isize)).collect()),
    ];
    for (name, rows) in kinds {
        for n in COUNTS {
            group.throughput(Throughput::Elements(n as u64));
            let x = Tensor::ones([n, 8]).requires_grad_(true);
            group.bench_function(BenchmarkId::new(name, n), |b| {
                let loss = || chain(&rows(&x)).sum();
                b.iter_batched(loss, |loss| loss.backward(), BatchSize::PerIteration);
            });
        }
    }
    let options = Backward { create_graph: true, ..Backward::default() };
    for n in COUNTS {
        let x = Tensor::ones([n, 8]).requires_grad_(true);
        group.bench_function(BenchmarkId::new("recorded", n), |b| {
            let loss = || chain(&x.unbind(0)).sum();
            b.iter_batched(loss, |loss| grad(&loss, &[&x], options), BatchSize::PerIteration);
        });
    }
}

/// Views of views, all kept, and backward from the last.
fn views(c: &mut Criterion) {
    let mut group = c.benchmark_group("views");
    group.sample_size(10);
    for n in COUNTS {
        group.throughput(Throughput::Elements(n as u64));
        let x = Tensor::ones([8]).requires_grad_(true);
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| {
                let mut views = vec![&x * 2.0];
                for i in 0..n {
                    views.push(views[i].view([2 + 6 * (i % 2), 4 - 3 * (i % 2)]));
                }
                views[n].sum().backward();
            });
        });
    }
}

criterion_group!(benches, leaves, rows, views);
criterion_main!(benches);
