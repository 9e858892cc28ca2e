//! A trained agent from a checkpoint.

use std::path::{Path, PathBuf};

use rlrun_agents::Policy;
use rlrun_env::{EnvSpec, Space, VecEnv};
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
    /// Keys of the run file that make `envs` another task than the registered one: see
    /// [`Run::task_changes`]. What is agreed about the task, its threshold, then says nothing.
    pub task_changes: Vec<String>,
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
        let (run, saved) = Found::at(path, algorithms, environments)?;
        let envs = run.make_eval_envs(episodes)?;
        let spec = envs.spec().clone();
        saved.into_trained(run, envs, &spec)
    }

    /// As [`Trained::load`], with environments of the task as it is registered: without the
    /// `[env.args]` of the run file and without the wrappers that make another task of it. The
    /// policy acts as it does in its own.
    ///
    /// # Errors
    /// As [`Trained::load`], and [`ConfigError::Value`] if the task as registered shows or takes
    /// something of another shape than the policy was trained on.
    pub fn load_plain(
        path: &Path,
        episodes: usize,
        algorithms: &[Algorithm],
        environments: &[Environment],
    ) -> Result<Trained, ConfigError> {
        let (run, saved) = Found::at(path, algorithms, environments)?;
        let trained_on = run.make_envs(1)?.spec().clone();
        let args = run.env().args.to_string();
        let run = run.on_plain_task();
        let envs = run.make_eval_envs(episodes)?;
        if !same_shapes(envs.spec(), &trained_on) {
            let rule = "the task without these arguments has other spaces than the policy was \
                        trained on; evaluate it on its own task";
            let (value, rule) = (args.trim().replace('\n', ", "), rule.to_owned());
            return Err(ConfigError::Value { key: "env.args", value, rule });
        }
        saved.into_trained(run, envs, &trained_on)
    }

    /// The mean return from which the task counts as solved; `None` if none is agreed, or if the
    /// run file makes another task of it.
    pub fn reward_threshold(&self) -> Option<f64> {
        self.spec().reward_threshold.filter(|_| self.task_changes.is_empty())
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

/// A checkpoint that was found and read.
struct Found {
    policy: SavedPolicy,
    folder: PathBuf,
    step: u64,
}

impl Found {
    /// The checkpoint of `path`, and its run.
    fn at(
        path: &Path,
        algorithms: &[Algorithm],
        environments: &[Environment],
    ) -> Result<(Run, Found), ConfigError> {
        let (run_dir, folder) = locate(path)?;
        let (policy, step) = SavedPolicy::load(&folder)?;
        let run = Run::load(&run_dir.run_toml()?, algorithms, environments)?;
        Ok((run, Found { policy, folder, step }))
    }

    /// The policy, built for what it was trained on, with the environments of `run` to play in.
    fn into_trained(
        self,
        run: Run,
        envs: Box<dyn VecEnv>,
        trained_on: &EnvSpec,
    ) -> Result<Trained, ConfigError> {
        let Found { policy: saved, folder, step } = self;
        saved.check_env(&envs.spec().id, &folder)?;
        let (env, seed, task_changes) = (run.env().clone(), run.seed(), run.task_changes()?);
        let policy = run.parsed.into_policy(trained_on, &saved, &folder)?;
        Ok(Trained { policy, step, seed, env, envs, folder, task_changes })
    }
}

/// Whether a policy for the one can act in the other: spaces may differ in their bounds alone.
fn same_shapes(a: &EnvSpec, b: &EnvSpec) -> bool {
    let same = |a: &Space, b: &Space| match (a, b) {
        (Space::Box(a), Space::Box(b)) => a.low.len() == b.low.len(),
        _ => a == b,
    };
    same(&a.observation_space, &b.observation_space) && same(&a.action_space, &b.action_space)
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
