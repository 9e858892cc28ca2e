//! Proximal policy optimization with a clipped objective (Schulman et al. 2017, arXiv 1707.06347).
//!
//! Maximises L^{CLIP+VF+S} (eq. 9) on rollouts of fixed length, with generalized advantage
//! estimates (Schulman et al. 2016, arXiv 1506.02438). Details and defaults are those of
//! Stable-Baselines3.

use crate::Mean;
use crate::algorithm::*;
use crate::networks::{ActorCritic, ActorCriticConfig, NetArch};
use crate::on_policy::{Collector, Minibatch};
use crate::policies::ActorCriticPolicy;
use crate::rehearsal::permutation;

config! {
    /// Settings of PPO, under Stable-Baselines3's names.
    PpoConfig {
        /// Step size of Adam; "lin_0.001" falls to 0 over the run
        learning_rate: Schedule = Schedule::Constant(3e-4), positive_schedule;
        /// T, steps of each environment in a rollout
        n_steps: usize = 2048, at_least_one;
        /// M, rows in a minibatch; the last of an epoch has what is left
        batch_size: usize = 64, at_least_one;
        /// K, passes over each rollout
        n_epochs: usize = 10, at_least_one;
        /// γ, discount factor
        gamma: f64 = 0.99, share;
        /// λ of the advantage estimate: 0 trusts the critic, 1 the rewards
        gae_lambda: f64 = 0.95, share;
        /// ε, how far the probability ratio may leave 1; "lin_0.2" falls to 0 over the run
        clip_range: Schedule = Schedule::Constant(0.2), positive_schedule;
        /// How far the value may leave its old value, in units of return; not clipped if absent
        clip_range_vf: Option<Schedule> = None, optional(positive_schedule);
        /// Whether advantages are scaled to mean 0 and deviation 1 in each minibatch
        normalize_advantage: bool = true, any;
        /// c₂, weight of the entropy bonus
        ent_coef: f64 = 0.0, not_negative;
        /// c₁, weight of the value loss
        vf_coef: f64 = 0.5, not_negative;
        /// Largest length of the gradient of all parameters
        max_grad_norm: f64 = 0.5, positive;
        /// Stops a rollout's updates once approx_kl exceeds 1.5 times this; never if absent
        target_kl: Option<f64> = None, optional(positive);
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

impl AgentConfig for PpoConfig {
    const NORMALIZES: bool = true;

    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        self.check_keys()?;
        let layers = ActorCriticConfig {
            net_arch: &self.net_arch,
            activation: self.activation_fn,
            ortho_init: self.ortho_init,
            log_std_init: self.log_std_init,
        };
        let net = layers.build("ppo", context)?;
        Ok(Box::new(Ppo::new(self, context, net)?))
    }
}

/// A PPO agent.
pub struct Ppo {
    config: PpoConfig,
    clock: Clock,
    policy: ActorCriticPolicy,
    learner: Learner,
    collector: Collector,
    sampling: Rng,
    /// Epochs, as Stable-Baselines3 counts updates.
    n_updates: u64,
}

/// What a minibatch says of θ.
struct Loss {
    total: Tensor,
    log_ratio: Tensor,
    ratio: Tensor,
    means: [(&'static str, f64); 3],
}

impl Ppo {
    /// An agent that trains `net`, which may be one of your own.
    ///
    /// # Errors
    /// [`AgentError`] if a setting breaks its rule or does not fit the environment.
    pub fn new(
        config: PpoConfig,
        context: &AgentContext<'_>,
        net: Box<dyn ActorCritic>,
    ) -> Result<Ppo, AgentError> {
        config.check_keys()?;
        // SB3 gives actor-critic networks this ε instead of Adam's 1e-8.
        let adam = AdamConfig { eps: 1e-5, ..AdamConfig::default() };
        Ok(Ppo {
            clock: Clock::of(context),
            learner: Learner::new(&*net, |theta| Adam::new(theta, adam), config.max_grad_norm),
            policy: ActorCriticPolicy::new(context, net)?,
            collector: Collector::new(context, config.n_steps),
            sampling: rng_stream(context.seed, Purpose::Sampling, 0),
            n_updates: 0,
            config,
        })
    }

    /// -L^{CLIP+VF+S}(θ), eq. 9.
    fn loss(&self, batch: &Minibatch, clip_range: f32, clip_range_vf: Option<f32>) -> Loss {
        let (policy, values) = self.learner.train(|| self.policy.net.policy_and_value(&batch.obs));
        let policy = policy.masked(&batch.masks);
        let log_prob = policy.log_prob(&batch.actions);
        let log_ratio = &log_prob - &batch.log_probs;
        let ratio = log_ratio.exp();

        // L^CLIP = E[min(r Â, clip(r, 1 - ε, 1 + ε) Â)], eq. 7.
        let advantages = &batch.advantages;
        let clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range);
        let policy_loss = -(&ratio * advantages).minimum(&(clipped * advantages)).mean();

        let values_pred = clip_range_vf.map_or_else(
            || values.clone(),
            |range| &batch.values + (&values - &batch.values).clamp(-range, range),
        );
        let value_loss = values_pred.mse_loss(&batch.returns);
        let entropy = policy.entropy();
        let entropy_loss = -entropy.mean();

        let PpoConfig { vf_coef, ent_coef, .. } = self.config;
        let loss = &policy_loss + &value_loss * vf_coef as f32 + &entropy_loss * ent_coef as f32;
        trace!("loss": values, log_prob, entropy, advantages, ratio, values_pred);
        trace!("loss": policy_loss, value_loss, entropy_loss, loss);
        let means = [
            ("train/policy_gradient_loss", policy_loss.item()),
            ("train/value_loss", value_loss.item()),
            ("train/entropy_loss", entropy_loss.item()),
        ];
        Loss { total: loss, log_ratio, ratio, means }
    }

    /// Learns from the complete rollout: algorithm 1, without its loop over rollouts.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`].
    pub fn train(&mut self) -> Result<Metrics, AgentError> {
        let PpoConfig { n_epochs, batch_size, gamma, gae_lambda, target_kl, .. } = self.config;
        let progress = self.clock.progress_remaining();
        let clip_range = self.config.clip_range.value(progress);
        let clip_range_vf = self.config.clip_range_vf.map(|range| range.value(progress));
        let learning_rate = self.config.learning_rate.value(progress);
        self.collector.estimate_advantages(gamma, gae_lambda);

        let (mut means, mut approx_kl) = (Means::default(), Mean::default());
        let (mut rows, mut last_loss) = (Vec::new(), f64::NAN);
        'epochs: for _ in 0..n_epochs {
            permutation(self.collector.rollout().len(), &mut self.sampling, &mut rows);
            self.n_updates += 1;
            approx_kl = Mean::default();
            for rows in rows.chunks(batch_size) {
                let normalized = self.config.normalize_advantage;
                let batch = self.collector.minibatch(&self.policy.encoder, rows, normalized);
                let range_vf = clip_range_vf.map(|range| range as f32);
                let loss = phase("loss", || self.loss(&batch, clip_range as f32, range_vf));
                means.add(&loss.means);
                let clip_fraction = loss.clip_fraction(clip_range as f32);
                let approx_kl_div = loss.approx_kl();
                trace!("loss": clip_fraction, approx_kl_div);
                means.add(&[("train/clip_fraction", clip_fraction)]);
                last_loss = loss.total.item();
                approx_kl.add(approx_kl_div);
                if target_kl.is_some_and(|target_kl| approx_kl_div > 1.5 * target_kl) {
                    break 'epochs;
                }
                phase("loss", || self.learner.minimize(&loss.total, learning_rate))?;
            }
        }
        let mut metrics = means.and([
            ("train/approx_kl", approx_kl.value()),
            ("train/clip_range", clip_range),
            ("train/explained_variance", self.collector.explained_variance()),
            ("train/learning_rate", learning_rate),
            ("train/loss", last_loss),
            ("train/n_updates", self.n_updates as f64),
        ]);
        clip_range_vf.into_iter().for_each(|range| metrics.push("train/clip_range_vf", range));
        self.policy.net.mean_std().into_iter().for_each(|std| metrics.push("train/std", std));
        self.collector.clear();
        Ok(metrics)
    }
}

impl Loss {
    /// (r - 1) - log r, which estimates KL(π_old ‖ π) without bias and is never negative.
    fn approx_kl(&self) -> f64 {
        let (ratio, log_ratio) = (self.ratio.to_scratch(), self.log_ratio.to_scratch());
        let terms = ratio.iter().zip(&*log_ratio).map(|(ratio, log)| (ratio - 1.0) - log);
        terms.map(f64::from).sum::<f64>() / ratio.len() as f64
    }

    /// The share of ratios that left 1 ± ε.
    fn clip_fraction(&self, clip_range: f32) -> f64 {
        let ratio = self.ratio.to_scratch();
        let clipped = ratio.iter().filter(|&&ratio| (ratio - 1.0).abs() > clip_range).count();
        clipped as f64 / ratio.len() as f64
    }
}

impl Agent for Ppo {
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

    saved! { Ppo {
        policy: policy; clock, learner, collector, sampling;
        counters: n_updates;
        not: config "from the run file",
    } }
}
