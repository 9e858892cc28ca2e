//! `rlrun check-env`: does an environment keep its promises?

use std::io::{self, Write};

use anyhow::{Result, bail};
use rlrun::env::{CheckReport, check_env};
use rlrun::{ConfigError, Environment};

use crate::Tables;

/// Check that an environment is deterministic, keeps to its spaces, and can be saved.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Environment; `rlrun list envs` shows all
    id: String,
}

pub(crate) fn run(args: &Args, tables: Tables<'_>) -> Result<()> {
    let environment =
        Environment::find(&args.id, tables.environments).map_err(ConfigError::from)?;
    let make = || environment.make(&toml::Table::new());
    make().map_err(ConfigError::from)?;
    let report = check_env(|| make().unwrap_or_else(|error| panic!("made just now: {error}")));
    judge(&report)
}

/// Prints a report without violations; one with some is the error.
fn judge(report: &CheckReport) -> Result<()> {
    if !report.is_ok() {
        bail!("{report}");
    }
    writeln!(io::stdout(), "{report}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rlrun::env::{Check, Violation};

    use super::*;

    #[test]
    fn a_broken_promise_is_an_error_with_expected_and_found() {
        let (expected, found) = ("a finite number".to_owned(), "NaN".to_owned());
        let violation = Violation { check: Check::Reward, step: Some(3), expected, found };
        let report = CheckReport { id: "Mine-v0".into(), steps: 9, violations: vec![violation] };
        let message = judge(&report).unwrap_err().to_string();
        assert_eq!(
            message,
            "`Mine-v0` breaks 1 promise\n  reward (step 3): expected a finite number, found NaN"
        );
    }
}
