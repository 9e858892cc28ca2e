//! Steps a second of every environment: random actions, resets where episodes end.
//!
//! `cargo bench -p rlrun-envs --bench step -- step/CartPole-v1/1024`

#![allow(clippy::unwrap_used, reason = "a bench stops at the first error")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rlrun_core::NumpyRng;
use rlrun_env::{Actions, VecEnv};
use rlrun_envs::ENVS;

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    for (entry, lanes) in ENVS.iter().flat_map(|entry| [1, 8, 64, 1024].map(|n| (entry, n))) {
        let mut envs = entry.make_vec(lanes, &toml::Table::new()).unwrap();
        let mut rng = NumpyRng::new(1);
        let space = envs.spec().action_space.clone();
        let actions: Vec<Actions> = (0..64).map(|_| space.sample(lanes, &mut rng)).collect();
        envs.reset(0).unwrap();
        let mut next = actions.iter().cycle();
        group.throughput(Throughput::Elements(lanes as u64));
        group.bench_function(BenchmarkId::new(entry.id, lanes), |bencher| {
            bencher.iter(|| black_box(envs.step(next.next().unwrap()).map(|_| ())).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
