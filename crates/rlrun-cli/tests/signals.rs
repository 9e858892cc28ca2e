//! Signals: the run is saved and says how it goes on; requeued until it is done, it has the bits of
//! one that was never stopped.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const RUN_FILE: &str = "\
algorithm = \"dqn\"
env = { id = \"CartPole-v1\", n_envs = 2 }
agent = { net_arch = [16], learning_starts = 100, buffer_size = 2000 }
train = { total_timesteps = 12_000, log_freq = 500, eval_freq = 2_000, n_eval_episodes = 20, \
          n_rescore_episodes = 20, save_freq = 3_000 }
";

fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("run.toml"), RUN_FILE).unwrap();
    dir
}

fn start(dir: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
    command.args(["train", "--quiet"]).args(args).current_dir(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn begin(dir: &Path, name: &str, set: &[&str]) -> Child {
    start(dir, &[&["run.toml", "--out", ".", "--name", name], set].concat())
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

/// Waits until the run has begun: its handlers are there then.
fn wait_for_rows(dir: &Path, name: &str) {
    let begun = Instant::now();
    while !dir.join(name).join("latest").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the run does not begin");
        sleep(Duration::from_millis(1));
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What was learnt and evaluated at the end.
fn result(run: &Path) -> Vec<Vec<u8>> {
    let parts = ["policy", "agent", "envs"];
    let parts = parts.map(|name| format!("step-000012000/{name}.safetensors"));
    let files = parts.into_iter().chain(["evaluations.csv", "best"].map(str::to_owned));
    files.map(|name| fs::read(run.join(name)).unwrap()).collect()
}

#[test]
fn a_run_that_is_requeued_until_it_is_done_equals_one_that_was_never_stopped() {
    let dir = place();
    let begun = Instant::now();
    let whole = begin(dir.path(), "whole", &[]).wait_with_output().unwrap();
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    let whole = begun.elapsed();
    let (mut stops, mut child) = (0, begin(dir.path(), "parts", &[]));
    for name in ["TERM", "INT", "HUP", "USR1", "USR2"].iter().cycle() {
        // Later each time, so that it comes to an end however slow the machine is.
        sleep(whole.mul_f64(0.2 + 0.02 * f64::from(stops)));
        let is_ready = dir.path().join("parts/metrics.csv").exists();
        if is_ready && child.try_wait().unwrap().is_none() {
            signal(&child, name);
        }
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(0) => break,
            code => assert_eq!(code, Some(75), "{name}: {}", stderr(&output)),
        }
        let said = stderr(&output);
        let says_how = said.contains(" train --resume ") && said.ends_with("parts\n");
        assert!(says_how, "{said}");
        stops += 1;
        assert!(stops < 100, "the run does not get on");
        child = start(dir.path(), &["--resume", "parts"]);
    }
    assert!(stops >= 2, "stopped {stops} times only");
    assert_eq!(result(&dir.path().join("whole")), result(&dir.path().join("parts")));
}

#[test]
fn an_evaluation_without_end_is_ended_within_a_second_and_a_second_signal_ends_at_once() {
    let dir = place();
    let long = ["--set", "train.n_eval_episodes=100000", "--set", "train.save_freq=500"];
    let child = begin(dir.path(), "long", &long);
    wait_for_rows(dir.path(), "long");
    sleep(Duration::from_millis(1500));
    signal(&child, "TERM");
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let dir = place();
    let program = assert_cmd::cargo::cargo_bin!("rlrun");
    let mut command = Command::new("nohup");
    command.arg(program).args(["train", "--quiet", "run.toml", "--out", ".", "--name", "kept"]);
    let null = || Stdio::null();
    let child = command.current_dir(dir.path()).stdin(null()).stdout(null()).stderr(null());
    let mut child = child.spawn().unwrap();
    while !dir.path().join("kept/metrics.csv").exists() {
        sleep(Duration::from_millis(2));
    }
    sleep(Duration::from_millis(100));
    signal(&child, "HUP");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
