//! Where the numbers of a run go: one file per destination.
//!
//! Every log of a run folder is cut back to the checkpoint when a run is continued, so that the logs
//! of an interrupted run equal those of an uninterrupted one, except for what the clock said
//! (`time/fps`, `time/time_elapsed`, `t` in `monitor.csv`, the wall time of TensorBoard's events).

mod console;
#[cfg(feature = "csv")]
mod csv;
mod evaluations;
mod jsonl;
mod log_file;
mod monitor;
#[cfg(feature = "tensorboard")]
mod tensorboard;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rlrun_agents::Metrics;
use rlrun_core::{State, StateError};
use rlrun_env::EpisodeStats;

use crate::{CheckpointError, ScoredEvaluation, TrainError};

pub use console::Console;
#[cfg(feature = "csv")]
pub use csv::Csv;
pub use evaluations::Evaluations;
pub use jsonl::Jsonl;
pub use monitor::Monitor;
#[cfg(feature = "tensorboard")]
pub use tensorboard::TensorBoard;

/// Numbers by tag, such as `rollout/ep_rew_mean`; Stable-Baselines3's tags.
pub type Row = BTreeMap<Cow<'static, str>, f64>;

/// Seconds since the run began.
pub(crate) const TIME_ELAPSED: &str = "time/time_elapsed";

/// `time/time_elapsed` in the last row of the logs in `dir`.
pub(crate) fn time_elapsed(dir: &Path) -> Result<f64, CheckpointError> {
    jsonl::time_elapsed(dir)
}

/// What the logs in `dir` lack of what `position` says they have. A log that is not there at all was
/// taken away by someone and begins anew.
pub(crate) fn lost_rows(dir: &Path, position: &State) -> Result<Vec<String>, CheckpointError> {
    let mut lost = Vec::new();
    for name in [
        #[cfg(feature = "csv")]
        csv::FILE,
        jsonl::FILE,
        monitor::FILE,
        evaluations::FILE,
        #[cfg(feature = "tensorboard")]
        tensorboard::FILE,
    ] {
        let (path, position) = (dir.join(name), position.child(name));
        let (unit, wanted, found) = match (position.counter("lines"), position.counter("bytes")) {
            (Ok(wanted), _) => {
                let extent = log_file::lines(&path, wanted)?;
                ("lines", wanted, extent.map(|extent| extent.lines))
            }
            (_, Ok(wanted)) => ("bytes", wanted, log_file::bytes(&path)?),
            _ => continue,
        };
        if let Some(found) = found.filter(|&found| found < wanted) {
            lost.push(format!("`{name}` has {found} of {wanted} {unit}"));
        }
    }
    Ok(lost)
}

/// Something to log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Record<'a> {
    /// The latest value of each number.
    Metrics {
        /// Environment steps taken.
        step: u64,
        /// The numbers.
        row: &'a Row,
    },
    /// A finished training episode.
    Episode(&'a EpisodeStats),
    /// An evaluation.
    Evaluation {
        /// Environment steps taken.
        step: u64,
        /// Its result.
        evaluation: &'a ScoredEvaluation,
    },
}

/// A log destination.
pub trait Sink: Send {
    /// What the destination is called: the file name of a log in the run folder.
    fn name(&self) -> &str;

    /// Takes what concerns it and leaves the rest.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, record: &Record<'_>) -> io::Result<()>;

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// What the system says.
    fn flush(&mut self) -> io::Result<()>;

    /// Hands everything to the disk: a checkpoint counts on what was written before it.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// How far the log reaches: what it is cut back to when a run is continued from here.
    fn position(&self) -> State;
}

/// The destinations of a run, and the numbers recorded since the last row.
#[derive(Default)]
pub struct Logger {
    sinks: Vec<Box<dyn Sink>>,
    row: Row,
}

impl Logger {
    /// Adds a destination.
    ///
    /// ```
    /// use rlrun_train::logger::Console;
    /// # fn example(trainer: &mut rlrun_train::Trainer) {
    /// trainer.logger.add(Box::new(Console::stdout())); // the table, every `log_freq` steps
    /// # }
    /// ```
    pub fn add(&mut self, sink: Box<dyn Sink>) {
        self.sinks.push(sink);
    }

    /// Opens every log of a run folder, cut back to `position` (an empty state: to nothing).
    pub(crate) fn open(
        &mut self,
        dir: &Path,
        env: &str,
        position: &State,
    ) -> Result<(), CheckpointError> {
        let at = |name: &str| position.child(name);
        #[cfg(feature = "csv")]
        self.add(Box::new(Csv::open(dir, &at(csv::FILE))?));
        self.add(Box::new(Jsonl::open(dir, &at(jsonl::FILE))?));
        self.add(Box::new(Monitor::open(dir, env, &at(monitor::FILE))?));
        self.add(Box::new(Evaluations::open(dir, &at(evaluations::FILE))?));
        #[cfg(feature = "tensorboard")]
        self.add(Box::new(TensorBoard::open(dir, &at(tensorboard::FILE))?));
        Ok(())
    }

    /// Remembers a number for the next row, replacing the one under the same tag.
    pub fn record(&mut self, tag: impl Into<Cow<'static, str>>, value: f64) {
        self.row.insert(tag.into(), value);
    }

    /// Remembers every number of an update for the next row.
    pub fn record_all(&mut self, metrics: &Metrics) {
        for (tag, value) in &metrics.0 {
            self.record(tag.clone(), *value);
        }
    }

    /// Writes what was recorded since the last row as one row.
    ///
    /// # Errors
    /// [`TrainError::Log`] naming the destination.
    pub fn dump(&mut self, step: u64) -> Result<(), TrainError> {
        let row = std::mem::take(&mut self.row);
        self.write(&Record::Metrics { step, row: &row })
    }

    /// Hands a record to every destination.
    ///
    /// # Errors
    /// [`TrainError::Log`] naming the destination.
    pub fn write(&mut self, record: &Record<'_>) -> Result<(), TrainError> {
        self.each(|sink| sink.write(record))
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// [`TrainError::Log`] naming the destination.
    pub fn flush(&mut self) -> Result<(), TrainError> {
        self.each(|sink| sink.flush())
    }

    /// Hands everything to the disk.
    ///
    /// # Errors
    /// [`TrainError::Log`] naming the destination.
    pub fn sync(&mut self) -> Result<(), TrainError> {
        self.each(|sink| sink.sync())
    }

    fn each(&mut self, f: impl Fn(&mut dyn Sink) -> io::Result<()>) -> Result<(), TrainError> {
        for sink in &mut self.sinks {
            f(sink.as_mut())
                .map_err(|source| TrainError::Log { log: sink.name().to_owned(), source })?;
        }
        Ok(())
    }

    /// The position of every log and the numbers that wait for the next row. What the clock said is
    /// not part of it.
    pub(crate) fn state(&self) -> State {
        let mut state = State::new();
        for sink in &self.sinks {
            state.insert_child(&format!("logs.{}", sink.name()), sink.position());
        }
        for (tag, value) in &self.row {
            state.insert_f64(format!("row.{tag}"), [*value]);
        }
        state
    }

    pub(crate) fn load_row(&mut self, state: &State) -> Result<(), StateError> {
        let saved = state.child("row");
        self.row.clear();
        for tag in saved.0.keys() {
            let value = saved.f64(tag)?.first().copied().unwrap_or(f64::NAN);
            self.row.insert(Cow::Owned(tag.clone()), value);
        }
        Ok(())
    }
}
