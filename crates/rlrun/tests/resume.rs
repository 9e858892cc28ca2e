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
    drop(trainer);
    assert_eq!(resume(&run).total_timesteps(), TOTAL + 512);
}

/// The second half of a log is lost, as after a power cut.
fn lose_half(path: &Path) {
    let log = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    log.set_len(log.metadata().unwrap().len() / 2).unwrap();
}

const LOGS: [&str; 5] =
    ["metrics.csv", "metrics.jsonl", "monitor.csv", "evaluations.csv", "events.out.tfevents.rlrun"];

#[test]
fn rows_that_a_power_cut_took_are_made_again_once() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    train_until(short_run(&ALGORITHMS[0], 7), &whole, TOTAL);
    for name in LOGS {
        let parts = dir.path().join(format!("short-{name}"));
        train_until(short_run(&ALGORITHMS[0], 7), &parts, 1100);
        lose_half(&parts.join(name));
        let mut trainer = resume(&parts);
        assert!(trainer.timesteps() < 1024, "`{name}`: went on at {}", trainer.timesteps());
        assert!(parts.join("unlogged-step-000001024").is_dir(), "`{name}`");
        trainer.run().unwrap();
        drop(trainer);
        assert_same_run(&whole, &parts);
    }
}

#[test]
fn rows_that_no_checkpoint_can_make_again_are_named_and_given_up_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train_until(short_run(&ALGORITHMS[0], 7), &run, 600);
    std::fs::write(run.join("metrics.jsonl"), "").unwrap();
    let error = Run::resume(&run, &[], ALGORITHMS, &[]).err().unwrap().to_string();
    assert!(error.contains("`metrics.jsonl` has 0 of"), "{error}");
    assert!(run.join("step-000000512").is_dir());
    let told = RunDir::open(&run).unwrap().accepting_lost_rows();
    let mut trainer = Run::resume_in(told, &[], ALGORITHMS, &[]).unwrap();
    assert_eq!(trainer.timesteps(), 512);
    trainer.run().unwrap();
    drop(trainer);
    assert_eq!(resume(&run).timesteps(), TOTAL);
}

#[test]
fn a_run_folder_without_its_logs_goes_on_with_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    train_until(short_run(&ALGORITHMS[0], 7), &whole, TOTAL);
    train_until(short_run(&ALGORITHMS[0], 7), &parts, 600);
    for name in LOGS {
        std::fs::remove_file(parts.join(name)).unwrap();
    }
    resume(&parts).run().unwrap();
    let policy = |run: &Path| std::fs::read(run.join("step-000001536/policy.safetensors")).unwrap();
    assert_eq!(policy(&whole), policy(&parts));
    let rows = std::fs::read_to_string(parts.join("metrics.csv")).unwrap();
    assert!(rows.starts_with("step,") && rows.lines().nth(1).unwrap().starts_with("6"), "{rows}");
    drop(resume(&parts));
}

#[test]
fn the_clock_of_a_continued_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train_until(short_run(&ALGORITHMS[0], 7), &run, 600);
    let path = run.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let hours_later = text.replace("\"time/time_elapsed\":", "\"time/time_elapsed\":7000");
    std::fs::write(&path, hours_later).unwrap();
    resume(&run).run().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let row: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(row["time/time_elapsed"].as_f64().unwrap() >= 7000.0, "{row}");
}
