//! A console that cannot be written is dropped: the run goes on, and exit code 0 means that it is
//! done.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

const RUN_FILE: &str = "\
algorithm = \"ppo\"
env = { id = \"CartPole-v1\", n_envs = 2 }
agent = { n_steps = 32, batch_size = 64, net_arch = [8] }
train = { total_timesteps = 6400, log_freq = 64, eval_freq = 3200, n_eval_episodes = 2, n_rescore_episodes = 2 }
";

/// A run whose standard output and error go to these, in a folder of its own.
fn train(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>, quiet: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("run.toml"), RUN_FILE).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
    command.args(["train", "run.toml", "--out", ".", "--name", "run"]).args(quiet);
    let status = command.current_dir(dir.path()).stdout(stdout).stderr(stderr).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(is_finished(&dir.path().join("run")));
}

fn is_finished(run: &Path) -> bool {
    fs::read_to_string(run.join("latest")).is_ok_and(|name| name == "step-000006400\n")
}

/// A pipe whose reader has left.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A disk without space.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_reader_of_the_table_that_has_left_does_not_end_the_run() {
    train(closed_pipe(), Stdio::null(), &[]);
}

#[test]
fn a_full_disk_under_the_table_does_not_end_the_run() {
    train(full(), Stdio::null(), &[]);
}

#[test]
fn a_closed_or_full_standard_error_does_not_end_the_run() {
    train(Stdio::null(), closed_pipe(), &[]);
    train(Stdio::null(), full(), &[]);
}

#[test]
fn nothing_to_write_to_at_all_does_not_end_the_run() {
    train(closed_pipe(), closed_pipe(), &[]);
    train(full(), full(), &["--trace-modes"]);
}

#[test]
fn a_listing_ends_quietly_when_its_reader_leaves_and_says_so_when_the_disk_is_full() {
    let list = |stdout: Stdio| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
        command.args(["list", "envs"]).stdout(stdout).output().unwrap()
    };
    let closed = list(closed_pipe());
    assert_eq!((closed.status.code(), closed.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(list(full().into()).status.code(), Some(1));
}
