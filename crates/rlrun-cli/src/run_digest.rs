//! One number for all the bits of a run folder, except for what the clock said.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Columns that the clock fills in.
const CLOCK: [&str; 4] = ["time/fps", "time/time_elapsed", "t", "t_start"];

/// SHA-256 of every file of a run folder, with its name: parameters, optimizer, buffers, generators,
/// metrics, evaluations. Of TensorBoard's file, whose events carry wall time, the length; of the
/// lock, which is this process's, nothing.
pub(crate) fn run_digest(run: &Path) -> Result<String> {
    let mut paths = files(run)?;
    paths.sort();
    let mut digest = Sha256::new();
    for path in paths {
        let name = path.strip_prefix(run).unwrap_or(&path).to_string_lossy().into_owned();
        let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let bytes = match name.as_str() {
            "lock" => continue,
            "metrics.jsonl" => rows(&bytes)?,
            "metrics.csv" => table(&bytes),
            "monitor.csv" => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let (header, below) = text.split_once('\n').unwrap_or_default();
                [rows(header.trim_start_matches('#').as_bytes())?, table(below.as_bytes())].concat()
            }
            name if name.starts_with("events.out.tfevents") => bytes.len().to_string().into_bytes(),
            _ => bytes,
        };
        digest.update(format!("{name}\n{}\n", bytes.len()));
        digest.update(bytes);
    }
    Ok(format!("{:x}", digest.finalize()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

/// JSON objects, one a line, without what the clock said.
fn rows(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let mut row: Map<String, Value> =
            serde_json::from_slice(line).context("a row is no JSON object")?;
        row.retain(|key, _| !CLOCK.contains(&key.as_str()));
        kept.extend(serde_json::to_vec(&row)?);
        kept.push(b'\n');
    }
    Ok(kept)
}

/// A table of numbers without the columns that the clock fills in.
fn table(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let clock: Vec<bool> =
        text.lines().next().unwrap_or("").split(',').map(|tag| CLOCK.contains(&tag)).collect();
    let kept = text.lines().map(|line| {
        let cells = line.split(',').enumerate();
        let cells = cells.filter(|(column, _)| !clock.get(*column).copied().unwrap_or(false));
        cells.map(|(_, cell)| format!("{cell},")).collect::<String>() + "\n"
    });
    kept.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(metrics: &str, monitor: &str, parameters: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("step-000000001")).unwrap();
        fs::write(dir.path().join("step-000000001/policy.safetensors"), parameters).unwrap();
        fs::write(dir.path().join("metrics.csv"), metrics).unwrap();
        fs::write(dir.path().join("monitor.csv"), monitor).unwrap();
        run_digest(dir.path()).unwrap()
    }

    #[test]
    fn every_bit_counts_except_for_the_clocks() {
        let monitor = "#{\"t_start\":1.0,\"env_id\":\"A\"}\nr,l,t\n1,2,0.5\n";
        let digest = run("step,time/fps,a\n1,9,2\n", monitor, b"p");
        let later = monitor.replace("0.5", "0.7").replace("1.0", "3.0");
        assert_eq!(run("step,time/fps,a\n1,8,2\n", &later, b"p"), digest);
        assert_ne!(run("step,time/fps,a\n1,9,3\n", monitor, b"p"), digest);
        assert_ne!(run("step,time/fps,a\n1,9,2\n", &monitor.replace("1,2,", "1,3,"), b"p"), digest);
        assert_ne!(
            run("step,time/fps,a\n1,9,2\n", &monitor.replace("\"A\"", "\"B\""), b"p"),
            digest
        );
        assert_ne!(run("step,time/fps,a\n1,9,2\n", monitor, b"q"), digest);
    }
}
