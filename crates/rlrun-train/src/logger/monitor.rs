//! `monitor.csv`: one line per finished training episode, in Stable-Baselines3's format.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rlrun_core::State;
use serde_json::{Value, json};

use super::log_file::LogFile;
use super::{Record, Sink};
use crate::{CheckpointError, disk};

pub(super) const FILE: &str = "monitor.csv";

/// Writes a line of JSON (`t_start`, `env_id`), then `r,l,t`: return, length and seconds since
/// `t_start`, which goes on counting when a run is continued.
pub struct Monitor {
    file: LogFile,
    t_start: f64,
}

impl Monitor {
    pub(super) fn open(
        dir: &Path,
        env: &str,
        position: &State,
    ) -> Result<Monitor, CheckpointError> {
        let mut file = LogFile::text(dir.join(FILE), position)?;
        if file.is_empty() {
            let t_start = now();
            let header = json!({ "t_start": t_start, "env_id": env });
            write!(file, "#{header}\nr,l,t\n").map_err(disk::cannot("write", &dir.join(FILE)))?;
            return Ok(Monitor { file, t_start });
        }
        let t_start = t_start(file.path())?.unwrap_or_else(now);
        Ok(Monitor { file, t_start })
    }
}

impl Sink for Monitor {
    fn name(&self) -> &str {
        FILE
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Record::Episode(episode) = record else { return Ok(()) };
        let seconds = now() - self.t_start;
        writeln!(self.file, "{},{},{seconds:.6}", episode.reward, episode.length)
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

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// The time in the first line, if there is one.
fn t_start(path: &Path) -> Result<Option<f64>, CheckpointError> {
    let Some(file) = disk::File::open(path)? else { return Ok(None) };
    let mut line = Vec::new();
    let mut reader = BufReader::new(file).take(disk::MAX_TEXT);
    reader.read_until(b'\n', &mut line).map_err(disk::cannot("read", path))?;
    let header: Option<Value> =
        line.strip_prefix(b"#").and_then(|header| serde_json::from_slice(header).ok());
    Ok(header.and_then(|header| header["t_start"].as_f64()))
}
