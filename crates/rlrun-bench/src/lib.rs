//! What `rlrun bench` and the criterion benches measure: the same work through the ordinary API and
//! as a floor.
//!
//! A floor is the same arithmetic on the same kernels with nothing else: no tensors, no graph, no
//! allocation, weights input-major, shapes known beforehand. What an ordinary call costs above it
//! is the price of the framework.

mod floor;
mod growth;

use std::hint::black_box;
use std::time::{Duration, Instant};

use rlrun_agents::{Agent, AgentConfig, AgentContext, DqnConfig, PpoConfig, Transition};
use rlrun_core::{Purpose, rng_stream};
use rlrun_env::{Actions, EnvError, Observations, Seen, VecEnv};
use rlrun_nn::optim::{Adam, AdamConfig, Optimizer};
use rlrun_nn::{Activation, Init, Layer, Mlp, Module};
use rlrun_tensor::{Tensor, inference_mode};

use floor::FloorNet;

pub use growth::growth;

/// Time that `iterations` of something take.
type Timed = Box<dyn FnMut(u64) -> Duration>;

/// One thing to measure.
pub struct Workload {
    /// `forward/<net>/<batch>`, `train_step/<net>/<batch>`, `act/<n_envs>`, `rollout/<env>/<n_envs>`,
    /// `update/<algorithm>`, `step/<env>/<n_envs>` or `replay/<size>`.
    pub name: String,
    /// Through the ordinary API.
    pub run: Timed,
    /// The floor, where there is one.
    pub floor: Option<Timed>,
}

/// Name, layer widths and activation.
type Net = (&'static str, &'static [usize], Activation);

const NETS: [Net; 2] = [
    ("4x64x64x2-tanh", &[4, 64, 64, 2], Activation::Tanh),
    ("17x256x256x6-relu", &[17, 256, 256, 6], Activation::Relu),
];

/// Everything there is to measure, in the order of the table.
///
/// # Errors
/// [`EnvError`] if an environment of the table cannot be made.
pub fn workloads() -> Result<Vec<Workload>, EnvError> {
    let mut all = Vec::new();
    for net in NETS {
        all.extend([1, 8, 64, 256, 1024].map(|batch| forward(net, batch)));
    }
    for net in NETS {
        all.extend([32, 64, 256, 1024].map(|batch| train_step(net, batch)));
    }
    for n_envs in [1, 8, 64] {
        all.push(act(n_envs)?);
    }
    for n_envs in [1, 8, 64] {
        all.push(rollout("CartPole-v1", n_envs)?);
    }
    let ppo = PpoConfig { n_steps: 32, batch_size: 256, n_epochs: 20, ..PpoConfig::default() };
    all.push(update("ppo", ppo, 8)?);
    let dqn = DqnConfig {
        net_arch: vec![256, 256],
        batch_size: 64,
        learning_starts: 64,
        train_freq: 1,
        ..DqnConfig::default()
    };
    all.push(update("dqn", dqn, 1)?);
    Ok(all)
}

/// Times `work` as a whole.
fn repeat(mut work: impl FnMut() + 'static) -> Timed {
    Box::new(move |iterations| {
        let start = Instant::now();
        for _ in 0..iterations {
            work();
        }
        start.elapsed()
    })
}

/// `len` numbers in [-1, 1] that look random.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 1.7).sin()).collect()
}

fn mlp((_, sizes, activation): Net) -> Mlp {
    let mut rng = rng_stream(1, Purpose::Weights, 0);
    Mlp::new(sizes, activation, Init::KaimingUniform, Init::KaimingUniform, &mut rng)
}

fn forward(net: Net, batch: usize) -> Workload {
    let input = numbers(batch * net.1[0]);
    let ours = mlp(net);
    let obs = inference_mode(|| Tensor::from_slice(&input, [batch, net.1[0]]));
    let run = repeat(move || {
        inference_mode(|| black_box(ours.forward(black_box(&obs))));
    });
    let mut fused = FloorNet::new(&mlp(net), net.2, batch);
    let floor = repeat(move || {
        black_box(fused.forward(black_box(&input)));
    });
    Workload { name: format!("forward/{}/{batch}", net.0), run, floor: Some(floor) }
}

