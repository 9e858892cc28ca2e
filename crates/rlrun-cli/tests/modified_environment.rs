//! A score on a modified environment gets no verdict; the plain task can be asked for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

fn call(args: &[&str], dir: &Path) -> String {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
    let output = command.args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An agent that has hardly learnt, on a task changed by `set`.
fn untrained(id: &str, set: &[&str]) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let run_file = format!(
        "algorithm = 'dqn'\nenv.id = '{id}'\nagent.net_arch = [8]\n\
         train = {{ total_timesteps = 20, n_eval_episodes = 1, n_rescore_episodes = 1 }}"
    );
    std::fs::write(dir.path().join("run.toml"), run_file).unwrap();
    let set = set.iter().flat_map(|setting| ["--set", setting]);
    let args = ["train", "run.toml", "--name", "a", "--quiet"].into_iter().chain(set);
    call(&args.collect::<Vec<_>>(), dir.path());
    (dir, "runs/a".to_owned())
}

const EVAL: [&str; 4] = ["eval", "--episodes", "5", "--checkpoint"];

fn eval((dir, run): &(TempDir, String), flags: &[&str]) -> (Value, String) {
    let args = [&EVAL[..], &[run], flags].concat();
    let object = call(&[&args[..], &["--json"]].concat(), dir.path());
    (serde_json::from_str(&object).unwrap(), call(&args, dir.path()))
}

#[test]
fn a_shorter_or_easier_mountain_car_gets_no_verdict_and_the_plain_task_does() {
    for (set, key) in [
        ("env.wrappers.max_episode_steps=100", "env.wrappers.max_episode_steps"),
        ("env.args.goal_position=-0.4", "env.args.goal_position"),
    ] {
        let agent = untrained("MountainCar-v0", &[set]);
        let (object, text) = eval(&agent, &[]);
        assert!(object["mean_reward"].as_f64().unwrap() >= -110.0, "looks solved: {object}");
        assert_eq!(object["passed"], Value::Null, "{set}");
        assert_eq!(object["task_changes"], json!([key]));
        assert!(text.contains("modified environment") && text.contains(key), "{text}");
        assert!(text.contains("--plain") && !text.contains("passed"), "{text}");

        let (object, text) = eval(&agent, &["--plain"]);
        assert_eq!((&object["passed"], &object["mean_reward"]), (&json!(false), &json!(-200.0)));
        assert_eq!((&object["mean_length"], &object["task_changes"]), (&json!(200.0), &json!([])));
        assert!(text.contains("reward threshold  -110, not passed"), "{text}");
        assert!(!text.contains("modified"), "{text}");
    }
}

/// A copy of the shipped agent that balances CartPole for all of its 500 steps, as if it had been
/// trained with a limit of 100.
fn perfect_with_limit_100() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checkpoints/ppo-CartPole-v1");
    copy(&shipped, &dir.path().join("a"));
    let path = dir.path().join("a/run.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let table = "[env.wrappers]\n";
    assert!(text.contains(table) && !text.contains("\nmax_episode_steps"), "{text}");
    let text = text.replace(table, "[env.wrappers]\nmax_episode_steps = 100\n");
    std::fs::write(path, text).unwrap();
    (dir, "a".to_owned())
}

fn copy(from: &Path, to: &PathBuf) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_perfect_policy_under_a_shorter_limit_has_not_failed() {
    let agent = perfect_with_limit_100();
    let (object, text) = eval(&agent, &[]);
    assert_eq!((&object["mean_reward"], &object["passed"]), (&json!(100.0), &Value::Null));
    assert!(!text.contains("not passed"), "{text}");
    let (object, _) = eval(&agent, &["--plain"]);
    assert_eq!((&object["mean_reward"], &object["passed"]), (&json!(500.0), &json!(true)));
}

#[test]
fn the_form_that_a_policy_needs_is_kept_on_the_plain_task() {
    let set = ["env.wrappers.frame_stack=3", "env.wrappers.sticky_actions=0.5"];
    let agent = untrained("CartPole-v1", &set);
    let (object, _) = eval(&agent, &[]);
    assert_eq!(object["task_changes"], json!(["env.wrappers.sticky_actions"]));
    let (object, _) = eval(&agent, &["--plain"]);
    assert_eq!(object["passed"], json!(false));
}
