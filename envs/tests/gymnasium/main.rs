//! Replays recordings of Gymnasium and numpy and compares every number to the last bit.
//!
//! `cargo test --release -p rlrun-envs --test gymnasium` reads the folder named by
//! `RLRUN_GYM_FIXTURES`, or else the project's own recordings.
#![allow(clippy::print_stdout, reason = "this target is a report")]

mod episodes;
mod generator;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = std::env::var_os("RLRUN_GYM_FIXTURES").map_or(own, PathBuf::from);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read `{}`: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no recordings in `{}`", folder.display());
    let all_passed = files.iter().map(|path| replay_file(path)).fold(true, |all, ok| all & ok);
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Replays every row of a file and reports.
fn replay_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let rows: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut failures = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        if let Err(reason) = replay_row(row) {
            failures.push(format!("  row {}: {reason}", index + 1));
        }
    }
    println!("{name}: passed {} of {}", rows.len() - failures.len(), rows.len());
    failures.iter().for_each(|failure| println!("{failure}"));
    failures.is_empty() && !rows.is_empty()
}

fn replay_row(row: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(row).map_err(|error| error.to_string())?;
    if value.get("episodes").is_some() {
        episodes::replay(row)
    } else if value.get("seed_sequence_u32").is_some() {
        generator::compare(&value)
    } else {
        Err("neither episodes nor a generator's draws".to_owned())
    }
}
