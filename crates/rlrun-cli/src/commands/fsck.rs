//! `rlrun fsck`: verifies a run folder and changes nothing.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rlrun::ConfigError;
use rlrun::train::RunDir;

/// Verify every hash, pointer and log of a run folder, and say which step is good.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder
    #[arg(value_name = "RUN_DIR")]
    run_dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = args.run_dir.display();
    let check = RunDir::open(&args.run_dir).and_then(|run_dir| run_dir.check());
    let check =
        check.map_err(ConfigError::from).with_context(|| format!("cannot check `{dir}`"))?;
    writeln!(io::stdout(), "{check}")?;
    if !check.is_ok() {
        bail!("the run folder `{dir}` is not as it was written");
    }
    Ok(())
}
