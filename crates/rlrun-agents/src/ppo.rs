//! Proximal policy optimization with a clipped objective (Schulman et al. 2017, arXiv 1707.06347).
//!
//! Maximises L^{CLIP+VF+S} (eq. 9) on rollouts of fixed length, with generalized advantage
//! estimates (Schulman et al. 2016, arXiv 1506.02438). Details and defaults are those of
//! Stable-Baselines3.

use documented::DocumentedFields;
use rand::seq::SliceRandom;
use rlrun_core::{Purpose, Rng, State, StateError, rng_stream};
use rlrun_env::Actions;
use rlrun_nn::optim::{Adam, AdamConfig, Norm, Optimizer, clip_grad_norm};
use rlrun_nn::{Activation, Module};
use rlrun_tensor::{Parameter, Tensor, inference_mode, phase};
use serde::{Deserialize, Serialize};

use crate::buffers::{RolloutBuffer, gather};
use crate::distributions::action_tensor;
use crate::networks::{ActorCritic, ActorCriticConfig};
use crate::schedule::{Schedule, progress_remaining};
use crate::targets::{self, Rollout, normalize};
use crate::{
    Agent, AgentConfig, AgentContext, AgentError, Mean, Metrics, Policy, Transition, checks,
    explained_variance,
};

/// Settings of PPO, under Stable-Baselines3's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Step size of Adam; "lin_0.001" falls to 0 over the run
    pub learning_rate: Schedule,
    /// T, steps of each environment in a rollout
    pub n_steps: usize,
    /// M, rows in a minibatch; divides n_envs * n_steps
    pub batch_size: usize,
    /// K, passes over each rollout
    pub n_epochs: usize,
    /// γ, discount factor
    pub gamma: f64,
    /// λ of the advantage estimate: 0 trusts the critic, 1 the rewards
    pub gae_lambda: f64,
    /// ε, how far the probability ratio may leave 1; "lin_0.2" falls to 0 over the run
    pub clip_range: Schedule,
    /// How far the value may leave its old value, in units of return; not clipped if absent
    pub clip_range_vf: Option<Schedule>,
    /// Whether advantages are scaled to mean 0 and deviation 1 in each minibatch
    pub normalize_advantage: bool,
    /// c₂, weight of the entropy bonus
    pub ent_coef: f64,
    /// c₁, weight of the value loss
    pub vf_coef: f64,
    /// Largest length of the gradient of all parameters
    pub max_grad_norm: f64,
    /// Stops a rollout's updates once approx_kl exceeds 1.5 times this; never if absent
    pub target_kl: Option<f64>,
    /// Widths of the hidden layers of the actor and of the critic
    pub net_arch: Vec<usize>,
    /// Function after each hidden layer: "tanh" or "relu"
    pub activation_fn: Activation,
    /// Whether weights start orthogonal instead of with PyTorch's default
    pub ortho_init: bool,
    /// Start of log σ, for continuous actions
    pub log_std_init: f64,
}

impl Default for PpoConfig {
    fn default() -> PpoConfig {
        PpoConfig {
            learning_rate: Schedule::Constant(3e-4),
            n_steps: 2048,
            batch_size: 64,
            n_epochs: 10,
            gamma: 0.99,
            gae_lambda: 0.95,
            clip_range: Schedule::Constant(0.2),
            clip_range_vf: None,
            normalize_advantage: true,
            ent_coef: 0.0,
            vf_coef: 0.5,
            max_grad_norm: 0.5,
            target_kl: None,
            net_arch: vec![64, 64],
            activation_fn: Activation::Tanh,
            ortho_init: true,
            log_std_init: 0.0,
        }
    }
}

impl AgentConfig for PpoConfig {
    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        self.check(context.n_envs)?;
        Ok(Box::new(Ppo::new(self, context)?))
    }
}

impl PpoConfig {
    fn check(&self, n_envs: usize) -> Result<(), AgentError> {
        checks::positive_schedule("learning_rate", self.learning_rate)?;
        checks::at_least_one("n_steps", self.n_steps)?;
        checks::at_least_one("batch_size", self.batch_size)?;
        checks::at_least_one("n_epochs", self.n_epochs)?;
        checks::share("gamma", self.gamma)?;
        checks::share("gae_lambda", self.gae_lambda)?;
        checks::positive_schedule("clip_range", self.clip_range)?;
        self.clip_range_vf.map_or(Ok(()), |c| checks::positive_schedule("clip_range_vf", c))?;
        checks::not_negative("ent_coef", self.ent_coef)?;
        checks::not_negative("vf_coef", self.vf_coef)?;
        checks::positive("max_grad_norm", self.max_grad_norm)?;
        self.target_kl.map_or(Ok(()), |kl| checks::positive("target_kl", kl))?;
        checks::net_arch(&self.net_arch)?;
        let log_std = self.log_std_init;
        AgentError::require(log_std.is_finite(), "log_std_init", log_std, "must be finite")?;

        let (size, rollout) = (self.batch_size, self.n_steps * n_envs);
        let rule = format!("does not divide n_envs * n_steps = {rollout}");
        AgentError::require(rollout.is_multiple_of(size), "batch_size", size, rule)?;
        let rule = "must be at least 2 while `agent.normalize_advantage` is true";
        AgentError::require(size > 1 || !self.normalize_advantage, "batch_size", size, rule)
    }
}

