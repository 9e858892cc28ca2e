//! Evaluates the best checkpoint of a run folder: `cargo run --example evaluate_checkpoint runs/<run>`.
#![allow(clippy::print_stdout)]

use rlrun::prelude::*;

fn main() -> Result<(), ConfigError> {
    let dir = std::env::args().nth(1).unwrap_or("runs/CartPole-v1__ppo__1".to_owned());
    let mut trained = Trained::load(dir.as_ref(), 100, ALGORITHMS, &[])?;
    let evaluation = trained.evaluate(100, trained.seed)?;
    let Evaluation { mean_reward, std_reward, ci95: [low, high], .. } = evaluation;
    println!("{} after {} steps", trained.spec().id, trained.step);
    println!("mean return {mean_reward:.1} ± {std_reward:.1}, 95 % interval {low:.1} to {high:.1}");
    Ok(())
}
