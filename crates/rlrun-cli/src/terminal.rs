//! What goes to the terminal while training: a progress bar, and output that does not disturb it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rlrun::train::Trainer;
use rlrun::train::logger::Console;
use tracing::info;
use tracing_subscriber::EnvFilter;

/// How often the progress is shown; the loop itself is far faster.
const REFRESH: Duration = Duration::from_millis(100);

/// Progress of a training run: a bar with the time left on a terminal, log lines otherwise.
pub(crate) struct Progress {
    bar: ProgressBar,
    total: u64,
    started: (Instant, u64),
    shown: Instant,
    tenths: u64,
}

impl Progress {
    /// Starts at `step` of `total`; `quiet` shows nothing.
    pub(crate) fn new(step: u64, total: u64, bar: ProgressBar) -> Progress {
        let style = "{bar:32} {pos}/{len} steps, {elapsed} gone, {eta} left {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
        bar.set_length(total);
        bar.set_position(step);
        bar.reset_eta();
        let now = Instant::now();
        Progress { bar, total, started: (now, step), shown: now, tenths: 10 * step / total.max(1) }
    }

    /// Shows that `step` has been reached.
    pub(crate) fn set(&mut self, step: u64) {
        let tenths = 10 * step / self.total.max(1);
        if self.bar.is_hidden() && tenths > self.tenths {
            let (since, from) = self.started;
            let seconds = since.elapsed().as_secs_f64();
            let left = seconds * (self.total - step) as f64 / (step - from) as f64;
            info!("step {step} of {}, {left:.1} s left", self.total);
        }
        self.tenths = tenths;
        if self.shown.elapsed() >= REFRESH {
            self.shown = Instant::now();
            self.bar.set_position(step);
        }
    }

    /// Shows the mean return of the latest evaluation beside the bar.
    pub(crate) fn set_mean_reward(&self, mean_reward: f64) {
        self.bar.set_message(format!("(eval/mean_reward {mean_reward:.1})"));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// What this program is called: users build their own with `main_with`.
pub(crate) fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_deref().and_then(Path::file_stem).map(|name| name.to_string_lossy());
    name.map_or_else(|| "rlrun".to_owned(), Cow::into_owned)
}

/// The bar, hidden unless the standard error is a terminal.
pub(crate) fn bar(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
}

/// Sends log messages to the standard error, above the bar. `RUST_LOG` overrides the level.
pub(crate) fn init_log(bar: &ProgressBar, default_level: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    let bar = bar.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // A closed or full standard error is no reason to panic: training does not hang on it.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || AboveBar { bar: bar.clone(), output: io::stderr() })
        .try_init()
        // A program that set up a log of its own keeps it.
        .ok();
}

/// Shows what the trainer does from now on, as `rlrun train` does: its table of metrics on the
/// standard output, and its log (evaluations, warnings) on the standard error.
///
/// ```
/// # use rlrun::prelude::*;
/// # fn main() -> Result<(), ConfigError> {
/// # let run_file = "algorithm = 'ppo'\nenv.id = 'CartPole-v1'\nagent.n_steps = 64\n\
/// #     train = { total_timesteps = 64, n_eval_episodes = 1, n_rescore_episodes = 1 }";
/// let mut trainer = Run::load(run_file, ALGORITHMS, &[])?.into_trainer()?;
/// rlrun_cli::show(&mut trainer);
/// trainer.run()?;
/// # Ok(())
/// # }
/// ```
pub fn show(trainer: &mut Trainer) {
    init_log(&ProgressBar::hidden(), "info");
    trainer.logger.add(Box::new(Console::stdout()));
}

/// Prints what is said beside a result. Nobody may be there to read it any more (`| head`), which
/// does not make what was done a failure.
pub(crate) fn say(text: &str) {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).ok();
}

/// Output that is written above the bar.
pub(crate) struct AboveBar<W> {
    bar: ProgressBar,
    output: W,
}

impl<W> AboveBar<W> {
    /// Writes to `output` above `bar`.
    pub(crate) fn new(bar: ProgressBar, output: W) -> AboveBar<W> {
        AboveBar { bar, output }
    }
}

impl<W: Write> Write for AboveBar<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| self.output.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
