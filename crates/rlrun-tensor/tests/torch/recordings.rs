//! The recordings of a folder: JSON lines, gzipped or not.
//!
//! They are read from the folder `RLRUN_TORCH_FIXTURES`, or else from `tests/fixtures`. A file
//! that another folder does not hold is skipped with a word; a folder without any recording fails.
//! Every row counts; there is no list of rows to skip.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

/// Checks the rows of every `STEM*.jsonl` and `STEM*.jsonl.gz`, prints the count of each file and
/// names the failing rows.
pub(crate) fn check_rows(stem: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let given = std::env::var_os("RLRUN_TORCH_FIXTURES").map(PathBuf::from);
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = given.clone().unwrap_or_else(own);
    let all = recordings(&folder);
    assert!(!all.is_empty(), "{} holds no .jsonl and no .jsonl.gz", folder.display());
    let files: Vec<&PathBuf> = all.iter().filter(|file| name(file).starts_with(stem)).collect();
    if files.is_empty() {
        assert!(given.is_some(), "{} holds no {stem}", folder.display());
        say(&format!("{stem}: not in {}, skipped", folder.display()));
    }
    let failed: usize = files.into_iter().map(|file| check_file(file, &check)).sum();
    assert!(failed == 0, "{failed} rows of {stem} differ");
}

fn name(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let files = entries.map(|entry| entry.expect("an entry of the folder").path());
    let recorded =
        |file: &PathBuf| [".jsonl", ".jsonl.gz"].iter().any(|end| name(file).ends_with(end));
    let mut files: Vec<PathBuf> = files.filter(recorded).collect();
    files.sort();
    files
}

fn read(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut text = String::new();
    let read = if name(file).ends_with(".gz") {
        GzDecoder::new(&bytes[..]).read_to_string(&mut text)
    } else {
        (&bytes[..]).read_to_string(&mut text)
    };
    read.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    text
}

/// How many rows of a file differ.
fn check_file(file: &Path, check: &impl Fn(&Value) -> Result<(), String>) -> usize {
    let (mut failed, mut rows) = (0, 0);
    for line in read(file).lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        rows += 1;
        // A panic is the failure of its row, not of all that follow.
        let checked = catch_unwind(AssertUnwindSafe(|| check(&row)));
        let checked = checked.unwrap_or_else(|_| Err("panicked, see above".to_owned()));
        if let Err(difference) = checked {
            failed += 1;
            say(&format!("FAILED {}: {difference}", row["id"].as_str().unwrap_or("?")));
        }
    }
    assert!(rows > 0, "{} has no rows", file.display());
    say(&format!("{}: passed {} of {rows}", name(file), rows - failed));
    failed
}

/// Not `println!`, which the test runner would capture.
fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").expect("standard output");
}
