//! How costs grow with the work: one workload at many sizes.

use std::hint::black_box;

use rlrun_agents::buffers::{ReplayBuffer, Sampling};
use rlrun_agents::{AgentContext, Normalizer, Transition};
use rlrun_core::{Purpose, rng_stream};
use rlrun_env::{Actions, EnvError, Seen};
use rlrun_nn::Activation;

use crate::{NETS, Net, Workload, repeat, train_step};

const WIDTHS: [Net; 6] = [
    ("8x32x32x2-relu", &[8, 32, 32, 2], Activation::Relu),
    ("8x64x64x2-relu", &[8, 64, 64, 2], Activation::Relu),
    ("8x128x128x2-relu", &[8, 128, 128, 2], Activation::Relu),
    ("8x256x256x2-relu", &[8, 256, 256, 2], Activation::Relu),
    ("8x512x512x2-relu", &[8, 512, 512, 2], Activation::Relu),
    ("8x1024x1024x2-relu", &[8, 1024, 1024, 2], Activation::Relu),
];

/// Training steps by batch and by width, steps of 1 to 4096 environments, and replay buffers of
/// 10³ to 10⁶ transitions.
///
/// # Errors
/// [`EnvError`] if an environment of the table cannot be made.
pub fn growth() -> Result<Vec<Workload>, EnvError> {
    let batches = (5..=14).map(|log| train_step(NETS[0], 1 << log));
    let mut all: Vec<Workload> = batches.collect();
    all.extend(WIDTHS.map(|net| train_step(net, 256)));
    for n_envs in [1, 4, 16, 64, 256, 1024, 4096] {
        all.push(step(n_envs)?);
    }
    for size in [1_000, 10_000, 100_000, 1_000_000] {
        all.push(replay(size)?);
    }
    Ok(all)
}

/// One step of all environments, without a policy.
fn step(n_envs: usize) -> Result<Workload, EnvError> {
    let mut envs = rlrun_envs::make_vec("CartPole-v1", n_envs, &toml::Table::new())?;
    envs.reset(1)?;
    let mut actions = Actions::Discrete((0..n_envs).map(|lane| lane % 2).collect());
    let run = repeat(move || {
        if let Actions::Discrete(choices) = &mut actions {
            choices.iter_mut().for_each(|choice| *choice = 1 - *choice);
        }
        if let Err(error) = envs.step(&actions) {
            unreachable!("0 and 1 are actions: {error}");
        }
    });
    Ok(Workload { name: format!("step/CartPole-v1/{n_envs}"), run, floor: None })
}

/// One transition into a full buffer of `size` and 64 out of it.
fn replay(size: usize) -> Result<Workload, EnvError> {
    let mut envs = rlrun_envs::make_vec("CartPole-v1", 1, &toml::Table::new())?;
    envs.reset(1)?;
    let mut buffer = ReplayBuffer::new(size, 1, envs.spec());
    let actions = Actions::Discrete(vec![1]);
    let mut seen = Seen::default();
    seen.keep(&envs.observations());
    let spec = envs.spec().clone();
    let normalizer = match Normalizer::of(&AgentContext::new(&spec, 1, 1, 1)) {
        Ok(normalizer) => normalizer,
        Err(error) => unreachable!("nothing is normalised: {error}"),
    };
    let step = envs.step(&actions)?.clone();
    for _ in 0..size {
        buffer.push(&Transition { seen: seen.observations(), actions: &actions, step: &step });
    }
    let mut batch = buffer.batch();
    let mut rng = rng_stream(1, Purpose::Sampling, 0);
    let run = repeat(move || {
        buffer.push(&Transition { seen: seen.observations(), actions: &actions, step: &step });
        let sampling = Sampling { batch_size: 64, n_steps: 1, gamma: 0.99 };
        buffer.sample(sampling, &normalizer, &mut rng, &mut batch);
        black_box(&batch);
    });
    Ok(Workload { name: format!("replay/{size}"), run, floor: None })
}
