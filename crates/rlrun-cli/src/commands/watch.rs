//! `rlrun watch`: shows episodes in the terminal, or as a picture or an animation.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rlrun::env::WrapperConfig;
use rlrun::envs::render;
use rlrun::{ConfigError, Environment};

use crate::Tables;
use crate::play::Play;

/// Characters in a line of the terminal's picture.
const COLUMNS: usize = 80;

/// Pictures per second.
const FPS: u64 = 30;

/// Watch episodes of a trained agent, or of random actions.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder (its best checkpoint, else its latest) or one step folder
    #[arg(long, value_name = "DIR", required_unless_present = "env")]
    checkpoint: Option<PathBuf>,
    /// Environment to watch without an agent; `rlrun list envs` shows all
    #[arg(long, value_name = "ID", conflicts_with = "checkpoint", requires = "random")]
    env: Option<String>,
    /// Random actions
    #[arg(long, requires = "env")]
    random: bool,
    /// Draw actions from the policy instead of taking the best
    #[arg(long, conflicts_with = "random")]
    stochastic: bool,
    /// Episodes to play
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: u64,
    /// Seed of the episodes [default: the run's, or 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write an animation instead, of half the size
    #[arg(long, value_name = "FILE")]
    gif: Option<PathBuf>,
    /// Write the last picture instead
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, tables: Tables<'_>) -> Result<()> {
    let mut play = play(args, tables)?;
    let mut screen = Screen::new(args);
    for episode in 1..=args.episodes {
        let ended = loop {
            screen.show(play.draw()?)?;
            if let Some(ended) = play.step()? {
                break ended;
            }
        };
        let (reward, length) = (ended.reward, ended.length);
        screen.above = 0;
        writeln!(io::stdout(), "episode {episode}: return {reward:.2} in {length} steps")?;
    }
    screen.write(args)
}

fn play(args: &Args, tables: Tables<'_>) -> Result<Play> {
    if let Some(id) = &args.env {
        let environment = Environment::find(id, tables.environments).map_err(ConfigError::from)?;
        let envs = environment.make_vec(1, &toml::Table::new(), &WrapperConfig::default());
        return Play::random(envs.map_err(ConfigError::from)?, args.seed.unwrap_or(0));
    }
    let dir = args.checkpoint.as_deref().unwrap_or(Path::new("."));
    let trained =
        tables.load(dir, 1).with_context(|| format!("cannot watch `{}`", dir.display()))?;
    let seed = args.seed.unwrap_or(trained.seed);
    Play::trained(trained, seed, args.stochastic)
}

/// Where pictures go: to the terminal, or into memory for the files asked for.
struct Screen {
    frames: Vec<render::Canvas>,
    last: Option<render::Canvas>,
    files: bool,
    gif: bool,
    /// Lines of the terminal that the next picture covers.
    above: usize,
}

impl Screen {
    fn new(args: &Args) -> Screen {
        let (gif, files) = (args.gif.is_some(), args.gif.is_some() || args.png.is_some());
        Screen { frames: Vec::new(), last: None, files, gif, above: 0 }
    }

    fn show(&mut self, picture: render::Canvas) -> Result<()> {
        if self.gif {
            self.frames.push(picture.shrunk(picture.width / 2, picture.height / 2));
        }
        if !self.files {
            self.print(&render::to_ansi(&picture, COLUMNS))?;
        }
        self.last = Some(picture);
        Ok(())
    }

    /// Prints a picture: at the pace of an animation and over the one before if someone looks, else
    /// one below the other.
    fn print(&mut self, text: &str) -> io::Result<()> {
        let mut output = io::stdout().lock();
        if output.is_terminal() {
            thread::sleep(Duration::from_millis(1000 / FPS));
            if self.above > 0 {
                write!(output, "\x1b[{}A", self.above)?;
            }
            self.above = text.lines().count();
        }
        output.write_all(text.as_bytes())?;
        output.flush()
    }

    fn write(&self, args: &Args) -> Result<()> {
        let cannot_write = |path: &Path| format!("cannot write `{}`", path.display());
        if let (Some(path), Some(picture)) = (&args.png, &self.last) {
            fs::write(path, render::to_png(picture)?).with_context(|| cannot_write(path))?;
        }
        if let Some(path) = &args.gif {
            let file = File::create(path).with_context(|| cannot_write(path))?;
            let frame_time = (100 / FPS) as u16;
            render::write_gif(&self.frames, frame_time, BufWriter::new(file))
                .with_context(|| cannot_write(path))?;
        }
        Ok(())
    }
}