/// A PPO agent.
struct Ppo {
    config: PpoConfig,
    total_timesteps: u64,
    net: ActorCritic,
    parameters: Vec<Parameter>,
    optimizer: Adam,
    rollout: RolloutBuffer,
    exploration: Rng,
    sampling: Rng,
    /// Environment steps observed.
    step: u64,
    /// Epochs, as SB3 counts updates.
    n_updates: u64,
    /// Minibatches.
    gradient_steps: u64,
    /// The actions of the current step before they were clipped to the action space.
    sampled: Actions,
    targets: Targets,
    scratch: Scratch,
}

/// What stays fixed while θ moves; a row for each of the rollout.
#[derive(Default)]
struct Targets {
    log_probs: Vec<f32>,
    values: Vec<f32>,
    next_values: Vec<f32>,
    advantages: Vec<f32>,
    returns: Vec<f32>,
}

/// Memory that is used again for each minibatch.
struct Scratch {
    obs: Vec<f32>,
    actions: Actions,
    column: Vec<f32>,
}

/// Rows of the rollout.
struct Minibatch {
    obs: Tensor,
    actions: Tensor,
    log_probs: Tensor,
    values: Tensor,
    advantages: Tensor,
    returns: Tensor,
}

/// The parts of eq. 9, with the signs under which they are minimised.
struct Loss {
    total: Tensor,
    policy: Tensor,
    value: Tensor,
    entropy: Tensor,
    log_ratio: Tensor,
    ratio: Tensor,
}

/// Clip ranges of the current rollout.
#[derive(Clone, Copy)]
struct Clip {
    ratio: f32,
    value: Option<f32>,
}

impl Ppo {
    fn new(config: PpoConfig, context: &AgentContext<'_>) -> Result<Ppo, AgentError> {
        let AgentContext { spec, n_envs, total_timesteps, seed } = *context;
        let net_config = ActorCriticConfig {
            net_arch: config.net_arch.clone(),
            activation: config.activation_fn,
            ortho_init: config.ortho_init,
            log_std_init: config.log_std_init as f32,
        };
        let mut weights = rng_stream(seed, Purpose::Weights, 0);
        let net = ActorCritic::new(spec, &net_config, &mut weights).ok_or_else(|| {
            AgentError::ActionSpace {
                algorithm: "ppo",
                env: spec.id.clone(),
                found: spec.action_space.to_string(),
                needed: "a Discrete or a Box action space".to_owned(),
            }
        })?;
        let learning_rate = config.learning_rate.initial();
        // SB3 gives actor-critic networks this ε instead of Adam's 1e-8.
        let adam = AdamConfig { learning_rate, eps: 1e-5, ..AdamConfig::default() };
        let rollout = RolloutBuffer::new(config.n_steps, n_envs, spec);
        Ok(Ppo {
            total_timesteps,
            parameters: net.parameters(),
            optimizer: Adam::new(net.parameters(), adam),
            net,
            exploration: rng_stream(seed, Purpose::Exploration, 0),
            sampling: rng_stream(seed, Purpose::Sampling, 0),
            step: 0,
            n_updates: 0,
            gradient_steps: 0,
            sampled: rollout.actions().clone(),
            targets: Targets::default(),
            scratch: Scratch {
                obs: Vec::new(),
                actions: rollout.actions().clone(),
                column: Vec::new(),
            },
            rollout,
            config,
        })
    }

