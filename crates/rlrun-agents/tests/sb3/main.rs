//! Updates of Stable-Baselines3 and sb3-contrib, step for step.
//!
//! Each row of a recording holds everything that went into calls of `train()`: networks, optimizers,
//! buffers and every random draw; and everything that came of it. Here the product's own agents are
//! built, filled through their saved state, given the draws through
//! [`rehearse`](rlrun_agents::rehearsal::rehearse), and asked to `train()`. No formula stands here.
//!
//! `RLRUN_SB3_FIXTURES=FOLDER cargo test --release -p rlrun-agents --test sb3` reads another folder of
//! recordings; one that it does not hold is skipped with a word, and a folder without any fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod compare;
mod functions;
mod numbers;
mod off_policy;
mod on_policy;
mod vecnormalize;

use std::fs;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde_json::Value;

/// What holds a row against the product; `None` if the product does not have what it is about.
type Check = fn(&Value) -> Option<Result<(), String>>;

const RECORDINGS: [(&str, Check); 7] = [
    ("ppo", |row| Some(on_policy::ppo(row))),
    ("a2c", |row| Some(on_policy::a2c(row))),
    ("dqn", |row| Some(off_policy::dqn(row))),
    ("qrdqn", |row| Some(off_policy::qrdqn(row))),
    ("sac", |row| Some(off_policy::sac(row))),
    ("vecnormalize", |row| Some(vecnormalize::check(row))),
    ("functions", functions::check),
];

#[test]
fn updates_are_those_of_stable_baselines3() {
    let given = std::env::var_os("RLRUN_SB3_FIXTURES").map(PathBuf::from);
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sb3");
    let folder = given.unwrap_or_else(own);
    let (mut found, mut failed) = (0, 0);
    for (name, check) in RECORDINGS {
        let file = format!("{name}.jsonl.gz");
        match fs::read(folder.join(&file)) {
            Err(_) => say(&format!("{file}: not in {}, skipped", folder.display())),
            Ok(bytes) => {
                found += 1;
                failed += check_file(&file, &bytes, check);
            }
        }
    }
    assert!(found > 0, "{} holds no recording", folder.display());
    assert_eq!(failed, 0, "rows differ");
}

/// Prints how many rows of a file pass and gives how many differ.
fn check_file(file: &str, bytes: &[u8], check: Check) -> usize {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap_or_else(|e| panic!("{file}: {e}"));
    let (mut rows, mut passed, mut failed, mut missing) = (0, 0, 0, Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        rows += 1;
        // A panic is the failure of its row, not of all that follow.
        match catch_unwind(AssertUnwindSafe(|| check(&row))) {
            Ok(Some(Ok(()))) => passed += 1,
            Ok(None) => missing.push(row["fn"].as_str().unwrap_or("?").to_owned()),
            Ok(Some(Err(difference))) => {
                failed += 1;
                say(&format!("FAILED {}: {difference}", row["id"].as_str().unwrap_or("?")));
            }
            Err(_) => {
                failed += 1;
                say(&format!("FAILED {}: panicked, see above", row["id"].as_str().unwrap_or("?")));
            }
        }
    }
    assert!(rows > 0, "{file} has no rows");
    let count = missing.len();
    missing.sort();
    missing.dedup();
    let without = match count {
        0 => String::new(),
        _ => format!("; {count} are of functions that there are not: {}", missing.join(", ")),
    };
    say(&format!("{file}: passed {passed} of {rows}{without}"));
    failed
}

/// Not `println!`, which the test runner would capture.
fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").expect("standard output");
}
