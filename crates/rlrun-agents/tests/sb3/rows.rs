//! The files of a folder, and what is said of their rows.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

/// A line of a file.
pub(crate) type Row = Value;

/// Whether a row is met.
pub(crate) enum Outcome {
    Met,
    /// The first thing that differs.
    Differs(String),
    /// What there is nothing of to be compared. Such a row is not passed, and is no failure.
    NotHere(String),
}

/// How a row is checked.
pub(crate) type Check = fn(&Row) -> Outcome;

pub(crate) fn outcome(checked: Result<(), String>) -> Outcome {
    checked.map_or_else(Outcome::Differs, |()| Outcome::Met)
}

const END: &str = ".jsonl.gz";

/// Checks the files of the folder, prints `FILE: passed N of M` for each, and names what differs.
pub(crate) fn check_files(files: &[(&str, Check)]) {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sb3");
    let folder = std::env::var_os("RLRUN_SB3_FIXTURES").map_or_else(own, PathBuf::from);
    let stems = stems(&folder);
    for stem in stems.iter().filter(|stem| files.iter().all(|(known, _)| known != stem)) {
        say(&format!("{stem}{END}: no such algorithm here, skipped"));
    }
    let (mut found, mut failed) = (0, 0);
    for (stem, check) in files {
        if stems.iter().any(|known| known == stem) {
            found += 1;
            failed += check_file(&folder.join(format!("{stem}{END}")), *check);
        } else {
            say(&format!("{stem}{END}: not in {}, skipped", folder.display()));
        }
    }
    assert!(found > 0, "{} holds none of the files", folder.display());
    assert!(failed == 0, "{failed} rows differ");
}

fn stems(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut stems: Vec<String> =
        names.filter_map(|name| name.strip_suffix(END).map(str::to_owned)).collect();
    stems.sort();
    stems
}

/// How many rows of a file differ.
fn check_file(file: &Path, check: Check) -> usize {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut text = String::new();
    let read = GzDecoder::new(&bytes[..]).read_to_string(&mut text);
    read.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let (mut rows, mut passed, mut failed, mut absent) = (0, 0, 0, Vec::new());
    for line in text.lines() {
        let row: Row = serde_json::from_str(line).expect("a row is JSON");
        rows += 1;
        // A panic is the failure of its row, not of all that follow.
        let checked = catch_unwind(AssertUnwindSafe(|| check(&row)));
        match checked.unwrap_or_else(|_| Outcome::Differs("panicked, see above".to_owned())) {
            Outcome::Met => passed += 1,
            Outcome::NotHere(what) => absent.push(what),
            Outcome::Differs(difference) => {
                failed += 1;
                say(&format!("FAILED {}: {difference}", row["id"].as_str().unwrap_or("?")));
            }
        }
    }
    absent.sort();
    absent.dedup();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    say(&format!("{name}: passed {passed} of {rows}"));
    if !absent.is_empty() {
        say(&format!("{name}: not here yet: {}", absent.join(", ")));
    }
    failed
}

/// Not `println!`, which the test runner would capture.
fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").expect("standard output");
}
