//! Advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783, algorithm S3, with environments that
//! step together in place of asynchronous actors).
//!
//! One step along the policy gradient after every few steps of all environments. Details and
//! defaults are those of Stable-Baselines3.

use rlrun_nn::optim::{RmsProp, RmsPropConfig};
use serde::{Deserialize, Serialize};

use crate::algorithm::*;
use crate::networks::{ActorCritic, ActorCriticConfig, NetArch};
use crate::on_policy::{Collector, Minibatch};
use crate::policies::ActorCriticPolicy;

config! {
    /// Settings of A2C, under Stable-Baselines3's names.
    A2cConfig {
        /// Step size; "lin_0.001" falls to 0 over the run
        learning_rate: Schedule = Schedule::Constant(7e-4), positive_schedule;
        /// Steps of each environment in a rollout
        n_steps: usize = 5, at_least_one;
        /// γ, discount factor
        gamma: f64 = 0.99, share;
        /// λ of the advantage estimate: 0 trusts the critic, 1 the rewards
        gae_lambda: f64 = 1.0, share;
        /// Whether advantages are scaled to mean 0 and deviation 1 in each rollout
        normalize_advantage: bool = false, any;
        /// β, weight of the entropy bonus
        ent_coef: f64 = 0.0, not_negative;
        /// Weight of the value loss
        vf_coef: f64 = 0.5, not_negative;
        /// Largest length of the gradient of all parameters
        max_grad_norm: f64 = 0.5, positive;
        /// Whether RMSprop is used instead of Adam
        use_rms_prop: bool = true, any;
        /// Which RMSprop: "torch" adds ε to the root, "tensorflow" puts it inside and starts from 1
        rms_prop_kind: RmsPropKind = RmsPropKind::Torch, any;
        /// ε of RMSprop
        rms_prop_eps: f64 = 1e-5, positive;
        /// Widths of the hidden layers, [64, 64] or { pi = [64, 64], vf = [64, 64] }
        net_arch: NetArch = NetArch::Same(vec![64, 64]), checks::net_arch("vf");
        /// Function after each hidden layer: "tanh" or "relu"
        activation_fn: Activation = Activation::Tanh, any;
        /// Whether weights start orthogonal instead of with PyTorch's default
        ortho_init: bool = true, any;
        /// Start of log σ, for continuous actions
        log_std_init: f64 = 0.0, checks::log_std;
    }
}

/// Whose formula RMSprop follows; Stable-Baselines3's `RMSpropTFLike` is the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RmsPropKind {
    /// θ ← θ - lr g / (√v + ε), v from 0.
    Torch,
    /// θ ← θ - lr g / √(v + ε), v from 1.
    TensorFlow,
}

impl AgentConfig for A2cConfig {
    const NORMALIZES: bool = true;

    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        self.check_keys()?;
        let layers = ActorCriticConfig {
            net_arch: &self.net_arch,
            activation: self.activation_fn,
            ortho_init: self.ortho_init,
            log_std_init: self.log_std_init,
        };
        let net = layers.build("a2c", context)?;
        Ok(Box::new(A2c::new(self, context, net)?))
    }
}

/// An A2C agent.
pub struct A2c {
    config: A2cConfig,
    clock: Clock,
    policy: ActorCriticPolicy,
    learner: Learner,
    collector: Collector,
}

impl A2c {
    /// An agent that trains `net`, which may be one of your own.
    ///
    /// # Errors
    /// [`AgentError`] if a setting breaks its rule or does not fit the environment.
    pub fn new(
        config: A2cConfig,
        context: &AgentContext<'_>,
        net: Box<dyn ActorCritic>,
    ) -> Result<A2c, AgentError> {
        config.check_keys()?;
        Ok(A2c {
            clock: Clock::of(context),
            learner: config.learner(&*net),
            policy: ActorCriticPolicy::new(context, net)?,
            collector: Collector::new(context, config.n_steps),
            config,
        })
    }

    /// E[-log π(a | s) Â + c (v(s) - R)² - β H(π(· | s))].
    fn loss(&self, batch: &Minibatch, means: &mut Means) -> Tensor {
        let (policy, values) = self.learner.train(|| self.policy.net.policy_and_value(&batch.obs));
        let policy = policy.masked(&batch.masks);
        let (log_prob, entropy) = (policy.log_prob(&batch.actions), policy.entropy());
        let advantages = &batch.advantages;
        let policy_loss = -(advantages * &log_prob).mean();
        let value_loss = values.mse_loss(&batch.returns);
        let entropy_loss = -entropy.mean();

        let A2cConfig { vf_coef, ent_coef, .. } = self.config;
        let loss = &policy_loss + &value_loss * vf_coef as f32 + &entropy_loss * ent_coef as f32;
        trace!("loss": values, log_prob, entropy, advantages);
        trace!("loss": policy_loss, value_loss, entropy_loss, loss);
        means.add(&[
            ("train/policy_loss", policy_loss.item()),
            ("train/value_loss", value_loss.item()),
            ("train/entropy_loss", entropy_loss.item()),
        ]);
        loss
    }

    /// Learns from the complete rollout: one step.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`].
    pub fn train(&mut self) -> Result<Metrics, AgentError> {
        let A2cConfig { gamma, gae_lambda, normalize_advantage, .. } = self.config;
        let learning_rate = self.config.learning_rate.value(self.clock.progress_remaining());
        self.collector.estimate_advantages(gamma, gae_lambda);
        let rows: Vec<usize> = (0..self.collector.rollout().len()).collect();
        let batch = self.collector.minibatch(&self.policy.encoder, &rows, normalize_advantage);
        let mut means = Means::default();
        phase("loss", || {
            let loss = self.loss(&batch, &mut means);
            self.learner.minimize(&loss, learning_rate)
        })?;
        let mut metrics = means.and([
            ("train/explained_variance", self.collector.explained_variance()),
            ("train/learning_rate", learning_rate),
            ("train/n_updates", self.learner.n_updates() as f64),
        ]);
        self.policy.net.mean_std().into_iter().for_each(|std| metrics.push("train/std", std));
        self.collector.clear();
        Ok(metrics)
    }
}

impl A2cConfig {
    fn learner(&self, net: &dyn ActorCritic) -> Learner {
        if !self.use_rms_prop {
            let adam = AdamConfig { eps: 1e-5, ..AdamConfig::default() };
            return Learner::new(net, |theta| Adam::new(theta, adam), self.max_grad_norm);
        }
        let tf_like = self.rms_prop_kind == RmsPropKind::TensorFlow;
        let rms_prop =
            RmsPropConfig { eps: self.rms_prop_eps, tf_like, ..RmsPropConfig::default() };
        Learner::new(net, |theta| RmsProp::new(theta, rms_prop), self.max_grad_norm)
    }
}

impl Agent for A2c {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        self.collector.act(&mut self.policy, seen, actions)
    }

    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        self.clock.advance();
        self.collector.observe(&mut self.policy, transition);
        Ok(())
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        if self.collector.rollout().is_full() { self.train().map(Some) } else { Ok(None) }
    }

    saved! { A2c {
        policy: policy; clock, learner, collector;
        counters: ;
        not: config "from the run file",
    } }
}
