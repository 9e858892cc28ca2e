//! An interrupted run ends with the same bits as an uninterrupted one, for every algorithm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small_runs;

use std::path::Path;

use rlrun::prelude::*;
use small_runs::{TOTAL, assert_same_run, short_normalized_run, short_run};

/// Trains in `dir` until `step`, then drops everything, as a kill would.
fn train_until(run: Run, dir: &Path, step: u64) {
    let mut trainer = run.create(dir).unwrap();
    let mut learnt = false;
    while trainer.timesteps() < step {
        learnt |= trainer.step().unwrap().update.is_some();
    }
    assert!(
        learnt || step < 300,
        "an interruption after {step} steps is in the middle of learning"
    );
}

fn resume(dir: &Path) -> Trainer {
    Run::resume(dir, &[], ALGORITHMS, &[]).unwrap()
}

#[test]
fn an_interrupted_run_equals_an_uninterrupted_one_for_every_algorithm() {
    for algorithm in ALGORITHMS {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole");
        train_until(short_run(algorithm, 3), &whole, TOTAL);
        // Before the first checkpoint, on one, between two, between an update and its checkpoint,
        // and after the end.
        for step in [0, 8, 200, 256, 400, 1000, TOTAL] {
            let parts = dir.path().join(format!("interrupted-at-{step}"));
            train_until(short_run(algorithm, 3), &parts, step);
            resume(&parts).run().unwrap();
            assert_same_run(&whole, &parts);
        }
    }
}

#[test]
fn statistics_of_normalisation_survive_an_interruption_and_reach_the_trained_agent() {
    for algorithm in ALGORITHMS {
        let dir = tempfile::tempdir().unwrap();
        let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
        train_until(short_normalized_run(algorithm, 3), &whole, TOTAL);
        train_until(short_normalized_run(algorithm, 3), &parts, 700);
        resume(&parts).run().unwrap();
        assert_same_run(&whole, &parts);
        let trained = Trained::load(&whole, 1, ALGORITHMS, &[]).unwrap();
        let state = trained.policy.state().child("normalizer.obs");
        assert!(state.f64("count").unwrap()[0] > 300.0, "{}", algorithm.name);
        assert!(state.f64("var").unwrap().iter().all(|&var| var != 1.0), "{}", algorithm.name);
    }
}

#[test]
fn a_run_that_is_interrupted_again_and_again_equals_an_uninterrupted_one() {
    for algorithm in ALGORITHMS {
        let dir = tempfile::tempdir().unwrap();
        let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
        train_until(short_run(algorithm, 4), &whole, TOTAL);
        train_until(short_run(algorithm, 4), &parts, 300);
        for step in [300, 520, 700, 1300] {
            let mut trainer = resume(&parts);
            while trainer.timesteps() < step {
                trainer.step().unwrap();
            }
        }
        resume(&parts).run().unwrap();
        assert_same_run(&whole, &parts);
    }
}

#[test]
fn a_damaged_newest_checkpoint_is_set_aside_and_the_run_still_ends_equal() {
    let algorithm = &ALGORITHMS[1];
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    train_until(short_run(algorithm, 5), &whole, TOTAL);
    train_until(short_run(algorithm, 5), &parts, 1000);
    let newest = parts.join("step-000000768");
    std::fs::write(newest.join("agent.safetensors"), b"half a fi").unwrap();
    let mut trainer = resume(&parts);
    assert_eq!(trainer.timesteps(), 512);
    trainer.run().unwrap();
    let aside = parts.join("damaged-step-000000768");
    assert_eq!(std::fs::read(aside.join("agent.safetensors")).unwrap(), b"half a fi");
    std::fs::remove_dir_all(aside).unwrap();
    assert_same_run(&whole, &parts);
}

#[test]
fn a_finished_run_can_be_extended() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train_until(short_run(&ALGORITHMS[1], 6), &run, TOTAL);
    let more = [format!("train.total_timesteps={}", TOTAL + 512)];
    let mut trainer = Run::resume(&run, &more, ALGORITHMS, &[]).unwrap();
    assert_eq!(trainer.timesteps(), TOTAL);
    trainer.run().unwrap();
    assert_eq!(trainer.timesteps(), TOTAL + 512);
    assert_eq!(resume(&run).total_timesteps(), TOTAL + 512);
}
