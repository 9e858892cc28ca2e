//! `rlrun config`: a run file with every key, its default and what it means.

use std::io::{self, Write};

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use rlrun::ALGORITHMS;

/// Print a run file with all keys of an algorithm, their defaults and what they mean.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = PossibleValuesParser::new(ALGORITHMS.iter().map(|a| a.name)))]
    algorithm: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    for algorithm in ALGORITHMS.iter().filter(|algorithm| algorithm.name == args.algorithm) {
        io::stdout().write_all(algorithm.default_run_file()?.as_bytes())?;
    }
    Ok(())
}
