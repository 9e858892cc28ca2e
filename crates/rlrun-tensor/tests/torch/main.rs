//! Runs PyTorch's recorded programs and operations and compares everything that was recorded.
//!
//! The recordings are read from the folder `RLRUN_TORCH_FIXTURES`, or else from
//! `tests/fixtures`. Every row counts; there is no list of rows to skip.

mod compare;
mod documented;
mod op_gradients;
mod operations;
mod program;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde_json::Value;

fn fixture(file: &str) -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::env::var_os("RLRUN_TORCH_FIXTURES").map_or_else(own, PathBuf::from).join(file)
}

/// Checks every row of a file, prints the count and names the failing rows.
fn check_rows(file: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let path = fixture(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut failures = Vec::new();
    let mut rows = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        rows += 1;
        // A panic is the failure of its row, not of all that follow.
        let checked = catch_unwind(AssertUnwindSafe(|| check(&row)));
        let checked = checked.unwrap_or_else(|_| Err("panicked, see above".to_owned()));
        if let Err(difference) = checked {
            failures.push(format!("{}: {difference}", row["id"].as_str().unwrap_or("?")));
        }
    }
    // Not `println!`, which the test runner would capture.
    let mut out = std::io::stdout().lock();
    for failure in &failures {
        writeln!(out, "FAILED {failure}").expect("standard output");
    }
    writeln!(out, "{file}: passed {} of {rows}", rows - failures.len()).expect("standard output");
    drop(out);
    assert!(failures.is_empty(), "{} of {rows} rows of {file} differ", failures.len());
}

#[test]
fn programs_behave_as_recorded() {
    check_rows("scenarios.jsonl", documented::check_scenario);
}

#[test]
fn operations_and_gradients_are_as_recorded() {
    check_rows("op_gradients.jsonl", op_gradients::check);
}
