//! `rlrun train`: trains an agent from a run file, or goes on with a run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use rlrun::tensor::{kernels, phase_counts};
use rlrun::train::disk::fault::{self, Fault};
use rlrun::train::logger::Console;
use rlrun::train::{CheckpointError, RunDir, Trainer};
use rlrun::{ConfigError, Run};
use tracing::{info, warn};

use crate::commands::verify_resume::{OPERATIONS, wait_for_the_kill};
use crate::exit::{Stopped, UnreadableRunFile};
use crate::terminal::{self, AboveBar, Progress};
use crate::{Tables, mode_trace, signals};

/// Train an agent from a run file, or go on with an earlier run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run file; `rlrun config ppo` prints one
    #[arg(value_name = "RUN.toml", required_unless_present = "resume")]
    run_file: Option<PathBuf>,
    /// Go on with this run from its newest checkpoint
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = ["run_file", "seed", "out", "name"])]
    resume: Option<PathBuf>,
    /// Go on although rows of the logs are lost for good
    #[arg(long, requires = "resume")]
    accept_lost_rows: bool,
    /// Change a key of the run file, such as agent.gamma=0.98; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of every random stream, as --set seed=N
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Folder to make the run folder in
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Name of the run folder, else `<env>__<algorithm>__<seed>`
    #[arg(long)]
    name: Option<String>,
    /// Threads that large products and updates may use, at most one a core; the result is the same,
    /// bit for bit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Print what each phase recorded and made in each gradient mode; stop if a phase that should
    /// record no history does
    #[arg(long)]
    trace_modes: bool,
    /// Show warnings and errors only
    #[arg(long)]
    quiet: bool,
    /// Wait at this file operation to be killed, for `verify-resume`; say how many there were
    #[arg(long, hide = true, value_name = "N")]
    stop_at_file_operation: Option<u64>,
}

pub(crate) fn run(args: &Args, tables: Tables<'_>) -> Result<()> {
    let bar = terminal::bar(args.quiet);
    terminal::init_log(&bar, if args.quiet { "warn" } else { "info" });
    let threads = threads(args.threads.into());
    kernels::with_threads(threads, || create_and_train(args, tables, bar))
        .with_context(|| format!("cannot start `--threads {threads}`; use fewer"))?
}

fn create_and_train(args: &Args, tables: Tables<'_>, bar: ProgressBar) -> Result<()> {
    if let Some(number) = args.stop_at_file_operation {
        fault::plan(number, Fault::Call(Box::new(|_, _| wait_for_the_kill())));
    }
    let stop = Arc::default();
    signals::stop_at(&stop).context("cannot receive signals")?;
    let (mut trainer, dir) = match (&args.resume, &args.run_file) {
        (Some(dir), _) => (resume(dir, args, tables)?, dir.clone()),
        (None, Some(run_file)) => create(run_file, args, tables)?,
        (None, None) => unreachable!("clap asks for one of them"),
    };
    if !args.quiet {
        let output = AboveBar::new(bar.clone(), io::stdout());
        trainer.logger.add(Box::new(Console::new(Box::new(output))));
    }
    trainer.trace_modes = args.trace_modes;
    trainer.stop = stop;
    let trained = train(&mut trainer, bar);
    if args.trace_modes {
        terminal::say(&mode_trace::table(&phase_counts()));
    }
    trained?;
    if !trainer.is_done() {
        return Err(anyhow::Error::msg(Stopped(dir)));
    }
    if args.stop_at_file_operation.is_some() {
        terminal::say(&format!("{OPERATIONS}{}\n", fault::operations()));
    }
    if !args.quiet {
        let (dir, program) = (dir.display(), terminal::program());
        terminal::say(&format!("run folder: {dir}\nnext: {program} eval --checkpoint {dir}\n"));
    }
    Ok(())
}

/// As many threads as were asked for, but no more than there are cores: they wait actively.
fn threads(wanted: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if wanted > cores {
        warn!("using {cores} threads instead of {wanted}: the machine has no more cores");
    }
    wanted.min(cores)
}

fn create(run_file: &Path, args: &Args, tables: Tables<'_>) -> Result<(Trainer, PathBuf)> {
    let text = fs::read_to_string(run_file)
        .with_context(|| UnreadableRunFile(run_file.display().to_string()))?;
    let mut overrides = args.set.clone();
    overrides.extend(args.seed.map(|seed| format!("seed={seed}")));
    let Tables { algorithms, environments } = tables;
    let in_file = || format!("in `{}`", run_file.display());
    let run = Run::load_with(&text, &overrides, algorithms, environments).with_context(in_file)?;
    let dir = args.out.join(args.name.clone().unwrap_or_else(|| run.name()));
    let trainer = run.create(&dir).with_context(in_file)?;
    info!("training in {}", dir.display());
    Ok((trainer, dir))
}

fn resume(dir: &Path, args: &Args, tables: Tables<'_>) -> Result<Trainer> {
    let open = || {
        let run_dir = RunDir::open(dir)?;
        Ok(if args.accept_lost_rows { run_dir.accepting_lost_rows() } else { run_dir })
    };
    let resume =
        |run_dir| Run::resume_in(run_dir, &args.set, tables.algorithms, tables.environments);
    let trainer = open()
        .map_err(|error: CheckpointError| ConfigError::from(error))
        .and_then(resume)
        .with_context(|| format!("cannot continue `{}`", dir.display()))?;
    if trainer.is_done() {
        let total = trainer.total_timesteps();
        info!("the run is finished; `--set train.total_timesteps=N` with N > {total} extends it");
    }
    Ok(trainer)
}

/// The training loop, with what the terminal shows.
fn train(trainer: &mut Trainer, bar: ProgressBar) -> Result<()> {
    let mut progress = Progress::new(trainer.timesteps(), trainer.total_timesteps(), bar);
    while !trainer.is_done() && !trainer.stop.load(Ordering::Relaxed) {
        let report = trainer.step()?;
        progress.set(trainer.timesteps());
        if let Some(scored) = report.evaluation {
            progress.set_mean_reward(scored.evaluation.mean_reward);
        }
    }
    progress.finish();
    if !trainer.is_done() {
        trainer.save()?;
    }
    Ok(())
}