fn train_step(net: Net, batch: usize) -> Workload {
    let (inputs, outputs) = (net.1[0], net.1[net.1.len() - 1]);
    let (x, y) = (numbers(batch * inputs), numbers(batch * outputs));
    let ours = mlp(net);
    let mut optimizer = Adam::new(ours.parameters(), AdamConfig::default());
    let (input, target) =
        (Tensor::from_slice(&x, [batch, inputs]), Tensor::from_slice(&y, [batch, outputs]));
    let run = repeat(move || {
        optimizer.zero_grad();
        let loss = ours.forward(black_box(&input)).mse_loss(&target);
        loss.backward();
        optimizer.step();
    });
    let mut fused = FloorNet::new(&mlp(net), net.2, batch);
    let floor = repeat(move || {
        black_box(fused.train(black_box(&x), &y));
    });
    Workload { name: format!("train_step/{}/{batch}", net.0), run, floor: Some(floor) }
}

/// A PPO agent with SB3's networks, and its environments.
fn ppo(env: &str, n_envs: usize) -> Result<AgentAndEnvs, EnvError> {
    let config = PpoConfig { n_steps: 1, batch_size: n_envs, ..PpoConfig::default() };
    build(env, PpoConfig { normalize_advantage: false, ..config }, n_envs)
}

type AgentAndEnvs = (Box<dyn Agent>, Box<dyn VecEnv>);

fn build(env: &str, config: impl AgentConfig, n_envs: usize) -> Result<AgentAndEnvs, EnvError> {
    let mut envs = rlrun_envs::make_vec(env, n_envs, &toml::Table::new())?;
    envs.reset(1)?;
    let total_timesteps = 1 << 40;
    let context = AgentContext::new(envs.spec(), n_envs, total_timesteps, 1);
    match config.build(&context) {
        Ok(agent) => Ok((agent, envs)),
        Err(error) => unreachable!("the settings of a workload hold: {error}"),
    }
}

fn act_on(agent: &mut dyn Agent, seen: &Observations<'_>, actions: &mut Actions) {
    if let Err(error) = agent.act(seen, actions) {
        unreachable!("a fresh policy computes finite numbers: {error}");
    }
}

/// One policy call: observations in, actions out.
fn act(n_envs: usize) -> Result<Workload, EnvError> {
    let (mut agent, envs) = ppo("CartPole-v1", n_envs)?;
    let mut actions = Actions::zeros(&envs.spec().action_space, n_envs);
    let run = repeat(move || {
        act_on(&mut *agent, &black_box(envs.observations()), &mut actions);
        black_box(&actions);
    });
    Ok(Workload { name: format!("act/{n_envs}"), run, floor: None })
}

/// One vector step: act and step the environments.
fn rollout(env: &'static str, n_envs: usize) -> Result<Workload, EnvError> {
    let (mut agent, mut envs) = ppo(env, n_envs)?;
    let mut actions = Actions::zeros(&envs.spec().action_space, n_envs);
    let run = repeat(move || {
        act_on(&mut *agent, &envs.observations(), &mut actions);
        if let Err(error) = envs.step(&actions) {
            unreachable!("a policy acts within the action space: {error}");
        }
    });
    Ok(Workload { name: format!("rollout/{env}/{n_envs}"), run, floor: None })
}

