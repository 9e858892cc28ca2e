//! Trains every shipped run file again and writes what the documentation says of it: the tables of
//! docs/results.md, the digests beside them, and the agents in checkpoints/.
//!
//! `cargo run --release -p rlrun-docs --bin results` (`-- cartpole` for some run files only,
//! `-- --check` to compare the digests and write nothing).

#![allow(clippy::print_stdout, reason = "a program of this repository's maintainers")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, thread};

use rlrun::core::NUMERICS;
use rlrun::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;
const EPISODES: usize = 100;

/// Run files whose agent of seed 1 ships with the project, and the name of its folder.
const SHIPPED: [(&str, &str); 1] = [("cartpole", "ppo-CartPole-v1")];

/// One trained agent.
struct Row {
    config: String,
    seed: u64,
    /// Step that `best` points to.
    best: u64,
    evaluation: Evaluation,
    threshold: Option<f64>,
    /// SHA-256 of the policy at the end of the run.
    digest: String,
    run: PathBuf,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let check = args.iter().any(|arg| arg == "--check");
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let digests = root.join("docs/results/digests.csv");
    let is_wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| *f == name);
    let rows = train_all(&root, |name| is_wanted(name))?;
    if check {
        return compare(&rows, &fs::read_to_string(digests)?);
    }
    for (config, name) in SHIPPED {
        if let Some(row) = rows.iter().find(|row| row.config == config && row.seed == 1) {
            ship(&row.run, &root.join("checkpoints").join(name))?;
        }
    }
    if !filters.is_empty() {
        println!("{}", table(&rows));
        println!("docs/results.md is written when every run file was trained");
        return Ok(());
    }
    fs::create_dir_all(root.join("docs/results"))?;
    fs::write(&digests, digest_table(&rows))?;
    fs::write(root.join("docs/results.md"), page(&rows))?;
    println!("{}", table(&rows));
    Ok(())
}

/// Trains the run files with these names, each with every seed, on as many threads as there are
/// cores.
fn train_all(root: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Row>> {
    let mut jobs = Vec::new();
    for entry in fs::read_dir(root.join("configs"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if is_wanted(&name) {
            jobs.extend(SEEDS.map(|seed| (name.clone(), path.clone(), seed)));
        }
    }
    jobs.sort_by(|a, b| (&b.0, b.2).cmp(&(&a.0, a.2)));
    let (jobs, rows) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let next = || jobs.lock().ok()?.pop();
    let work = || -> Result<()> {
        while let Some((name, path, seed)) = next() {
            let row = train(root, &name, &path, seed)?;
            println!("{name} {seed}: mean return {:.2}", row.evaluation.mean_reward);
            if let Ok(mut rows) = rows.lock() {
                rows.push(row);
            }
        }
        Ok(())
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a run panicked")?)
    })?;
    let mut rows = rows.into_inner()?;
    rows.sort_by(|a, b| (&a.config, a.seed).cmp(&(&b.config, b.seed)));
    Ok(rows)
}

fn train(root: &Path, config: &str, path: &Path, seed: u64) -> Result<Row> {
    let dir = root.join("target/results").join(format!("{config}-{seed}"));
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let seed_override = [format!("seed={seed}")];
    let run = Run::load_with(&fs::read_to_string(path)?, &seed_override, ALGORITHMS, &[])?;
    let mut trainer = run.create(&dir)?;
    trainer.run()?;
    let last = dir.join(format!("step-{:09}", trainer.timesteps()));
    let mut trained = Trained::load(&dir, EPISODES, ALGORITHMS, &[])?;
    Ok(Row {
        config: config.to_owned(),
        seed,
        best: trained.step,
        evaluation: trained.evaluate(EPISODES, seed)?,
        threshold: trained.reward_threshold(),
        digest: digest(&last)?,
        run: dir,
    })
}

/// SHA-256 of the policy of a step folder, as its manifest has it.
fn digest(step: &Path) -> Result<String> {
    let manifest: rlrun::toml::Table = fs::read_to_string(step.join("manifest.toml"))?.parse()?;
    let digest = manifest["sha256"]["policy.safetensors"].as_str();
    Ok(digest.ok_or("a manifest without the policy's hash")?.to_owned())
}

/// Copies what a run folder needs to be evaluated and continued, without its logs.
fn ship(run: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let best = fs::read_to_string(run.join("best"))?;
    let step = best.trim();
    fs::create_dir_all(to.join(step))?;
    fs::copy(run.join("run.toml"), to.join("run.toml"))?;
    for pointer in ["best", "latest"] {
        fs::write(to.join(pointer), &best)?;
    }
    for entry in fs::read_dir(run.join(step))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(step).join(entry.file_name()))?;
    }
    Ok(())
}

