//! `rlrun bench`: what this machine needs for the work that training consists of.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use rlrun::tensor::kernels;
use rlrun_bench::{growth, workloads};
use serde_json::json;

/// Measure forward passes, training steps, acting and updates on this machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only workloads whose name contains this, such as train_step
    filter: Option<String>,
    /// Measure instead how costs grow: by batch, width, environments and size of a replay buffer
    #[arg(long)]
    growth: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

const SAMPLES: u32 = 11;
const SAMPLE: Duration = Duration::from_millis(10);

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut output = io::stdout().lock();
    if !args.json {
        let level = kernels::level();
        writeln!(output, "one thread, {level:?}, medians of {SAMPLES} samples")?;
        writeln!(output, "{:<32} {:>11} {:>11} {:>7}", "", "time", "floor", "ratio")?;
    }
    let filter = args.filter.as_deref().unwrap_or_default();
    let all = if args.growth { growth()? } else { workloads()? };
    for mut workload in all.into_iter().filter(|one| one.name.contains(filter)) {
        let measured = workload.measure(SAMPLES, SAMPLE);
        let (seconds, floor) = (measured.seconds(), measured.floor());
        let ratio = floor.map(|floor| seconds / floor);
        let name = &workload.name;
        if args.json {
            let row = json!({
                "name": name, "seconds": seconds, "floor": floor, "ratio": ratio,
                "samples": measured.samples, "floor_samples": measured.floor_samples,
            });
            writeln!(output, "{row}")?;
            continue;
        }
        let floor = floor.map_or_else(String::new, micros);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        writeln!(output, "{name:<32} {:>11} {floor:>11} {ratio:>7}", micros(seconds))?;
    }
    Ok(())
}

fn micros(seconds: f64) -> String {
    format!("{:.2} µs", seconds * 1e6)
}
