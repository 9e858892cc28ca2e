//! The two tables of what a run file can name: algorithms, and environments of your own.

use std::borrow::Cow;
use std::sync::Arc;

use rlrun_agents::{A2cConfig, AgentConfig, DqnConfig, PpoConfig, QrDqnConfig, SacConfig};
use rlrun_env::{Env, EnvError, SyncVecEnv, VecEnv, WrapperConfig};
use rlrun_envs::{ENVS, EnvEntry};

use crate::one_lane::OneLane;
use crate::run_file::{self, Parsed};
use crate::{ConfigError, hints};

/// Every algorithm of this library. For one of your own, pass
/// `&[ALGORITHMS, &[Algorithm::new::<MyConfig>("mine")]].concat()` where a table is asked for.
pub const ALGORITHMS: &[Algorithm] = &[
    Algorithm::new::<A2cConfig>("a2c"),     // Mnih et al. 2016
    Algorithm::new::<DqnConfig>("dqn"),     // Mnih et al. 2015
    Algorithm::new::<PpoConfig>("ppo"),     // Schulman et al. 2017
    Algorithm::new::<QrDqnConfig>("qrdqn"), // Dabney et al. 2018
    Algorithm::new::<SacConfig>("sac"),     // Haarnoja et al. 2018
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
type MakeVecEnv = dyn Fn(usize, &toml::Table) -> Result<Box<dyn VecEnv>, EnvError> + Send + Sync;

/// Makes one environment.
type MakeEnv = dyn Fn(&toml::Table) -> Result<Box<dyn Env>, EnvError> + Send + Sync;

/// An environment that a run file can name: one of yours, or a row of [`ENVS`].
#[derive(Clone)]
pub struct Environment {
    id: Cow<'static, str>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    One(Arc<MakeEnv>),
    Many(Arc<MakeVecEnv>),
    Library(&'static EnvEntry),
}

impl Environment {
    /// An environment of your own; `make` gets `env.n_envs` and `[env.args]`.
    pub fn new(
        id: impl Into<Cow<'static, str>>,
        make: impl Fn(usize, &toml::Table) -> Result<Box<dyn VecEnv>, EnvError> + Send + Sync + 'static,
    ) -> Environment {
        Environment { id: id.into(), source: Source::Many(Arc::new(make)) }
    }

    /// An environment of your own of which `make` makes one, from `[env.args]`; as many as are
    /// asked for step together, one after the other.
    ///
    /// ```
    /// # use rlrun::prelude::*;
    /// # fn example<Corridor: Env + 'static>(corridor: fn(usize) -> Corridor) {
    /// let corridors = [4, 8].map(|length| {
    ///     Environment::single(format!("Corridor{length}-v0"), move |_args| Ok(corridor(length)))
    /// });
    /// # }
    /// ```
    pub fn single<E: Env + 'static>(
        id: impl Into<Cow<'static, str>>,
        make: impl Fn(&toml::Table) -> Result<E, EnvError> + Send + Sync + 'static,
    ) -> Environment {
        let make = move |args: &toml::Table| Ok(Box::new(make(args)?) as Box<dyn Env>);
        Environment { id: id.into(), source: Source::One(Arc::new(make)) }
    }

    /// Value of `env.id` in a run file.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its page of the documentation, in Markdown, if it has one.
    pub fn page(&self) -> Option<&'static str> {
        match self.source {
            Source::Library(entry) => Some(entry.page),
            _ => None,
        }
    }

    /// Your `own` environments, and then those of [`ENVS`] that none of them replaces.
    pub fn all(own: &[Environment]) -> Vec<Environment> {
        let library = ENVS.iter().filter(|row| own.iter().all(|mine| mine.id != row.id));
        let library =
            library.map(|row| Environment { id: row.id.into(), source: Source::Library(row) });
        own.iter().cloned().chain(library).collect()
    }

    /// The environment `id` of `own`, else of [`ENVS`].
    ///
    /// # Errors
    /// [`EnvError::UnknownId`] with the nearest names.
    pub fn find(id: &str, own: &[Environment]) -> Result<Environment, EnvError> {
        let all = Environment::all(own);
        all.iter().find(|environment| environment.id == id).cloned().ok_or_else(|| {
            let nearest = hints::by_likeness(id, all.iter().map(Environment::id));
            let nearest = nearest.iter().take(3).map(|name| format!("`{name}`"));
            let nearest = nearest.collect::<Vec<_>>().join(", ");
            EnvError::UnknownId { id: id.to_owned(), nearest }
        })
    }

    /// As [`Environment::find`], for the value of `env.id`.
    pub(crate) fn named(id: &str, own: &[Environment]) -> Result<Environment, ConfigError> {
        Environment::find(id, own).map_err(|_| {
            let all = Environment::all(own);
            let ids = || all.iter().map(Environment::id);
            let rule = unknown("environment", hints::nearest(id, ids()), ids());
            ConfigError::Value { key: "env.id", value: id.to_owned(), rule }
        })
    }

    /// Names of the arguments in `args` that make another task than the registered one. An
    /// environment of your own is registered without arguments: all that are given count.
    ///
    /// # Errors
    /// [`EnvError::Args`] for an unknown argument of a library's environment.
    pub(crate) fn changed_args(&self, args: &toml::Table) -> Result<Vec<String>, EnvError> {
        match &self.source {
            Source::Library(entry) => entry.changed_args(args),
            Source::One(_) | Source::Many(_) => Ok(args.keys().cloned().collect()),
        }
    }

    /// One environment; `args` is the run file's `[env.args]`.
    ///
    /// # Errors
    /// As [`Environment::make_vec`].
    pub fn make(&self, args: &toml::Table) -> Result<Box<dyn Env>, EnvError> {
        match &self.source {
            Source::Library(entry) => entry.make(args),
            Source::One(make) => make(args),
            Source::Many(make) => Ok(Box::new(OneLane::new(make(1, args)?))),
        }
    }

    /// `n_envs` environments that step together; `args` and `wrappers` are the run file's
    /// `[env.args]` and `[env.wrappers]`.
    ///
    /// # Errors
    /// [`EnvError::Args`] for an argument or a wrapper's value that cannot be, and what your own
    /// environment says.
    pub fn make_vec(
        &self,
        n_envs: usize,
        args: &toml::Table,
        wrappers: &WrapperConfig,
    ) -> Result<Box<dyn VecEnv>, EnvError> {
        let envs = match &self.source {
            Source::Library(entry) => entry.make_vec(n_envs, args)?,
            Source::One(make) => {
                let envs = (0..n_envs).map(|_| make(args)).collect::<Result<_, _>>()?;
                Box::new(SyncVecEnv::new(envs)?)
            }
            Source::Many(make) => make(n_envs, args)?,
        };
        wrappers.wrap(envs)
    }
}

fn unknown<'a>(what: &str, nearest: Option<&str>, names: impl Iterator<Item = &'a str>) -> String {
    let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let hint = nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    format!("there is no such {what}, expected one of {names}{hint}")
}
