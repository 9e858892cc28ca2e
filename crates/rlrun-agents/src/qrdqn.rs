//! Quantile-regression DQN (Dabney et al. 2018, arXiv 1710.10044).
//!
//! Learns N quantiles θ_i(s, a) of the return instead of its mean, by quantile regression towards
//! r + γ θ̂_j(s', a') (algorithm 1). Details and defaults are those of sb3-contrib.

use rlrun_nn::Layer;
use rlrun_tensor::inference_mode;

use crate::algorithm::*;
use crate::buffers::Sampling;
use crate::exploration::EpsilonGreedy;
use crate::networks::mlp;
use crate::off_policy::Experience;
use crate::policies::{GreedyPolicy, choose, masked_values};
use crate::targets::{polyak_update, quantile_huber_loss, td_target};
use crate::{Memory, Policy};

config! {
    /// Settings of QR-DQN, under sb3-contrib's names. Periods count environment steps.
    QrDqnConfig {
        /// Step size of Adam; "lin_0.001" falls to 0 over the run
        learning_rate: Schedule = Schedule::Constant(5e-5), positive_schedule;
        /// N, steps in the replay buffer
        buffer_size: usize = 1_000_000, at_least_one;
        /// Steps with random actions and without learning at the start
        learning_starts: u64 = 100, any;
        /// Steps in a minibatch
        batch_size: usize = 32, at_least_one;
        /// τ, share of the online network that a target update takes over; 1 copies
        tau: f64 = 1.0, positive_share;
        /// γ, discount factor
        gamma: f64 = 0.99, share;
        /// Steps between two learning phases
        train_freq: u64 = 4, at_least_one;
        /// Minibatches per learning phase; -1: as many as steps since the last
        gradient_steps: i64 = 1, checks::gradient_steps;
        /// n, rewards that are summed before the target network is asked
        n_steps: usize = 1, at_least_one;
        /// C, steps between two target updates
        target_update_interval: u64 = 10_000, at_least_one;
        /// Share of the run over which ε falls
        exploration_fraction: f64 = 0.005, share;
        /// ε at the start, probability of a random action
        exploration_initial_eps: f64 = 1.0, share;
        /// ε after it has fallen
        exploration_final_eps: f64 = 0.01, share;
        /// Largest length of the gradient of all parameters; not limited if absent
        max_grad_norm: Option<f64> = None, optional(positive);
        /// N, quantiles of the return of each action
        n_quantiles: usize = 200, at_least_one;
        /// Widths of the hidden layers
        net_arch: Vec<usize> = vec![64, 64], checks::widths;
        /// Function after each hidden layer: "tanh" or "relu"
        activation_fn: Activation = Activation::Relu, any;
    }
}

impl AgentConfig for QrDqnConfig {
    const NORMALIZES: bool = true;

    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        let QrDqnConfig { net_arch, activation_fn, n_quantiles, .. } = self.clone();
        let network = move |inputs, n_actions, rng: &mut Rng| -> Box<dyn Layer> {
            Box::new(mlp(inputs, &net_arch, n_quantiles * n_actions, activation_fn, rng))
        };
        Ok(Box::new(QrDqn::new(self, context, network)?))
    }
}

/// A QR-DQN agent.
pub struct QrDqn {
    config: QrDqnConfig,
    clock: Clock,
    policy: GreedyPolicy,
    target: Box<dyn Layer>,
    learner: Learner,
    experience: Experience,
    exploration: EpsilonGreedy,
}

