//! `policy.safetensors`: what has been learnt, with words that say what it fits. It is read alone
//! by whoever only acts.

use std::collections::BTreeMap;
use std::path::Path;

use rlrun_core::{NUMERICS, State, safetensors_metadata};
use rlrun_env::{BoxSpace, EnvSpec, Space};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::CheckpointError;
use crate::checkpoint::check_finite;
use crate::manifest::Manifest;

/// Name of the file in a step folder.
pub(crate) const POLICY_FILE: &str = "policy.safetensors";

/// A policy as it is saved. The words in the file's `__metadata__` are the fields beside `state`,
/// `numerics` and `version`; docs/reference/policy-file.md lists them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SavedPolicy {
    /// Name of the algorithm that learnt it.
    pub algorithm: String,
    /// Id of the environment that it was learnt in.
    pub env: String,
    /// What it sees.
    pub observation_space: Space,
    /// What it does.
    pub action_space: Space,
    /// The numbers.
    pub state: State,
}

impl SavedPolicy {
    /// A policy that `algorithm` learnt in environments like `spec`.
    pub fn new(algorithm: impl Into<String>, spec: &EnvSpec, state: State) -> SavedPolicy {
        SavedPolicy {
            algorithm: algorithm.into(),
            env: spec.id.clone(),
            observation_space: spec.observation_space.clone(),
            action_space: spec.action_space.clone(),
            state,
        }
    }

    /// Reads the policy of a step folder and checks it against its hash. No other file of numbers
    /// is opened. The step comes with it.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the file that is missing, damaged or of another format.
    pub fn load(folder: &Path) -> Result<(SavedPolicy, u64), CheckpointError> {
        let manifest = Manifest::read(folder)?;
        if manifest.numerics != NUMERICS {
            let (found, folder) = (manifest.numerics, folder.display());
            warn!(
                "`{folder}` was trained with numerics {found}, this program computes with \
                 {NUMERICS}: actions may differ in their last bits"
            );
        }
        Ok((SavedPolicy::read(folder, &manifest)?, manifest.step))
    }

    /// Reads the policy of a step folder with this manifest.
    pub(crate) fn read(folder: &Path, manifest: &Manifest) -> Result<SavedPolicy, CheckpointError> {
        let bytes = manifest.read_part(folder, POLICY_FILE)?;
        let path = folder.join(POLICY_FILE);
        let tensors = |source| CheckpointError::Tensors { path: path.clone(), source };
        let state = State::from_safetensors(&bytes).map_err(tensors)?;
        check_finite(&path, &state)?;
        let words = safetensors_metadata(&bytes).map_err(tensors)?;
        let word = |key: &'static str| {
            let missing = || CheckpointError::Metadata { path: path.clone(), key, found: None };
            words.get(key).ok_or_else(missing)
        };
        let space = |key: &'static str| {
            let text = word(key)?;
            let invalid = || {
                let found = Some(text.clone());
                CheckpointError::Metadata { path: path.clone(), key, found }
            };
            serde_json::from_str::<WrittenSpace>(text).map(Space::from).map_err(|_| invalid())
        };
        Ok(SavedPolicy {
            algorithm: word("algorithm")?.clone(),
            env: word("env")?.clone(),
            observation_space: space("observation_space")?,
            action_space: space("action_space")?,
            state,
        })
    }

    /// Checks that the policy, whose checkpoint lies at `path`, was learnt in the environment `id`.
    ///
    /// # Errors
    /// [`CheckpointError::OtherEnv`] naming both.
    pub fn check_env(&self, id: &str, path: &Path) -> Result<(), CheckpointError> {
        if self.env == id {
            return Ok(());
        }
        let (path, found, expected) = (path.to_owned(), self.env.clone(), id.to_owned());
        Err(CheckpointError::OtherEnv { path, found, expected })
    }

    /// What is fixed about the environments that the policy fits, without limit and threshold.
    pub fn spec(&self) -> EnvSpec {
        EnvSpec::new(&self.env, self.observation_space.clone(), self.action_space.clone())
    }

    /// The words of the file's `__metadata__`.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let space = |space: &Space| {
            serde_json::to_string(&WrittenSpace::from(space)).expect("numbers have a form in JSON")
        };
        let words = [
            ("algorithm", self.algorithm.clone()),
            ("env", self.env.clone()),
            ("observation_space", space(&self.observation_space)),
            ("action_space", space(&self.action_space)),
            ("numerics", NUMERICS.to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        words.map(|(key, word)| (key.to_owned(), word)).into()
    }
}

/// A space in JSON: `{"discrete":2}`, `{"multi_discrete":[3,2]}`, `{"multi_binary":4}` or
/// `{"box":{"low":[-2.0],"high":[2.0],"shape":[1]}}`, in which `null` is no bound.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenSpace {
    Discrete(usize),
    Box { low: Vec<Option<f32>>, high: Vec<Option<f32>>, shape: Vec<usize> },
    MultiDiscrete(Vec<usize>),
    MultiBinary(usize),
}

impl From<&Space> for WrittenSpace {
    fn from(space: &Space) -> WrittenSpace {
        let finite = |bounds: &[f32]| -> Vec<Option<f32>> {
            bounds.iter().map(|x| Some(*x).filter(|x| x.is_finite())).collect()
        };
        match space {
            Space::Discrete(n) => WrittenSpace::Discrete(*n),
            Space::Box(BoxSpace { low, high, shape, .. }) => {
                WrittenSpace::Box { low: finite(low), high: finite(high), shape: shape.clone() }
            }
            Space::MultiDiscrete(n) => WrittenSpace::MultiDiscrete(n.clone()),
            Space::MultiBinary(n) => WrittenSpace::MultiBinary(*n),
            other => unimplemented!("`{other}` has no written form yet"),
        }
    }
}

impl From<WrittenSpace> for Space {
    fn from(space: WrittenSpace) -> Space {
        let bounds = |bounds: Vec<Option<f32>>, none: f32| -> Vec<f32> {
            bounds.into_iter().map(|bound| bound.unwrap_or(none)).collect()
        };
        match space {
            WrittenSpace::Discrete(n) => Space::Discrete(n),
            WrittenSpace::Box { low, high, shape } => {
                let (low, high) = (bounds(low, f32::NEG_INFINITY), bounds(high, f32::INFINITY));
                Space::Box(BoxSpace::new(low, high).with_shape(&shape))
            }
            WrittenSpace::MultiDiscrete(n) => Space::MultiDiscrete(n),
            WrittenSpace::MultiBinary(n) => Space::MultiBinary(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_space_comes_back_from_its_written_form() {
        let bounds = BoxSpace::new([-0.1, f32::NEG_INFINITY], [1.0 / 3.0, f32::INFINITY]);
        for space in [
            Space::Discrete(3),
            Space::Box(bounds.with_shape(&[2, 1])),
            Space::MultiDiscrete(vec![2, 5]),
            Space::MultiBinary(4),
        ] {
            let text = serde_json::to_string(&WrittenSpace::from(&space)).unwrap();
            let read: WrittenSpace = serde_json::from_str(&text).unwrap();
            assert_eq!(Space::from(read), space, "{text}");
        }
    }
}
