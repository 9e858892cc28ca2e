//! `metrics.jsonl`: one JSON object per row.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use rlrun_core::State;
use serde_json::{Map, Value};

use super::log_file::LogFile;
use super::{Record, Sink, TIME_ELAPSED};
use crate::CheckpointError;
use crate::disk::{File, cannot};

pub(super) const FILE: &str = "metrics.jsonl";

/// Writes each row of metrics as `{"step":…,"rollout/ep_rew_mean":…}`; NaN becomes `null`.
pub struct Jsonl {
    file: LogFile,
}

impl Jsonl {
    pub(super) fn open(dir: &Path, position: &State) -> Result<Jsonl, CheckpointError> {
        Ok(Jsonl { file: LogFile::text(dir.join(FILE), position)? })
    }
}

/// `time/time_elapsed` in the last row: where the clock of a continued run goes on.
pub(super) fn time_elapsed(dir: &Path) -> Result<f64, CheckpointError> {
    let path = dir.join(FILE);
    let Some(file) = File::open(&path)? else { return Ok(0.0) };
    let (mut reader, mut seconds, mut line) = (BufReader::new(file), 0.0, Vec::new());
    while reader.read_until(b'\n', &mut line).map_err(cannot("read", &path))? > 0 {
        let row: Option<Value> = serde_json::from_slice(&line).ok();
        seconds = row.and_then(|row| row[TIME_ELAPSED].as_f64()).unwrap_or(seconds);
        line.clear();
    }
    Ok(seconds)
}

impl Sink for Jsonl {
    fn name(&self) -> &str {
        FILE
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Record::Metrics { step, row } = record else { return Ok(()) };
        let mut object = Map::new();
        object.insert("step".to_owned(), Value::from(*step));
        for (tag, value) in *row {
            object.insert(tag.clone().into_owned(), Value::from(*value));
        }
        serde_json::to_writer(&mut self.file, &object)?;
        self.file.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn position(&self) -> State {
        self.file.position()
    }
}
