//! Exit codes: 0 done, 1 failed, 2 wrong usage or config, 75 saved and to be continued.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use rlrun::ConfigError;
use rlrun::core::Report;
use rlrun::train::{CheckpointError, TrainError};

use crate::terminal;

/// Prints an error with its causes, without a backtrace (it is about what the user gave, not about
/// us), and gives its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        writeln!(io::stderr(), "{stopped}").ok();
        return ExitCode::from(SAVED);
    }
    let advice = advice(error).map_or(String::new(), |advice| format!("\nhint: {advice}"));
    // Nothing is left to do if the standard error is closed too.
    writeln!(io::stderr(), "Error: {}{advice}", Report(error.as_ref())).ok();
    ExitCode::from(if is_usage(error) { 2 } else { 1 })
}

/// What to do about it with the flags of this program.
fn advice(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<ConfigError>()? {
        ConfigError::Override { assignment, .. } => {
            Some(format!("it was given as `--set {assignment}`"))
        }
        ConfigError::Train(TrainError::Checkpoint(cause)) => match cause {
            CheckpointError::RunExists { path } => {
                let path = path.display();
                Some(format!("continue with `--resume {path}`, or choose a name with `--name`"))
            }
            CheckpointError::NoCheckpoint { path } => {
                Some(format!("`{} train --resume {}`", terminal::program(), path.display()))
            }
            CheckpointError::LostRows { .. } => {
                Some("`--accept-lost-rows` goes on without them".to_owned())
            }
            CheckpointError::AllDamaged { .. } => Some("choose a name with `--name`".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the reader of our output has left, as in `rlrun list envs | head -1`. A pipe that stands
/// in the place of a file is another matter: what was to be written is then lost, and the error says
/// of which file.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether the user gave a wrong argument or a wrong run file.
fn is_usage(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::Train(TrainError::Checkpoint(cause))) => matches!(
            cause,
            CheckpointError::RunExists { .. }
                | CheckpointError::NotARun { .. }
                | CheckpointError::NoCheckpoint { .. }
                | CheckpointError::Locked { .. }
                | CheckpointError::OtherSettings { .. }
        ),
        Some(ConfigError::Train(cause)) => matches!(cause, TrainError::Config { .. }),
        Some(_) => true,
        None => error.is::<UnreadableRunFile>(),
    }
}

/// `EX_TEMPFAIL` of sysexits.h: what a queue may start again.
const SAVED: u8 = 75;

/// A signal stopped the run, which was saved in this folder.
#[derive(Debug)]
pub(crate) struct Stopped(pub(crate) PathBuf);

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (program, dir) = (terminal::program(), self.0.display());
        write!(f, "stopped and saved; go on with: {program} train --resume {dir}")
    }
}

/// The run file of the command line cannot be read.
#[derive(Debug)]
pub(crate) struct UnreadableRunFile(pub(crate) String);

impl std::fmt::Display for UnreadableRunFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot read the run file `{}`", self.0)
    }
}
