//! The rlrun program: arguments, terminal, exit codes.

mod commands;
mod exit;
mod mode_trace;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Reinforcement learning: a run file goes in, a trained and honestly evaluated agent comes out.
#[derive(Parser)]
#[command(version, about, disable_help_subcommand = true)]
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
    Bench(commands::bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(args) => commands::train::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Watch(args) => commands::watch::run(&args),
        Command::List(args) => commands::list::run(&args),
        Command::Config(args) => commands::config::run(&args),
        Command::CheckEnv(args) => commands::check_env::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
    };
    result.map_or_else(|error| exit::report(&error), |()| ExitCode::SUCCESS)
}
