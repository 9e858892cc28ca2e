//! The workloads of `rlrun bench` under criterion: forward, train_step, act, rollout and update,
//! with `floor/…` beside those that have one.
//!
//! `cargo bench -p rlrun-bench --bench workloads -- train_step/4x64x64x2-tanh`

#![allow(clippy::unwrap_used, reason = "a bench stops at the first error")]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

fn workloads(criterion: &mut Criterion) {
    for mut workload in rlrun_bench::workloads().unwrap() {
        let name = workload.name.clone();
        criterion.bench_function(&name, |bencher| bencher.iter_custom(&mut workload.run));
        if let Some(floor) = &mut workload.floor {
            let name = format!("floor/{name}");
            criterion.bench_function(&name, |bencher| bencher.iter_custom(&mut *floor));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = workloads
}
criterion_main!(benches);
