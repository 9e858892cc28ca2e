//! A checkpoint: everything a run needs to go on, in one folder of hashed files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rlrun_core::{NUMERICS, State};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy_file::POLICY_FILE;
use crate::{CheckpointError, SavedPolicy};

/// Number of the folder layout; another number is refused.
const FORMAT: u32 = 2;
const MANIFEST: &str = "manifest.toml";

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
}

/// `manifest.toml`: what is in the folder, and the hash of each file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    pub(crate) numerics: u32,
    version: String,
    pub(crate) step: u64,
    algorithm: String,
    env: String,
    pub(crate) sha256: BTreeMap<String, String>,
}

/// The first key of every manifest; read before the rest, which may differ between formats.
#[derive(Deserialize)]
struct ManifestFormat {
    format: u32,
    #[serde(default)]
    version: String,
}

impl Checkpoint {
    /// Name of the folder of a step: `step-000050000`.
    pub(crate) fn folder_name(step: u64) -> String {
        format!("step-{step:09}")
    }

    /// Step of a folder of that name.
    pub(crate) fn step_of(folder_name: &str) -> Option<u64> {
        folder_name.strip_prefix("step-")?.parse().ok()
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
        remove_folder_if_there(&folder)?;
        create_folder(&folder, |partial| self.write_files(partial))?;
        Ok(folder)
    }

    fn write_files(&self, folder: &Path) -> Result<(), CheckpointError> {
        let mut sha256 = BTreeMap::new();
        let mut write = |name: &str, state: &State, words: &BTreeMap<String, String>| {
            let path = folder.join(name);
            let invalid = |source| CheckpointError::Tensors { path: path.clone(), source };
            let bytes = state.to_safetensors_with(words).map_err(invalid)?;
            sha256.insert(name.to_owned(), hash(&bytes));
            write_synced(&path, &bytes)
        };
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
            sha256,
        };
        let text = toml::to_string(&manifest).expect("a manifest is plain strings and numbers");
        write_synced(&folder.join(MANIFEST), text.as_bytes())
    }

    /// Reads the checkpoint in `folder` and checks every file against its hash.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the file that is missing, damaged or of another format, and
    /// [`CheckpointError::Numerics`] if the run cannot go on with the same bits.
    pub fn load(folder: &Path) -> Result<Checkpoint, CheckpointError> {
        let manifest = read_manifest(folder)?;
        if manifest.numerics != NUMERICS {
            let Manifest { numerics: found, version, .. } = manifest;
            let (path, expected) = (folder.to_owned(), NUMERICS);
            return Err(CheckpointError::Numerics { path, found, expected, version });
        }
        let part = |name: &str| {
            let bytes = read_part(folder, name, &manifest.sha256)?;
            let path = folder.join(name);
            State::from_safetensors(&bytes)
                .map_err(|source| CheckpointError::Tensors { path, source })
        };
        Ok(Checkpoint {
            policy: SavedPolicy::read(folder, &manifest.sha256)?,
            agent: part("agent.safetensors")?,
            envs: part("envs.safetensors")?,
            trainer: part("trainer.safetensors")?,
            step: manifest.step,
        })
    }
}

/// The bytes of a file of a step folder, if they have the hash that `sha256` says.
pub(crate) fn read_part(
    folder: &Path,
    name: &str,
    sha256: &BTreeMap<String, String>,
) -> Result<Vec<u8>, CheckpointError> {
    let path = folder.join(name);
    let bytes = fs::read(&path).map_err(io("read", &path))?;
    let (expected, found) = (sha256.get(name).cloned().unwrap_or_default(), hash(&bytes));
    if found != expected {
        return Err(CheckpointError::Hash { path, expected, found });
    }
    Ok(bytes)
}

pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest, CheckpointError> {
    let path = folder.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(io("read", &path))?;
    let invalid =
        |source| CheckpointError::Manifest { path: path.clone(), source: Box::new(source) };
    let ManifestFormat { format, version } = toml::from_str(&text).map_err(invalid)?;
    if format != FORMAT {
        let path = folder.to_owned();
        return Err(CheckpointError::Format { path, found: format, expected: FORMAT, version });
    }
    toml::from_str(&text).map_err(invalid)
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Makes the folder `path` with what `fill` writes into it. It is filled under another name, synced
/// and renamed, so that a folder of this name is always complete.
pub(crate) fn create_folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let (parent, partial) = (parent(path), partial_of(path));
    remove_folder_if_there(&partial)?;
    fs::create_dir(&partial).map_err(io("create", path))?;
    let create = || {
        fill(&partial)?;
        sync_folder(&partial)?;
        fs::rename(&partial, path).map_err(io("create", path))?;
        sync_folder(parent)
    };
    create().inspect_err(|_| drop(fs::remove_dir_all(&partial)))
}

/// Replaces a small file so that a reader finds the old or the new content, never a part.
pub(crate) fn replace_file(path: &Path, text: &str) -> Result<(), CheckpointError> {
    let partial = partial_of(path);
    write_synced(&partial, text.as_bytes())?;
    fs::rename(&partial, path).map_err(io("write", path))
}

/// Where `path` is written before it is complete.
fn partial_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parent(path).join(format!(".{name}.partial"))
}

/// The folder that `path` lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

fn remove_folder_if_there(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("delete", path)(error)),
        _ => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(io("write", path))
}

fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io("sync", path))
}

/// Names action and path of a refused file operation.
pub(crate) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(std::io::Error) -> CheckpointError + 'a {
    move |source| CheckpointError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use rlrun_env::{BoxSpace, EnvSpec, Space};

    use super::*;

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
        let manifest = fs::read_to_string(folder.join(MANIFEST)).unwrap();
        let (before, cut) = (fs::read(&path).unwrap(), b"cut");
        let resigned = manifest.replace(&hash(&before), &hash(cut));
        fs::write(&path, cut).unwrap();
        fs::write(folder.join(MANIFEST), resigned).unwrap();
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
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).unwrap();
        let numerics = format!("numerics = {NUMERICS}");
        fs::write(&path, text.replace(&numerics, "numerics = 0")).unwrap();
        let message = Checkpoint::load(&folder).unwrap_err().to_string();
        assert!(message.contains("was computed with numerics 0"), "{message}");
        assert!(message.contains("train it anew"), "{message}");
        assert!(SavedPolicy::load(&folder).is_ok());
    }

    #[test]
    fn an_earlier_format_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MANIFEST), "format = 1\nversion = \"0.1.0\"\n").unwrap();
        let message = Checkpoint::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains("has format 1, this program reads format 2"), "{message}");
        assert!(message.contains("train the run anew from its `run.toml`"), "{message}");
    }

    #[test]
    fn a_later_format_names_the_version_to_use() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MANIFEST), "format = 3\nversion = \"9.0.0\"\nnew = 1\n").unwrap();
        let message = Checkpoint::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains("has format 3"), "{message}");
        assert!(message.contains("`9.0.0`"), "{message}");
    }
}
