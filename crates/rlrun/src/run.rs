//! A run: what a run file describes, ready to be trained.

use std::path::Path;

use rlrun_agents::Agent;
use rlrun_env::{EnvSpec, VecEnv, WrapperConfig};
use rlrun_train::{AgentReport, RunDir, TrainConfig, TrainError, Trainer};

use crate::run_file::{EnvConfig, Parsed};
use crate::{Algorithm, ConfigError, Environment, overrides};

/// Most environments that an evaluation steps together; more episodes are played one after another.
const MAX_EVAL_ENVS: usize = 128;

/// Vector steps that [`check_agent`] takes at most.
const CHECK_STEPS: u64 = 4_000;

/// Checks that the agent of a run file forgets nothing in its saved state: it is trained once
/// straight and once saved and loaded into a new agent again and again, and both must do the same,
/// bit for bit. A run file with small settings lets it learn within the budget, of which at most
/// 4000 vector steps are taken.
///
/// ```
/// use rlrun::prelude::*;
///
/// # fn main() -> Result<(), ConfigError> {
/// let run_file = "algorithm = 'dqn'\nenv.id = 'CartPole-v1'\ntrain.total_timesteps = 300\n\
///                 agent = { buffer_size = 200, learning_starts = 50, net_arch = [8] }";
/// let report = check_agent(run_file, ALGORITHMS, &[])?;
/// assert!(report.is_ok(), "{report}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConfigError`] if the run file is not valid, or agent or environments fail.
pub fn check_agent(
    run_file: &str,
    algorithms: &[Algorithm],
    environments: &[Environment],
) -> Result<AgentReport, ConfigError> {
    let load = || Run::load(run_file, algorithms, environments);
    let run = load()?;
    let (n_envs, budget) = (run.env().n_envs, run.train().total_timesteps);
    let steps = (budget / n_envs as u64).clamp(1, CHECK_STEPS) as usize;
    // Once, so that what is wrong with the run file is an error of its own.
    run.into_trainer()?;
    let make = || {
        let run = load().map_err(in_training)?;
        let envs = run.make_envs(n_envs).map_err(in_training)?;
        let agent = run.into_agent(envs.spec()).map_err(in_training)?;
        Ok((agent, envs))
    };
    Ok(rlrun_train::check_agent(make, steps)?)
}

/// An error of what was made before without one.
fn in_training(error: ConfigError) -> TrainError {
    match error {
        ConfigError::Agent(error) => TrainError::Agent(error),
        ConfigError::Env(error) => TrainError::Env(error),
        ConfigError::Train(error) => error,
        other => unreachable!("the run file was valid before: {other}"),
    }
}

/// What a run file describes.
pub struct Run {
    pub(crate) parsed: Parsed,
    environment: Environment,
}

impl Run {
    /// Reads a run file. `environments` are your own, beside the library's.
    ///
    /// # Errors
    /// [`ConfigError`] naming line, key, value and what was expected.
    pub fn load(
        text: &str,
        algorithms: &[Algorithm],
        environments: &[Environment],
    ) -> Result<Run, ConfigError> {
        Run::load_with(text, &[], algorithms, environments)
    }

    /// Reads a run file with overrides such as `agent.gamma=0.98`, as `rlrun train --set`.
    ///
    /// # Errors
    /// As [`Run::load`], and [`ConfigError::Override`] if an override is to blame.
    pub fn load_with(
        text: &str,
        overrides: &[String],
        algorithms: &[Algorithm],
        environments: &[Environment],
    ) -> Result<Run, ConfigError> {
        let parsed = overrides::load(text, overrides, algorithms)?;
        let environment = Environment::named(&parsed.env.id, environments)?;
        if parsed.env.n_envs == 0 {
            let (value, rule) = ("0".to_owned(), "use at least 1".to_owned());
            return Err(ConfigError::Value { key: "env.n_envs", value, rule });
        }
        Ok(Run { parsed, environment })
    }

    /// Name of the algorithm.
    pub fn algorithm(&self) -> &str {
        &self.parsed.algorithm
    }

    /// Seed of every random stream.
    pub fn seed(&self) -> u64 {
        self.parsed.seed
    }

    /// The `[env]` table.
    pub fn env(&self) -> &EnvConfig {
        &self.parsed.env
    }

    /// The `[train]` table.
    pub fn train(&self) -> &TrainConfig {
        &self.parsed.train
    }

    /// The run file with every key written out; itself a valid run file.
    pub fn resolved(&self) -> &str {
        &self.parsed.resolved
    }

    /// What the run's folder is called unless told otherwise: `CartPole-v1__ppo__1`.
    pub fn name(&self) -> String {
        format!("{}__{}__{}", self.parsed.env.id, self.parsed.algorithm, self.parsed.seed)
    }

    /// `n_envs` environments of the run that step together.
    ///
    /// # Errors
    /// [`ConfigError::Env`] if `env.args` or `env.wrappers` do not fit.
    pub fn make_envs(&self, n_envs: usize) -> Result<Box<dyn VecEnv>, ConfigError> {
        let EnvConfig { args, wrappers, .. } = &self.parsed.env;
        Ok(self.environment.make_vec(n_envs, args, wrappers)?)
    }

