//! The table of environments: id, limit, threshold and constructor, as Gymnasium registers them.

use rlrun_env::{Env, EnvError, EnvSpec, SyncVecEnv, VecEnv, WrapperConfig};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::classic_control::{
    Acrobot, BatchedVecEnv, CartPole, ClassicEnv, MountainCar, MountainCarContinuous, Pendulum,
    Task,
};
use crate::render::Scene;

/// Every environment of this crate.
pub const ENVS: &[EnvEntry] = &[
    EnvEntry::classic::<CartPole>("CartPole-v0", 200, Some(195.0)),
    EnvEntry::classic::<CartPole>("CartPole-v1", 500, Some(475.0)),
    EnvEntry::classic::<MountainCar>("MountainCar-v0", 200, Some(-110.0)),
    EnvEntry::classic::<MountainCarContinuous>("MountainCarContinuous-v0", 999, Some(90.0)),
    EnvEntry::classic::<Acrobot>("Acrobot-v1", 500, Some(-100.0)),
    EnvEntry::classic::<Pendulum>("Pendulum-v1", 200, None),
];

/// Number of environments from which stepping them in blocks is faster than one by one.
const BATCH_FROM: usize = 8;

type MakeEnv = fn(&EnvEntry, &toml::Table) -> Result<Box<dyn Env>, EnvError>;
type CompleteArgs = fn(&EnvEntry, &toml::Table) -> Result<toml::Table, EnvError>;
type MakeVecEnv = fn(&EnvEntry, usize, &toml::Table) -> Result<Box<dyn VecEnv>, EnvError>;

/// One row of [`ENVS`].
#[derive(Clone, Copy, Debug)]
pub struct EnvEntry {
    /// Gymnasium's name.
    pub id: &'static str,
    /// Steps after which an episode is truncated; `None`: never.
    pub max_episode_steps: Option<u32>,
    /// Mean return from which the task counts as solved.
    pub reward_threshold: Option<f64>,
    /// Its page of `docs/environments`, in Markdown.
    pub page: &'static str,
    default_args: fn() -> Result<toml::Table, toml::ser::Error>,
    complete_args: CompleteArgs,
    make: MakeEnv,
    make_vec: MakeVecEnv,
}

/// An environment that a row of [`ENVS`] makes from its arguments.
pub trait Registered: Env + Clone + Sized + 'static {
    /// Its page of `docs/environments`, in Markdown.
    const PAGE: &'static str;

    /// Constructor arguments: `[env.args]` of a run file.
    type Args: Default + Serialize + DeserializeOwned;

    /// The environment with these arguments, with the id, limit and threshold of `row` in its spec.
    ///
    /// # Errors
    /// What is wrong with an argument.
    fn make(row: &EnvEntry, args: Self::Args) -> Result<Self, String>;
}

impl<T: Task + Scene> Registered for ClassicEnv<T> {
    const PAGE: &'static str = T::PAGE;

    type Args = T::Args;

    fn make(row: &EnvEntry, args: T::Args) -> Result<ClassicEnv<T>, String> {
        let task = T::new(args)?;
        let (observation_space, action_space) = task.spaces();
        let mut spec = EnvSpec::new(row.id, observation_space, action_space);
        spec.max_episode_steps = row.max_episode_steps;
        spec.reward_threshold = row.reward_threshold;
        Ok(ClassicEnv::new(task, spec))
    }
}

impl EnvEntry {
    /// A row of any environment, whose copies are stepped one after another.
    const fn new<E: Registered>(
        id: &'static str,
        max_episode_steps: Option<u32>,
        reward_threshold: Option<f64>,
    ) -> EnvEntry {
        EnvEntry {
            id,
            max_episode_steps,
            reward_threshold,
            page: E::PAGE,
            default_args: || toml::Table::try_from(E::Args::default()),
            complete_args: |row, args| {
                let args = row.typed_args::<E>(args)?;
                toml::Table::try_from(args).map_err(|cause| row.args_error(&cause))
            },
            make: |row, args| Ok(Box::new(row.typed::<E>(args)?)),
            make_vec: |row, n_envs, args| {
                Ok(Box::new(SyncVecEnv::new(vec![row.typed::<E>(args)?; n_envs])?))
            },
        }
    }

