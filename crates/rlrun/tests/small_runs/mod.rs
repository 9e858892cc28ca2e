//! Short runs of every algorithm, and the comparison of two run folders.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test target uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use rlrun::prelude::*;

/// Steps of a short run.
pub(crate) const TOTAL: u64 = 1536;

/// Every file in `configs/`.
pub(crate) fn configs() -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The first shipped run file of an algorithm.
pub(crate) fn config_of(algorithm: &str) -> String {
    let line = format!("algorithm = \"{algorithm}\"");
    let found = configs().into_iter().find(|(_, text)| text.contains(&line));
    found.unwrap_or_else(|| panic!("no file in configs/ has `{line}`")).1
}

/// What makes a shipped run file short, with several checkpoints, evaluations and rows.
pub(crate) fn short(seed: u64) -> Vec<String> {
    let train = format!(
        "total_timesteps={TOTAL} eval_freq=384 n_eval_episodes=3 n_rescore_episodes=2 \
         save_freq=256 log_freq=200 keep_checkpoints=0"
    );
    let train = train.split_whitespace().map(|setting| format!("train.{setting}"));
    train.chain([format!("seed={seed}"), "agent.net_arch=[16, 16]".to_owned()]).collect()
}

/// [`short`] for an algorithm: one that learns from a replay buffer learns from its first steps on.
fn short_of(algorithm: &Algorithm, seed: u64) -> Vec<String> {
    let replays = algorithm.default_run_file().unwrap().contains("learning_starts");
    let soon = ["agent.learning_starts=64", "agent.batch_size=32"].map(str::to_owned);
    [short(seed), if replays { soon.to_vec() } else { Vec::new() }].concat()
}

/// A short run of an algorithm.
pub(crate) fn short_run(algorithm: &Algorithm, seed: u64) -> Run {
    let text = config_of(algorithm.name);
    Run::load_with(&text, &short_of(algorithm, seed), ALGORITHMS, &[]).unwrap()
}

/// A short run whose observations and rewards are normalised.
pub(crate) fn short_normalized_run(algorithm: &Algorithm, seed: u64) -> Run {
    let on = ["normalize.obs=true", "normalize.reward=true"].map(str::to_owned);
    let settings = [short_of(algorithm, seed), on.to_vec()].concat();
    Run::load_with(&config_of(algorithm.name), &settings, ALGORITHMS, &[]).unwrap()
}

/// Asserts that two run folders hold the same bits, except for what the clock said and for the lock.
pub(crate) fn assert_same_run(expected: &Path, found: &Path) {
    let names = |dir: &Path| {
        let mut names = files(dir, dir);
        names.sort();
        names
    };
    assert_eq!(names(expected), names(found));
    for name in names(expected) {
        let read = |dir: &Path| without_clock(&name, fs::read(dir.join(&name)).unwrap());
        assert_eq!(read(expected), read(found), "`{}` differs", name.display());
    }
}

fn files(dir: &Path, root: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| !path.ends_with("lock"));
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path, root)
        } else {
            vec![path.strip_prefix(root).unwrap().into()]
        }
    };
    paths.flat_map(below).collect()
}

/// The content of a file of a run folder in printable form, without times.
fn without_clock(name: &Path, bytes: Vec<u8>) -> String {
    match name.to_str().unwrap() {
        "metrics.csv" => without_columns(&bytes, is_clock),
        "metrics.jsonl" => without_json_times(&bytes),
        "monitor.csv" => {
            let text = String::from_utf8(bytes).unwrap();
            let (_header, table) = text.split_once('\n').unwrap();
            without_columns(table.as_bytes(), |name| name == "t")
        }
        // Every event has its own wall time and speed; the numbers are those of metrics.jsonl.
        "events.out.tfevents.rlrun" => format!("{} bytes", bytes.len()),
        text if Path::new(text).extension().is_none_or(|kind| kind != "safetensors") => {
            String::from_utf8(bytes).unwrap()
        }
        _ => format!("{bytes:?}"),
    }
}

fn is_clock(tag: &str) -> bool {
    ["time/fps", "time/time_elapsed"].contains(&tag)
}

fn without_columns(table: &[u8], is_clock: impl Fn(&str) -> bool) -> String {
    let mut reader = csv::Reader::from_reader(table);
    let header = reader.headers().unwrap().clone();
    let kept = |row: &csv::StringRecord| {
        let cells = header.iter().zip(row).filter(|(name, _)| !is_clock(name));
        cells.map(|(_, cell)| cell.to_owned()).collect::<Vec<_>>().join(",")
    };
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert!(!rows.is_empty(), "an empty table proves nothing");
    std::iter::once(&header).chain(&rows).map(kept).collect::<Vec<_>>().join("\n")
}

fn without_json_times(lines: &[u8]) -> String {
    let rows = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let kept = rows.map(|line| {
        let mut row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(line).unwrap();
        row.retain(|tag, _| !is_clock(tag));
        serde_json::Value::from(row).to_string()
    });
    kept.collect::<Vec<_>>().join("\n")
}
