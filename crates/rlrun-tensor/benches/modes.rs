//! What one small operation costs in each gradient mode: `modes/<op>/<mode>`.
//!
//! Tensors of four numbers, made in the mode they are used in; nothing requires grad. Besides the
//! three modes: `inference-normal`, inputs made outside inference mode and used inside, and
//! `recorded`, an operation of an input that requires grad.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use rlrun_tensor::{GradModeGuard, Tensor};

/// Calls that are timed together.
const BATCH: u64 = 20;

/// Where operations run and what they are given.
struct Mode {
    name: &'static str,
    enter: fn() -> GradModeGuard,
    inputs_made_inside: bool,
    inputs_require_grad: bool,
}

const GRAD: Mode = Mode {
    name: "grad",
    enter: GradModeGuard::enable_grad,
    inputs_made_inside: true,
    inputs_require_grad: false,
};
const MODES: [Mode; 5] = [
    GRAD,
    Mode { name: "no_grad", enter: GradModeGuard::no_grad, ..GRAD },
    Mode { name: "inference", enter: || GradModeGuard::inference_mode(true), ..GRAD },
    Mode {
        name: "inference-normal",
        enter: || GradModeGuard::inference_mode(true),
        inputs_made_inside: false,
        ..GRAD
    },
    Mode { name: "recorded", inputs_require_grad: true, ..GRAD },
];

/// What the operations work on.
struct Inputs {
    /// Four numbers.
    x: Tensor,
    /// Four numbers.
    y: Tensor,
    /// `[4, 4]`.
    matrix: Tensor,
}

impl Inputs {
    fn new(require_grad: bool) -> Inputs {
        let vector = |numbers| Tensor::from_slice(numbers, [4]).requires_grad_(require_grad);
        let matrix: Vec<f32> = (0..16).map(|i| 0.1 * i as f32).collect();
        Inputs {
            x: vector(&[1.0, 2.0, 3.0, 4.0]),
            y: vector(&[0.5, 1.0, 1.5, 2.0]),
            matrix: Tensor::from_vec(matrix, [4, 4]).requires_grad_(require_grad),
        }
    }
}

type Operation = fn(&Inputs) -> Tensor;

const OPERATIONS: [(&str, Operation); 7] = [
    ("mul", |inputs| &inputs.x * &inputs.y),
    ("exp", |inputs| inputs.x.exp()),
    ("select", |inputs| inputs.matrix.select(0, 1)),
    ("view", |inputs| inputs.x.view([2, 2])),
    ("linear", |inputs| inputs.x.linear(&inputs.matrix, Some(&inputs.y))),
    ("add_", |inputs| {
        inputs.x.add_(&inputs.y);
        inputs.x.clone()
    }),
    ("copy_", |inputs| {
        inputs.x.copy_(&inputs.y);
        inputs.x.clone()
    }),
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

fn bench_mode<R>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    mode: &Mode,
    operation: impl Fn(&Inputs) -> R,
) {
    let outside = (!mode.inputs_made_inside).then(|| Inputs::new(false));
    let _mode = (mode.enter)();
    let inputs = outside.unwrap_or_else(|| Inputs::new(mode.inputs_require_grad));
    group.bench_function(mode.name, |bencher| {
        bencher.iter_custom(|iterations| fastest(iterations, || operation(black_box(&inputs))));
    });
}

fn modes(criterion: &mut Criterion) {
    for (name, operation) in OPERATIONS {
        let mut group = criterion.benchmark_group(format!("modes/{name}"));
        // A leaf that requires grad cannot be written while history is recorded.
        let writes = name.ends_with('_');
        for mode in MODES.iter().filter(|mode| !(writes && mode.inputs_require_grad)) {
            bench_mode(&mut group, mode, operation);
        }
    }
    let mut group = criterion.benchmark_group("modes/unbind");
    for mode in &MODES {
        bench_mode(&mut group, mode, |inputs| inputs.matrix.unbind(0));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = modes
}
criterion_main!(benches);
