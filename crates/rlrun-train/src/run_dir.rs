//! The folder of a run: its run file, checkpoints and the pointers `latest` and `best`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, Kind, Lock, parent};
use crate::{Checkpoint, CheckpointError};

const RUN_FILE: &str = "run.toml";
const LATEST: &str = "latest";
const BEST: &str = "best";

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
            lock = Some(Arc::new(Lock::acquire(partial)?));
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
    fn pointed(&self, pointer: &str) -> Result<Option<PathBuf>, CheckpointError> {
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
mod tests {
    use std::fs;

    use rlrun_core::State;
    use rlrun_env::{EnvSpec, Space};

    use super::*;
    use crate::SavedPolicy;

    fn checkpoint(step: u64) -> Checkpoint {
        let spec = EnvSpec::new("Line-v0", Space::Discrete(1), Space::Discrete(1));
        let policy = SavedPolicy::new("still", &spec, State::new());
        let (agent, envs, trainer) = (State::new(), State::new(), State::new());
        let settings = toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(1))]);
        Checkpoint { step, policy, agent, envs, trainer, settings }
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
        assert_eq!(disk::list(&parent.path().join("a")).unwrap(), ["run"]);
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
    fn what_is_half_written_or_half_deleted_is_not_taken_for_a_checkpoint() {
        let (_parent, run) = new_run();
        run.save(&checkpoint(10), None, 2).unwrap();
        fs::create_dir(run.path().join(".step-000000020.partial-0")).unwrap();
        fs::create_dir(run.path().join(".deleted-step-000000005")).unwrap();
        fs::create_dir(run.folder(30)).unwrap();
        let recovery = run.recover().unwrap();
        assert_eq!(recovery.checkpoint.as_ref().unwrap().step, 10);
        run.rewind(&recovery, None, 2).unwrap();
        assert_eq!(run.steps().unwrap(), [10]);
        let mut names = disk::list(run.path()).unwrap();
        names.sort_unstable();
        let expected = ["damaged-step-000000030", "latest", "lock", "run.toml", "step-000000010"];
        assert_eq!(names, expected);
    }

    /// The run of the tests below: `best` is the oldest of its checkpoints.
    fn run_with_best() -> (tempfile::TempDir, RunDir) {
        let (parent, run) = new_run();
        for step in [10, 20, 30] {
            run.save(&checkpoint(step), Some(10), 2).unwrap();
        }
        (parent, run)
    }

    #[test]
    fn the_best_checkpoint_outlives_whichever_operation_of_a_save_fails() {
        for number in 0.. {
            let (_parent, run) = run_with_best();
            let fault = disk::fault::Fault::from_os(5);
            let saved = disk::fault::with(number, fault, || run.save(&checkpoint(40), Some(10), 2));
            let done = disk::fault::operations() <= number;
            assert_eq!(saved.is_ok(), done, "operation {number}");
            assert_eq!(run.best_or_latest().unwrap(), run.folder(10), "operation {number}");
            assert!(Checkpoint::load(&run.folder(10)).is_ok(), "operation {number}");
            let recovery = run.recover().unwrap();
            let newest = recovery.checkpoint.as_ref().unwrap().step;
            assert!([30, 40].contains(&newest), "operation {number}: {newest}");
            run.rewind(&recovery, Some(10), 2).unwrap();
            let expected = if newest == 30 { [10, 20, 30] } else { [10, 30, 40] };
            assert_eq!(run.steps().unwrap(), expected, "operation {number}");
            let hidden = |name: &String| name.starts_with('.');
            assert!(!disk::list(run.path()).unwrap().iter().any(hidden), "operation {number}");
            if done {
                assert!(number > 40, "{number} operations only");
                break;
            }
        }
    }

    #[test]
    fn a_refusal_of_the_system_is_neither_absence_nor_damage() {
        for number in 0.. {
            let (_parent, run) = run_with_best();
            let before = disk::list(run.path()).unwrap();
            let fault = disk::fault::Fault::from_os(24);
            let found = disk::fault::with(number, fault, || run.recover());
            if disk::fault::operations() <= number {
                assert_eq!(found.unwrap().checkpoint.unwrap().step, 30);
                assert!(number > 20, "{number} operations only");
                break;
            }
            let error = found.unwrap_err();
            assert!(matches!(error, CheckpointError::Io { .. }), "operation {number}: {error}");
            assert_eq!(disk::list(run.path()).unwrap(), before, "operation {number}");
        }
    }

    #[test]
    fn a_run_that_is_trained_is_refused_to_others() {
        let (_parent, run) = new_run();
        let again = RunDir::open(run.path()).unwrap();
        let message = again.clone().locked().unwrap_err().to_string();
        let owner = format!("process {} is training this run", std::process::id());
        assert!(message.starts_with(&owner), "{message}");
        drop(run);
        again.locked().unwrap();
    }

    #[test]
    fn what_a_killed_process_left_of_a_new_run_folder_is_taken_away() {
        let parent = tempfile::tempdir().unwrap();
        let (dead, alive) =
            (parent.path().join(".run.partial-0"), parent.path().join(".run.partial-1"));
        for folder in [&dead, &alive] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(dead.join("lock"), "1 gone\n").unwrap();
        let _held = Lock::acquire(&alive).unwrap();
        RunDir::create(&parent.path().join("run"), "").unwrap();
        let mut names = disk::list(parent.path()).unwrap();
        names.sort_unstable();
        assert_eq!(names, [".run.partial-1", "run"]);
    }

    #[test]
    fn of_two_processes_that_make_one_folder_the_second_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let other = path.clone();
        let quicker = disk::fault::Fault::Call(Box::new(move |_, _| {
            fs::create_dir(&other).unwrap();
            fs::write(other.join("run.toml"), "seed = 7\n").unwrap();
        }));
        let refused =
            disk::fault::with(4, quicker, || RunDir::create(&path, "seed = 8\n")).unwrap_err();
        assert!(matches!(refused, CheckpointError::RunExists { .. }), "{refused}");
        assert_eq!(RunDir::open(&path).unwrap().run_toml().unwrap(), "seed = 7\n");
        assert_eq!(disk::list(parent.path()).unwrap(), ["run"]);
    }

    #[test]
    fn an_edited_run_file_is_refused_by_key() {
        let (_parent, run) = new_run();
        run.set_run_toml("seed = 1\n[train]\nsave_freq = 9\n").unwrap();
        run.check_settings(&checkpoint(1)).unwrap();
        run.set_run_toml("seed = 1\n[agent]\ngamma = 0.5\n").unwrap();
        let message = run.check_settings(&checkpoint(1)).unwrap_err().to_string();
        assert!(message.starts_with("`agent` in `"), "{message}");
        assert!(message.contains("trained with absent"), "{message}");
    }

    #[test]
    fn a_pointer_to_nothing_is_an_error() {
        let (_parent, run) = run_with_best();
        fs::write(run.path().join(BEST), "../../other\n").unwrap();
        let message = run.best_or_latest().unwrap_err().to_string();
        assert!(message.contains("names `../../other`"), "{message}");
    }
}
