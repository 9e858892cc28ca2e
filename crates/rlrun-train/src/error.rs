//! What can go wrong while training, saving and loading.

use std::io;
use std::path::PathBuf;

use rlrun_agents::AgentError;
use rlrun_core::{SafetensorsError, StateError};
use rlrun_env::EnvError;
use rlrun_tensor::Site;
use thiserror::Error;

rlrun_core::debug_is_report!(TrainError, CheckpointError);

/// Why training or evaluation stopped.
#[derive(Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting of `[train]` breaks a rule.
    #[error("`{key}` is `{value}`: {rule}")]
    Config {
        /// Key in the run file.
        key: &'static str,
        /// Value that was given.
        value: String,
        /// What was expected and what to do.
        rule: String,
    },
    /// The agent cannot go on learning.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The environment refused a step.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// An episode of an evaluation does not end.
    #[error(
        "the episode of `{id}` in environment {lane} has not ended after {steps} steps, and an \
         evaluation plays whole episodes: give the environment `max_episode_steps`, in its spec or \
         in `[env.wrappers]`, or turn evaluation off with `train.n_eval_episodes = 0`"
    )]
    EndlessEpisode {
        /// Environment.
        id: String,
        /// Which of those that step together.
        lane: usize,
        /// Steps so far.
        steps: u32,
    },
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A phase that only reads what was learnt recorded history.
    #[error(
        "the phase `{phase}` recorded {operations} operations, the last `{op}` at `{at}`, and \
         should record none: run it in `inference_mode`, without a `GradModeGuard` that leaves it"
    )]
    RecordedHistory {
        /// Name of the phase.
        phase: &'static str,
        /// Operations recorded in it so far.
        operations: u64,
        /// The one recorded last.
        op: &'static str,
        /// Where it was called.
        at: Site,
    },
    /// A log could not be written.
    #[error("cannot write the log `{log}`")]
    Log {
        /// File name of the log.
        log: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a run folder or a checkpoint cannot be written or read.
#[derive(Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A run folder is never overwritten.
    #[error(
        "run folder `{}` exists already and is never overwritten: continue that run, or choose \
         another folder", path.display()
    )]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// The path is not a run folder.
    #[error(
        "`{}` is not a run folder: it has no `run.toml`; expected a folder that a run was \
         trained in",
        path.display()
    )]
    NotARun {
        /// The path.
        path: PathBuf,
    },
    /// The run folder has no checkpoint.
    #[error(
        "run folder `{}` has no checkpoint yet: continue the run until it has saved one",
        path.display()
    )]
    NoCheckpoint {
        /// The run folder.
        path: PathBuf,
    },
    /// Another process trains the run.
    #[error(
        "{owner} is training this run, `{}`: wait until it has ended, or stop it; within one program, \
         drop its trainer first",
        path.display()
    )]
    Locked {
        /// The run folder.
        path: PathBuf,
        /// `process 71`, and the host if it is another one.
        owner: String,
    },
    /// What lies at a path is of another kind.
    #[error("`{}` is {found}, expected {expected}: put the original back", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A file is too long to be what it should be.
    #[error("`{}` holds more than {max} bytes in one piece, and is not read", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Most bytes that are read.
        max: u64,
    },
    /// A pointer names no checkpoint.
    #[error(
        "`{}` names `{found}`, which is no checkpoint of this run: continue the run, which corrects \
         it, or name a step folder", path.display()
    )]
    Pointer {
        /// The pointer.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The logs are shorter than every checkpoint says.
    #[error(
        "the logs of `{}` are shorter than each of its checkpoints says: {rows}; restore them from a \
         backup, or accept the loss", path.display()
    )]
    LostRows {
        /// The run folder.
        path: PathBuf,
        /// What is missing of each log, for the newest checkpoint.
        rows: String,
    },
    /// The run file was edited while the run lasts.
    #[error(
        "`{key}` in `{}` is {found}, but the run was trained with {expected}: put it back, or start \
         a new run", path.display()
    )]
    OtherSettings {
        /// The run file.
        path: PathBuf,
        /// Key in it.
        key: String,
        /// What it says.
        found: String,
        /// What it said when the checkpoint was saved.
        expected: String,
    },
    /// Every checkpoint of the run folder is damaged.
    #[error(
        "run folder `{}` has no valid checkpoint: all {count} are damaged; restore one from a \
         backup, or train anew in another folder", path.display()
    )]
    AllDamaged {
        /// The run folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// What is wrong with the newest.
        source: Box<CheckpointError>,
    },
    /// The system refused a file operation.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the checkpoint is not there.
    #[error("checkpoint file `{}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The folder of one step holds another.
    #[error("checkpoint `{}` holds step {found}: it was renamed or copied", path.display())]
    Step {
        /// The step folder.
        path: PathBuf,
        /// Step in the manifest.
        found: u64,
    },
    /// A parameter is not finite.
    #[error(
        "the policy `{}` holds a number in `{entry}` that is not finite, and can do nothing: go on \
         from an earlier checkpoint, or train anew with a smaller learning rate", path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
    /// A file is not the one that was saved.
    #[error(
        "checkpoint file `{}` is damaged: its SHA-256 is `{found}`, the manifest says `{expected}`",
        path.display()
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// The manifest cannot be read.
    #[error("checkpoint manifest `{}` is not valid", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// The checkpoint was written by a program that this one does not understand.
    #[error(
        "checkpoint `{}` has format {found}, this program reads format {expected}: {}",
        path.display(), other_format(*found, *expected, version)
    )]
    Format {
        /// The step folder.
        path: PathBuf,
        /// Format in the manifest.
        found: u32,
        /// Format of this program.
        expected: u32,
        /// Version in the manifest.
        version: String,
    },
    /// The run was computed with another arithmetic.
    #[error(
        "checkpoint `{}` was computed with numerics {found}, this program computes with {expected}, \
         and would not go on with the same bits: train it anew from its `run.toml`, or use the rlrun \
         version that wrote it, `{version}`", path.display()
    )]
    Numerics {
        /// The step folder.
        path: PathBuf,
        /// Numerics in the manifest.
        found: u32,
        /// Numerics of this program.
        expected: u32,
        /// Version in the manifest.
        version: String,
    },
    /// The policy file does not say what it fits.
    #[error(
        "the policy `{}` says {} of `{key}`, expected what `rlrun` writes: train it anew",
        path.display(), found.as_ref().map_or("nothing".to_owned(), |text| format!("`{text}`"))
    )]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Key in its `__metadata__`.
        key: &'static str,
        /// What stands there, if anything does.
        found: Option<String>,
    },
    /// A file of numbers cannot be read.
    #[error("checkpoint file `{}` holds no saved state", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SafetensorsError,
    },
    /// The checkpoint belongs to another environment.
    #[error(
        "checkpoint `{}` was saved for the environment `{found}`, but `env.id` is `{expected}`: \
         use the run file that it was trained with", path.display()
    )]
    OtherEnv {
        /// The step folder.
        path: PathBuf,
        /// Environment in the manifest.
        found: String,
        /// Environment of the run.
        expected: String,
    },
    /// The saved numbers do not fit the agent or the environment of the run file.
    #[error(
        "checkpoint `{}` does not fit its run file: use the run file that it was trained with",
        path.display()
    )]
    Misfit {
        /// The step folder.
        path: PathBuf,
        /// Which entry does not fit.
        source: StateError,
    },
}

impl CheckpointError {
    /// Whether the checkpoint itself is not what was saved, so that the one before it may serve. What
    /// the system refuses, and what another version wrote, is no damage.
    pub fn is_damage(&self) -> bool {
        use CheckpointError::*;
        match self {
            Missing { .. } | Kind { .. } | TooLong { .. } | Step { .. } | NotFinite { .. } => true,
            Hash { .. } | Manifest { .. } | Tensors { .. } | Metadata { .. } => true,
            RunExists { .. } | NotARun { .. } | NoCheckpoint { .. } | AllDamaged { .. } => false,
            Locked { .. } | Pointer { .. } | LostRows { .. } | OtherSettings { .. } => false,
            Io { .. } | Format { .. } | Numerics { .. } | OtherEnv { .. } | Misfit { .. } => false,
        }
    }
}

/// What to do about a checkpoint of another format.
fn other_format(found: u32, expected: u32, version: &str) -> String {
    if found < expected {
        return format!(
            "train the run anew from its `run.toml`, or use the older rlrun that wrote it, `{version}`"
        );
    }
    format!("use the rlrun version that wrote it, `{version}`")
}
