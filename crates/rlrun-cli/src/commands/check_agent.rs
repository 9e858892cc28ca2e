//! `rlrun check-agent`: does the saved state of an agent hold all that it goes on from?

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rlrun::check_agent;

use crate::Tables;
use crate::exit::UnreadableRunFile;

/// Check that an agent forgets nothing when it is saved and loaded: it is trained once straight and
/// once interrupted again and again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run file; small settings let the agent learn within its first 4000 vector steps
    #[arg(value_name = "RUN.toml")]
    run_file: PathBuf,
}

pub(crate) fn run(args: &Args, tables: Tables<'_>) -> Result<()> {
    let path = args.run_file.display();
    let text =
        fs::read_to_string(&args.run_file).with_context(|| UnreadableRunFile(path.to_string()))?;
    let report = check_agent(&text, tables.algorithms, tables.environments)
        .with_context(|| format!("in `{path}`"))?;
    if !report.is_ok() {
        bail!("{report}");
    }
    writeln!(io::stdout(), "{report}")?;
    Ok(())
}
