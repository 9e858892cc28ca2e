//! Run folders: what is kept, what is refused, and what every failing operation leaves.

use std::fs;

use rlrun_core::State;
use rlrun_env::{EnvSpec, Space};

use super::*;
use crate::SavedPolicy;

fn checkpoint(step: u64) -> Checkpoint {
    let spec = EnvSpec::new("Line-v0", Space::Discrete(1), Space::Discrete(1));
    let policy = SavedPolicy::new("still", &spec, State::new());
    let (agent, envs, trainer) = (State::new(), State::new(), State::new());
    let settings = toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(1))]);
    Checkpoint { step, policy, agent, envs, trainer, settings }
}

fn new_run() -> (tempfile::TempDir, RunDir) {
    let parent = tempfile::tempdir().unwrap();
    let run = RunDir::create(&parent.path().join("a/run"), "seed = 1\n").unwrap();
    (parent, run)
}

#[test]
fn a_new_folder_holds_the_run_file_and_is_never_made_twice() {
    let (parent, run) = new_run();
    assert_eq!(RunDir::open(run.path()).unwrap().run_toml().unwrap(), "seed = 1\n");
    let message = RunDir::create(run.path(), "seed = 2\n").unwrap_err().to_string();
    assert!(message.contains("exists already and is never overwritten"), "{message}");
    assert_eq!(run.run_toml().unwrap(), "seed = 1\n");
    assert_eq!(disk::list(&parent.path().join("a")).unwrap(), ["run"]);
}

#[test]
fn old_checkpoints_are_deleted_but_neither_the_newest_nor_the_best() {
    let (_parent, run) = new_run();
    for step in [10, 20, 30, 40, 50] {
        run.save(&checkpoint(step), (step >= 20).then_some(20), 2).unwrap();
    }
    assert_eq!(run.steps().unwrap(), [20, 40, 50]);
    assert_eq!(run.best_or_latest().unwrap(), run.folder(20));
    assert_eq!(run.newest().unwrap().unwrap().step, 50);
}

#[test]
fn a_folder_without_checkpoints_has_no_newest_and_nothing_to_evaluate() {
    let (_parent, run) = new_run();
    assert_eq!(run.newest().unwrap(), None);
    let message = run.best_or_latest().unwrap_err().to_string();
    assert!(message.contains("has no checkpoint yet"), "{message}");
}

#[test]
fn what_is_half_written_or_half_deleted_is_not_taken_for_a_checkpoint() {
    let (_parent, run) = new_run();
    run.save(&checkpoint(10), None, 2).unwrap();
    fs::create_dir(run.path().join(".step-000000020.partial-0")).unwrap();
    fs::create_dir(run.path().join(".deleted-step-000000005")).unwrap();
    fs::create_dir(run.folder(30)).unwrap();
    let recovery = run.recover().unwrap();
    assert_eq!(recovery.checkpoint.as_ref().unwrap().step, 10);
    run.rewind(&recovery, None, 2).unwrap();
    assert_eq!(run.steps().unwrap(), [10]);
    let mut names = disk::list(run.path()).unwrap();
    names.sort_unstable();
    let expected = ["damaged-step-000000030", "latest", "lock", "run.toml", "step-000000010"];
    assert_eq!(names, expected);
}

/// The run of the tests below: `best` is the oldest of its checkpoints.
fn run_with_best() -> (tempfile::TempDir, RunDir) {
    let (parent, run) = new_run();
    for step in [10, 20, 30] {
        run.save(&checkpoint(step), Some(10), 2).unwrap();
    }
    (parent, run)
}