    /// A row of a classic-control task, whose copies are stepped in blocks if they are many.
    const fn classic<T: Task + Scene>(
        id: &'static str,
        max_episode_steps: u32,
        reward_threshold: Option<f64>,
    ) -> EnvEntry {
        let row = EnvEntry::new::<ClassicEnv<T>>(id, Some(max_episode_steps), reward_threshold);
        EnvEntry {
            make_vec: |row, n_envs, args| {
                let env = row.typed::<ClassicEnv<T>>(args)?;
                if n_envs < BATCH_FROM {
                    return Ok(Box::new(SyncVecEnv::new(vec![env; n_envs])?));
                }
                Ok(Box::new(BatchedVecEnv::new(&env, n_envs)?))
            },
            ..row
        }
    }

    /// The environment with the arguments of a run file.
    fn typed<E: Registered>(&self, args: &toml::Table) -> Result<E, EnvError> {
        let args = self.typed_args::<E>(args)?;
        let env = E::make(self, args).map_err(|reason| self.args_error(&reason))?;
        env.spec().check()?;
        Ok(env)
    }

    /// The arguments of a run file, each with its type.
    fn typed_args<E: Registered>(&self, args: &toml::Table) -> Result<E::Args, EnvError> {
        args.clone().try_into().map_err(|cause| self.args_error(&cause))
    }

    fn args_error(&self, cause: &dyn std::fmt::Display) -> EnvError {
        let reason = cause.to_string().trim().replace('\n', " ");
        EnvError::Args { id: self.id.to_owned(), reason }
    }

    /// Names of the arguments in `args` that differ from their defaults as numbers or flags do: `10`
    /// is no other `force_mag` than `10.0`.
    ///
    /// # Errors
    /// [`EnvError::Args`] for an unknown argument or a value of another type.
    pub fn changed_args(&self, args: &toml::Table) -> Result<Vec<String>, EnvError> {
        let defaults = self.default_args();
        let given = (self.complete_args)(self, args)?;
        let changed = given.into_iter().filter(|(name, value)| defaults.get(name) != Some(value));
        Ok(changed.map(|(name, _)| name).collect())
    }

    /// Every argument with its default, as `[env.args]` takes them; reset bounds that are not given
    /// are the task's own and left out.
    pub fn default_args(&self) -> toml::Table {
        (self.default_args)().unwrap_or_default()
    }

    /// One environment; `args` is the run file's `[env.args]`.
    ///
    /// # Errors
    /// [`EnvError::Args`] for an unknown argument or a value that cannot be.
    pub fn make(&self, args: &toml::Table) -> Result<Box<dyn Env>, EnvError> {
        (self.make)(self, args)
    }

    /// `n_envs` environments that step together, with the wrappers of the run file's
    /// `[env.wrappers]` and a time limit given there.
    ///
    /// # Errors
    /// As [`EnvEntry::make_vec`], and [`EnvError::Args`] for a wrapper's value that cannot be.
    pub fn make_wrapped(
        &self,
        n_envs: usize,
        args: &toml::Table,
        wrappers: &WrapperConfig,
    ) -> Result<Box<dyn VecEnv>, EnvError> {
        wrappers.wrap(self.make_vec(n_envs, args)?)
    }

    /// `n_envs` environments that step together; `args` is the run file's `[env.args]`.
    ///
    /// # Errors
    /// [`EnvError::Args`] as [`EnvEntry::make`], [`EnvError::NoEnvs`] if `n_envs` is 0.
    pub fn make_vec(&self, n_envs: usize, args: &toml::Table) -> Result<Box<dyn VecEnv>, EnvError> {
        (self.make_vec)(self, n_envs, args)
    }
}

