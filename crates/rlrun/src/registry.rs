//! The two tables of what a run file can name: algorithms, and environments of your own.

use rlrun_agents::{AgentConfig, DqnConfig, PpoConfig};
use rlrun_env::{EnvError, VecEnv, WrapperConfig};
use rlrun_envs::{ENVS, EnvEntry};

use crate::run_file::{self, Parsed};
use crate::{ConfigError, hints};

/// Every algorithm of this library. For one of your own, pass
/// `&[ALGORITHMS, &[Algorithm::new::<MyConfig>("mine")]].concat()` where a table is asked for.
pub const ALGORITHMS: &[Algorithm] = &[
    Algorithm::new::<DqnConfig>("dqn"), // Mnih et al. 2015
    Algorithm::new::<PpoConfig>("ppo"), // Schulman et al. 2017
];

/// One row of [`ALGORITHMS`]: a name, and the settings that build the agent.
#[derive(Clone, Copy)]
pub struct Algorithm {
    /// Value of `algorithm` in a run file.
    pub name: &'static str,
    pub(crate) parse: fn(&str) -> Result<Parsed, ConfigError>,
    default_file: fn(&str) -> Result<String, ConfigError>,
}

impl Algorithm {
    /// The algorithm whose settings are `C`.
    pub const fn new<C: AgentConfig>(name: &'static str) -> Algorithm {
        Algorithm { name, parse: run_file::parse::<C>, default_file: run_file::default_file::<C> }
    }

    /// A run file with every key at its default, and what each means.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`] if the settings of your own algorithm have no form in TOML.
    pub fn default_run_file(&self) -> Result<String, ConfigError> {
        (self.default_file)(self.name)
    }

    /// The row of `name`.
    pub(crate) fn find(name: &str, table: &[Algorithm]) -> Result<Algorithm, ConfigError> {
        let names = || table.iter().map(|algorithm| algorithm.name);
        table.iter().find(|algorithm| algorithm.name == name).copied().ok_or_else(|| {
            let rule = unknown("algorithm", hints::nearest(name, names()), names());
            ConfigError::Value { key: "algorithm", value: name.to_owned(), rule }
        })
    }
}

/// Makes `n_envs` environments that step together, from the `[env.args]` of a run file.
type MakeVecEnv = fn(usize, &toml::Table) -> Result<Box<dyn VecEnv>, EnvError>;

/// An environment that a run file can name, beside those of [`ENVS`].
#[derive(Clone, Copy)]
pub struct Environment {
    /// Value of `env.id` in a run file.
    pub id: &'static str,
    source: Source,
}

#[derive(Clone, Copy)]
enum Source {
    Own(MakeVecEnv),
    Library(&'static EnvEntry),
}

impl Environment {
    /// An environment of your own; `make` gets `env.n_envs` and `[env.args]`.
    pub const fn new(id: &'static str, make: MakeVecEnv) -> Environment {
        Environment { id, source: Source::Own(make) }
    }

    /// The environment `id` of `own`, else of [`ENVS`].
    pub(crate) fn find(id: &str, own: &[Environment]) -> Result<Environment, ConfigError> {
        let library =
            ENVS.iter().map(|row| Environment { id: row.id, source: Source::Library(row) });
        let all = || own.iter().copied().chain(library.clone());
        all().find(|environment| environment.id == id).ok_or_else(|| {
            let ids = || all().map(|environment| environment.id);
            let rule = unknown("environment", hints::nearest(id, ids()), ids());
            ConfigError::Value { key: "env.id", value: id.to_owned(), rule }
        })
    }

    pub(crate) fn make_vec(
        &self,
        n_envs: usize,
        args: &toml::Table,
        wrappers: &WrapperConfig,
    ) -> Result<Box<dyn VecEnv>, EnvError> {
        match (self.source, wrappers.max_episode_steps) {
            (Source::Library(entry), _) => entry.make_wrapped(n_envs, args, wrappers),
            (Source::Own(make), None) => wrappers.wrap(make(n_envs, args)?),
            (Source::Own(_), Some(_)) => {
                let reason = "`max_episode_steps` is for the library's environments; give yours \
                              the limit in its spec";
                Err(EnvError::Args { id: self.id.to_owned(), reason: reason.to_owned() })
            }
        }
    }
}

fn unknown<'a>(what: &str, nearest: Option<&str>, names: impl Iterator<Item = &'a str>) -> String {
    let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let hint = nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    format!("there is no such {what}, expected one of {names}{hint}")
}