#[test]
fn the_best_checkpoint_outlives_whichever_operation_of_a_save_fails() {
    for number in 0.. {
        let (_parent, run) = run_with_best();
        let fault = disk::fault::Fault::from_os(5);
        let saved = disk::fault::with(number, fault, || run.save(&checkpoint(40), Some(10), 2));
        let done = disk::fault::operations() <= number;
        assert_eq!(saved.is_ok(), done, "operation {number}");
        assert_eq!(run.best_or_latest().unwrap(), run.folder(10), "operation {number}");
        assert!(Checkpoint::load(&run.folder(10)).is_ok(), "operation {number}");
        let recovery = run.recover().unwrap();
        let newest = recovery.checkpoint.as_ref().unwrap().step;
        assert!([30, 40].contains(&newest), "operation {number}: {newest}");
        run.rewind(&recovery, Some(10), 2).unwrap();
        let expected = if newest == 30 { [10, 20, 30] } else { [10, 30, 40] };
        assert_eq!(run.steps().unwrap(), expected, "operation {number}");
        let hidden = |name: &String| name.starts_with('.');
        assert!(!disk::list(run.path()).unwrap().iter().any(hidden), "operation {number}");
        if done {
            assert!(number > 40, "{number} operations only");
            break;
        }
    }
}

#[test]
fn a_refusal_of_the_system_is_neither_absence_nor_damage() {
    for number in 0.. {
        let (_parent, run) = run_with_best();
        let before = disk::list(run.path()).unwrap();
        let fault = disk::fault::Fault::from_os(24);
        let found = disk::fault::with(number, fault, || run.recover());
        if disk::fault::operations() <= number {
            assert_eq!(found.unwrap().checkpoint.unwrap().step, 30);
            assert!(number > 20, "{number} operations only");
            break;
        }
        let error = found.unwrap_err();
        assert!(matches!(error, CheckpointError::Io { .. }), "operation {number}: {error}");
        assert_eq!(disk::list(run.path()).unwrap(), before, "operation {number}");
    }
}

#[test]
fn a_run_that_is_trained_is_refused_to_others() {
    let (_parent, run) = new_run();
    let again = RunDir::open(run.path()).unwrap();
    let message = again.clone().locked().unwrap_err().to_string();
    let owner = format!("process {} is training this run", std::process::id());
    assert!(message.starts_with(&owner), "{message}");
    drop(run);
    again.locked().unwrap();
}

#[test]
fn what_a_killed_process_left_of_a_new_run_folder_is_taken_away() {
    let parent = tempfile::tempdir().unwrap();
    let (dead, alive) =
        (parent.path().join(".run.partial-0"), parent.path().join(".run.partial-1"));
    for folder in [&dead, &alive] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(dead.join("lock"), "1 gone\n").unwrap();
    let _held = Lock::acquire(&alive).unwrap();
    RunDir::create(&parent.path().join("run"), "").unwrap();
    let mut names = disk::list(parent.path()).unwrap();
    names.sort_unstable();
    assert_eq!(names, [".run.partial-1", "run"]);
}

#[test]
fn of_two_processes_that_make_one_folder_the_second_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let other = path.clone();
    let quicker = disk::fault::Fault::Call(Box::new(move |_, _| {
        fs::create_dir(&other).unwrap();
        fs::write(other.join("run.toml"), "seed = 7\n").unwrap();
    }));
    let refused =
        disk::fault::with(4, quicker, || RunDir::create(&path, "seed = 8\n")).unwrap_err();
    assert!(matches!(refused, CheckpointError::RunExists { .. }), "{refused}");
    assert_eq!(RunDir::open(&path).unwrap().run_toml().unwrap(), "seed = 7\n");
    assert_eq!(disk::list(parent.path()).unwrap(), ["run"]);
}

#[test]
fn an_edited_run_file_is_refused_by_key() {
    let (_parent, run) = new_run();
    run.set_run_toml("seed = 1\n[train]\nsave_freq = 9\n").unwrap();
    run.check_settings(&checkpoint(1)).unwrap();
    run.set_run_toml("seed = 1\n[agent]\ngamma = 0.5\n").unwrap();
    let message = run.check_settings(&checkpoint(1)).unwrap_err().to_string();
    assert!(message.starts_with("`agent` in `"), "{message}");
    assert!(message.contains("trained with absent"), "{message}");
}

#[test]
fn a_pointer_to_nothing_is_an_error() {
    let (_parent, run) = run_with_best();
    fs::write(run.path().join(BEST), "../../other\n").unwrap();
    let message = run.best_or_latest().unwrap_err().to_string();
    assert!(message.contains("names `../../other`"), "{message}");
}