/// The row of `id`.
///
/// # Errors
/// [`EnvError::UnknownId`] with the nearest names.
pub fn entry(id: &str) -> Result<&'static EnvEntry, EnvError> {
    ENVS.iter().find(|entry| entry.id == id).ok_or_else(|| {
        let mut names: Vec<&str> = ENVS.iter().map(|entry| entry.id).collect();
        names.sort_by_key(|name| edit_distance(&id.to_lowercase(), &name.to_lowercase()));
        let nearest = names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>();
        EnvError::UnknownId { id: id.to_owned(), nearest: nearest.join(", ") }
    })
}

/// What is fixed about `id` with its default arguments.
///
/// # Errors
/// [`EnvError::UnknownId`].
pub fn spec(id: &str) -> Result<EnvSpec, EnvError> {
    Ok(entry(id)?.make(&toml::Table::new())?.spec().clone())
}

/// One environment; `args` is the run file's `[env.args]`.
///
/// # Errors
/// [`EnvError::UnknownId`], and as [`EnvEntry::make`].
pub fn make(id: &str, args: &toml::Table) -> Result<Box<dyn Env>, EnvError> {
    entry(id)?.make(args)
}

/// `n_envs` environments that step together; `args` is the run file's `[env.args]`.
///
/// # Errors
/// [`EnvError::UnknownId`], and as [`EnvEntry::make_vec`].
pub fn make_vec(id: &str, n_envs: usize, args: &toml::Table) -> Result<Box<dyn VecEnv>, EnvError> {
    entry(id)?.make_vec(n_envs, args)
}

/// Levenshtein's distance: fewest insertions, deletions and substitutions.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (deleted, character) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], deleted + 1);
        for (column, &target) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(character != target);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_names_the_nearest() {
        let message = spec("cartpole_v1").unwrap_err().to_string();
        assert!(
            message
                .starts_with("there is no environment `cartpole_v1`; nearest names: `CartPole-v1`"),
            "{message}"
        );
    }

    #[test]
    fn arguments_are_typed_and_unknown_ones_are_refused() {
        let message = |args: &str| {
            let args: toml::Table = args.parse().unwrap();
            make("CartPole-v1", &args).map(|_| ()).unwrap_err().to_string()
        };
        let unknown = message("gravty = 1.0");
        assert!(unknown.starts_with("arguments of `CartPole-v1`: unknown field `gravty`, expected one of `sutton_barto_reward`, `gravity`"), "{unknown}");
        let kind = message("gravity = \"heavy\"");
        assert!(kind.contains("gravity") && kind.contains("expected f64"), "{kind}");
        assert_eq!(
            message("tau = 0.0"),
            "arguments of `CartPole-v1`: `tau = 0` is not a number above 0"
        );
        let bounds = message("reset = { low = 1.0, high = 0.5 }");
        assert!(bounds.ends_with("`reset.low = 1` is not below `reset.high = 0.5`"), "{bounds}");
    }

    #[test]
    fn pages_name_every_argument_and_its_default() {
        for entry in ENVS {
            let (args, page) = (entry.default_args(), entry.page);
            assert!(args.len() > 5 && page.contains(entry.id), "{}", entry.id);
            for (key, value) in args.iter().filter(|(key, _)| *key != "reset") {
                let rows = |line: &&str| line.contains(&format!("`{key}`"));
                let row = page.lines().find(rows).unwrap_or_default();
                assert!(row.contains(&value.to_string()), "{}: {key} = {value}: {row}", entry.id);
            }
            entry.make(&args).unwrap();
        }
    }

    #[test]
    fn a_vector_of_nothing_is_refused() {
        let result = make_vec("CartPole-v1", 0, &toml::Table::new());
        assert!(matches!(result, Err(EnvError::NoEnvs)));
    }

    #[test]
    fn edit_distances_are_levenshteins() {
        for (from, to, distance) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0)] {
            assert_eq!(edit_distance(from, to), distance);
        }
    }
}