fn digest_table(rows: &[Row]) -> String {
    let mut text = format!("numerics,{NUMERICS}\nconfig,seed,sha256 of policy.safetensors\n");
    for row in rows {
        text += &format!("{},{},{}\n", row.config, row.seed, row.digest);
    }
    text
}

/// Compares digests with those that were written; other numerics cannot be compared.
fn compare(rows: &[Row], written: &str) -> Result<()> {
    let found = written.lines().next().and_then(|line| line.strip_prefix("numerics,"));
    if found != Some(&NUMERICS.to_string()) {
        let found = found.unwrap_or("none");
        return Err(format!(
            "docs/results/digests.csv has numerics {found}, this program computes with {NUMERICS}: \
             the bits cannot be compared; measure again without `--check`"
        )
        .into());
    }
    let is_same = |row: &&Row| {
        let line = format!("{},{},{}", row.config, row.seed, row.digest);
        written.lines().any(|written| written == line)
    };
    let other: Vec<String> = rows
        .iter()
        .filter(|row| !is_same(row))
        .map(|r| format!("{} {}", r.config, r.seed))
        .collect();
    if !other.is_empty() {
        return Err(format!("other bits than written: {}", other.join(", ")).into());
    }
    println!("{} runs have the bits that are written", rows.len());
    Ok(())
}

/// One line per run file.
fn table(rows: &[Row]) -> String {
    let mut text = "| Run file | mean | worst seed | best seed | interquartile | steps to `best` | threshold |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for of_config in rows.chunk_by(|a, b| a.config == b.config) {
        let means: Vec<f64> = of_config.iter().map(|row| row.evaluation.mean_reward).collect();
        let count = means.len() as f64;
        let (worst, best) =
            means.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        let iqm = of_config.iter().map(|row| row.evaluation.iqm).sum::<f64>() / count;
        let steps = of_config.iter().map(|row| row.best).sum::<u64>() / of_config.len() as u64;
        let threshold = of_config[0].threshold.map_or("none".to_owned(), |x| x.to_string());
        let mean = means.iter().sum::<f64>() / count;
        // Writing to a string cannot fail.
        writeln!(
            text,
            "| `configs/{}.toml` | {mean:.1} | {worst:.1} | {best:.1} | {iqm:.1} | {steps} | {threshold} |",
            of_config[0].config
        )
        .ok();
    }
    text
}

fn page(rows: &[Row]) -> String {
    let mut seeds =
        "| Run file | seed | `best` | mean ± std | 95 % interval |\n|---|---|---|---|---|\n"
            .to_owned();
    for Row { config, seed, best, evaluation, .. } in rows {
        let Evaluation { mean_reward, std_reward, ci95: [low, high], .. } = evaluation;
        let line = format!("{mean_reward:.1} ± {std_reward:.1} | {low:.1} to {high:.1}");
        writeln!(seeds, "| `{config}` | {seed} | {best} | {line} |").ok();
    }
    format!(
        "# Results\n\n\
         Every shipped run file, seeds 1 to 5, trained to its end; then the checkpoint that `best` points\n\
         to plays {EPISODES} episodes on fresh seeds with its best actions. Measured with numerics {NUMERICS}.\n\n\
         {}\n\
         This page, the digests of all policies ([digests.csv](results/digests.csv)) and the agents in\n\
         `checkpoints/` are written by one command; with `-- --check` it trains again and compares the bits:\n\n\
         ```console\n$ cargo run --release -p rlrun-docs --bin results\n```\n\n\
         ## Each seed\n\n{seeds}",
        table(rows)
    )
}
