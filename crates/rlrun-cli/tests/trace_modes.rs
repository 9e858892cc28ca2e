//! `rlrun train --trace-modes` through the binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

const RUN_FILE: &str = "
algorithm = \"ppo\"
env = { id = \"CartPole-v1\", n_envs = 2 }
agent = { n_steps = 16, batch_size = 32, net_arch = [8] }
train = { total_timesteps = 64, eval_freq = 32, n_eval_episodes = 1, n_rescore_episodes = 1 }
";

/// The numbers of the row of a phase.
fn row(table: &str, phase: &str) -> Vec<u64> {
    let row = table.lines().find(|line| line.split_whitespace().next() == Some(phase));
    row.unwrap().split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect()
}

#[test]
fn the_trace_shows_that_only_the_loss_records_history() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("run.toml"), RUN_FILE).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_rlrun"));
    let program = program.args(["train", "run.toml", "--trace-modes", "--quiet"]);
    let output = program.current_dir(dir.path()).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for phase in ["rollout", "target", "evaluation", "logging"] {
        assert_eq!(row(&table, phase)[..2], [0, 0], "{table}");
    }
    for phase in ["rollout", "target", "evaluation"] {
        let [_, _, _, _, inference] = row(&table, phase)[..] else { panic!("{table}") };
        assert!(inference > 0, "{table}");
    }
    let [nodes, bytes, grad, ..] = row(&table, "loss")[..] else { panic!("{table}") };
    assert!(nodes > 0 && bytes > 0 && grad > 0, "{table}");
}