    /// log π_old(a | s), v(s), Â and v(s) + Â.
    fn compute_targets(&mut self) {
        let Ppo { net, rollout, targets, .. } = self;
        let obs_dim = rollout.obs().len() / rollout.len();
        (targets.log_probs, targets.values) = inference_mode(|| {
            let obs = Tensor::from_slice(rollout.obs(), [rollout.len(), obs_dim]);
            let log_probs = net.policy(&obs).log_prob(&action_tensor(rollout.actions()));
            (log_probs.to_vec(), net.value(&obs).to_vec())
        });
        let bootstrap = inference_mode(|| {
            let next_obs = rollout.bootstrap_obs();
            net.value(&Tensor::from_slice(next_obs, [next_obs.len() / obs_dim, obs_dim])).to_vec()
        });
        rollout.next_values(&targets.values, &bootstrap, &mut targets.next_values);

        targets.advantages.resize(rollout.len(), 0.0);
        let steps = Rollout {
            n_envs: rollout.n_envs(),
            rewards: rollout.rewards(),
            values: &targets.values,
            next_values: &targets.next_values,
            terminated: rollout.terminated(),
            truncated: rollout.truncated(),
        };
        let (gamma, gae_lambda) = (self.config.gamma as f32, self.config.gae_lambda as f32);
        targets::gae(&steps, gamma, gae_lambda, &mut targets.advantages);
        targets.returns.clear();
        let rows = targets.advantages.iter().zip(&targets.values);
        targets.returns.extend(rows.map(|(advantage, value)| advantage + value));
    }

    fn minibatch(&mut self, rows: &[usize]) -> Minibatch {
        let Ppo { rollout, targets, scratch: Scratch { obs, actions, column }, .. } = self;
        rollout.gather_obs(rows, obs);
        rollout.gather_actions(rows, actions);
        let mut tensor = |numbers: &[f32], normalized: bool| {
            gather(numbers, 1, rows, column);
            if normalized {
                normalize(column);
            }
            Tensor::from_slice(column, [rows.len()])
        };
        Minibatch {
            log_probs: tensor(&targets.log_probs, false),
            values: tensor(&targets.values, false),
            advantages: tensor(&targets.advantages, self.config.normalize_advantage),
            returns: tensor(&targets.returns, false),
            obs: Tensor::from_slice(obs, [rows.len(), obs.len() / rows.len()]),
            actions: action_tensor(actions),
        }
    }

    /// -L^{CLIP+VF+S}(θ), eq. 9.
    fn loss(&self, batch: &Minibatch, clip: Clip) -> Loss {
        let policy = self.net.policy(&batch.obs);
        let log_ratio = policy.log_prob(&batch.actions) - &batch.log_probs;
        let ratio = log_ratio.exp();

        // L^CLIP = E[min(r Â, clip(r, 1 - ε, 1 + ε) Â)], eq. 7.
        let clipped = ratio.clamp(1.0 - clip.ratio, 1.0 + clip.ratio);
        let surrogate = (&ratio * &batch.advantages).minimum(&(clipped * &batch.advantages));
        let policy_loss = -surrogate.mean();

        let mut values = self.net.value(&batch.obs);
        if let Some(range) = clip.value {
            values = &batch.values + (values - &batch.values).clamp(-range, range);
        }
        let value_loss = values.mse_loss(&batch.returns);
        let entropy_loss = -policy.entropy().mean();

        let PpoConfig { vf_coef, ent_coef, .. } = self.config;
        let total = &policy_loss + &value_loss * vf_coef as f32 + &entropy_loss * ent_coef as f32;
        let (policy, value, entropy) = (policy_loss, value_loss, entropy_loss);
        Loss { total, policy, value, entropy, log_ratio, ratio }
    }

    /// One step of Adam down the gradient; returns the loss.
    fn descend(&mut self, loss: &Tensor) -> Result<f64, AgentError> {
        self.optimizer.zero_grad();
        loss.backward();
        let max_norm = self.config.max_grad_norm as f32;
        let norm = clip_grad_norm(&self.parameters, max_norm, Norm::L2);
        AgentError::check_finite(loss.item(), norm, self.gradient_steps)?;
        self.optimizer.step();
        self.gradient_steps += 1;
        Ok(loss.item())
    }
}

/// Means over the minibatches of a rollout, as SB3 logs them.
#[derive(Default)]
struct Averages {
    policy_loss: Mean,
    value_loss: Mean,
    entropy_loss: Mean,
    clip_fraction: Mean,
    /// Of the last epoch only.
    approx_kl: Mean,
    /// Of the last minibatch.
    loss: f64,
}

