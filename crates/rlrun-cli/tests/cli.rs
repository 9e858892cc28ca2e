//! The program through its binary: what it prints, what it refuses and with which message.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use sha2::{Digest, Sha256};

/// A folder with a short run file, and the program called in it.
struct Place {
    dir: tempfile::TempDir,
}

const RUN_FILE: &str = "\
algorithm = \"ppo\"
seed = 1

[env]
id = \"CartPole-v1\"
n_envs = 2

[agent]
n_steps = 32
batch_size = 64
net_arch = [8]

[train]
total_timesteps = 512
eval_freq = 256
n_eval_episodes = 2
n_rescore_episodes = 2
save_freq = 128
";

/// What the program printed and how it ended.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        fs::write(place.path("run.toml"), RUN_FILE).unwrap();
        place
    }

    /// A place in which the run file has been trained into `runs/a`.
    fn trained() -> Place {
        let place = Place::new();
        let outcome = place.call(&["train", "run.toml", "--name", "a", "--quiet"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a run file in which `from` is replaced by `to`.
    fn with(&self, from: &str, to: &str) -> &Place {
        assert!(RUN_FILE.contains(from));
        fs::write(self.path("run.toml"), RUN_FILE.replace(from, to)).unwrap();
        self
    }

    fn call(&self, args: &[&str]) -> Outcome {
        self.call_with(&[], args)
    }

    /// The program called with environment variables.
    fn call_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Outcome {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
        let command = command.args(args).envs(variables.iter().copied());
        let output = command.current_dir(self.dir.path()).output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts that training the run file ends with exit code 2 and a message with these parts, and
    /// that nothing was written.
    fn refuses(&self, args: &[&str], parts: &[&str]) {
        let outcome = self.call(&[&["train", "run.toml"], args].concat());
        outcome.failed_with(2, parts);
        assert!(!self.path("runs").exists(), "something was written");
    }
}

impl Outcome {
    fn failed_with(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

#[test]
fn train_writes_a_run_folder_and_eval_reads_it() {
    let place = Place::new();
    let outcome = place.call(&["train", "run.toml"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for tag in ["ep_rew_mean", "approx_kl", "fps", "total_timesteps"] {
        assert!(outcome.stdout.contains(tag), "no {tag} in:\n{}", outcome.stdout);
    }
    assert!(outcome.stderr.contains("evaluation at step 512: mean return"), "{}", outcome.stderr);
    let run = place.path("runs/CartPole-v1__ppo__1");
    for name in ["run.toml", "metrics.csv", "metrics.jsonl", "monitor.csv", "evaluations.csv"] {
        assert!(run.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    assert!(fs::read_to_string(run.join("monitor.csv")).unwrap().contains("\nr,l,t\n"));
    assert_eq!(fs::read_to_string(run.join("latest")).unwrap(), "step-000000512\n");

    let outcome = place.call(&["eval", "--checkpoint", "runs/CartPole-v1__ppo__1"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let lines =
        ["100 episodes", "mean return", "95 % interval", "interquartile", "reward threshold  475"];
    for line in lines {
        assert!(outcome.stdout.contains(line), "no {line} in:\n{}", outcome.stdout);
    }
}

#[test]
fn eval_prints_one_json_object_and_the_same_one_twice() {
    let place = Place::trained();
    let json = |args: &[&str]| {
        let args =
            [&["eval", "--checkpoint", "runs/a", "--episodes", "7", "--json"], args].concat();
        let outcome = place.call(&args);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        serde_json::from_str::<serde_json::Value>(&outcome.stdout).unwrap()
    };
    let object = json(&[]);
    assert_eq!(object["episodes"], 7);
    let returns: Vec<f64> = serde_json::from_value(object["returns"].clone()).unwrap();
    assert_eq!(returns.len(), 7);
    let mean = returns.iter().sum::<f64>() / 7.0;
    assert_eq!(object["mean_reward"], mean);
    assert_eq!(object["mean_length"], mean);
    assert_eq!(object["passed"], mean >= 475.0);
    let ci: [f64; 2] = serde_json::from_value(object["ci95"].clone()).unwrap();
    assert!(ci[0] <= mean && mean <= ci[1]);
    assert!(object["std_reward"].is_number() && object["iqm"].is_number());
    assert_eq!(object, json(&[]));
    assert_ne!(object["returns"], json(&["--seed", "2"])["returns"]);
    assert_ne!(object["returns"], json(&["--stochastic"])["returns"]);
}

#[test]
fn one_step_folder_can_be_evaluated() {
    let place = Place::trained();
    let args = ["eval", "--checkpoint", "runs/a/step-000000512", "--episodes", "2", "--json"];
    let outcome = place.call(&args);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("\"step\":512"), "{}", outcome.stdout);
}

#[test]
fn overrides_and_seed_reach_the_resolved_run_file() {
    let place = Place::new();
    let args = ["train", "run.toml", "--quiet", "--seed", "7", "--set", "agent.gamma=0.5"];
    let learning_rate = ["--set", "agent.learning_rate=lin_0.01", "--out", "elsewhere"];
    let outcome = place.call(&[&args[..], &learning_rate].concat());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    let text = fs::read_to_string(place.path("elsewhere/CartPole-v1__ppo__7/run.toml")).unwrap();
    for line in ["seed = 7", "gamma = 0.5", "learning_rate = \"lin_0.01\"", "gae_lambda = 0.95"] {
        assert!(text.contains(line), "no {line} in:\n{text}");
    }
}

#[test]
fn one_thread_and_two_give_the_same_agent() {
    let place = Place::new();
    for config in ["cartpole", "cartpole_dqn"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(config);
        let path = path.with_extension("toml");
        let agent = |threads: &str| {
            let name = format!("{config}-{threads}");
            let args = ["train", path.to_str().unwrap(), "--name", &name, "--threads", threads];
            let short = ["--quiet", "--set", "train.total_timesteps=2048"];
            let quick = ["--set", "train.n_eval_episodes=2", "--set", "train.n_rescore_episodes=2"];
            let outcome = place.call(&[&args[..], &short, &quick].concat());
            assert_eq!(outcome.code, 0, "{}", outcome.stderr);
            let step = place.path("runs").join(&name).join("step-000002048");
            ["policy", "agent"]
                .map(|name| fs::read(step.join(name).with_extension("safetensors")).unwrap())
        };
        assert!(agent("1") == agent("2"), "`{config}` depends on the number of threads");
    }
}

#[test]
fn the_simd_level_does_not_change_the_agent() {
    let place = Place::trained();
    let args = ["train", "run.toml", "--name", "portable", "--quiet"];
    assert_eq!(place.call_with(&[("RLRUN_SIMD", "portable")], &args).code, 0);
    let agent =
        |run| fs::read(place.path("runs").join(run).join("step-000000512/policy.safetensors"));
    assert!(agent("a").unwrap() == agent("portable").unwrap());
}

#[test]
fn list_and_config_show_what_a_run_file_can_say() {
    let place = Place::new();
    assert!(place.call(&["list", "algorithms"]).stdout.contains("ppo"));
    let outcome = place.call(&["config", "ppo"]);
    fs::write(place.path("run.toml"), &outcome.stdout).unwrap();
    let args = ["train", "run.toml", "--quiet", "--set", "train.total_timesteps=64"];
    let small = ["--set", "train.n_eval_episodes=0"];
    assert_eq!(place.call(&[&args[..], &small].concat()).code, 0);
    place
        .call(&["config", "nothing"])
        .failed_with(2, &["nothing", "possible values: a2c, dqn, ppo"]);
}

#[test]
fn list_envs_shows_spaces_limit_and_threshold_of_each() {
    let table = Place::new().call(&["list", "envs"]).stdout;
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.splitn(5, "  ").map(str::trim).collect()).collect();
    assert_eq!(table.lines().count(), 7, "{table}");
    assert!(rows[0][0].starts_with("id"), "{table}");
    let row = |id: &str| {
        let line = table.lines().find(|line| line.starts_with(id)).unwrap();
        line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("CartPole-v1"), "CartPole-v1 Discrete(2) 500 475");
    assert_eq!(row("Pendulum-v1"), "Pendulum-v1 Box(-2, 2) 200");
    assert!(table.contains("Box([-1.0, -1.0, -8.0], [1.0, 1.0, 8.0])"), "{table}");
}

#[test]
fn list_envs_with_an_id_shows_its_page() {
    let place = Place::new();
    let page = place.call(&["list", "envs", "Pendulum-v1"]).stdout;
    for part in ["# Pendulum", "| `g` | 10.0 |", "| actions | `Box(-2, 2)` |", "rad/s"] {
        assert!(page.contains(part), "no {part} in:\n{page}");
    }
    assert!(!page.contains("images/"), "{page}");
    let parts = ["there is no environment `pendulum`", "nearest names: `Pendulum-v1`"];
    place.call(&["list", "envs", "pendulum"]).failed_with(2, &parts);
}

#[test]
fn watch_writes_pictures_without_a_display() {
    let place = Place::trained();
    for (args, name) in [
        (&["--env", "Acrobot-v1", "--random", "--png"][..], "random.png"),
        (&["--checkpoint", "runs/a", "--png"], "trained.png"),
        (&["--checkpoint", "runs/a", "--episodes", "2", "--gif"], "trained.gif"),
    ] {
        let outcome = place.call(&[&["watch"], args, &[name]].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(outcome.stdout.starts_with("episode 1: return "), "{}", outcome.stdout);
        let bytes = fs::read(place.path(name)).unwrap();
        let magic: &[u8] = if name.ends_with("png") { b"\x89PNG\r\n" } else { b"GIF89a" };
        assert!(bytes.starts_with(magic) && bytes.len() > 1000, "{name}: {} bytes", bytes.len());
    }
}

#[test]
fn watch_draws_each_step_and_sums_up_each_episode() {
    let place = Place::new();
    let args = ["watch", "--env", "CartPole-v1", "--random", "--episodes", "2", "--seed"];
    let of_seed = |seed| place.call(&[&args[..], &[seed]].concat()).stdout;
    let (text, same, other) = (of_seed("7"), of_seed("7"), of_seed("8"));
    assert_eq!(text, same);
    assert_ne!(text, other);
    let ends: Vec<&str> = text.lines().filter(|line| line.starts_with("episode ")).collect();
    let steps = |line: &str| line.rsplit(' ').nth(1).unwrap().parse::<usize>().unwrap();
    assert!(ends[1].starts_with("episode 2: return "), "{ends:?}");
    let pictures = text.lines().filter(|line| line.contains('▀')).count();
    let lines_each = pictures / (steps(ends[0]) + steps(ends[1]));
    assert!((20..=30).contains(&lines_each), "{lines_each} lines for each picture");
}

#[test]
fn watch_plays_the_episode_that_eval_reports() {
    let place = Place::trained();
    let args = ["eval", "--checkpoint", "runs/a", "--episodes", "1", "--json"];
    let object: serde_json::Value = serde_json::from_str(&place.call(&args).stdout).unwrap();
    let outcome = place.call(&["watch", "--checkpoint", "runs/a", "--png", "a.png"]);
    let expected = format!("episode 1: return {:.2} in", object["returns"][0].as_f64().unwrap());
    assert!(outcome.stdout.contains(&expected), "{}, not {expected}", outcome.stdout);
}

#[test]
fn watch_says_what_it_needs() {
    let place = Place::new();
    place.call(&["watch"]).failed_with(2, &["--checkpoint"]);
    place.call(&["watch", "--env", "CartPole-v1"]).failed_with(2, &["--random"]);
    let parts = ["there is no environment `Cart`", "nearest names"];
    place.call(&["watch", "--env", "Cart", "--random"]).failed_with(2, &parts);
    place.call(&["watch", "--checkpoint", "no"]).failed_with(2, &["`no` holds no checkpoint"]);
    let args = ["watch", "--env", "CartPole-v1", "--random", "--png", "no/such/folder.png"];
    place.call(&args).failed_with(1, &["cannot write `no/such/folder.png`"]);
}

#[test]
fn check_env_reports_on_every_environment() {
    let place = Place::new();
    for line in place.call(&["list", "envs"]).stdout.lines().skip(1) {
        let id = line.split(' ').next().unwrap();
        let outcome = place.call(&["check-env", id]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(outcome.stdout, format!("`{id}` keeps every promise (1000 steps)\n"));
    }
    let parts = ["there is no environment `CartPole`", "nearest names: `CartPole-v0`"];
    place.call(&["check-env", "CartPole"]).failed_with(2, &parts);
}

#[test]
fn check_agent_reports_on_the_agent_of_a_run_file() {
    let place = Place::new();
    let outcome = place.call(&["check-agent", "run.toml"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let expected = "the agent on `CartPole-v1` forgets nothing (256 steps, 8 updates";
    assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);
    place.call(&["check-agent", "no.toml"]).failed_with(2, &["cannot read the run file `no.toml`"]);
    place
        .with("n_steps = 32", "n_steps = 0")
        .call(&["check-agent", "run.toml"])
        .failed_with(2, &["`run.toml`", "`agent.n_steps` is `0`"]);
}

#[test]
fn arguments_and_wrappers_that_cannot_be_are_refused() {
    let place = Place::new();
    let with = |table: &str| RUN_FILE.replace("[agent]", &format!("{table}\n[agent]"));
    let refused = |table: &str, parts: &[&str]| {
        fs::write(place.path("run.toml"), with(table)).unwrap();
        place.refuses(&[], parts);
    };
    refused("[env.args]\ngravty = 1.0", &["arguments of `CartPole-v1`", "unknown field `gravty`"]);
    refused("[env.args]\ngravity = \"low\"", &["arguments of `CartPole-v1`", "expected f64"]);
    let parts = ["unknown field `frame_stak`", "did you mean `frame_stack`?"];
    refused("[env.wrappers]\nframe_stak = 4", &parts);
    refused("[env.wrappers]\nmax_episode_steps = 0", &["leaves no step to take"]);
    refused("[env.wrappers]\nsticky_actions = 1.5", &["`CartPole-v1`", "sticky_actions", "1.5"]);
    refused("[env.wrappers]\nrescale_action = true", &["`CartPole-v1`", "Discrete(2)"]);
    refused("[normalize]\nobs = true\ngamma = 1.5", &["`normalize.gamma` is `1.5`: must be"]);
    place.with("n_envs = 2", "n_envs = 2\nframe_stack = 4");
    place.refuses(&[], &["`frame_stack` belongs in `[env.wrappers]`"]);
    place.with("seed = 1", "seed = 99999999999999999999").refuses(&[], &["line 2", "seed = 9999"]);
    place.with("seed = 1", "seed = -1").refuses(&[], &["line 2", "expected u64"]);
}

#[test]
fn rust_log_sets_the_level() {
    let place = Place::new();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rlrun"));
    command.args(["train", "run.toml"]).current_dir(place.dir.path()).env("RUST_LOG", "error");
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_misspelt_key_is_shown_with_line_and_nearest_name() {
    let place = Place::new();
    place.with("batch_size", "bach_size").refuses(
        &[],
        &[
            "`run.toml`",
            "line 10, column 1",
            "^^^^",
            "unknown field `bach_size`",
            "did you mean `batch_size`?",
        ],
    );
}

#[test]
fn keys_of_other_libraries_and_tables_are_recognised() {
    let place = Place::new();
    place.with("n_envs", "num_envs").refuses(&[], &["`num_envs` is called `env.n_envs` here"]);
    place.with("n_steps", "seed").refuses(&[], &["unknown field `seed`"]);
    let moved = "n_envs = 2\n";
    place
        .with("net_arch = [8]\n", &format!("net_arch = [8]\n{moved}"))
        .refuses(&[], &["`n_envs` belongs in `[env]`"]);
}

#[test]
fn a_wrong_type_is_shown_with_line_and_expected_type() {
    let place = Place::new();
    place.with("n_steps = 32", "n_steps = \"many\"").refuses(
        &[],
        &["line 9", "n_steps = \"many\"", "invalid type: string \"many\", expected usize"],
    );
}

#[test]
fn a_value_out_of_range_names_key_value_and_rule() {
    let place = Place::new();
    let gamma = "n_steps = 32\ngamma = 1.5";
    place.with("n_steps = 32", gamma).refuses(&[], &["`run.toml`", "`agent.gamma` is `1.5`"]);
    place.with("n_envs = 2", "n_envs = 0").refuses(&[], &["`env.n_envs` is `0`: use at least 1"]);
    place
        .with("total_timesteps = 512", "total_timesteps = 511")
        .refuses(&[], &["`train.total_timesteps` is `511`", "`env.n_envs` = 2", "such as 512"]);
}

#[test]
fn a_batch_size_that_does_not_divide_leaves_a_short_last_minibatch() {
    let place = Place::new();
    let outcome = place.with("batch_size = 64", "batch_size = 48").call(&["train", "run.toml"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
}

#[test]
fn an_unknown_environment_or_algorithm_gets_the_nearest_name() {
    let place = Place::new();
    place
        .with("CartPole-v1", "Cartpol-v1")
        .refuses(&[], &["`env.id` is `Cartpol-v1`", "did you mean `CartPole-v1`?"]);
    let parts = ["`algorithm` is `poo`", "`dqn`, `ppo`", "did you mean `ppo`?"];
    place.with("\"ppo\"", "\"poo\"").refuses(&[], &parts);
    place
        .with("algorithm = \"ppo\"", "")
        .refuses(&[], &["missing field `algorithm`", "`algorithm = \"ppo\"`"]);
}

#[test]
fn an_algorithm_that_does_not_fit_the_actions_says_what_it_needs() {
    let place = Place::new();
    let text = "algorithm = \"dqn\"\nenv.id = \"Pendulum-v1\"\n";
    fs::write(place.path("run.toml"), text).unwrap();
    place.refuses(&[], &["`dqn` cannot act in `Pendulum-v1`", "it needs"]);
}

#[test]
fn a_wrong_override_names_the_flag() {
    let place = Place::new();
    let parts = ["`--set agent.gama=0.5`", "unknown field `gama`", "did you mean `gamma`?"];
    place.refuses(&["--set", "agent.gama=0.5"], &parts);
    place.refuses(
        &["--set", "seed=x", "--set", "agent.gamma=0.5"],
        &["`--set seed=x`", "expected u64"],
    );
    place.refuses(&["--set", "agent.gamma"], &["expected KEY=VALUE"]);
}

#[test]
fn a_missing_run_file_is_named() {
    let place = Place::new();
    let parts = ["cannot read the run file `nowhere.toml`", "No such file"];
    place.call(&["train", "nowhere.toml"]).failed_with(2, &parts);
    place.call(&["train"]).failed_with(2, &["RUN.toml"]);
}

#[test]
fn an_existing_run_folder_is_never_overwritten() {
    let place = Place::trained();
    let before = fs::read(place.path("runs/a/metrics.csv")).unwrap();
    let parts = ["run folder `runs/a` exists already", "`--resume runs/a`", "`--name`"];
    place.call(&["train", "run.toml", "--name", "a"]).failed_with(2, &parts);
    assert_eq!(fs::read(place.path("runs/a/metrics.csv")).unwrap(), before);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let args = ["train", "run.toml", "--out", "file/below"];
    place.call(&args).failed_with(1, &["cannot create `file/below`", "Not a directory"]);
}

#[test]
fn a_missing_checkpoint_is_named() {
    let place = Place::trained();
    let parts = ["`runs/b` holds no checkpoint", "run folder", "step folder"];
    place.call(&["eval", "--checkpoint", "runs/b"]).failed_with(2, &parts);
    place.call(&["train", "--resume", "runs/b"]).failed_with(2, &["`runs/b` is not a run folder"]);
    remove_checkpoints(&place.path("runs/a"));
    let parts = ["`runs/a/best` names `step-", "which is no checkpoint of this run"];
    place.call(&["eval", "--checkpoint", "runs/a"]).failed_with(1, &parts);
    fs::remove_file(place.path("runs/a/best")).unwrap();
    fs::remove_file(place.path("runs/a/latest")).unwrap();
    let parts = ["run folder `runs/a` has no checkpoint yet"];
    place.call(&["eval", "--checkpoint", "runs/a"]).failed_with(2, &parts);
}

#[test]
fn a_damaged_checkpoint_is_named_and_left_alone() {
    let place = Place::trained();
    let policy = place.path("runs/a/step-000000512/policy.safetensors");
    let mut bytes = fs::read(&policy).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&policy, &bytes).unwrap();
    let parts = ["step-000000512/policy.safetensors` is damaged", "SHA-256"];
    place.call(&["eval", "--checkpoint", "runs/a/step-000000512"]).failed_with(1, &parts);
    assert_eq!(fs::read(&policy).unwrap(), bytes);

    for step in fs::read_dir(place.path("runs/a")).unwrap().map(|entry| entry.unwrap().path()) {
        fs::remove_file(step.join("manifest.toml")).ok();
    }
    let parts = ["has no valid checkpoint", "manifest.toml"];
    place.call(&["train", "--resume", "runs/a"]).failed_with(1, &parts);
}

#[test]
fn eval_and_watch_read_the_policy_alone() {
    let place = Place::trained();
    let step = place.path("runs/a/step-000000512");
    for name in ["agent", "envs", "trainer"] {
        fs::remove_file(step.join(name).with_extension("safetensors")).unwrap();
    }
    let folder = step.to_str().unwrap();
    let eval = place.call(&["eval", "--checkpoint", folder, "--episodes", "2"]);
    assert_eq!(eval.code, 0, "{}", eval.stderr);
    let watch = place.call(&["watch", "--checkpoint", folder, "--png", "last.png"]);
    assert_eq!(watch.code, 0, "{}", watch.stderr);
}

#[test]
fn a_run_of_another_arithmetic_or_format_is_not_continued() {
    let place = Place::trained();
    for step in [384, 512] {
        let manifest = place.path(&format!("runs/a/step-{step:09}/manifest.toml"));
        let text = fs::read_to_string(&manifest).unwrap();
        let other = text.replace("numerics = 1", "numerics = 0");
        assert_ne!(text, other);
        fs::write(&manifest, signed(&other)).unwrap();
    }
    let parts = ["was computed with numerics 0", "train it anew"];
    place.call(&["train", "--resume", "runs/a"]).failed_with(1, &parts);
    let eval = ["eval", "--checkpoint", "runs/a/step-000000512", "--episodes", "2"];
    assert!(place.call(&eval).stderr.contains("was trained with numerics 0"));
    let manifest = place.path("runs/a/step-000000512/manifest.toml");
    fs::write(&manifest, "format = 1\nversion = \"0.1.0\"\n").unwrap();
    let parts = ["has format 1", "train the run anew from its `run.toml`"];
    place.call(&eval).failed_with(1, &parts);
}

#[test]
fn a_checkpoint_of_another_environment_is_refused() {
    let place = Place::trained();
    let text = fs::read_to_string(place.path("runs/a/run.toml")).unwrap();
    fs::write(place.path("runs/a/run.toml"), text.replace("CartPole-v1", "Acrobot-v1")).unwrap();
    let parts = ["was saved for the environment `CartPole-v1`", "`env.id` is `Acrobot-v1`"];
    place.call(&["eval", "--checkpoint", "runs/a"]).failed_with(1, &parts);
    place.call(&["train", "--resume", "runs/a"]).failed_with(1, &parts);
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let place = Place::trained();
    let text = fs::read_to_string(place.path("runs/a/run.toml")).unwrap();
    fs::write(place.path("runs/a/run.toml"), text.replace("net_arch = [8]", "net_arch = [9]"))
        .unwrap();
    let parts = ["does not fit its run file", "shape [8, 4], expected [9, 4]"];
    place.call(&["eval", "--checkpoint", "runs/a"]).failed_with(1, &parts);
}

#[test]
fn a_finished_run_can_be_extended_but_not_changed_otherwise() {
    let place = Place::trained();
    let resume = ["train", "--resume", "runs/a"];
    assert!(place.call(&resume).stderr.contains("the run is finished"));
    let other = place.call(&[&resume[..], &["--set", "agent.gamma=0.5"]].concat());
    other.failed_with(2, &["`--set agent.gamma=0.5`", "may only change keys of `[train]`"]);
    let less = place.call(&[&resume[..], &["--set", "train.total_timesteps=128"]].concat());
    less.failed_with(2, &["`train.total_timesteps` is `128`", "has reached step 512"]);
    let more = place.call(&[&resume[..], &["--set", "train.total_timesteps=640"]].concat());
    assert_eq!(more.code, 0, "{}", more.stderr);
    assert_eq!(fs::read_to_string(place.path("runs/a/latest")).unwrap(), "step-000000640\n");
    place.call(&[&resume[..], &["--seed", "2"]].concat()).failed_with(2, &["--seed"]);
}

fn remove_checkpoints(run: &Path) {
    for entry in fs::read_dir(run).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// A manifest with the hash that its text has now in its first line.
fn signed(manifest: &str) -> String {
    let (_, rest) = manifest.split_once('\n').unwrap();
    format!("sha256 = \"{:x}\"\n{rest}", Sha256::digest(rest))
}
