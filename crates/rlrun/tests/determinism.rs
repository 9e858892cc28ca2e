//! The same seed gives the same bits, for every algorithm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use std::path::Path;

use rlrun::prelude::*;
use rlrun::tensor::kernels::with_threads;
use small_runs::{assert_same_run, config_of, short, short_run};

fn train(algorithm: &Algorithm, seed: u64, dir: &Path) {
    short_run(algorithm, seed).create(dir).unwrap().run().unwrap();
}

#[test]
fn the_same_seed_gives_the_same_run_twice() {
    for algorithm in ALGORITHMS {
        let dir = tempfile::tempdir().unwrap();
        let [first, again] = ["first", "again"].map(|name| dir.path().join(name));
        train(algorithm, 1, &first);
        train(algorithm, 1, &again);
        assert_same_run(&first, &again);
    }
}

#[test]
fn more_threads_give_the_same_run_with_networks_wide_enough_to_share() {
    for algorithm in ALGORITHMS {
        let dir = tempfile::tempdir().unwrap();
        let train = |threads: usize| {
            let path = dir.path().join(threads.to_string());
            let wide = [short(1), vec!["agent.net_arch=[192, 256]".to_owned()]].concat();
            let text = config_of(algorithm.name);
            let run = || {
                let run = Run::load_with(&text, &wide, ALGORITHMS, &[]).unwrap();
                run.create(&path).unwrap().run().unwrap();
            };
            with_threads(threads, run).unwrap();
            path
        };
        let one = train(1);
        assert_same_run(&one, &train(2));
        assert_same_run(&one, &train(3));
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
