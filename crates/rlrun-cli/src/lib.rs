//! The rlrun program as a library: every command for algorithms and environments of your own.
//!
//! ```no_run
//! use rlrun::prelude::*;
//! # #[derive(Clone)] struct Corridor(EnvSpec);
//! # impl Corridor { fn new() -> Corridor { unimplemented!() } }
//! # impl Env for Corridor {
//! #     fn spec(&self) -> &EnvSpec { &self.0 }
//! #     fn reset(&mut self, _: Option<u64>, _: &mut [f32]) -> Result<(), EnvError> { Ok(()) }
//! #     fn step(&mut self, _: Action<'_>, _: &mut [f32]) -> Result<Step, EnvError> { unimplemented!() }
//! #     fn state(&self) -> Result<State, EnvError> { Ok(State::new()) }
//! #     fn load_state(&mut self, _: &State) -> Result<(), StateError> { Ok(()) }
//! # }
//!
//! fn main() -> std::process::ExitCode {
//!     let corridor = Environment::single("Corridor-v0", |_args| Ok(Corridor::new()));
//!     rlrun_cli::main_with(ALGORITHMS, &[corridor])
//! }
//! ```
//!
//! `cargo run --release -- train my.toml` and every other command of `rlrun --help` then know
//! `Corridor-v0`. Algorithms of your own stand in the table beside the library's:
//! `&[ALGORITHMS, &[Algorithm::new::<MyConfig>("mine")]].concat()`.
//!
//! In a program with a loop of its own, [`show`] brings the console table and the log.

mod commands;
mod exit;
mod mode_trace;
mod play;
mod run_digest;
mod signals;
mod terminal;

use std::path::Path;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use rlrun::{Algorithm, ConfigError, Environment, Trained};

pub use terminal::show;

/// Reinforcement learning: a run file goes in, a trained and honestly evaluated agent comes out.
#[derive(Parser)]
#[command(name = "rlrun", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(commands::train::Args),
    Eval(commands::eval::Args),
    Watch(commands::watch::Args),
    List(commands::list::Args),
    Config(commands::config::Args),
    CheckEnv(commands::check_env::Args),
    CheckAgent(commands::check_agent::Args),
    Fsck(commands::fsck::Args),
    VerifyResume(commands::verify_resume::Args),
    Bench(commands::bench::Args),
}

/// What run files and arguments can name.
#[derive(Clone, Copy)]
struct Tables<'a> {
    /// Every algorithm.
    algorithms: &'a [Algorithm],
    /// Environments beside those of the library.
    environments: &'a [Environment],
}

impl Tables<'_> {
    /// The agent of a run folder or of one step folder, for `episodes` episodes.
    fn load(self, checkpoint: &Path, episodes: usize) -> Result<Trained, ConfigError> {
        Trained::load(checkpoint, episodes, self.algorithms, self.environments)
    }
}

/// The program: reads the arguments, does what they ask for and gives the exit code.
///
/// `algorithms` are all that there are ([`rlrun::ALGORITHMS`] and yours); `environments` are yours,
/// beside the library's.
pub fn main_with(algorithms: &[Algorithm], environments: &[Environment]) -> ExitCode {
    let tables = Tables { algorithms, environments };
    let cli = Cli::from_arg_matches(&arguments(algorithms).get_matches());
    let result = match cli.unwrap_or_else(|error| error.exit()).command {
        Command::Train(args) => commands::train::run(&args, tables),
        Command::Eval(args) => commands::eval::run(&args, tables),
        Command::Watch(args) => commands::watch::run(&args, tables),
        Command::List(args) => commands::list::run(&args, tables),
        Command::Config(args) => commands::config::run(&args, tables),
        Command::CheckEnv(args) => commands::check_env::run(&args, tables),
        Command::CheckAgent(args) => commands::check_agent::run(&args, tables),
        Command::Fsck(args) => commands::fsck::run(&args),
        Command::VerifyResume(args) => commands::verify_resume::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
    };
    result.map_or_else(|error| exit::report(&error), |()| ExitCode::SUCCESS)
}

/// The arguments of [`Cli`], with the names of this program's algorithms.
fn arguments(algorithms: &[Algorithm]) -> clap::Command {
    let names: Vec<&'static str> = algorithms.iter().map(|algorithm| algorithm.name).collect();
    Cli::command().mut_subcommand("config", |config| {
        config.mut_arg("algorithm", |arg| arg.value_parser(PossibleValuesParser::new(names)))
    })
}
