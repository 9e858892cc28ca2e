//! Deep Q-network (Mnih et al. 2015, Nature 518), optionally double (van Hasselt et al. 2016,
//! arXiv 1509.06461) and dueling (Wang et al. 2016, arXiv 1511.06581).
//!
//! Learns Q(s, a) from replayed steps by the targets y = r + γ max_a' Q̂(s', a') of a slowly moving
//! network Q̂ (algorithm 1). Details and defaults are those of Stable-Baselines3.

use documented::DocumentedFields;
use rand::RngExt;
use rlrun_core::{Purpose, Rng, State, StateError, rng_stream};
use rlrun_env::{Actions, Space};
use rlrun_nn::optim::{Adam, AdamConfig, Norm, Optimizer, clip_grad_norm};
use rlrun_nn::{Activation, Layer, Module};
use rlrun_tensor::{Parameter, Tensor, inference_mode, phase};
use serde::{Deserialize, Serialize};

use crate::buffers::{ReplayBatch, ReplayBuffer, Sampling};
use crate::distributions::action_tensor;
use crate::networks::QNetwork;
use crate::schedule::{Every, Schedule, progress_remaining};
use crate::targets::{polyak_update, td_target};
use crate::{
    Agent, AgentConfig, AgentContext, AgentError, Mean, Metrics, Policy, Transition, checks,
};

/// Settings of DQN, under Stable-Baselines3's names. Periods count environment steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct DqnConfig {
    /// Step size of Adam; "lin_0.001" falls to 0 over the run
    pub learning_rate: Schedule,
    /// N, steps in the replay buffer
    pub buffer_size: usize,
    /// Steps with random actions and without learning at the start
    pub learning_starts: u64,
    /// Steps in a minibatch
    pub batch_size: usize,
    /// τ, share of the online network that a target update takes over; 1 copies
    pub tau: f64,
    /// γ, discount factor
    pub gamma: f64,
    /// Steps between two learning phases
    pub train_freq: u64,
    /// Minibatches per learning phase; -1: as many as steps since the last
    pub gradient_steps: i64,
    /// n, rewards that are summed before the target network is asked
    pub n_steps: usize,
    /// C, steps between two target updates
    pub target_update_interval: u64,
    /// Share of the run over which ε falls
    pub exploration_fraction: f64,
    /// ε at the start, probability of a random action
    pub exploration_initial_eps: f64,
    /// ε after it has fallen
    pub exploration_final_eps: f64,
    /// Largest length of the gradient of all parameters
    pub max_grad_norm: f64,
    /// Whether the online network chooses the action that the target network values
    pub double: bool,
    /// Whether Q is the sum of a value and an advantage network
    pub dueling: bool,
    /// Widths of the hidden layers
    pub net_arch: Vec<usize>,
    /// Function after each hidden layer: "tanh" or "relu"
    pub activation_fn: Activation,
}

impl Default for DqnConfig {
    fn default() -> DqnConfig {
        DqnConfig {
            learning_rate: Schedule::Constant(1e-4),
            buffer_size: 1_000_000,
            learning_starts: 100,
            batch_size: 32,
            tau: 1.0,
            gamma: 0.99,
            train_freq: 4,
            gradient_steps: 1,
            n_steps: 1,
            target_update_interval: 10_000,
            exploration_fraction: 0.1,
            exploration_initial_eps: 1.0,
            exploration_final_eps: 0.05,
            max_grad_norm: 10.0,
            double: false,
            dueling: false,
            net_arch: vec![64, 64],
            activation_fn: Activation::Relu,
        }
    }
}

impl AgentConfig for DqnConfig {
    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        self.check(context.n_envs)?;
        let Space::Discrete(n_actions) = context.spec.action_space else {
            return Err(AgentError::ActionSpace {
                algorithm: "dqn",
                env: context.spec.id.clone(),
                found: context.spec.action_space.to_string(),
                needed: "a Discrete action space; `ppo` also takes a Box".to_owned(),
            });
        };
        Ok(Box::new(Dqn::new(self, n_actions, context)))
    }
}

