//! What the forward pass of a network costs in each gradient mode: `forward/<net>/<batch>/<mode>`.
//!
//! Parameters are ordinary ones, made outside the mode; the input is made inside. In grad mode the
//! pass is recorded and the graph is dropped. `backward/<net>/<batch>/<of>`: the pass and the walk
//! back, to all leaves or, as a policy's step through its critic needs it, to the input alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rlrun_core::{Purpose, rng_stream};
use rlrun_nn::{Activation, Init, Layer, Mlp};
use rlrun_tensor::{Backward, GradModeGuard, Tensor};

/// Passes that are timed together.
const BATCH: u64 = 2;

/// Enters a mode.
type Enter = fn() -> GradModeGuard;

const NETS: [(&str, &[usize], Activation); 2] = [
    ("4x64x64x2-tanh", &[4, 64, 64, 2], Activation::Tanh),
    ("17x256x256x6-relu", &[17, 256, 256, 6], Activation::Relu),
];
const BATCHES: [usize; 5] = [1, 8, 64, 256, 1024];
const MODES: [(&str, Enter); 3] = [
    ("grad", GradModeGuard::enable_grad),
    ("no_grad", GradModeGuard::no_grad),
    ("inference", || GradModeGuard::inference_mode(true)),
];

/// The time of `iterations` calls at the speed of the fastest batch: other programs on the machine
/// only ever add time.
fn fastest<R>(iterations: u64, call: impl Fn() -> R) -> Duration {
    let batch = iterations.min(BATCH);
    let time = || {
        let start = Instant::now();
        (0..batch).for_each(|_| drop(black_box(call())));
        start.elapsed()
    };
    let best = (0..iterations / batch).map(|_| time()).min().unwrap_or_default();
    best.mul_f64(iterations as f64 / batch as f64)
}

fn forward(criterion: &mut Criterion) {
    for (name, sizes, activation) in NETS {
        let mut rng = rng_stream(1, Purpose::Weights, 0);
        let init = Init::KaimingUniform;
        let net = Mlp::new(sizes, activation, init, init, &mut rng);
        let mut group = criterion.benchmark_group(format!("forward/{name}"));
        for batch in BATCHES {
            let numbers: Vec<f32> = (0..batch * sizes[0]).map(|i| (i as f32).sin()).collect();
            for (mode, enter) in MODES {
                let _mode = enter();
                let input = Tensor::from_slice(&numbers, [batch, sizes[0]]);
                group.bench_function(BenchmarkId::new(batch.to_string(), mode), |bencher| {
                    bencher.iter_custom(|iterations| {
                        fastest(iterations, || net.forward(black_box(&input)))
                    });
                });
            }
        }
    }
}

fn backward(criterion: &mut Criterion) {
    for (name, sizes, activation) in NETS {
        let mut rng = rng_stream(1, Purpose::Weights, 0);
        let init = Init::KaimingUniform;
        let net = Mlp::new(sizes, activation, init, init, &mut rng);
        let mut group = criterion.benchmark_group(format!("backward/{name}"));
        let numbers: Vec<f32> = (0..256 * sizes[0]).map(|i| (i as f32).sin()).collect();
        let input = Tensor::from_slice(&numbers, [256, sizes[0]]).requires_grad_(true);
        for (of, inputs) in [("all", None), ("input", Some([&input]))] {
            let options = || Backward {
                inputs: inputs.as_ref().map(<[_; 1]>::as_slice),
                ..Backward::default()
            };
            group.bench_function(BenchmarkId::new("256", of), |bencher| {
                bencher.iter_custom(|iterations| {
                    fastest(iterations, || net.forward(&input).sum().backward_with(options()))
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = forward, backward
}
criterion_main!(benches);
