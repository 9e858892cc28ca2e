//! The folder of a run: its run file, checkpoints and the pointers `latest` and `best`.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::checkpoint::{create_folder, io, parent, replace_file};
use crate::{Checkpoint, CheckpointError};

const RUN_FILE: &str = "run.toml";
const LATEST: &str = "latest";
const BEST: &str = "best";

/// A folder that one run writes into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the folder, with the resolved run file in it. It appears complete or not at all: from
    /// then on the run can be continued.
    ///
    /// # Errors
    /// [`CheckpointError::RunExists`], or [`CheckpointError::Io`] if it cannot be made.
    pub fn create(path: &Path, run_toml: &str) -> Result<RunDir, CheckpointError> {
        if path.exists() {
            return Err(CheckpointError::RunExists { path: path.to_owned() });
        }
        fs::create_dir_all(parent(path)).map_err(io("create", parent(path)))?;
        create_folder(path, |partial| replace_file(&partial.join(RUN_FILE), run_toml))?;
        Ok(RunDir { path: path.to_owned() })
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    /// [`CheckpointError::NotARun`] if there is no run file in it.
    pub fn open(path: &Path) -> Result<RunDir, CheckpointError> {
        if !path.join(RUN_FILE).is_file() {
            return Err(CheckpointError::NotARun { path: path.to_owned() });
        }
        Ok(RunDir { path: path.to_owned() })
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
        fs::read_to_string(&path).map_err(io("read", &path))
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
        let folder = self.pointed(BEST).or_else(|| self.pointed(LATEST));
        folder.ok_or_else(|| CheckpointError::NoCheckpoint { path: self.path.clone() })
    }

    /// The newest checkpoint that is valid; `None` if there is none at all. A damaged one is
    /// skipped with a warning.
    ///
    /// # Errors
    /// [`CheckpointError::AllDamaged`] if there are checkpoints and none is valid;
    /// [`CheckpointError::Format`] or [`CheckpointError::Numerics`] if another version wrote the
    /// newest.
    pub fn newest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let steps = self.steps()?;
        let mut newest_error = None;
        for &step in steps.iter().rev() {
            match Checkpoint::load(&self.folder(step)) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(
                    error @ (CheckpointError::Format { .. } | CheckpointError::Numerics { .. }),
                ) => return Err(error),
                Err(error) => {
                    warn!("{error}; trying the checkpoint before it");
                    newest_error.get_or_insert(error);
                }
            }
        }
        newest_error.map_or(Ok(None), |error| {
            let (path, source) = (self.path.clone(), Box::new(error));
            Err(CheckpointError::AllDamaged { path, count: steps.len(), source })
        })
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
        self.point(Some(checkpoint.step), best)?;
        self.rotate(keep)?;
        Ok(folder)
    }

    /// Makes the folder match a run that goes on at `step` (`None`: at its beginning): checkpoints
    /// beyond it, which could not be read, are set aside, and the pointers are corrected.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub(crate) fn rewind(
        &self,
        step: Option<u64>,
        best: Option<u64>,
    ) -> Result<(), CheckpointError> {
        for later in self.steps()?.into_iter().filter(|&later| Some(later) > step) {
            let (from, name) = (self.folder(later), Checkpoint::folder_name(later));
            let to = self.path.join(format!("damaged-{name}"));
            warn!("setting the damaged checkpoint aside as `{}`", to.display());
            if to.exists() {
                fs::remove_dir_all(&to).map_err(io("replace", &to))?;
            }
            fs::rename(&from, &to).map_err(io("rename", &from))?;
        }
        self.point(step, best)
    }

    fn folder(&self, step: u64) -> PathBuf {
        self.path.join(Checkpoint::folder_name(step))
    }

    /// Steps of all checkpoints, ascending.
    fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let names = list(&self.path)?;
        let mut steps: Vec<u64> = names.iter().filter_map(|n| Checkpoint::step_of(n)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn point(&self, latest: Option<u64>, best: Option<u64>) -> Result<(), CheckpointError> {
        for (name, step) in [(BEST, best), (LATEST, latest)] {
            match step.filter(|&step| self.folder(step).is_dir()) {
                Some(step) => {
                    self.replace(name, &format!("{}\n", Checkpoint::folder_name(step)))?
                }
                None => remove_if_there(&self.path.join(name))?,
            }
        }
        Ok(())
    }

    /// The step folder that a pointer names, if both are there.
    fn pointed(&self, pointer: &str) -> Option<PathBuf> {
        let name = fs::read_to_string(self.path.join(pointer)).ok()?;
        let folder = self.folder(Checkpoint::step_of(name.trim())?);
        folder.is_dir().then_some(folder)
    }

    fn rotate(&self, keep: usize) -> Result<(), CheckpointError> {
        let steps = self.steps()?;
        if keep == 0 || steps.len() <= keep {
            return Ok(());
        }
        let kept = [self.pointed(BEST), self.pointed(LATEST)];
        for &step in &steps[..steps.len() - keep] {
            let folder = self.folder(step);
            if !kept.contains(&Some(folder.clone())) {
                fs::remove_dir_all(&folder).map_err(io("delete", &folder))?;
            }
        }
        Ok(())
    }

    fn replace(&self, name: &str, text: &str) -> Result<(), CheckpointError> {
        let path = self.path.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        replace_file(&path, text)
    }
}

