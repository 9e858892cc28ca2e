//! `rlrun eval`: plays whole episodes with a trained agent and says how good it is.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rlrun::Trained;
use rlrun::train::Evaluation;
use serde_json::json;

use crate::{Tables, terminal};

/// Evaluate a trained agent on fresh seeds.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder (its best checkpoint, else its latest) or one step folder
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Episodes to play
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = episodes)]
    episodes: usize,
    /// Seed of the evaluation episodes [default: the run's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Draw actions from the policy instead of taking the best
    #[arg(long)]
    stochastic: bool,
    /// Evaluate on the task as it is registered, whatever the run file changed about it
    #[arg(long)]
    plain: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn episodes(text: &str) -> Result<usize, String> {
    let episodes = text.parse().map_err(|_| "expected a whole number".to_owned())?;
    (1..=10_000_000).contains(&episodes).then_some(episodes).ok_or("expected at least 1".to_owned())
}

pub(crate) fn run(args: &Args, tables: Tables<'_>) -> Result<()> {
    terminal::init_log(&terminal::bar(true), "warn");
    let load = if args.plain { Trained::load_plain } else { Trained::load };
    let mut trained = load(&args.checkpoint, args.episodes, tables.algorithms, tables.environments)
        .with_context(|| format!("cannot evaluate `{}`", args.checkpoint.display()))?;
    let seed = args.seed.unwrap_or(trained.seed);
    let evaluation = if args.stochastic {
        trained.evaluate_stochastic(args.episodes, seed)?
    } else {
        trained.evaluate(args.episodes, seed)?
    };
    let report = Report { trained: &trained, evaluation: &evaluation };
    let text = if args.json { report.json() } else { report.text(args.stochastic) };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

struct Report<'a> {
    trained: &'a Trained,
    evaluation: &'a Evaluation,
}

impl Report<'_> {
    /// Whether the mean return reaches the threshold; `None` without one, or if it is that of
    /// another task.
    fn passed(&self) -> Option<bool> {
        let threshold = self.trained.reward_threshold();
        threshold.map(|threshold| self.evaluation.mean_reward >= threshold)
    }

    /// The threshold, and what the evaluation says about it.
    fn verdict(&self) -> String {
        let changes = &self.trained.task_changes;
        let threshold = match (self.trained.spec().reward_threshold, self.passed()) {
            (Some(threshold), Some(true)) => format!("{threshold}, passed"),
            (Some(threshold), Some(false)) => format!("{threshold}, not passed"),
            (Some(threshold), None) => format!("{threshold}, which is that of the plain task"),
            (None, _) => "none for this environment".to_owned(),
        };
        if changes.is_empty() {
            return threshold;
        }
        let changes = changes.join(", ");
        format!(
            "{threshold}\n\
             modified environment: {changes}; no verdict, `--plain` evaluates on the plain task"
        )
    }

    fn json(&self) -> String {
        let evaluation = self.evaluation;
        let object = json!({
            "env": self.trained.spec().id,
            "checkpoint": self.trained.folder.display().to_string(),
            "step": self.trained.step,
            "episodes": evaluation.returns.len(),
            "mean_reward": evaluation.mean_reward,
            "std_reward": evaluation.std_reward,
            "iqm": evaluation.iqm,
            "ci95": evaluation.ci95,
            "mean_length": evaluation.mean_length,
            "returns": evaluation.returns,
            "reward_threshold": self.trained.spec().reward_threshold,
            "task_changes": self.trained.task_changes,
            "passed": self.passed(),
        });
        object.to_string()
    }

    fn text(&self, stochastic: bool) -> String {
        let Evaluation { mean_reward, std_reward, iqm, ci95: [low, high], .. } = self.evaluation;
        let lengths = &self.evaluation.lengths;
        let (shortest, longest) = (lengths.iter().min(), lengths.iter().max());
        format!(
            "{} after {} steps ({})\n\
             {} episodes on fresh seeds, {} actions\n\
             mean return       {mean_reward:.2} ± {std_reward:.2}\n\
             95 % interval     {low:.2} to {high:.2}\n\
             interquartile     {iqm:.2}\n\
             episode length    {:.1} ({} to {})\n\
             reward threshold  {}",
            self.trained.spec().id,
            self.trained.step,
            self.trained.folder.display(),
            lengths.len(),
            if stochastic { "sampled" } else { "best" },
            self.evaluation.mean_length,
            shortest.unwrap_or(&0),
            longest.unwrap_or(&0),
            self.verdict(),
        )
    }
}
