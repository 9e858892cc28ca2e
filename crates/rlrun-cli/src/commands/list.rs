//! `rlrun list`: what a run file can name, and the page of one environment.

use std::io::{self, Write};

use anyhow::Result;
use rlrun::env::{EnvError, EnvSpec, WrapperConfig};
use rlrun::{ConfigError, Environment};

use crate::Tables;

/// List what a run file can name.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Values of `env.id`; with one of them, all about it
    Envs { id: Option<String> },
    /// Values of `algorithm`
    Algorithms,
}

pub(crate) fn run(args: &Args, tables: Tables<'_>) -> Result<()> {
    let text = match &args.what {
        What::Envs { id: None } => table(tables.environments)?,
        What::Envs { id: Some(id) } => page(id, tables.environments)?,
        What::Algorithms => tables.algorithms.iter().map(|row| format!("{}\n", row.name)).collect(),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The table of all environments.
fn table(own: &[Environment]) -> Result<String, ConfigError> {
    let header = ["id", "actions", "limit", "threshold", "observations"].map(str::to_owned);
    let mut rows = vec![header];
    for environment in Environment::all(own) {
        let spec = spec(&environment)?;
        rows.push([
            environment.id().to_owned(),
            spec.action_space.to_string(),
            spec.max_episode_steps.map_or("-".to_owned(), |steps| steps.to_string()),
            spec.reward_threshold.map_or("-".to_owned(), |threshold| threshold.to_string()),
            spec.observation_space.to_string(),
        ]);
    }
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    Ok(rows.iter().map(line).collect())
}

/// The page of one environment, without its picture, and its spaces.
fn page(id: &str, own: &[Environment]) -> Result<String, ConfigError> {
    let environment = Environment::find(id, own)?;
    let spec = spec(&environment)?;
    let title = format!("# {id}\n");
    let text = environment.page().unwrap_or(&title).lines().filter(|line| !line.starts_with("!["));
    let text = text.map(|line| format!("{line}\n")).collect::<String>().replace("\n\n\n", "\n\n");
    let spaces = format!(
        "\n| space | |\n|---|---|\n| observations | `{}` |\n| actions | `{}` |\n",
        spec.observation_space, spec.action_space
    );
    Ok(text + &spaces)
}

/// What is fixed about an environment with its default arguments.
fn spec(environment: &Environment) -> Result<EnvSpec, EnvError> {
    let envs = environment.make_vec(1, &toml::Table::new(), &WrapperConfig::default())?;
    Ok(envs.spec().clone())
}
