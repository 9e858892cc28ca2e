//! A run that is killed with SIGKILL, at any time and again and again, ends with the same bits.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn rlrun(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
    command.args(args).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn train_args<'a>(config: &'a str, name: &'a str) -> Vec<&'a str> {
    let mut args = vec!["train", config, "--out", ".", "--name", name];
    for set in [
        "train.total_timesteps=8192",
        "train.save_freq=512",
        "train.eval_freq=2048",
        "train.n_eval_episodes=2",
        "train.n_rescore_episodes=2",
        "train.keep_checkpoints=3",
        "agent.net_arch=[16]",
    ] {
        args.extend(["--set", set]);
    }
    args
}

/// How the longest wait grows from kill to kill.
const WAIT: Duration = Duration::from_millis(20);

/// Every file of the run's newest checkpoint, and the evaluations.
fn result(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["policy", "agent", "envs", "trainer"]
        .map(|name| format!("step-000008192/{name}.safetensors"));
    let files = names.into_iter().chain(["evaluations.csv", "run.toml", "best"].map(str::to_owned));
    files.map(|name| (name.clone().into(), fs::read(run.join(name)).unwrap())).collect()
}

#[test]
fn a_run_that_is_killed_again_and_again_equals_an_uninterrupted_one() {
    for (config, waits) in [("cartpole", 0..), ("cartpole_dqn", 3..)] {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let config = root.join(format!("{config}.toml"));
        let config = config.to_str().unwrap();
        let start = Instant::now();
        assert!(rlrun(&train_args(config, "whole"), dir.path()).status().unwrap().success());
        let whole = start.elapsed();

        let run = dir.path().join("killed");
        let mut command = rlrun(&train_args(config, "killed"), dir.path());
        let mut kills = 0;
        // Other programs may have slowed the whole run: the waits grow until it is done.
        for k in waits {
            let mut child = command.spawn().unwrap();
            sleep(whole.min(WAIT * (1 + k)) * (1 + k * 7 % 5) / 10);
            if child.try_wait().unwrap().is_some_and(|status| status.success()) {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            assert!(kills < 100, "the run does not get on");
            if run.exists() {
                command = rlrun(&["train", "--resume", "killed"], dir.path());
            }
        }
        assert!(kills >= 2, "killed {kills} times only");
        assert_eq!(result(&dir.path().join("whole")), result(&run));
    }
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/cartpole.toml");
    let args = ["train", config.to_str().unwrap(), "--out", ".", "--name", "run"];
    let mut child = rlrun(&args, dir.path()).spawn().unwrap();
    let start = Instant::now();
    while !dir.path().join("run").exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "no run folder appeared");
        sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resume = ["train", "--resume", "run", "--set", "train.total_timesteps=1024"];
    assert!(rlrun(&resume, dir.path()).status().unwrap().success());
    assert!(dir.path().join("run/step-000001024/manifest.toml").is_file());
}

#[test]
fn verify_resume_kills_each_algorithm_and_finds_no_difference() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    for (config, settings) in [
        ("cartpole", ""),
        ("cartpole_dqn", "agent.learning_starts=200 agent.buffer_size=3000"),
        ("cartpole_qrdqn", "agent.learning_starts=200 agent.buffer_size=3000"),
        ("cartpole_a2c", ""),
        ("pendulum_sac", "agent.learning_starts=200 agent.buffer_size=1000 agent.batch_size=16"),
    ] {
        let path = configs.join(config).with_extension("toml");
        let dir = tempfile::tempdir().unwrap();
        let mut command = rlrun(&["verify-resume", path.to_str().unwrap()], dir.path());
        command.args(["--kills", "4", "--set", "agent.net_arch=[8]"]);
        let train = "total_timesteps=2048 save_freq=256 eval_freq=1024 n_eval_episodes=2 \
                     n_rescore_episodes=2 keep_checkpoints=2";
        let train = train.split_whitespace().map(|setting| format!("train.{setting}"));
        train.chain(settings.split_whitespace().map(str::to_owned)).for_each(|setting| {
            command.args(["--set", &setting]);
        });
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{config}: {text}{error}");
        assert!(text.contains("4 kills, 2 of them at one of "), "{config}: {text}");
        assert!(text.ends_with("0 bits differ\n"), "{config}: {text}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it wrote beside its own folder");
    }
}
