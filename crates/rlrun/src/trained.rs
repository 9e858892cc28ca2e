//! A trained agent from a checkpoint.

use std::path::{Path, PathBuf};

use rlrun_agents::{Agent, Policy};
use rlrun_env::{EnvSpec, VecEnv};
use rlrun_train::{
    Checkpoint, CheckpointError, Evaluation, RunDir, evaluate, evaluate_stochastic, evaluation_seed,
};

use crate::{Algorithm, ConfigError, EnvConfig, Environment, Run};

/// Number of the evaluation of a finished run; those of training are numbered by step.
pub(crate) const FINAL_EVALUATION: u64 = u64::MAX;

/// The agent of a checkpoint, and what it was trained on.
pub struct Trained {
    /// The agent, as it was saved.
    pub agent: Box<dyn Agent>,
    /// The step folder that it came from.
    pub folder: PathBuf,
    /// Environment steps it has trained for.
    pub step: u64,
    /// Seed of its run.
    pub seed: u64,
    /// The `[env]` table of its run.
    pub env: EnvConfig,
    pub(crate) envs: Box<dyn VecEnv>,
}

impl Trained {
    /// Loads the agent of a run folder (its `best`, else its `latest` checkpoint) or of one step
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
        let checkpoint = Checkpoint::load(&folder)?;
        let run = Run::load(&run_dir.run_toml()?, algorithms, environments)?;
        checkpoint.check_env(&run.env().id, &folder)?;
        let (envs, env, seed) = (run.make_eval_envs(episodes)?, run.env().clone(), run.seed());
        let mut agent = run.into_agent(envs.spec())?;
        let misfit = |source| CheckpointError::Misfit { path: folder.clone(), source };
        agent.policy_mut().load_state(&checkpoint.policy).map_err(misfit)?;
        Ok(Trained { agent, step: checkpoint.step, seed, env, envs, folder })
    }

    /// What has been learnt.
    pub fn policy(&self) -> &dyn Policy {
        self.agent.policy()
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
        let seed = evaluation_seed(seed, FINAL_EVALUATION);
        Ok(evaluate(self.agent.policy(), self.envs.as_mut(), episodes, seed)?)
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
        let seed = evaluation_seed(seed, FINAL_EVALUATION);
        Ok(evaluate_stochastic(self.agent.policy(), self.envs.as_mut(), episodes, seed)?)
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
