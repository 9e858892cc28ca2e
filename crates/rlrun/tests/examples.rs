//! Every example runs and does what it says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The example's binary, which cargo builds together with the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples").join(name)
}

fn run(name: &str, args: &[&Path]) -> String {
    let output = Command::new(example(name)).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn mean_return(output: &str) -> f64 {
    let (_, rest) = output.split_once("mean return ").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn train_cartpole_solves_it() {
    assert!(run("train_cartpole", &[]).contains("solved after"));
}

#[test]
fn custom_agent_learns_across_an_interruption_and_its_checkpoint_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let output = run("custom_agent", &[&run_dir]);
    assert!(mean_return(&output) > 100.0, "{output}");
    assert!(run_dir.join("step-000020000/manifest.toml").is_file());
}

#[test]
fn custom_env_is_solved() {
    let output = run("custom_env", &[]);
    assert!(output.contains("`Corridor-v0` keeps every promise"), "{output}");
    assert!(mean_return(&output) > 0.9, "{output}");
}

#[test]
fn evaluate_checkpoint_reads_a_run_folder() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let text = "algorithm = 'ppo'\nenv.id = 'CartPole-v1'\n\
                agent.n_steps = 64\ntrain = { total_timesteps = 128, n_rescore_episodes = 2 }";
    let run_it = rlrun::Run::load(text, rlrun::ALGORITHMS, &[]).unwrap();
    run_it.create(&run_dir).unwrap().run().unwrap();
    let output = run("evaluate_checkpoint", &[&run_dir]);
    assert!(output.contains("CartPole-v1 after 128 steps"), "{output}");
    assert!(mean_return(&output) >= 8.0, "{output}");
}
