//! Draws every environment under random actions: `<id>.png` and `<id>.gif` in the folder given.
//!
//! `cargo run --release -p rlrun-envs --example draw -- docs/environments/images`

use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;

use rlrun_core::NumpyRng;
use rlrun_envs::{ENVS, render};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    fs::create_dir_all(&folder)?;
    for entry in ENVS {
        let (args, mut rng) = (toml::Table::new(), NumpyRng::new(1));
        let mut env = entry.make(&args)?;
        let mut obs = vec![0.0; env.spec().observation_space.dim()];
        env.reset(Some(7), &mut obs)?;
        let mut frames = Vec::new();
        for _ in 0..60 {
            let action = env.spec().action_space.sample(1, &mut rng);
            let step = env.step(action.row(0), &mut obs)?;
            frames.push(env.render().ok_or("no picture")?);
            if step.terminated {
                break;
            }
        }
        let frame = frames.get(frames.len() * 2 / 5).ok_or("no frames")?;
        fs::write(folder.join(format!("{}.png", entry.id)), render::to_png(frame)?)?;
        let small: Vec<_> =
            frames.iter().map(|frame| frame.shrunk(frame.width / 2, frame.height / 2)).collect();
        render::write_gif(&small, 4, File::create(folder.join(format!("{}.gif", entry.id)))?)?;
    }
    Ok(())
}