    /// Environments to evaluate `episodes` episodes on.
    ///
    /// # Errors
    /// As [`Run::make_envs`].
    pub fn make_eval_envs(&self, episodes: usize) -> Result<Box<dyn VecEnv>, ConfigError> {
        self.make_envs(episodes.clamp(1, MAX_EVAL_ENVS))
    }

    /// Keys of the run file that make another task of the registered one: arguments that differ
    /// from their defaults, and wrappers that change rewards, lengths or dynamics.
    ///
    /// # Errors
    /// As [`Run::make_envs`].
    pub fn task_changes(&self) -> Result<Vec<String>, ConfigError> {
        let EnvConfig { args, wrappers, .. } = &self.parsed.env;
        let unwrapped = || self.environment.make_vec(1, args, &WrapperConfig::default());
        // Made only where the limit matters: an environment of your own may be costly.
        let is_limited = wrappers.max_episode_steps.is_some();
        let unwrapped = is_limited.then(unwrapped).transpose()?;
        let limit = unwrapped.and_then(|envs| envs.spec().max_episode_steps);
        let args = self.environment.changed_args(args)?;
        let args = args.into_iter().map(|name| format!("env.args.{name}"));
        let wrappers = wrappers.task_changes(limit);
        let wrappers = wrappers.into_iter().map(|name| format!("env.wrappers.{name}"));
        Ok(args.chain(wrappers).collect())
    }

    /// The run with the task as it is registered, of which only the form that the policy needs is
    /// kept: stacked observations, rescaled actions.
    pub(crate) fn on_plain_task(mut self) -> Run {
        let env = &mut self.parsed.env;
        env.args.clear();
        env.wrappers = env.wrappers.without_task_changes();
        self
    }

    /// The agent, untrained.
    ///
    /// # Errors
    /// [`ConfigError::Agent`] if its settings do not fit each other or `spec`.
    pub fn into_agent(self, spec: &EnvSpec) -> Result<Box<dyn Agent>, ConfigError> {
        Ok(self.parsed.into_agent(spec)?)
    }

    /// A trainer that writes no files.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings do not fit each other or the environment.
    pub fn into_trainer(self) -> Result<Trainer, ConfigError> {
        self.parsed.train.check(self.parsed.env.n_envs)?;
        let envs = self.make_envs(self.parsed.env.n_envs)?;
        let eval_envs = self.make_eval_envs(self.parsed.train.n_eval_episodes)?;
        let (seed, train) = (self.parsed.seed, self.parsed.train.clone());
        let algorithm = self.parsed.algorithm.clone();
        let agent = self.into_agent(envs.spec())?;
        let mut trainer = Trainer::new(agent, envs, eval_envs, seed, train)?;
        trainer.algorithm = algorithm;
        Ok(trainer)
    }

    /// A trainer that writes logs and checkpoints into the new folder `dir`.
    ///
    /// # Errors
    /// As [`Run::into_trainer`], and [`ConfigError::Train`] if the folder exists already or cannot
    /// be made.
    pub fn create(self, dir: &Path) -> Result<Trainer, ConfigError> {
        let resolved = self.parsed.resolved.clone();
        let mut trainer = self.into_trainer()?;
        trainer.attach(RunDir::create(dir, &resolved)?)?;
        Ok(trainer)
    }

    /// A trainer that goes on with the run in the folder `dir` from its newest checkpoint, or from
    /// its beginning if it has none. Overrides may change `[train]`, nothing else.
    ///
    /// # Errors
    /// [`ConfigError`] if the folder is none of a run, its checkpoints are damaged, or an override
    /// is not allowed.
    pub fn resume(
        dir: &Path,
        overrides: &[String],
        algorithms: &[Algorithm],
        environments: &[Environment],
    ) -> Result<Trainer, ConfigError> {
        Run::resume_in(RunDir::open(dir)?, overrides, algorithms, environments)
    }

    /// As [`Run::resume`], in a folder that was opened before: see [`RunDir::accepting_lost_rows`].
    ///
    /// # Errors
    /// As [`Run::resume`].
    pub fn resume_in(
        run_dir: RunDir,
        overrides: &[String],
        algorithms: &[Algorithm],
        environments: &[Environment],
    ) -> Result<Trainer, ConfigError> {
        check_overrides(overrides)?;
        let run_dir = run_dir.locked()?;
        let run = Run::load_with(&run_dir.run_toml()?, overrides, algorithms, environments)?;
        let resolved = run.parsed.resolved.clone();
        let mut trainer = run.into_trainer()?;
        trainer.attach(run_dir.clone())?;
        if !overrides.is_empty() {
            run_dir.set_run_toml(&resolved)?;
        }
        Ok(trainer)
    }
}

/// A run that is continued is still the same run.
fn check_overrides(overrides: &[String]) -> Result<(), ConfigError> {
    let is_other = |set: &&String| !set.trim().starts_with("train.");
    let Some(other) = overrides.iter().find(is_other) else { return Ok(()) };
    let reason = "a run that is continued may only change keys of `[train]`; \
                  start a new run for anything else";
    let (assignment, reason) = (other.clone(), reason.to_owned());
    Err(ConfigError::Override { assignment, reason })
}