fn list(path: &Path) -> Result<Vec<String>, CheckpointError> {
    let names = fs::read_dir(path).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    });
    names.map_err(io("list", path))
}

fn remove_if_there(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rlrun_core::State;
    use rlrun_env::{EnvSpec, Space};

    use super::*;
    use crate::SavedPolicy;

    fn checkpoint(step: u64) -> Checkpoint {
        let spec = EnvSpec::new("Line-v0", Space::Discrete(1), Space::Discrete(1));
        let policy = SavedPolicy::new("still", &spec, State::new());
        let (agent, envs, trainer) = (State::new(), State::new(), State::new());
        Checkpoint { step, policy, agent, envs, trainer }
    }

    fn new_run() -> (tempfile::TempDir, RunDir) {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDir::create(&parent.path().join("a/run"), "seed = 1\n").unwrap();
        (parent, run)
    }

    #[test]
    fn a_new_folder_holds_the_run_file_and_is_never_made_twice() {
        let (parent, run) = new_run();
        assert_eq!(RunDir::open(run.path()).unwrap().run_toml().unwrap(), "seed = 1\n");
        let message = RunDir::create(run.path(), "seed = 2\n").unwrap_err().to_string();
        assert!(message.contains("exists already and is never overwritten"), "{message}");
        assert_eq!(run.run_toml().unwrap(), "seed = 1\n");
        assert_eq!(list(&parent.path().join("a")).unwrap(), ["run"]);
    }

    #[test]
    fn old_checkpoints_are_deleted_but_neither_the_newest_nor_the_best() {
        let (_parent, run) = new_run();
        for step in [10, 20, 30, 40, 50] {
            run.save(&checkpoint(step), (step >= 20).then_some(20), 2).unwrap();
        }
        assert_eq!(run.steps().unwrap(), [20, 40, 50]);
        assert_eq!(run.best_or_latest().unwrap(), run.folder(20));
        assert_eq!(run.newest().unwrap().unwrap().step, 50);
    }

    #[test]
    fn a_folder_without_checkpoints_has_no_newest_and_nothing_to_evaluate() {
        let (_parent, run) = new_run();
        assert_eq!(run.newest().unwrap(), None);
        let message = run.best_or_latest().unwrap_err().to_string();
        assert!(message.contains("has no checkpoint yet"), "{message}");
    }

    #[test]
    fn a_half_written_checkpoint_is_not_taken_for_one() {
        let (_parent, run) = new_run();
        run.save(&checkpoint(10), None, 2).unwrap();
        fs::create_dir(run.path().join(".step-000000020.partial")).unwrap();
        fs::create_dir(run.folder(30)).unwrap();
        assert_eq!(run.newest().unwrap().unwrap().step, 10);
        run.rewind(Some(10), None).unwrap();
        assert_eq!(run.steps().unwrap(), [10]);
        assert!(run.path().join("damaged-step-000000030").is_dir());
    }
}
