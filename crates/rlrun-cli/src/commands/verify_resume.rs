//! `rlrun verify-resume`: kills a run again and again, and compares it with one that was never
//! stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rlrun::core::NumpyRng;

use crate::run_digest::run_digest;

/// What a process says that waits at a file operation to be killed.
pub(crate) const STOPPED: &str = "stopped at a file operation";

/// What a process says at its end, before the number of its file operations.
pub(crate) const OPERATIONS: &str = "file operations: ";

/// Kill a run at random instants and at its file operations, go on with it each time, and compare
/// it with an uninterrupted one, bit for bit. Everything happens in a temporary folder.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run file; --set makes it short, with several checkpoints and evaluations
    #[arg(value_name = "RUN.toml")]
    run_file: PathBuf,
    /// Change a key of the run file, as in `train`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How often to kill, every other time at a file operation
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    kills: u32,
    /// Seed of the instants
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let place = Place { args, dir: dir.path() };
    let start = Instant::now();
    let Ended::Done(operations) = place.process("whole", Kill::Never)? else {
        bail!("the uninterrupted run did not say that it had ended");
    };
    let mut kills = Kills::new(args, start.elapsed(), operations);
    let expected = run_digest(&dir.path().join("whole"))?;
    say(&format!("uninterrupted: {expected}"));
    let mut runs = 0;
    while kills.done < args.kills {
        runs += 1;
        let name = format!("killed-{runs}");
        let before = kills.done;
        place.train_with_kills(&name, &mut kills)?;
        let (times, found) = (kills.done - before, run_digest(&dir.path().join(&name))?);
        say(&format!("killed {times} times: {found}"));
        if found != expected {
            let kept = dir.keep();
            bail!(
                "a run that was killed {times} times differs from an uninterrupted one: compare \
                 `{name}` with `whole` in `{}`",
                kept.display()
            );
        }
        std::fs::remove_dir_all(dir.path().join(&name)).context("cannot delete a finished run")?;
    }
    let (all, at_files) = (kills.done, kills.at_files);
    say(&format!(
        "{all} kills, {at_files} of them at one of {operations} file operations: 0 bits differ"
    ));
    Ok(())
}

fn say(line: &str) {
    crate::terminal::say(&format!("{line}\n"));
}

/// When a process is killed.
#[derive(Clone, Copy)]
enum Kill {
    Never,
    After(Duration),
    AtFileOperation(u64),
}

/// How a process ended: by itself, after so many file operations, or killed.
enum Ended {
    Done(u64),
    Killed { at_file: bool },
}

/// Where and how often processes were killed, and where the next one is.
struct Kills {
    rng: NumpyRng,
    longest: Duration,
    operations: u64,
    next_operation: u64,
    left: u32,
    done: u32,
    at_files: u32,
}

impl Kills {
    fn new(args: &Args, longest: Duration, operations: u64) -> Kills {
        let rng = NumpyRng::new(args.seed);
        let left = args.kills;
        Kills { rng, longest, operations, next_operation: 0, left, done: 0, at_files: 0 }
    }

    fn next(&mut self) -> Kill {
        if self.left == 0 {
            return Kill::Never;
        }
        self.left -= 1;
        if self.left.is_multiple_of(2) {
            return Kill::After(self.longest.mul_f64(self.rng.uniform(0.0, 1.0)));
        }
        // Steps of the golden section reach every operation in the end, and all parts soon.
        let step = ((self.operations as f64 * 0.618) as u64).max(1) | 1;
        self.next_operation = (self.next_operation + step) % self.operations.max(1);
        Kill::AtFileOperation(self.next_operation)
    }

    fn count(&mut self, at_file: bool) {
        self.done += 1;
        self.at_files += u32::from(at_file);
    }
}

struct Place<'a> {
    args: &'a Args,
    dir: &'a Path,
}

impl Place<'_> {
    /// Trains a run that is killed until it gets to its end before it is.
    fn train_with_kills(&self, name: &str, kills: &mut Kills) -> Result<()> {
        loop {
            let kill = kills.next();
            match self.process(name, kill)? {
                Ended::Killed { at_file } => kills.count(at_file),
                Ended::Done(_) => {
                    // A process that was quicker than its kill gives it back.
                    kills.left += u32::from(!matches!(kill, Kill::Never));
                    return Ok(());
                }
            }
        }
    }

    /// Begins the run or goes on with it, in a process that is killed from outside.
    fn process(&self, name: &str, kill: Kill) -> Result<Ended> {
        let mut child = self.command(name, kill)?.spawn().context("cannot start a process")?;
        let lines = lines(&mut child);
        let ended = match kill {
            Kill::Never => await_end(&lines, None),
            Kill::After(wait) => await_end(&lines, Some(Instant::now() + wait)),
            Kill::AtFileOperation(_) => await_end(&lines, None),
        };
        if let Ended::Killed { .. } = ended {
            child.kill().context("cannot kill a process")?;
            child.wait().context("cannot wait for a process")?;
            return Ok(ended);
        }
        let mut said = String::new();
        child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said)).transpose()?;
        let status = child.wait().context("cannot wait for a process")?;
        ensure!(status.success(), "the run failed with {status}: {}", said.trim());
        Ok(ended)
    }

    fn command(&self, name: &str, kill: Kill) -> Result<Command> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let run = self.dir.join(name);
        let mut command = Command::new(program);
        command.arg("train");
        if run.exists() {
            command.arg("--resume").arg(&run);
        } else {
            command.arg(&self.args.run_file).arg("--out").arg(self.dir).args(["--name", name]);
            for set in &self.args.set {
                command.args(["--set", set]);
            }
        }
        let at = if let Kill::AtFileOperation(number) = kill { number } else { u64::MAX };
        command.args(["--quiet", "--stop-at-file-operation", &at.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// The lines that a process prints, as they come.
fn lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
    }
    receiver
}

/// Waits until the process waits for its kill, has ended, or the time has come.
fn await_end(lines: &mpsc::Receiver<String>, deadline: Option<Instant>) -> Ended {
    let mut operations = 0;
    loop {
        let line = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
        {
            Some(left) => lines.recv_timeout(left),
            None => lines.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        };
        match line {
            Ok(line) if line == STOPPED => return Ended::Killed { at_file: true },
            Ok(line) => {
                let number = line.strip_prefix(OPERATIONS).and_then(|number| number.parse().ok());
                operations = number.unwrap_or(operations);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => return Ended::Killed { at_file: false },
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ended::Done(operations),
        }
    }
}

/// Says that this process waits, and waits to be killed.
pub(crate) fn wait_for_the_kill() {
    say(STOPPED);
    std::io::stdout().flush().ok();
    loop {
        thread::park();
    }
}
