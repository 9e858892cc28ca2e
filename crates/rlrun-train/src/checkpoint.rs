//! A checkpoint: everything a run needs to go on, in one folder of hashed files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rlrun_core::{NUMERICS, State};

use crate::manifest::{FORMAT, FileHash, MANIFEST, Manifest};
use crate::policy_file::POLICY_FILE;
use crate::{CheckpointError, SavedPolicy, disk};

/// A run at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Environment steps taken.
    pub step: u64,
    /// What has been learnt: all that acting takes.
    pub policy: SavedPolicy,
    /// Optimizer, buffers, random streams, counters.
    pub agent: State,
    /// Training environments, mid-episode.
    pub envs: State,
    /// Counters, episode statistics, best score and log positions.
    pub trainer: State,
    /// The run file without `[train]`: what may not change while the run lasts.
    pub settings: toml::Table,
}

impl Checkpoint {
    /// How the name of a step folder begins.
    pub(crate) const PREFIX: &str = "step-";

    /// Name of the folder of a step: `step-000050000`.
    pub(crate) fn folder_name(step: u64) -> String {
        format!("step-{step:09}")
    }

    /// Step of a folder of that name.
    pub(crate) fn step_of(folder_name: &str) -> Option<u64> {
        let step = folder_name.strip_prefix(Checkpoint::PREFIX)?.parse().ok()?;
        (Checkpoint::folder_name(step) == folder_name).then_some(step)
    }

