//! Run folders through the program: one writer, damage, special files, edited run files.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const RUN_FILE: &str = "\
algorithm = \"ppo\"
env = { id = \"CartPole-v1\", n_envs = 2 }
agent = { n_steps = 32, batch_size = 64, net_arch = [8] }
train = { total_timesteps = 512, log_freq = 64, eval_freq = 256, n_eval_episodes = 2, \
          n_rescore_episodes = 2, save_freq = 128, keep_checkpoints = 0 }
";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.path("run.toml"), RUN_FILE).unwrap();
        place
    }

    fn trained() -> Place {
        let place = Place::new();
        let output = place.call(&["train", "run.toml", "--out", ".", "--name", "a", "--quiet"]);
        assert!(output.status.success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
        command.args(args).current_dir(self.0.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Ends a process when a test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "no `{}`", path.display());
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_that_is_trained_is_refused_to_a_second_process_until_the_first_dies() {
    let place = Place::new();
    let long = "train.total_timesteps=100_000_000";
    let args = ["train", "run.toml", "--out", ".", "--name", "a", "--quiet", "--set", long];
    let first = Running(place.start(&args));
    wait_for(&place.path("a/latest"));
    let resume = ["train", "--resume", "a", "--quiet"];
    let second = place.call(&resume);
    assert_eq!(second.status.code(), Some(2));
    let owner = format!("process {} is training this run", first.0.id());
    assert!(said(&second).contains(&owner), "{}", said(&second));
    drop(first);
    let end = ["--set", "train.total_timesteps=100_000_000"];
    let mut third = Running(place.start(&[&resume[..], &end].concat()));
    sleep(Duration::from_millis(300));
    assert_eq!(third.0.try_wait().unwrap(), None, "the lock outlived its process");
}

#[test]
fn of_two_runs_of_one_name_one_is_refused_and_the_other_is_its_own() {
    let place = Place::new();
    for pair in 0..10 {
        let name = format!("pair-{pair}");
        let start = |seed| {
            place.start(&[
                "train", "run.toml", "--out", ".", "--name", &name, "--quiet", "--seed", seed,
            ])
        };
        let both = [start("1"), start("2")].map(|child| child.wait_with_output().unwrap());
        let codes = both.each_ref().map(|output| output.status.code().unwrap());
        let winner = codes.iter().position(|&code| code == 0).unwrap();
        assert_eq!(codes[1 - winner], 2, "{}", said(&both[1 - winner]));
        assert!(said(&both[1 - winner]).contains("exists already"), "{}", said(&both[1 - winner]));
        let run_file = fs::read_to_string(place.path(&name).join("run.toml")).unwrap();
        assert!(run_file.contains(&format!("seed = {}", winner + 1)), "{run_file}");
        assert!(place.path(&name).join("step-000000512/manifest.toml").is_file());
    }
    let hidden = |name: &str| name.starts_with('.');
    let names = fs::read_dir(place.0.path()).unwrap();
    let left = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| hidden(name)).count(), 0);
}

#[test]
fn an_edited_run_file_is_refused_and_its_budget_may_be_edited() {
    let place = Place::trained();
    let text = fs::read_to_string(place.path("a/run.toml")).unwrap();
    fs::write(place.path("a/run.toml"), text.replace("gamma = 0.99", "gamma = 0.5")).unwrap();
    let refused = place.call(&["train", "--resume", "a"]);
    assert_eq!(refused.status.code(), Some(2));
    let parts = ["`agent.gamma`", "is `0.5`, but the run was trained with `0.99`"];
    assert!(parts.iter().all(|part| said(&refused).contains(part)), "{}", said(&refused));
    let longer = text.replace("total_timesteps = 512", "total_timesteps = 640");
    assert_ne!(longer, text);
    fs::write(place.path("a/run.toml"), longer).unwrap();
    assert!(place.call(&["train", "--resume", "a"]).status.success());
}

#[test]
fn fsck_says_which_step_is_good_and_what_is_damaged_and_changes_nothing() {
    let place = Place::trained();
    let fsck = || {
        let output = place.call(&["fsck", "a"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = fsck();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("step-000000512: good\nthe run goes on from step 512"), "{text}");

    let policy = place.path("a/step-000000512/policy.safetensors");
    let mut bytes = fs::read(&policy).unwrap();
    bytes[100] ^= 1;
    fs::write(&policy, bytes).unwrap();
    fs::write(place.path("a/best"), "step-000000007\n").unwrap();
    fs::create_dir(place.path("a/.deleted-step-000000001")).unwrap();
    let names = || fs::read_dir(place.path("a")).unwrap().count();
    let before = names();
    let (code, text) = fsck();
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "step-000000384: good\n",
        "step-000000512: checkpoint file `a/step-000000512/policy.safetensors` is damaged",
        "`a/best` names `step-000000007`",
        "`.deleted-step-000000001` is unfinished",
        "the run goes on from step 384",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert_eq!(names(), before);

    fs::write(place.path("a/metrics.jsonl"), "{}\n").unwrap();
    let (code, text) = fsck();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("step-000000384: rows are lost: `metrics.jsonl` has 1 of"), "{text}");
    assert!(text.contains("there is no checkpoint that the run could go on from"), "{text}");
}

/// What a file of a run folder is replaced by.
#[cfg(unix)]
fn replace_by(kind: &str, path: &Path) {
    fs::remove_file(path).unwrap();
    match kind {
        "folder" => fs::create_dir(path).unwrap(),
        "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "endless" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        "sparse" => fs::File::create(path).unwrap().set_len(40 << 30).unwrap(),
        "empty" => fs::write(path, "").unwrap(),
        other => unreachable!("{other}"),
    }
}

#[test]
#[cfg(unix)]
fn what_is_no_file_in_a_run_folder_is_refused_at_once() {
    let newest = "step-000000512";
    let files = [
        format!("{newest}/manifest.toml"),
        format!("{newest}/policy.safetensors"),
        "best".to_owned(),
        "run.toml".to_owned(),
        "metrics.csv".to_owned(),
        "monitor.csv".to_owned(),
        "lock".to_owned(),
    ];
    let trained = Place::trained();
    for (file, kind) in files
        .iter()
        .flat_map(|file| ["folder", "pipe", "endless", "sparse", "empty"].map(|kind| (file, kind)))
    {
        let copied = Place::new();
        let copy =
            Command::new("cp").arg("-r").arg(trained.path("a")).arg(copied.path("a")).status();
        assert!(copy.unwrap().success());
        replace_by(kind, &copied.path("a").join(file));
        let step = format!("a/{newest}");
        for args in [
            &["train", "--resume", "a", "--quiet", "--set", "train.total_timesteps=640"][..],
            &["eval", "--checkpoint", &step, "--episodes", "1"],
            &["eval", "--checkpoint", "a", "--episodes", "1"],
        ] {
            let start = Instant::now();
            let output = copied.call(args);
            let code = output.status.code();
            let what = format!("{file} is {kind}, {args:?}: {}", said(&output));
            assert!(code.is_some_and(|code| code <= 2), "{code:?}: {what}");
            assert!(start.elapsed() < Duration::from_secs(10), "{what}");
            assert!(!said(&output).contains("panicked"), "{what}");
            assert_eq!(code != Some(0), said(&output).contains("Error: "), "{what}");
        }
    }
}