impl QrDqn {
    /// An agent with networks that `network` makes, for a number of features and of actions; they
    /// may be your own.
    ///
    /// # Errors
    /// [`AgentError`] if a setting breaks its rule or does not fit the environment.
    pub fn new(
        config: QrDqnConfig,
        context: &AgentContext<'_>,
        network: impl Fn(usize, usize, &mut Rng) -> Box<dyn Layer>,
    ) -> Result<QrDqn, AgentError> {
        config.check_keys()?;
        let n_actions = context.discrete_actions("qrdqn")?;
        // The same stream twice: the target network starts as a copy.
        let weights = || rng_stream(context.seed, Purpose::Weights, 0);
        let network = || network(context.features(), n_actions, &mut weights());
        let (online, target) = (network(), network());
        let adam = AdamConfig { eps: 0.01 / config.batch_size as f64, ..AdamConfig::default() };
        let (first, last) = (config.exploration_initial_eps, config.exploration_final_eps);
        let QrDqnConfig { batch_size, n_steps, gamma, .. } = config;
        let eps = [config.exploration_fraction, first, last];
        let sampling = Sampling { batch_size, n_steps, gamma };
        Ok(QrDqn {
            clock: Clock::of(context),
            learner: Learner::new(&*online, |theta| Adam::new(theta, adam), config.max_grad_norm),
            policy: GreedyPolicy::new(context, online, n_actions)?,
            target,
            experience: Experience::new(context, config.buffer_size, sampling)?,
            exploration: EpsilonGreedy::new(context, n_actions, config.learning_starts, eps),
            config,
        })
    }

    /// T θ_j = r + γ θ̂_j(s', a*), a* = argmax_a' E_j[θ̂_j(s', a')], `[B, N]`.
    fn targets(&self) -> Tensor {
        let batch = &self.experience.batch;
        let next_quantiles = inference_mode(|| {
            let next_obs = self.policy.encoder.tensor(&batch.next_obs);
            let quantiles = self.policy.quantiles(&*self.target, &next_obs);
            let best = masked_values(&quantiles.mean_dim(1, false), &batch.next_masks);
            choose(&quantiles, &best.argmax(-1))
        });
        trace!("loss": next_quantiles);
        td_target(batch, &next_quantiles)
    }

    /// Σ_i E_j[ρ_τi(T θ_j - θ_i(s, a))], eq. 10, with κ = 1.
    fn loss(&self, target_quantiles: &Tensor) -> Tensor {
        let batch = &self.experience.batch;
        let obs = self.policy.encoder.tensor(&batch.obs);
        let quantiles = self.policy.quantiles(&*self.policy.net, &obs);
        let current_quantiles = choose(&quantiles, &action_tensor(&batch.actions));
        let loss = quantile_huber_loss(&current_quantiles, target_quantiles);
        trace!("loss": target_quantiles, current_quantiles, loss);
        loss
    }

    /// Learns from `minibatches` minibatches: algorithm 1, its inner half.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`].
    pub fn train(&mut self, minibatches: u64) -> Result<Metrics, AgentError> {
        let learning_rate = self.config.learning_rate.value(self.clock.progress_remaining());
        let mut means = Means::default();
        for _ in 0..minibatches {
            self.experience.sample(&self.policy.normalizer);
            let targets = phase("target", || self.targets());
            let loss = phase("loss", || self.learner.train(|| self.loss(&targets)));
            let loss = phase("loss", || self.learner.minimize(&loss, learning_rate))?;
            means.add(&[("train/loss", loss)]);
        }
        let n_updates = self.learner.n_updates() as f64;
        Ok(means.and([("train/learning_rate", learning_rate), ("train/n_updates", n_updates)]))
    }

    /// Moves the target network if its period has ended in the last vector step; once, however
    /// often.
    pub fn update_target(&mut self) {
        if self.clock.reached(self.config.target_update_interval) > 0 {
            phase("target", || polyak_update(&*self.policy.net, &*self.target, self.config.tau));
        }
    }
}

impl Agent for QrDqn {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        self.policy.normalizer.observe(seen.rows);
        self.policy.act(seen, &mut Memory::none(), None, actions)?;
        self.exploration.explore(&self.clock, seen.masks, actions);
        Ok(())
    }

    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        self.experience.observe(&mut self.policy.normalizer, transition);
        self.clock.advance();
        Ok(())
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        let QrDqnConfig { learning_starts, train_freq, gradient_steps, .. } = self.config;
        self.update_target();
        let minibatches = self.clock.minibatches(learning_starts, train_freq, gradient_steps);
        if minibatches == 0 { Ok(None) } else { self.train(minibatches).map(Some) }
    }

    fn metrics(&self) -> Metrics {
        Metrics::from([("rollout/exploration_rate", self.exploration.rate(&self.clock))])
    }

    saved! { QrDqn {
        policy: policy; clock, target, learner, experience, exploration;
        counters: ;
        not: config "from the run file",
    } }
}
