//! `rlrun config`: a run file with every key, its default and what it means.

use std::io::{self, Write};

use anyhow::Result;

use crate::Tables;

/// Print a run file with all keys of an algorithm, their defaults and what they mean.
#[derive(clap::Args)]
pub(crate) struct Args {
    algorithm: String,
}

pub(crate) fn run(args: &Args, tables: Tables<'_>) -> Result<()> {
    for algorithm in tables.algorithms.iter().filter(|algorithm| algorithm.name == args.algorithm) {
        io::stdout().write_all(algorithm.default_run_file()?.as_bytes())?;
    }
    Ok(())
}
