//! Every command of a program with environments and algorithms of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The example's binary, which cargo builds together with the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/own_program")
}

/// What the program prints; it must succeed.
fn call(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(program()).args(args).current_dir(dir).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_knows_its_environments_and_algorithms() {
    let dir = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| call(dir.path(), args);
    let table = call(&["list", "envs"]);
    for line in ["Corridor4-v0  Discrete(2)  30", "Corridors-v0  Discrete(2)", "CartPole-v1"] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let has_words = |row: &str| words.iter().all(|word| row.contains(word));
        assert!(table.lines().any(has_words), "no {line} in:\n{table}");
    }
    assert!(call(&["list", "envs", "Corridor8-v0"]).contains("| actions | `Discrete(2)` |"));
    assert!(call(&["list", "algorithms"]).contains("stubborn"));
    assert!(call(&["config", "stubborn"]).contains("# The action to repeat for ever\naction = 1"));
    let text = "algorithm = 'stubborn'\nenv.id = 'Corridor4-v0'\ntrain.total_timesteps = 50";
    fs::write(dir.path().join("check.toml"), text).unwrap();
    assert!(call(&["check-agent", "check.toml"]).contains("forgets nothing"));
    for id in ["Corridor4-v0", "Corridors-v0"] {
        assert!(call(&["check-env", id]).contains("keeps every promise"), "{id}");
    }
}

#[test]
fn own_parts_are_trained_resumed_evaluated_and_watched() {
    let dir = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| call(dir.path(), args);
    for (algorithm, id) in [("stubborn", "Corridor4-v0"), ("ppo", "Corridors-v0")] {
        let text = format!(
            "algorithm = '{algorithm}'\nenv.id = '{id}'\nenv.wrappers.max_episode_steps = 20\n\
             train = {{ total_timesteps = 2048, n_rescore_episodes = 2 }}\n"
        );
        fs::write(dir.path().join("run.toml"), text).unwrap();
        let train = ["train", "run.toml", "--name", algorithm, "--set", "train.save_freq=512"];
        let run = format!("runs/{algorithm}");
        assert!(call(&train).contains(&format!("next: own_program eval --checkpoint {run}")));
        call(&["train", "--resume", &run, "--set", "train.total_timesteps=4096", "--quiet"]);
        let eval = call(&["eval", "--checkpoint", &run, "--episodes", "3"]);
        assert!(eval.starts_with(&format!("{id} after ")) || id == "Corridors-v0", "{eval}");
        let watch = call(&["watch", "--checkpoint", &run, "--png", "picture.png"]);
        assert!(watch.contains("episode 1: return"), "{watch}");
        assert!(dir.path().join("picture.png").is_file());
    }
    let random = call(&["watch", "--env", "Corridor4-v0", "--random", "--gif", "walk.gif"]);
    assert!(random.contains("episode 1"), "{random}");
    let bad = dir.path().join("run.toml");
    fs::write(&bad, "algorithm = 'stuborn'\nenv.id = 'Corridor4-v0'\n").unwrap();
    let mut train = Command::new(program());
    let output = train.args(["train", "run.toml"]).current_dir(&dir).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("did you mean `stubborn`?"), "{message}");
}
