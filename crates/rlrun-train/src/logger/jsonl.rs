//! `metrics.jsonl`: one JSON object per row.

use std::io::{self, Write};
use std::path::Path;

use rlrun_core::State;
use serde_json::{Map, Value};

use super::log_file::LogFile;
use super::{Record, Sink};

pub(super) const FILE: &str = "metrics.jsonl";

/// Writes each row of metrics as `{"step":…,"rollout/ep_rew_mean":…}`; NaN becomes `null`.
pub struct Jsonl {
    file: LogFile,
}

impl Jsonl {
    pub(super) fn open(dir: &Path, position: &State) -> io::Result<Jsonl> {
        Ok(Jsonl { file: LogFile::text(dir.join(FILE), position)? })
    }
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

    fn position(&self) -> State {
        self.file.position()
    }
}