impl DqnConfig {
    fn check(&self, n_envs: usize) -> Result<(), AgentError> {
        checks::positive_schedule("learning_rate", self.learning_rate)?;
        let size = self.buffer_size;
        let rule = format!("must hold at least one step of each of {n_envs} environments");
        AgentError::require(size >= n_envs, "buffer_size", size, rule)?;
        checks::at_least_one("batch_size", self.batch_size)?;
        checks::positive("tau", self.tau)?;
        checks::share("tau", self.tau)?;
        checks::share("gamma", self.gamma)?;
        checks::at_least_one("train_freq", self.train_freq as usize)?;
        let steps = self.gradient_steps;
        AgentError::require(
            steps >= -1 && steps != 0,
            "gradient_steps",
            steps,
            "must be at least 1, or -1",
        )?;
        checks::at_least_one("n_steps", self.n_steps)?;
        checks::at_least_one("target_update_interval", self.target_update_interval as usize)?;
        checks::share("exploration_fraction", self.exploration_fraction)?;
        checks::share("exploration_initial_eps", self.exploration_initial_eps)?;
        checks::share("exploration_final_eps", self.exploration_final_eps)?;
        checks::positive("max_grad_norm", self.max_grad_norm)?;
        checks::net_arch(&self.net_arch)
    }

    /// ε after `step` of `total_timesteps` steps: a straight line from the initial to the final
    /// value over the first `exploration_fraction` of the run.
    fn exploration_rate(&self, step: u64, total_timesteps: u64) -> f64 {
        let progress = 1.0 - progress_remaining(step, total_timesteps);
        let (start, end) = (self.exploration_initial_eps, self.exploration_final_eps);
        if progress >= self.exploration_fraction {
            return end;
        }
        start + progress * (end - start) / self.exploration_fraction
    }
}

/// A DQN agent.
struct Dqn {
    config: DqnConfig,
    n_actions: usize,
    n_envs: u64,
    total_timesteps: u64,
    online: QNetwork,
    target: QNetwork,
    parameters: Vec<Parameter>,
    target_parameters: Vec<Parameter>,
    optimizer: Adam,
    replay: ReplayBuffer,
    exploration: Rng,
    sampling: Rng,
    /// Environment steps observed.
    step: u64,
    /// Minibatches.
    n_updates: u64,
    batch: ReplayBatch,
    targets: Vec<f32>,
}

impl Dqn {
    fn new(config: DqnConfig, n_actions: usize, context: &AgentContext<'_>) -> Dqn {
        let AgentContext { spec, n_envs, total_timesteps, seed } = *context;
        let inputs = spec.observation_space.dim();
        let sizes = [&[inputs], config.net_arch.as_slice(), &[n_actions]].concat();
        let build = if config.dueling { QNetwork::dueling } else { QNetwork::new };
        // The same stream twice: the target network starts as a copy.
        let network =
            || build(&sizes, config.activation_fn, &mut rng_stream(seed, Purpose::Weights, 0));
        let (online, target) = (network(), network());
        let learning_rate = config.learning_rate.initial();
        let adam = AdamConfig { learning_rate, ..AdamConfig::default() };
        let replay = ReplayBuffer::new(config.buffer_size, n_envs, spec);
        Dqn {
            n_actions,
            n_envs: n_envs as u64,
            total_timesteps,
            parameters: online.parameters(),
            target_parameters: target.parameters(),
            optimizer: Adam::new(online.parameters(), adam),
            online,
            target,
            batch: replay.batch(),
            replay,
            exploration: rng_stream(seed, Purpose::Exploration, 0),
            sampling: rng_stream(seed, Purpose::Sampling, 0),
            step: 0,
            n_updates: 0,
            targets: Vec::new(),
            config,
        }
    }

    fn exploration_rate(&self) -> f64 {
        self.config.exploration_rate(self.step, self.total_timesteps)
    }

    /// y = r + γ max_a' Q̂(s', a'), or y = r + γ Q̂(s', argmax_a' Q(s', a')) if double.
    fn compute_targets(&mut self) {
        let Dqn { online, target, batch, .. } = self;
        let next_values = inference_mode(|| {
            let next_obs = rows(&batch.next_obs, batch.rewards.len());
            let next_q = target.forward(&next_obs);
            if !self.config.double {
                return next_q.max_dim(-1, false).0.to_vec();
            }
            let chosen = online.forward(&next_obs).argmax(-1);
            next_q.gather(-1, &chosen.unsqueeze(-1)).to_vec()
        });
        td_target(&batch.rewards, &batch.discounts, &next_values, &mut self.targets);
    }

    /// The Huber loss between Q(s, a) and y.
    fn loss(&self) -> Tensor {
        let obs = rows(&self.batch.obs, self.targets.len());
        let actions = action_tensor(&self.batch.actions);
        let q = self.online.forward(&obs).gather(-1, &actions.unsqueeze(-1)).squeeze_dim(-1);
        q.smooth_l1_loss(&Tensor::from_slice(&self.targets, [self.targets.len()]))
    }

