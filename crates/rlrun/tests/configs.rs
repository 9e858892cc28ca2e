//! Every shipped run file builds and steps, and its resolved form is the same run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use rlrun::prelude::*;
use small_runs::configs;

#[test]
fn every_run_file_in_configs_builds_and_takes_ten_steps() {
    assert!(configs().len() >= 2);
    for (path, text) in configs() {
        let mut trainer = Run::load(&text, ALGORITHMS, &[])
            .and_then(Run::into_trainer)
            .unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
        for _ in 0..10 {
            trainer.step().unwrap();
        }
        assert_eq!(trainer.timesteps(), 10 * trainer.envs.num_envs() as u64);
    }
}

#[test]
fn the_resolved_file_is_a_run_file_that_resolves_to_itself() {
    for (path, text) in configs() {
        let resolved = Run::load(&text, ALGORITHMS, &[]).unwrap().resolved().to_owned();
        let again = Run::load(&resolved, ALGORITHMS, &[]).unwrap();
        assert_eq!(again.resolved(), resolved, "`{}`", path.display());
    }
}

#[test]
fn the_default_file_of_every_algorithm_is_valid_and_explains_every_key() {
    for algorithm in ALGORITHMS {
        let text = algorithm.default_run_file().unwrap();
        Run::load(&text, ALGORITHMS, &[]).unwrap().into_trainer().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ")) {
            if !pair[1].starts_with('#') {
                assert!(pair[0].starts_with("# "), "no explanation above `{}`", pair[1]);
            }
        }
    }
}
