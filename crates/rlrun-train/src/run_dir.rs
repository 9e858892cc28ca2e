//! The folder of a run: its run file, checkpoints and the pointers `latest` and `best`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, Kind, Lock, parent};
use crate::{Checkpoint, CheckpointError};

const RUN_FILE: &str = "run.toml";
pub(crate) const LATEST: &str = "latest";
pub(crate) const BEST: &str = "best";

/// A folder that one run writes into.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: Option<Arc<Lock>>,
    pub(crate) accepts_lost_rows: bool,
}

impl RunDir {
    /// Makes the folder, with the resolved run file in it, and locks it. It appears complete or not
    /// at all: from then on the run can be continued.
    ///
    /// # Errors
    /// [`CheckpointError::RunExists`], or [`CheckpointError::Io`] if it cannot be made.
    pub fn create(path: &Path, run_toml: &str) -> Result<RunDir, CheckpointError> {
        let exists = || CheckpointError::RunExists { path: path.to_owned() };
        disk::create_folders(parent(path))?;
        if disk::kind(path)?.is_some() {
            return Err(exists());
        }
        let mut lock = None;
        let created = disk::create_folder(path, false, |partial| {
            // The process that was quicker clears away what it takes for the rest of a dead one.
            let locked = Lock::acquire(partial).or_else(|error| match disk::kind(path)? {
                Some(_) => Err(exists()),
                None => Err(error),
            });
            lock = Some(Arc::new(locked?));
            disk::write_new(&partial.join(RUN_FILE), run_toml.as_bytes())
        });
        // Another process may have been quicker; a folder that is not empty is never replaced.
        created.map_err(|error| if is_occupied(&error) { exists() } else { error })?;
        remove_dead_partials(path)?;
        Ok(RunDir { path: path.to_owned(), lock, accepts_lost_rows: false })
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    /// [`CheckpointError::NotARun`] if there is no run file in it.
    pub fn open(path: &Path) -> Result<RunDir, CheckpointError> {
        if !disk::is_there(&path.join(RUN_FILE), Kind::File)? {
            return Err(CheckpointError::NotARun { path: path.to_owned() });
        }
        Ok(RunDir { path: path.to_owned(), lock: None, accepts_lost_rows: false })
    }

    /// The same folder, locked by this process until the last copy of the result is dropped.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`] naming the process that trains the run.
    pub fn locked(mut self) -> Result<RunDir, CheckpointError> {
        if self.lock.is_none() {
            self.lock = Some(Arc::new(Lock::acquire(&self.path)?));
        }
        Ok(self)
    }

    /// The same folder, for a run that goes on although rows of its logs are lost for good.
    pub fn accepting_lost_rows(mut self) -> RunDir {
        self.accepts_lost_rows = true;
        self
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved run file.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if it cannot be read.
    pub fn run_toml(&self) -> Result<String, CheckpointError> {
        let path = self.path.join(RUN_FILE);
        disk::read_text(&path)?.ok_or_else(|| CheckpointError::NotARun { path: self.path.clone() })
    }

    /// The run file without `[train]`: what may not change while the run lasts.
    ///
    /// # Errors
    /// As [`RunDir::run_toml`], and [`CheckpointError::Manifest`] if it is no TOML.
    pub(crate) fn settings(&self) -> Result<toml::Table, CheckpointError> {
        let parsed: Result<toml::Table, _> = self.run_toml()?.parse();
        let mut settings = parsed.map_err(|source: toml::de::Error| {
            let (path, source) = (self.path.join(RUN_FILE), Box::new(source));
            CheckpointError::Manifest { path, source }
        })?;
        settings.remove("train");
        Ok(settings)
    }

    /// Checks that the run file is still the one that the checkpoint was trained with.
    pub(crate) fn check_settings(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let (found, expected) = (self.settings()?, &checkpoint.settings);
        let Some((key, found, expected)) = first_difference("", &found, expected) else {
            return Ok(());
        };
        let path = self.path.join(RUN_FILE);
        Err(CheckpointError::OtherSettings { path, key, found, expected })
    }

    /// Replaces the run file, for a run that is continued with other settings of `[train]`.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if it cannot be written; the old one then stays.
    pub fn set_run_toml(&self, run_toml: &str) -> Result<(), CheckpointError> {
        self.replace(RUN_FILE, run_toml)
    }

    /// The step folder to evaluate: `best`, else `latest`.
    ///
    /// # Errors
    /// [`CheckpointError::NoCheckpoint`] if the run has not written one.
    pub fn best_or_latest(&self) -> Result<PathBuf, CheckpointError> {
        for pointer in [BEST, LATEST] {
            if let Some(folder) = self.pointed(pointer)? {
                return Ok(folder);
            }
        }
        Err(CheckpointError::NoCheckpoint { path: self.path.clone() })
    }

    /// The newest checkpoint that is valid and whose logs are complete; `None` if there is none at
    /// all. Others are skipped with a warning.
    ///
    /// # Errors
    /// [`CheckpointError::AllDamaged`] if there are checkpoints and none is valid,
    /// [`CheckpointError::LostRows`] if none has all its rows, [`CheckpointError::Format`] or
    /// [`CheckpointError::Numerics`] if another version wrote the newest, and
    /// [`CheckpointError::Io`] if the system refuses to read one.
    pub fn newest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        Ok(self.recover()?.checkpoint)
    }

    /// Saves a checkpoint, moves `best` to the step `best`, then `latest` to the new one, and
    /// deletes all but the `keep` newest (0: none), `best` and `latest`.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; the checkpoint before this one then stays valid.
    pub fn save(
        &self,
        checkpoint: &Checkpoint,
        best: Option<u64>,
        keep: usize,
    ) -> Result<PathBuf, CheckpointError> {
        let folder = checkpoint.save(&self.path)?;
        let latest = Some(checkpoint.step);
        self.point(latest, best)?;
        self.forget_unlogged(checkpoint.step)?;
        self.rotate(keep, [latest, best])?;
        Ok(folder)
    }

    pub(crate) fn folder(&self, step: u64) -> PathBuf {
        self.path.join(Checkpoint::folder_name(step))
    }

    /// Steps of all checkpoints, ascending.
    pub(crate) fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let names = disk::list(&self.path)?;
        let mut steps: Vec<u64> = names.iter().filter_map(|n| Checkpoint::step_of(n)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Moves the pointers; one that would point to nothing is taken away.
    pub(crate) fn point(
        &self,
        latest: Option<u64>,
        best: Option<u64>,
    ) -> Result<(), CheckpointError> {
        for (name, step) in [(BEST, best), (LATEST, latest)] {
            let step = match step {
                Some(step) if disk::is_there(&self.folder(step), Kind::Folder)? => step,
                _ => {
                    disk::remove_file(&self.path.join(name))?;
                    continue;
                }
            };
            self.replace(name, &format!("{}\n", Checkpoint::folder_name(step)))?;
        }
        Ok(())
    }

    /// The step folder that a pointer names; `None` if there is no such pointer.
    pub(crate) fn pointed(&self, pointer: &str) -> Result<Option<PathBuf>, CheckpointError> {
        let path = self.path.join(pointer);
        let Some(name) = disk::read_text(&path)? else { return Ok(None) };
        if let Some(step) = Checkpoint::step_of(name.trim()) {
            let folder = self.folder(step);
            if disk::is_there(&folder, Kind::Folder)? {
                return Ok(Some(folder));
            }
        }
        let found = name.trim().chars().take(40).collect();
        Err(CheckpointError::Pointer { path, found })
    }

    /// Deletes all but the `keep` newest checkpoints and the steps `kept`. It reads no pointer: what
    /// cannot be read must not decide what is deleted.
    pub(crate) fn rotate(
        &self,
        keep: usize,
        kept: [Option<u64>; 2],
    ) -> Result<(), CheckpointError> {
        let steps = self.steps()?;
        let old = if keep == 0 { 0 } else { steps.len().saturating_sub(keep) };
        for &step in steps[..old].iter().filter(|&&step| !kept.contains(&Some(step))) {
            disk::remove_folder(&self.folder(step))?;
        }
        Ok(())
    }

    fn replace(&self, name: &str, text: &str) -> Result<(), CheckpointError> {
        let path = self.path.join(name);
        if disk::read_text(&path)?.is_some_and(|old| old == text) {
            return Ok(());
        }
        disk::replace_file(&path, text)
    }
}

/// Whether something stands where a folder was to be.
fn is_occupied(error: &CheckpointError) -> bool {
    use std::io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    let CheckpointError::Io { source, .. } = error else { return false };
    matches!(source.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}

/// Deletes unfinished folders of processes that were killed while they made the run folder `path`:
/// those whose lock nobody holds.
fn remove_dead_partials(path: &Path) -> Result<(), CheckpointError> {
    for partial in disk::partials_of(path)? {
        match Lock::acquire(&partial) {
            Ok(_unused) => disk::remove_tree(&partial)?,
            Err(CheckpointError::Locked { .. } | CheckpointError::Kind { .. }) => {}
            // Its own process may have taken it away meanwhile.
            Err(_) if disk::kind(&partial)?.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Key and both values of the first difference of two tables.
fn first_difference(
    prefix: &str,
    found: &toml::Table,
    expected: &toml::Table,
) -> Option<(String, String, String)> {
    let value = |value: Option<&toml::Value>| {
        value.map_or_else(|| "absent".to_owned(), |value| format!("`{value}`"))
    };
    for key in found.keys().chain(expected.keys()) {
        let path = format!("{prefix}{key}");
        match (found.get(key), expected.get(key)) {
            (Some(toml::Value::Table(found)), Some(toml::Value::Table(expected))) => {
                let below = first_difference(&format!("{path}."), found, expected);
                if below.is_some() {
                    return below;
                }
            }
            (found, expected) if found != expected => {
                return Some((path, value(found), value(expected)));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