/// One learning phase; collecting what it learns from is not timed.
fn update(
    name: &'static str,
    config: impl AgentConfig,
    n_envs: usize,
) -> Result<Workload, EnvError> {
    let (mut agent, mut envs) = build("CartPole-v1", config, n_envs)?;
    let mut actions = Actions::zeros(&envs.spec().action_space, n_envs);
    let mut seen = Seen::default();
    let run = Box::new(move |iterations| {
        let (mut done, mut total) = (0, Duration::ZERO);
        while done < iterations {
            seen.keep(&envs.observations());
            act_on(&mut *agent, &seen.observations(), &mut actions);
            let step = match envs.step(&actions) {
                Ok(step) => step,
                Err(error) => unreachable!("a policy acts within the action space: {error}"),
            };
            let transition = Transition { seen: seen.observations(), actions: &actions, step };
            if let Err(error) = agent.observe(&transition) {
                unreachable!("a step of the library's environments can be observed: {error}");
            }
            let start = Instant::now();
            if matches!(agent.update(), Ok(Some(_))) {
                total += start.elapsed();
                done += 1;
            }
        }
        total
    });
    Ok(Workload { name: format!("update/{name}"), run, floor: None })
}

/// Samples of one workload, in seconds per iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Through the ordinary API.
    pub samples: Vec<f64>,
    /// The floor, where there is one; taken in turn with the samples.
    pub floor_samples: Vec<f64>,
}

impl Measured {
    /// The median through the ordinary API, in seconds per iteration.
    pub fn seconds(&self) -> f64 {
        median(&self.samples).unwrap_or(f64::NAN)
    }

    /// The median of the floor, where there is one.
    pub fn floor(&self) -> Option<f64> {
        median(&self.floor_samples)
    }
}

impl Workload {
    /// Times the workload and its floor in turn, so that a machine whose speed drifts slows both.
    pub fn measure(&mut self, samples: u32, sample: Duration) -> Measured {
        let iterations = calibrate(&mut self.run, sample);
        let floor_iterations = self.floor.as_mut().map(|floor| calibrate(floor, sample));
        let mut measured = Measured { samples: Vec::new(), floor_samples: Vec::new() };
        for _ in 0..samples {
            let seconds = (self.run)(iterations).as_secs_f64() / iterations as f64;
            measured.samples.push(seconds);
            if let (Some(floor), Some(iterations)) = (&mut self.floor, floor_iterations) {
                let seconds = floor(iterations).as_secs_f64() / iterations as f64;
                measured.floor_samples.push(seconds);
            }
        }
        measured
    }
}

/// How many iterations take about as long as `sample`.
fn calibrate(run: &mut Timed, sample: Duration) -> u64 {
    let mut iterations = 1;
    loop {
        let took = run(iterations);
        if took >= sample / 4 || iterations >= 1 << 24 {
            let each = took.as_secs_f64() / iterations as f64;
            return ((sample.as_secs_f64() / each.max(1e-9)) as u64).max(1);
        }
        iterations *= 4;
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_does_the_arithmetic_of_the_network() {
        for net in NETS {
            let batch = 5;
            let (inputs, outputs) = (net.1[0], net.1[net.1.len() - 1]);
            let (x, y) = (numbers(batch * inputs), numbers(batch * outputs));
            let ours = mlp(net);
            let mut fused = FloorNet::new(&ours, net.2, batch);
            let mut optimizer = Adam::new(ours.parameters(), AdamConfig::default());
            let input = Tensor::from_slice(&x, [batch, inputs]);
            for _ in 0..3 {
                assert_eq!(fused.forward(&x), ours.forward(&input).to_vec());
                optimizer.zero_grad();
                let loss = ours.forward(&input).mse_loss(&Tensor::from_slice(&y, [batch, outputs]));
                loss.backward();
                optimizer.step();
                let floor = f64::from(fused.train(&x, &y));
                assert!((floor - loss.item()).abs() < 1e-5, "{floor} {}", loss.item());
            }
        }
    }

    #[test]
    fn every_workload_runs() {
        for mut workload in workloads().unwrap().into_iter().chain(growth().unwrap()) {
            let measured = workload.measure(1, Duration::from_micros(1));
            let floor_is_timed = measured.floor().is_none_or(|floor| floor > 0.0);
            assert!(measured.seconds() > 0.0 && floor_is_timed, "{}", workload.name);
            assert_eq!(measured.floor().is_some(), workload.floor.is_some());
        }
    }
}
