//! Exit codes: 0 done, 1 failed, 2 wrong usage or config.

use std::io::{self, Write};
use std::process::ExitCode;

use rlrun::ConfigError;
use rlrun::train::{CheckpointError, TrainError};

/// Prints an error with its causes and gives its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // Nothing is left to do if the standard error is closed too.
    writeln!(io::stderr(), "{}", message(error)).ok();
    ExitCode::from(if is_usage(error) { 2 } else { 1 })
}

/// The error and its causes, without a backtrace: it is about what the user gave, not about us.
fn message(error: &anyhow::Error) -> String {
    let mut text = format!("Error: {error}");
    for (index, cause) in error.chain().skip(1).enumerate() {
        text += if index == 0 { "\n\nCaused by:" } else { "" };
        for line in cause.to_string().lines() {
            text += "\n    ";
            text += line;
        }
    }
    text
}

/// Whether the reader of our output has left, as in `rlrun list envs | head -1`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
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
        ),
        Some(ConfigError::Train(cause)) => matches!(cause, TrainError::Config { .. }),
        Some(_) => true,
        None => error.is::<UnreadableRunFile>(),
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
