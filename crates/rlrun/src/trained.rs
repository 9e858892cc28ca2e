//! A trained agent from a checkpoint.

use std::path::{Path, PathBuf};

use rlrun_agents::Policy;
use rlrun_env::{EnvSpec, VecEnv};
use rlrun_train::{
    Evaluation, RunDir, SavedPolicy, evaluate, evaluate_stochastic, evaluation_seed,
};

use crate::{Algorithm, ConfigError, EnvConfig, Environment, Run, run_file};

/// Number of the evaluation of a finished run; those of training are numbered by step.
const FINAL_EVALUATION: u64 = u64::MAX;

/// The policy of a checkpoint, by itself: no environment is made and no other file of numbers is
/// opened. `path` is a run folder (its `best`, else its `latest` checkpoint) or one step folder.
///
/// It acts on plain numbers, from as many threads as you like, and allocates nothing once its
/// buffers are there:
///
/// ```no_run
/// use rlrun::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = load_policy("checkpoints/ppo-CartPole-v1".as_ref(), ALGORITHMS)?;
/// let mut memory = policy.memory(1); // what a recurrent policy remembers; nothing for others
/// let mut actions = Actions::Discrete(vec![0]);
/// let obs = [0.01, -0.02, 0.03, 0.04];
/// policy.act(&Observations::row(&obs), &mut memory, None, &mut actions)?;
/// println!("push {}", actions.row(0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConfigError`] if there is no checkpoint, it is damaged, or it does not fit its run file.
pub fn load_policy(path: &Path, algorithms: &[Algorithm]) -> Result<Box<dyn Policy>, ConfigError> {
    let (run_dir, folder) = locate(path)?;
    let (saved, _) = SavedPolicy::load(&folder)?;
    let parsed = run_file::load(&run_dir.run_toml()?, algorithms)?;
    parsed.into_policy(&saved.spec(), &saved, &folder)
}

/// The policy of a checkpoint, and what it was trained on.
pub struct Trained {
    /// What has been learnt.
    pub policy: Box<dyn Policy>,
    /// The step folder that it came from.
    pub folder: PathBuf,
    /// Environment steps it has trained for.
    pub step: u64,
    /// Seed of its run.
    pub seed: u64,
    /// The `[env]` table of its run.
    pub env: EnvConfig,
    /// Environments to play in.
    pub envs: Box<dyn VecEnv>,
}

impl Trained {
    /// Loads the policy of a run folder (its `best`, else its `latest` checkpoint) or of one step
    /// folder, with environments to play `episodes` episodes on.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no checkpoint, it is damaged, or it does not fit its run file.
    pub fn load(
        path: &Path,
        episodes: usize,
        algorithms: &[Algorithm],
        environments: &[Environment],
    ) -> Result<Trained, ConfigError> {
        let (run_dir, folder) = locate(path)?;
        let (saved, step) = SavedPolicy::load(&folder)?;
        let run = Run::load(&run_dir.run_toml()?, algorithms, environments)?;
        let (envs, env, seed) = (run.make_eval_envs(episodes)?, run.env().clone(), run.seed());
        saved.check_env(&envs.spec().id, &folder)?;
        let policy = run.parsed.into_policy(envs.spec(), &saved, &folder)?;
        Ok(Trained { policy, step, seed, env, envs, folder })
    }

    /// Seed of the environments in an evaluation with `seed`.
    pub fn evaluation_seed(seed: u64) -> u64 {
        evaluation_seed(seed, FINAL_EVALUATION)
    }

    /// The environment it was trained on.
    pub fn spec(&self) -> &EnvSpec {
        self.envs.spec()
    }

    /// Plays whole episodes with the policy's best actions, on seeds of the stream of `seed` that
    /// no training run with that seed uses.
    ///
    /// # Errors
    /// [`ConfigError::Env`] if the policy acts outside the action space.
    pub fn evaluate(&mut self, episodes: usize, seed: u64) -> Result<Evaluation, ConfigError> {
        let seed = Trained::evaluation_seed(seed);
        Ok(evaluate(&*self.policy, self.envs.as_mut(), episodes, seed)?)
    }

    /// As [`Trained::evaluate`], with actions drawn from the policy.
    ///
    /// # Errors
    /// As [`Trained::evaluate`].
    pub fn evaluate_stochastic(
        &mut self,
        episodes: usize,
        seed: u64,
    ) -> Result<Evaluation, ConfigError> {
        let seed = Trained::evaluation_seed(seed);
        Ok(evaluate_stochastic(&*self.policy, self.envs.as_mut(), episodes, seed)?)
    }
}

/// The run folder of a path and the step folder to load.
fn locate(path: &Path) -> Result<(RunDir, PathBuf), ConfigError> {
    if path.join("run.toml").is_file() {
        let run_dir = RunDir::open(path)?;
        let folder = run_dir.best_or_latest()?;
        return Ok((run_dir, folder));
    }
    if path.join("manifest.toml").is_file() {
        return Ok((RunDir::open(&path.join(".."))?, path.to_owned()));
    }
    Err(ConfigError::NoCheckpointAt { path: path.to_owned() })
}
