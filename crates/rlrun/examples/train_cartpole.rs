//! Trains PPO on CartPole-v1 from a run file, in a loop of your own that stops once it is solved.
#![allow(clippy::print_stdout)]

use rlrun::prelude::*;

fn main() -> Result<(), ConfigError> {
    let run_file = include_str!("../../../configs/cartpole.toml");
    let mut trainer = Run::load(run_file, ALGORITHMS, &[])?.into_trainer()?;
    let threshold = trainer.envs.spec().reward_threshold.unwrap_or(f64::INFINITY);
    while !trainer.is_done() {
        let report = trainer.step()?;
        if let Some(scored) = report.evaluation {
            let (step, mean) = (trainer.timesteps(), scored.evaluation.mean_reward);
            println!("step {step:>6}: mean return {mean:.1}");
            if scored.rescored.is_some_and(|fresh| fresh >= threshold) {
                println!("solved after {step} steps");
                break;
            }
        }
    }
    Ok(())
}
