//! `manifest.toml`: what is in a step folder, with the hash of every file and, in its first line, of
//! itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Checkpoint, CheckpointError, disk};

/// Number of the folder layout; another number is refused.
pub(crate) const FORMAT: u32 = 3;
pub(crate) const MANIFEST: &str = "manifest.toml";

/// From this format on, a manifest holds its own hash.
const SIGNED_SINCE: u32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) numerics: u32,
    pub(crate) version: String,
    pub(crate) step: u64,
    pub(crate) algorithm: String,
    pub(crate) env: String,
    pub(crate) files: BTreeMap<String, FileHash>,
    /// The run file without `[train]`.
    pub(crate) settings: toml::Table,
}

/// How long a file is, and the hash of its bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileHash {
    bytes: u64,
    sha256: String,
}

impl FileHash {
    pub(crate) fn of(bytes: &[u8]) -> FileHash {
        FileHash { bytes: bytes.len() as u64, sha256: hash(bytes) }
    }
}

/// The keys that are read before the rest, which may differ between formats.
#[derive(Deserialize)]
struct ManifestFormat {
    format: u32,
    #[serde(default)]
    version: String,
}

impl Manifest {
    /// Reads the manifest of a step folder. A flipped bit anywhere in it is damage; only one that is
    /// whole can say that it has another format.
    pub(crate) fn read(folder: &Path) -> Result<Manifest, CheckpointError> {
        let path = folder.join(MANIFEST);
        disk::is_there(folder, disk::Kind::Folder)?;
        let text = disk::read_text(&path)?;
        let text = text.ok_or_else(|| CheckpointError::Missing { path: path.clone() })?;
        let signed = signed(&text);
        if let Some((expected, rest)) = signed {
            check_hash(&path, expected, &hash(rest.as_bytes()))?;
        }
        let invalid =
            |source| CheckpointError::Manifest { path: path.clone(), source: Box::new(source) };
        let rest = signed.map_or(text.as_str(), |(_, rest)| rest);
        let ManifestFormat { format, version } = toml::from_str(rest).map_err(invalid)?;
        if signed.is_none() && format >= SIGNED_SINCE {
            check_hash(&path, "", &hash(rest.as_bytes()))?;
        }
        if format != FORMAT {
            let path = folder.to_owned();
            return Err(CheckpointError::Format { path, found: format, expected: FORMAT, version });
        }
        let manifest: Manifest = toml::from_str(rest).map_err(invalid)?;
        manifest.check_step(folder)?;
        Ok(manifest)
    }

    /// A folder that is called `step-…` holds that step; one by another name holds any.
    fn check_step(&self, folder: &Path) -> Result<(), CheckpointError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let named = name.starts_with(Checkpoint::PREFIX);
        if named && Checkpoint::step_of(&name) != Some(self.step) {
            return Err(CheckpointError::Step { path: folder.to_owned(), found: self.step });
        }
        Ok(())
    }

    /// The text of the file.
    pub(crate) fn to_text(&self) -> String {
        let rest = toml::to_string(self).expect("a manifest is plain strings and numbers");
        format!("sha256 = \"{}\"\n{rest}", hash(rest.as_bytes()))
    }

    /// The bytes of a file of the step folder `folder`, if they are those that were saved.
    pub(crate) fn read_part(&self, folder: &Path, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let path = folder.join(name);
        let saved = self.files.get(name);
        let saved =
            saved.ok_or_else(|| CheckpointError::Missing { path: folder.join(MANIFEST) })?;
        // One byte more than there should be is enough to see that the file is another one.
        let bytes = disk::read(&path, saved.bytes.saturating_add(1))?;
        let bytes = bytes.ok_or_else(|| CheckpointError::Missing { path: path.clone() })?;
        check_hash(&path, &saved.sha256, &hash(&bytes))?;
        Ok(bytes)
    }
}

/// The hash in the first line of a manifest, and the rest, which it is of.
fn signed(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("sha256 = \"")?.split_once("\"\n")
}

fn check_hash(path: &Path, expected: &str, found: &str) -> Result<(), CheckpointError> {
    if found == expected {
        return Ok(());
    }
    let (path, expected, found) = (path.to_owned(), expected.to_owned(), found.to_owned());
    Err(CheckpointError::Hash { path, expected, found })
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use rlrun_core::NUMERICS;

    use super::*;

    fn sample() -> Manifest {
        Manifest {
            format: FORMAT,
            numerics: NUMERICS,
            version: "0.1.0".to_owned(),
            step: 7,
            algorithm: "ppo".to_owned(),
            env: "CartPole-v1".to_owned(),
            files: [("a".to_owned(), FileHash::of(b"a"))].into(),
            settings: "seed = 1".parse().unwrap(),
        }
    }

    fn written(text: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), text).unwrap();
        dir
    }

    #[test]
    fn every_flipped_bit_of_a_manifest_is_damage() {
        let text = sample().to_text();
        assert_eq!(Manifest::read(written(text.as_bytes()).path()).unwrap().step, 7);
        for bit in 0..8 * text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Manifest::read(written(&bytes).path()).err();
            let damage = error.as_ref().is_some_and(CheckpointError::is_damage);
            assert!(damage, "bit {bit}: {:?}", error.map(|error| error.to_string()));
        }
        for length in 0..text.len() {
            let error = Manifest::read(written(&text.as_bytes()[..length]).path()).err().unwrap();
            assert!(error.is_damage(), "{length} bytes: {error}");
        }
    }

    #[test]
    fn a_whole_manifest_of_another_format_is_refused_with_what_to_do() {
        let refused = |text: &str| {
            let error = Manifest::read(written(text.as_bytes()).path()).err().unwrap();
            assert!(!error.is_damage(), "{error}");
            error.to_string()
        };
        let message = refused("format = 2\nversion = \"0.1.0\"\n");
        assert!(message.contains("has format 2, this program reads format 3"), "{message}");
        assert!(message.contains("train the run anew from its `run.toml`"), "{message}");
        let message =
            refused(&Manifest { format: 4, version: "9.0.0".to_owned(), ..sample() }.to_text());
        assert!(message.contains("has format 4") && message.contains("`9.0.0`"), "{message}");
    }
}