    /// One step of Adam down the gradient; returns the loss.
    fn descend(&mut self, loss: &Tensor) -> Result<f64, AgentError> {
        self.optimizer.zero_grad();
        loss.backward();
        let max_norm = self.config.max_grad_norm as f32;
        let norm = clip_grad_norm(&self.parameters, max_norm, Norm::L2);
        AgentError::check_finite(loss.item(), norm, self.n_updates)?;
        self.optimizer.step();
        self.n_updates += 1;
        Ok(loss.item())
    }

    /// Minibatches that are due after the last vector step.
    fn gradient_steps(&self) -> u64 {
        let DqnConfig { learning_starts, train_freq, gradient_steps, .. } = self.config;
        if self.step <= learning_starts || !Every(train_freq).due(self.step, self.n_envs) {
            return 0;
        }
        let phases = self.step / train_freq - (self.step - self.n_envs) / train_freq;
        u64::try_from(gradient_steps).unwrap_or(train_freq * phases)
    }
}

fn rows(numbers: &[f32], rows: usize) -> Tensor {
    Tensor::from_slice(numbers, [rows, numbers.len() / rows])
}

impl Agent for Dqn {
    fn act(&mut self, obs: &Tensor, actions: &mut Actions) {
        self.online.act(obs, None, actions);
        let eps =
            if self.step < self.config.learning_starts { 1.0 } else { self.exploration_rate() };
        let Actions::Discrete(choices) = actions else { return };
        for choice in choices {
            if self.exploration.random::<f64>() < eps {
                *choice = self.exploration.random_range(0..self.n_actions as u64) as usize;
            }
        }
    }

    fn observe(&mut self, transition: &Transition<'_>) {
        self.replay.push(transition);
        self.step += self.n_envs;
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        if Every(self.config.target_update_interval).due(self.step, self.n_envs) {
            let (online, target) = (&self.parameters, &self.target_parameters);
            phase("target", || polyak_update(online, target, self.config.tau as f32));
        }
        let gradient_steps = self.gradient_steps();
        if gradient_steps == 0 {
            return Ok(None);
        }
        let progress = progress_remaining(self.step, self.total_timesteps);
        let learning_rate = self.config.learning_rate.value(progress);
        self.optimizer.set_learning_rate(learning_rate);

        let DqnConfig { batch_size, n_steps, gamma, .. } = self.config;
        let sampling = Sampling { batch_size, n_steps, gamma: gamma as f32 };
        let mut mean_loss = Mean::default();
        for _ in 0..gradient_steps {
            self.replay.sample(sampling, &mut self.sampling, &mut self.batch);
            phase("target", || self.compute_targets());
            let loss = phase("loss", || self.loss());
            mean_loss.add(phase("loss", || self.descend(&loss))?);
        }
        Ok(Some(Metrics(vec![
            ("rollout/exploration_rate", self.exploration_rate()),
            ("train/learning_rate", learning_rate),
            ("train/loss", mean_loss.value()),
            ("train/n_updates", self.n_updates as f64),
        ])))
    }

    fn policy(&self) -> &dyn Policy {
        &self.online
    }

    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_child("online", self.online.state());
        state.insert_child("target", self.target.state());
        state.insert_child("optimizer", self.optimizer.state());
        state.insert_child("replay", self.replay.state());
        state.insert_child("exploration", self.exploration.state());
        state.insert_child("sampling", self.sampling.state());
        state.insert_u64("step", [self.step]);
        state.insert_u64("n_updates", [self.n_updates]);
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.online.load_state(&state.child("online"))?;
        self.target.load_state(&state.child("target"))?;
        self.optimizer.load_state(&state.child("optimizer"))?;
        self.replay.load_state(&state.child("replay"))?;
        self.exploration.load_state(&state.child("exploration"))?;
        self.sampling.load_state(&state.child("sampling"))?;
        self.step = state.counter("step")?;
        self.n_updates = state.counter("n_updates")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exploration_falls_in_a_straight_line_and_then_stays() {
        let config = DqnConfig {
            exploration_fraction: 0.2,
            exploration_initial_eps: 0.9,
            exploration_final_eps: 0.1,
            ..DqnConfig::default()
        };
        let rates = [0, 50, 100, 200, 1000].map(|step| config.exploration_rate(step, 1000));
        for (rate, expected) in rates.into_iter().zip([0.9, 0.7, 0.5, 0.1, 0.1]) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
        let none = DqnConfig { exploration_fraction: 0.0, ..config };
        assert_eq!(none.exploration_rate(0, 1000), 0.1);
    }
}
