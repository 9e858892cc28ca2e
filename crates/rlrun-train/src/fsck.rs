//! What is whole and what is damaged in a run folder, without changing anything.

use std::fmt;

use crate::run_dir::RunDir;
use crate::{Checkpoint, CheckpointError, disk, logger};

/// What `rlrun fsck` found: one line a step, a pointer and a leftover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunCheck {
    /// Step of the checkpoint that the run would go on from.
    pub good: Option<u64>,
    /// Every step of the run folder, ascending, and what is wrong with it.
    pub steps: Vec<(u64, Option<String>)>,
    /// What else is wrong: the run file, pointers, what a kill left.
    pub problems: Vec<String>,
}

impl RunCheck {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.steps.iter().all(|(_, problem)| problem.is_none())
    }
}

impl fmt::Display for RunCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, problem) in &self.steps {
            let problem = problem.as_deref().unwrap_or("good");
            writeln!(f, "{}: {problem}", Checkpoint::folder_name(*step))?;
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match self.good {
            Some(step) => write!(f, "the run goes on from step {step}"),
            None => write!(f, "there is no checkpoint that the run could go on from"),
        }
    }
}

impl RunDir {
    /// Verifies every hash, pointer and log of the run folder, and changes nothing.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the system refuses to read something: that says nothing of what is
    /// there. [`CheckpointError::Locked`] if the run is being trained.
    pub fn check(&self) -> Result<RunCheck, CheckpointError> {
        let _locked = self.clone().locked()?;
        let mut check = RunCheck::default();
        for step in self.steps()? {
            let problem = self.problem_of(step)?;
            check.good = if problem.is_none() { Some(step) } else { check.good };
            check.steps.push((step, problem));
        }
        if let Err(error) = unless_refused(self.settings())? {
            check.problems.push(error.to_string());
        }
        for pointer in [crate::run_dir::BEST, crate::run_dir::LATEST] {
            if let Err(error) = unless_refused(self.pointed(pointer))? {
                check.problems.push(error.to_string());
            }
        }
        for name in disk::list(self.path())?.iter().filter(|name| disk::is_leftover(name)) {
            check.problems.push(format!("`{name}` is unfinished: the run takes it away"));
        }
        Ok(check)
    }

    /// What is wrong with a checkpoint and with the logs that it counts on.
    fn problem_of(&self, step: u64) -> Result<Option<String>, CheckpointError> {
        let loaded = Checkpoint::load(&self.folder(step)).and_then(|checkpoint| {
            self.check_settings(&checkpoint)?;
            logger::lost_rows(self.path(), &checkpoint.trainer.child("logger.logs"))
        });
        Ok(match unless_refused(loaded)? {
            Ok(lost) => (!lost.is_empty()).then(|| format!("rows are lost: {}", lost.join(", "))),
            Err(error) => Some(error.to_string()),
        })
    }
}

/// A finding, or the refusal of the system that prevents one.
fn unless_refused<T>(
    found: Result<T, CheckpointError>,
) -> Result<Result<T, CheckpointError>, CheckpointError> {
    match found {
        Err(error @ CheckpointError::Io { .. }) => Err(error),
        found => Ok(found),
    }
}
