//! `rlrun list`: what a run file can name.

use std::io::{self, Write};

use anyhow::Result;
use rlrun::ALGORITHMS;
use rlrun::envs::ENVS;

/// List what a run file can name.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Values of `env.id`
    Envs,
    /// Values of `algorithm`
    Algorithms,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut output = io::stdout().lock();
    match args.what {
        What::Envs => {
            for entry in ENVS {
                let threshold = entry.reward_threshold.map_or("-".to_owned(), |t| t.to_string());
                let steps = entry.max_episode_steps;
                writeln!(output, "{:26} {steps:>5} steps, reward threshold {threshold}", entry.id)?;
            }
        }
        What::Algorithms => {
            for algorithm in ALGORITHMS {
                writeln!(output, "{}", algorithm.name)?;
            }
        }
    }
    Ok(())
}