impl Averages {
    /// Takes a minibatch in and returns its approximate KL divergence.
    fn add(&mut self, loss: &Loss, clip_range: f32) -> f64 {
        self.policy_loss.add(loss.policy.item());
        self.value_loss.add(loss.value.item());
        self.entropy_loss.add(loss.entropy.item());
        let (log_ratio, ratio) = (loss.log_ratio.to_scratch(), loss.ratio.to_scratch());
        let rows = ratio.len() as f64;
        let clipped = ratio.iter().filter(|&&ratio| (ratio - 1.0).abs() > clip_range).count();
        // (r - 1) - log r estimates KL(π_old, π) without bias and is never negative.
        let terms = ratio.iter().zip(&*log_ratio).map(|(ratio, log)| (ratio - 1.0) - log);
        let kl = terms.map(f64::from).sum::<f64>() / rows;
        self.clip_fraction.add(clipped as f64 / rows);
        self.approx_kl.add(kl);
        kl
    }
}

impl Agent for Ppo {
    fn act(&mut self, obs: &Tensor, actions: &mut Actions) {
        self.net.policy(obs).sample(&mut self.exploration, &mut self.sampled);
        actions.clone_from(&self.sampled);
        self.net.clip_actions(actions);
    }

    fn observe(&mut self, transition: &Transition<'_>) {
        // The environment got the clipped actions; the policy's density is that of the drawn ones.
        let actions = match transition.actions {
            Actions::Continuous { .. } => &self.sampled,
            unclipped => unclipped,
        };
        self.rollout.push(&Transition { actions, ..*transition });
        self.step += self.rollout.n_envs() as u64;
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        if !self.rollout.is_full() {
            return Ok(None);
        }
        let progress = progress_remaining(self.step, self.total_timesteps);
        let PpoConfig { n_epochs, batch_size, target_kl, .. } = self.config;
        let learning_rate = self.config.learning_rate.value(progress);
        let clip = Clip {
            ratio: self.config.clip_range.value(progress) as f32,
            value: self.config.clip_range_vf.map(|range| range.value(progress) as f32),
        };
        self.optimizer.set_learning_rate(learning_rate);

        phase("target", || self.compute_targets());
        let mut averages = Averages::default();
        let mut rows: Vec<usize> = (0..self.rollout.len()).collect();
        'epochs: for _ in 0..n_epochs {
            rows.shuffle(&mut self.sampling);
            self.n_updates += 1;
            averages.approx_kl = Mean::default();
            for rows in rows.chunks_exact(batch_size) {
                let batch = self.minibatch(rows);
                let loss = phase("loss", || self.loss(&batch, clip));
                let approx_kl = averages.add(&loss, clip.ratio);
                averages.loss = loss.total.item();
                if target_kl.is_some_and(|target_kl| approx_kl > 1.5 * target_kl) {
                    break 'epochs;
                }
                phase("loss", || self.descend(&loss.total))?;
            }
        }
        self.rollout.clear();
        Ok(Some(self.metrics(&averages, learning_rate, clip)))
    }

    fn policy(&self) -> &dyn Policy {
        &self.net
    }

    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_child("net", self.net.state());
        state.insert_child("optimizer", self.optimizer.state());
        state.insert_child("rollout", self.rollout.state());
        state.insert_child("exploration", self.exploration.state());
        state.insert_child("sampling", self.sampling.state());
        state.insert_u64("step", [self.step]);
        state.insert_u64("n_updates", [self.n_updates]);
        state.insert_u64("gradient_steps", [self.gradient_steps]);
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.net.load_state(&state.child("net"))?;
        self.optimizer.load_state(&state.child("optimizer"))?;
        self.rollout.load_state(&state.child("rollout"))?;
        self.exploration.load_state(&state.child("exploration"))?;
        self.sampling.load_state(&state.child("sampling"))?;
        self.step = state.counter("step")?;
        self.n_updates = state.counter("n_updates")?;
        self.gradient_steps = state.counter("gradient_steps")?;
        Ok(())
    }
}

impl Ppo {
    fn metrics(&self, averages: &Averages, learning_rate: f64, clip: Clip) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.push("train/approx_kl", averages.approx_kl.value());
        metrics.push("train/clip_fraction", averages.clip_fraction.value());
        metrics.push("train/clip_range", f64::from(clip.ratio));
        if let Some(range) = clip.value {
            metrics.push("train/clip_range_vf", f64::from(range));
        }
        metrics.push("train/entropy_loss", averages.entropy_loss.value());
        let Targets { values, returns, .. } = &self.targets;
        metrics.push("train/explained_variance", explained_variance(values, returns));
        metrics.push("train/learning_rate", learning_rate);
        metrics.push("train/loss", averages.loss);
        metrics.push("train/n_updates", self.n_updates as f64);
        metrics.push("train/policy_gradient_loss", averages.policy_loss.value());
        if let Some(std) = self.net.mean_std() {
            metrics.push("train/std", std);
        }
        metrics.push("train/value_loss", averages.value_loss.value());
        metrics
    }
}
