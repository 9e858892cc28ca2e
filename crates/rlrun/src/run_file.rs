//! The run file: its tables, its two typed passes, and how it is written out with every key.

use std::path::Path;

use documented::DocumentedFields;
use rlrun_agents::{Agent, AgentConfig, AgentContext, AgentError, NormalizeConfig, Policy};
use rlrun_env::{EnvSpec, WrapperConfig};
use rlrun_train::{CheckpointError, SavedPolicy, TrainConfig};
use serde::{Deserialize, Serialize};

#[cfg(feature = "toml_edit")]
use crate::comments;
use crate::{Algorithm, ConfigError, hints};

/// Builds the agent that a run file describes.
pub(crate) type BuildAgent =
    Box<dyn FnOnce(&AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError>>;

/// A run file after both passes; only `build` knows the algorithm's settings.
pub(crate) struct Parsed {
    pub(crate) algorithm: String,
    pub(crate) seed: u64,
    pub(crate) env: EnvConfig,
    pub(crate) normalize: NormalizeConfig,
    pub(crate) train: TrainConfig,
    pub(crate) build: BuildAgent,
    /// The file with every key written out.
    pub(crate) resolved: String,
}

impl Parsed {
    /// The agent, untrained, for environments like `spec`.
    pub(crate) fn into_agent(self, spec: &EnvSpec) -> Result<Box<dyn Agent>, AgentError> {
        let Parsed { env, train, seed, normalize, build, .. } = self;
        let context = AgentContext::new(spec, env.n_envs, train.total_timesteps, seed);
        build(&context.with_normalize(normalize))
    }

    /// The policy `saved` for environments like `spec`; `folder` is where it lies.
    pub(crate) fn into_policy(
        self,
        spec: &EnvSpec,
        saved: &SavedPolicy,
        folder: &Path,
    ) -> Result<Box<dyn Policy>, ConfigError> {
        let mut policy = self.into_agent(spec)?.into_policy();
        let path = folder.to_owned();
        let misfit = |source| CheckpointError::Misfit { path, source };
        policy.load_state(&saved.state).map_err(misfit)?;
        Ok(policy)
    }
}

/// First pass: which settings the second pass expects.
#[derive(Deserialize)]
struct AlgorithmName {
    algorithm: String,
}

/// Second pass: the whole file, with the settings of its algorithm.
#[derive(Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, bound = "C: AgentConfig")]
pub(crate) struct RunConfig<C> {
    /// Name of the algorithm; `rlrun list algorithms` shows all
    algorithm: String,
    /// Seed of every random stream: the same seed gives the same run, bit for bit
    #[serde(default = "default_seed")]
    seed: u64,
    /// What the agent learns on
    env: EnvConfig,
    /// The algorithm's settings
    #[serde(default)]
    agent: C,
    /// Normalisation of what the agent sees, by running statistics saved with it
    #[serde(default)]
    normalize: NormalizeConfig,
    /// Budget, evaluation, logs and checkpoints
    #[serde(default)]
    train: TrainConfig,
}

/// The `[env]` table of a run file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields)]
pub struct EnvConfig {
    /// Gymnasium's name of the environment; `rlrun list envs` shows all
    pub id: String,
    /// Environments that step together
    #[serde(default = "default_n_envs")]
    pub n_envs: usize,
    /// Arguments of the environment
    #[serde(default)]
    pub args: toml::Table,
    /// Wrappers around the environment; all are off unless given
    #[serde(default)]
    pub wrappers: WrapperConfig,
}

fn default_seed() -> u64 {
    1
}

fn default_n_envs() -> usize {
    1
}

/// Both passes over a run file.
pub(crate) fn load(text: &str, algorithms: &[Algorithm]) -> Result<Parsed, ConfigError> {
    let first: AlgorithmName = toml::from_str(text).map_err(|problem| {
        let names = algorithms.iter().map(|a| format!("`algorithm = \"{}\"`", a.name));
        let hint = (problem.message() == "missing field `algorithm`")
            .then(|| format!("begin the file with {}", names.collect::<Vec<_>>().join(" or ")));
        ConfigError::Parse { problem: Box::new(problem), hint }
    })?;
    (Algorithm::find(&first.algorithm, algorithms)?.parse)(text)
}

/// The second pass, for the algorithm whose settings are `C`.
pub(crate) fn parse<C: AgentConfig>(text: &str) -> Result<Parsed, ConfigError> {
    let config: RunConfig<C> = toml::from_str(text).map_err(|problem| {
        let tables = [
            ("env", EnvConfig::FIELD_NAMES),
            ("agent", C::FIELD_NAMES),
            ("train", TrainConfig::FIELD_NAMES),
            ("normalize", NormalizeConfig::FIELD_NAMES),
            ("env.wrappers", WrapperConfig::FIELD_NAMES),
        ];
        let hint = hints::for_unknown_key(problem.message(), &tables);
        ConfigError::Parse { problem: Box::new(problem), hint }
    })?;
    let resolved = write(&config)?;
    let algorithm = config.algorithm.clone();
    Ok(Parsed {
        algorithm: config.algorithm,
        seed: config.seed,
        env: config.env,
        normalize: config.normalize,
        train: config.train,
        build: Box::new(move |context| match context.normalize.is_on() && !C::NORMALIZES {
            true => Err(AgentError::NoNormalization { algorithm }),
            false => config.agent.build(context),
        }),
        resolved,
    })
}

/// A run file of the algorithm `name` with every key at its default.
pub(crate) fn default_file<C: AgentConfig>(name: &str) -> Result<String, ConfigError> {
    let env = EnvConfig {
        id: example_env::<C>().to_owned(),
        n_envs: default_n_envs(),
        args: toml::Table::new(),
        wrappers: WrapperConfig::default(),
    };
    write(&RunConfig {
        algorithm: name.to_owned(),
        seed: default_seed(),
        env,
        agent: C::default(),
        normalize: NormalizeConfig::default(),
        train: TrainConfig::default(),
    })
}

/// A task that the algorithm with the settings `C` can act in.
fn example_env<C: AgentConfig>() -> &'static str {
    let fits = |id: &&str| {
        rlrun_envs::make_vec(id, 1, &toml::Table::new()).is_ok_and(|envs| {
            let context = AgentContext::new(envs.spec(), 1, 1, 1);
            C::default().build(&context).is_ok()
        })
    };
    ["CartPole-v1", "Pendulum-v1"].into_iter().find(fits).unwrap_or("CartPole-v1")
}

/// The file with every key and, with the feature `toml_edit`, what each means.
fn write<C: AgentConfig>(config: &RunConfig<C>) -> Result<String, ConfigError> {
    let text = toml::to_string(config).map_err(|source| {
        let algorithm = config.algorithm.clone();
        ConfigError::Unwritable { algorithm, source: Box::new(source) }
    })?;
    #[cfg(feature = "toml_edit")]
    let text = comments::explain_all::<C>(&text);
    Ok(text)
}
