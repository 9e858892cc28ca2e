//! The same seed gives the same bits, for every algorithm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use std::path::Path;

use rlrun::prelude::*;
use rlrun::tensor::kernels::with_threads;
use small_runs::{assert_same_run, short_run};

fn train(algorithm: &Algorithm, seed: u64, dir: &Path) {
    short_run(algorithm, seed).create(dir).unwrap().run().unwrap();
}

#[test]
fn the_same_seed_gives_the_same_run_twice_and_with_two_threads() {
    for algorithm in ALGORITHMS {
        let dir = tempfile::tempdir().unwrap();
        let [first, again, threads] =
            ["first", "again", "threads"].map(|name| dir.path().join(name));
        train(algorithm, 1, &first);
        train(algorithm, 1, &again);
        assert_same_run(&first, &again);
        with_threads(2, || train(algorithm, 1, &threads)).unwrap();
        assert_same_run(&first, &threads);
    }
}

#[test]
fn another_seed_gives_another_agent() {
    for algorithm in ALGORITHMS {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [1, 2].map(|seed| {
            let path = dir.path().join(seed.to_string());
            train(algorithm, seed, &path);
            std::fs::read(path.join("step-000001536/agent.safetensors")).unwrap()
        });
        assert_ne!(one, two);
    }
}