    fn parts(&self) -> [(&'static str, &State); 3] {
        [
            ("agent.safetensors", &self.agent),
            ("envs.safetensors", &self.envs),
            ("trainer.safetensors", &self.trainer),
        ]
    }

    /// Writes the checkpoint as a folder in `parent` and returns the folder, which appears complete
    /// or not at all; one that is there already is replaced.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] naming the file; nothing that was there is lost.
    pub fn save(&self, parent: &Path) -> Result<PathBuf, CheckpointError> {
        let folder = parent.join(Checkpoint::folder_name(self.step));
        disk::create_folder(&folder, true, |partial| self.write_files(partial))?;
        Ok(folder)
    }

    fn write_files(&self, folder: &Path) -> Result<(), CheckpointError> {
        let mut files = BTreeMap::new();
        let mut write = |name: &str, state: &State, words: &BTreeMap<String, String>| {
            let path = folder.join(name);
            let invalid = |source| CheckpointError::Tensors { path: path.clone(), source };
            let bytes = state.to_safetensors_with(words).map_err(invalid)?;
            files.insert(name.to_owned(), FileHash::of(&bytes));
            disk::write_new(&path, &bytes)
        };
        check_finite(&folder.join(POLICY_FILE), &self.policy.state)?;
        write(POLICY_FILE, &self.policy.state, &self.policy.metadata())?;
        for (name, state) in self.parts() {
            write(name, state, &BTreeMap::new())?;
        }
        let manifest = Manifest {
            format: FORMAT,
            numerics: NUMERICS,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            step: self.step,
            algorithm: self.policy.algorithm.clone(),
            env: self.policy.env.clone(),
            files,
            settings: self.settings.clone(),
        };
        disk::write_new(&folder.join(MANIFEST), manifest.to_text().as_bytes())
    }

    /// Reads the checkpoint in `folder` and checks every file against its hash.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the file that is missing, damaged or of another format, and
    /// [`CheckpointError::Numerics`] if the run cannot go on with the same bits.
    pub fn load(folder: &Path) -> Result<Checkpoint, CheckpointError> {
        let manifest = Manifest::read(folder)?;
        if manifest.numerics != NUMERICS {
            let Manifest { numerics: found, version, .. } = manifest;
            let (path, expected) = (folder.to_owned(), NUMERICS);
            return Err(CheckpointError::Numerics { path, found, expected, version });
        }
        let part = |name: &str| {
            let bytes = manifest.read_part(folder, name)?;
            let path = folder.join(name);
            State::from_safetensors(&bytes)
                .map_err(|source| CheckpointError::Tensors { path, source })
        };
        Ok(Checkpoint {
            policy: SavedPolicy::read(folder, &manifest)?,
            agent: part("agent.safetensors")?,
            envs: part("envs.safetensors")?,
            trainer: part("trainer.safetensors")?,
            step: manifest.step,
            settings: manifest.settings,
        })
    }
}

/// A policy that holds a number which is not finite can do nothing: it is neither saved nor used.
pub(crate) fn check_finite(path: &Path, policy: &State) -> Result<(), CheckpointError> {
    let Some(entry) = policy.not_finite() else { return Ok(()) };
    Err(CheckpointError::NotFinite { path: path.to_owned(), entry: entry.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rlrun_env::{BoxSpace, EnvSpec, Space};

    use super::*;

    /// Changes the manifest of a step folder as if it had been written so.
    fn resign(folder: &Path, change: impl FnOnce(&mut Manifest)) {
        let mut manifest = Manifest::read(folder).unwrap();
        change(&mut manifest);
        fs::write(folder.join(MANIFEST), manifest.to_text()).unwrap();
    }

    fn line() -> EnvSpec {
        let places = Space::Box(BoxSpace::new([f32::NEG_INFINITY], [8.0]));
        EnvSpec::new("Line-v0", places, Space::Discrete(2))
    }

    fn sample(step: u64) -> Checkpoint {
        let mut agent = State::new();
        agent.insert_f32("w", &[3], &[1.0, 2.0, 3.0]);
        Checkpoint {
            step,
            policy: SavedPolicy::new("still", &line(), State::new()),
            agent,
            envs: State::new(),
            trainer: State::new(),
            settings: toml::Table::new(),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = sample(50_000).save(dir.path()).unwrap();
        assert!(folder.ends_with("step-000050000"));
        assert_eq!(Checkpoint::load(&folder).unwrap(), sample(50_000));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_state_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let read = |folder: &Path| fs::read(folder.join("agent.safetensors")).unwrap();
        let first = read(&sample(1).save(dir.path()).unwrap());
        let again = read(&sample(1).save(dir.path()).unwrap());
        assert_eq!(first, again);
    }

    #[test]
    fn one_flipped_bit_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = sample(1).save(dir.path()).unwrap();
        let path = folder.join("agent.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        let message = Checkpoint::load(&folder).unwrap_err().to_string();
        assert!(message.contains("agent.safetensors` is damaged"), "{message}");
    }

    #[test]
    fn a_hashed_file_that_holds_no_state_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = sample(1).save(dir.path()).unwrap();
        let path = folder.join("agent.safetensors");
        fs::write(&path, b"cut").unwrap();
        let cut = FileHash::of(b"cut");
        resign(&folder, |manifest| {
            drop(manifest.files.insert("agent.safetensors".to_owned(), cut))
        });
        let message = Checkpoint::load(&folder).unwrap_err().to_string();
        assert!(message.contains("agent.safetensors` holds no saved state"), "{message}");
    }

    #[test]
    fn the_policy_is_read_alone_with_what_it_fits() {
        let dir = tempfile::tempdir().unwrap();
        let folder = sample(7).save(dir.path()).unwrap();
        for (name, _) in sample(7).parts() {
            fs::remove_file(folder.join(name)).unwrap();
        }
        let (policy, step) = SavedPolicy::load(&folder).unwrap();
        assert_eq!((&policy, step), (&sample(7).policy, 7));
        assert_eq!(policy.spec(), line());
    }

    #[test]
    fn a_run_of_another_arithmetic_cannot_go_on_but_its_policy_can_act() {
        let dir = tempfile::tempdir().unwrap();
        let folder = sample(1).save(dir.path()).unwrap();
        resign(&folder, |manifest| manifest.numerics = 0);
        let message = Checkpoint::load(&folder).unwrap_err().to_string();
        assert!(message.contains("was computed with numerics 0"), "{message}");
        assert!(message.contains("train it anew"), "{message}");
        assert!(SavedPolicy::load(&folder).is_ok());
    }

    #[test]
    fn an_old_checkpoint_under_the_name_of_a_later_step_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = sample(1).save(dir.path()).unwrap();
        let later = dir.path().join("step-000009999");
        fs::rename(&folder, &later).unwrap();
        let error = Checkpoint::load(&later).unwrap_err();
        assert!(error.is_damage());
        assert!(error.to_string().contains("step-000009999` holds step 1"), "{error}");
        let own_name = dir.path().join("mine");
        fs::rename(&later, &own_name).unwrap();
        assert_eq!(Checkpoint::load(&own_name).unwrap(), sample(1));
    }

    #[test]
    fn parameters_that_are_not_finite_are_neither_saved_nor_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let folder = sample(1).save(dir.path()).unwrap();
        let mut spoilt = sample(2);
        spoilt.policy.state.insert_f32("w", &[2], &[1.0, f32::NAN]);
        let message = spoilt.save(dir.path()).unwrap_err().to_string();
        assert!(message.contains("`w`") && message.contains("is not finite"), "{message}");
        assert_eq!(disk::list(dir.path()).unwrap(), ["step-000000001"]);
        let bytes = spoilt.policy.state.to_safetensors_with(&spoilt.policy.metadata()).unwrap();
        fs::write(folder.join(POLICY_FILE), &bytes).unwrap();
        let hash = FileHash::of(&bytes);
        resign(&folder, |manifest| drop(manifest.files.insert(POLICY_FILE.to_owned(), hash)));
        for message in [
            Checkpoint::load(&folder).unwrap_err().to_string(),
            SavedPolicy::load(&folder).unwrap_err().to_string(),
        ] {
            assert!(message.contains("is not finite"), "{message}");
        }
    }

    #[test]
    fn a_state_whose_shape_and_data_disagree_is_refused_when_it_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let mut wrong = sample(1);
        wrong.agent.insert_f32("x", &[7], &[1.0]);
        let error = wrong.save(dir.path()).unwrap_err();
        assert!(error.to_string().contains("agent.safetensors"), "{error}");
        assert!(format!("{error:?}").contains("`x` has the shape [7] and 1 numbers"), "{error:?}");
        assert_eq!(disk::list(dir.path()).unwrap().len(), 0);
    }

    #[test]
    fn the_newest_whole_checkpoint_loads_whichever_operation_of_a_save_fails() {
        for fault in [|| disk::fault::Fault::from_os(28), || disk::fault::Fault::Short] {
            for number in 0.. {
                let dir = tempfile::tempdir().unwrap();
                let before = sample(1).save(dir.path()).unwrap();
                let saved = disk::fault::with(number, fault(), || sample(2).save(dir.path()));
                let done = disk::fault::operations() <= number;
                assert_eq!(Checkpoint::load(&before).unwrap(), sample(1));
                match saved {
                    Ok(folder) => assert_eq!(Checkpoint::load(&folder).unwrap(), sample(2)),
                    Err(error) => assert!(!error.is_damage(), "{error}"),
                }
                if done {
                    assert!(number > 15, "{number} operations only");
                    break;
                }
            }
        }
    }
}
