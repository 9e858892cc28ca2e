//! `evaluations.csv`: one line per evaluation.

use std::io::{self, Write};
use std::path::Path;

use rlrun_core::State;

use super::log_file::LogFile;
use super::{Record, Sink};
use crate::CheckpointError;
use crate::disk::cannot;

pub(super) const FILE: &str = "evaluations.csv";
const HEADER: &str = "step,episodes,mean_reward,std_reward,iqm,ci95_low,ci95_high,mean_length,\
                      rescored_mean_reward,is_best";

/// Writes the summary of each evaluation. `rescored_mean_reward` is empty if it did not beat the
/// best so far; `is_best` is 1 if `best` was moved to it.
pub struct Evaluations {
    file: LogFile,
}

impl Evaluations {
    pub(super) fn open(dir: &Path, position: &State) -> Result<Evaluations, CheckpointError> {
        let mut file = LogFile::text(dir.join(FILE), position)?;
        if file.is_empty() {
            writeln!(file, "{HEADER}").map_err(cannot("write", &dir.join(FILE)))?;
        }
        Ok(Evaluations { file })
    }
}

impl Sink for Evaluations {
    fn name(&self) -> &str {
        FILE
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Record::Evaluation { step, evaluation: scored } = record else { return Ok(()) };
        let eval = &scored.evaluation;
        let (episodes, [low, high]) = (eval.returns.len(), eval.ci95);
        let rescored = scored.rescored.map_or(String::new(), |mean| mean.to_string());
        writeln!(
            self.file,
            "{step},{episodes},{},{},{},{low},{high},{},{rescored},{}",
            eval.mean_reward,
            eval.std_reward,
            eval.iqm,
            eval.mean_length,
            u8::from(scored.is_best)
        )
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
