//! Soft actor-critic with a learnt temperature (Haarnoja et al. 2018, arXiv 1812.05905).
//!
//! Maximises E[Σ γᵗ (r + α H(π(· | s)))]: the critics learn the soft value of an action, the actor
//! moves to where it is high, and α keeps the entropy near H̄. Details as in Stable-Baselines3.

use rlrun_core::Streams;
use rlrun_nn::{Layer, Module};
use rlrun_tensor::inference_mode;

use crate::Coefficient;
use crate::algorithm::*;
use crate::buffers::Sampling;
use crate::exploration::uniform;
use crate::networks::{Critics, GaussianHead, NetArch, Temperature, mlp};
use crate::off_policy::Experience;
use crate::policies::SquashedPolicy;
use crate::targets::{polyak_update, td_target};

config! {
    /// Settings of SAC, under Stable-Baselines3's names. Periods count environment steps.
    SacConfig {
        /// Step size of Adam; "lin_0.001" falls to 0 over the run
        learning_rate: Schedule = Schedule::Constant(3e-4), positive_schedule;
        /// N, steps in the replay buffer
        buffer_size: usize = 1_000_000, at_least_one;
        /// Steps with random actions and without learning at the start
        learning_starts: u64 = 100, any;
        /// Steps in a minibatch
        batch_size: usize = 256, at_least_one;
        /// τ, share of the critics that their targets take over
        tau: f64 = 0.005, positive_share;
        /// γ, discount factor
        gamma: f64 = 0.99, share;
        /// Steps between two learning phases
        train_freq: u64 = 1, at_least_one;
        /// Minibatches per learning phase; -1: as many as steps since the last
        gradient_steps: i64 = 1, checks::gradient_steps;
        /// n, rewards that are summed before the target critics are asked
        n_steps: usize = 1, at_least_one;
        /// Minibatches of a learning phase from one update of the targets to the next
        target_update_interval: u64 = 1, at_least_one;
        /// α, weight of the entropy: a number, "auto" (learnt) or "auto_0.1" (learnt from there on)
        ent_coef: Coefficient = Coefficient::Auto { initial: 1.0 }, checks::ent_coef;
        /// H̄, entropy that α aims at; "auto": minus the number of action components
        target_entropy: Coefficient = Coefficient::Auto { initial: 1.0 }, checks::target_entropy;
        /// ε in log(1 - a² + ε) of the squashed density, 1e-6 in SB3; 0: the exact density
        log_prob_epsilon: f64 = 0.0, not_negative;
        /// Critics whose smallest value counts
        n_critics: usize = 2, at_least_one;
        /// Widths of the hidden layers, [256, 256] or { pi = [256, 256], qf = [256, 256] }
        net_arch: NetArch = NetArch::Same(vec![256, 256]), checks::net_arch("qf");
        /// Function after each hidden layer: "tanh" or "relu"
        activation_fn: Activation = Activation::Relu, any;
    }
}

impl AgentConfig for SacConfig {
    const NORMALIZES: bool = true;

    fn build(self, context: &AgentContext<'_>) -> Result<Box<dyn Agent>, AgentError> {
        let (pi, qf, act) = (self.net_arch.clone(), self.net_arch.clone(), self.activation_fn);
        let actor = move |inputs, dim, rng: &mut Rng| -> Box<dyn Layer> {
            Box::new(GaussianHead::new(inputs, pi.pi(), dim, act, rng))
        };
        let critic = move |inputs, rng: &mut Rng| -> Box<dyn Layer> {
            Box::new(mlp(inputs, qf.critic(), 1, act, rng))
        };
        Ok(Box::new(Sac::new(self, context, actor, critic)?))
    }
}

/// A SAC agent. Actions are kept in ±1, as the actor draws them.
pub struct Sac {
    config: SacConfig,
    target_entropy: f64,
    clock: Clock,
    policy: SquashedPolicy,
    critic: Critics,
    target: Critics,
    temperature: Temperature,
    actor_learner: Learner,
    critic_learner: Learner,
    temperature_learner: Learner,
    experience: Experience,
    exploration: Streams,
    noise: Rng,
    drawn: Actions,
}

impl Sac {
    /// An agent with networks that may be your own: `actor` makes one for a number of features and
    /// of action components, `critic` one for both together.
    ///
    /// # Errors
    /// [`AgentError`] if a setting breaks its rule or does not fit the environment.
    pub fn new(
        config: SacConfig,
        context: &AgentContext<'_>,
        actor: impl Fn(usize, usize, &mut Rng) -> Box<dyn Layer>,
        critic: impl Fn(usize, &mut Rng) -> Box<dyn Layer>,
    ) -> Result<Sac, AgentError> {
        config.check_keys()?;
        let AgentContext { spec, n_envs, seed, .. } = *context;
        let bounds = context.bounded_box("sac")?;
        let (inputs, dim) = (context.features(), bounds.low.len());
        let weights = |index| rng_stream(seed, Purpose::Weights, index);
        let actor = actor(inputs, dim, &mut weights(0));
        // The same streams twice: the targets start as copies.
        let q = |index| critic(inputs + dim, &mut weights(1 + index));
        let [critic, target] = [(); 2].map(|()| Critics::new(config.n_critics, q));
        let temperature = Temperature::new(config.ent_coef);
        let adam = |theta| Adam::new(theta, AdamConfig::default());
        let learner = |net: &dyn Module| Learner::new(net, adam, None);
        let SacConfig { batch_size, n_steps, gamma, .. } = config;
        let sampling = Sampling { batch_size, n_steps, gamma };
        Ok(Sac {
            target_entropy: config.target_entropy.fixed().unwrap_or(-(dim as f64)),
            clock: Clock::of(context),
            actor_learner: learner(&*actor),
            critic_learner: learner(&critic),
            temperature_learner: learner(&temperature),
            policy: SquashedPolicy::new(context, actor, bounds.clone())?,
            critic,
            target,
            temperature,
            experience: Experience::new(context, config.buffer_size, sampling)?,
            exploration: Streams::new(seed, Purpose::Exploration, n_envs),
            noise: rng_stream(seed, Purpose::Layers, 0),
            drawn: Actions::zeros(&spec.action_space, n_envs),
            config,
        })
    }

    /// y = r + γ (min_i Q̂_i(s', a') - α log π(a' | s')), a' ~ π(· | s'), eq. 3 and 5.
    fn targets(&mut self, ent_coef: f32) -> Tensor {
        let epsilon = self.config.log_prob_epsilon;
        let next_q_values = inference_mode(|| {
            let next_obs = self.policy.encoder.tensor(&self.experience.batch.next_obs);
            let policy = self.policy.distribution(&next_obs);
            let (next_actions, next_log_prob) = policy.rsample(&mut self.noise, epsilon);
            trace!("critic_loss": next_actions, next_log_prob);
            self.target.min(&next_obs, &next_actions) - next_log_prob * ent_coef
        });
        trace!("critic_loss": next_q_values);
        td_target(&self.experience.batch, &next_q_values)
    }

    /// J_Q = Σ_i E[½ (Q_i(s, a) - y)²], eq. 5.
    fn critic_loss(&self, obs: &Tensor, target_q_values: &Tensor) -> Tensor {
        let actions = action_tensor(&self.experience.batch.actions);
        let current_q_values = self.critic_learner.train(|| self.critic.values(obs, &actions));
        let errors = current_q_values.iter().map(|value| value.mse_loss(target_q_values));
        let critic_loss = errors.fold(Tensor::scalar(0.0), |sum, error| sum + error) * 0.5;
        trace!("critic_loss": current_q_values, target_q_values, critic_loss);
        critic_loss
    }

    /// J_π = E[α log π(a | s) - min_i Q_i(s, a)], eq. 7.
    fn actor_loss(&self, obs: &Tensor, drawn: (&Tensor, &Tensor), ent_coef: f32) -> Tensor {
        let (actions_pi, log_prob) = drawn;
        let min_qf_pi = self.critic.min(obs, actions_pi);
        let actor_loss = (log_prob * ent_coef - &min_qf_pi).mean();
        trace!("actor_loss": min_qf_pi, actor_loss);
        actor_loss
    }

    /// J_α = -log α E[log π(a | s) + H̄], eq. 18 in log α.
    fn ent_coef_loss(&self, log_alpha: &Tensor, log_prob: &Tensor) -> Tensor {
        let excess = (log_prob.detach() + self.target_entropy as f32).mean();
        let ent_coef_loss = -(log_alpha * excess).sum();
        trace!("ent_coef_loss": ent_coef_loss);
        ent_coef_loss
    }

    /// Learns from `minibatches` minibatches: algorithm 1, its inner half.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`].
    pub fn train(&mut self, minibatches: u64) -> Result<Metrics, AgentError> {
        let learning_rate = self.config.learning_rate.value(self.clock.progress_remaining());
        let (epsilon, mut means) = (self.config.log_prob_epsilon, Means::default());
        for minibatch in 0..minibatches {
            self.experience.sample(&self.policy.normalizer);
            let obs = self.policy.encoder.tensor(&self.experience.batch.obs);
            // a ~ π(· | s) and log π(a | s).
            let policy =
                phase("loss", || self.actor_learner.train(|| self.policy.distribution(&obs)));
            let (actions_pi, log_prob) = phase("loss", || policy.rsample(&mut self.noise, epsilon));
            // As SB3 has it, α of before its own step counts for the rest.
            let ent_coef = self.temperature.alpha();
            trace!("sample": actions_pi, log_prob, ent_coef);
            means.add(&[("train/ent_coef", ent_coef.into())]);
            if let Some(log_alpha) = self.temperature.log_alpha() {
                let loss = phase("loss", || self.ent_coef_loss(log_alpha, &log_prob));
                let loss = self.temperature_learner.minimize(&loss, learning_rate)?;
                means.add(&[("train/ent_coef_loss", loss)]);
            }
            let targets = phase("target", || self.targets(ent_coef));
            let loss = phase("loss", || self.critic_loss(&obs, &targets));
            let critic_loss = self.critic_learner.minimize(&loss, learning_rate)?;
            let loss = phase("loss", || self.actor_loss(&obs, (&actions_pi, &log_prob), ent_coef));
            let actor_loss = self.actor_learner.minimize(&loss, learning_rate)?;
            means.add(&[("train/critic_loss", critic_loss), ("train/actor_loss", actor_loss)]);
            if minibatch % self.config.target_update_interval == 0 {
                phase("target", || polyak_update(&self.critic, &self.target, self.config.tau));
            }
        }
        let n_updates = self.critic_learner.n_updates() as f64;
        Ok(means.and([("train/learning_rate", learning_rate), ("train/n_updates", n_updates)]))
    }
}

impl Agent for Sac {
    fn act(&mut self, seen: &Observations<'_>, actions: &mut Actions) -> Result<(), AgentError> {
        self.policy.normalizer.observe(seen.rows);
        if self.clock.step() < self.config.learning_starts {
            uniform(&mut self.drawn, &mut self.exploration);
        } else {
            self.policy.squashed(seen, Some(self.exploration.lanes()), &mut self.drawn)?;
        }
        actions.clone_from(&self.drawn);
        self.policy.unscale(actions);
        Ok(())
    }

    fn observe(&mut self, transition: &Transition<'_>) -> Result<(), AgentError> {
        let drawn = Transition { actions: &self.drawn, ..*transition };
        self.experience.observe(&mut self.policy.normalizer, &drawn);
        self.clock.advance();
        Ok(())
    }

    fn update(&mut self) -> Result<Option<Metrics>, AgentError> {
        let SacConfig { learning_starts, train_freq, gradient_steps, .. } = self.config;
        let minibatches = self.clock.minibatches(learning_starts, train_freq, gradient_steps);
        if minibatches == 0 { Ok(None) } else { self.train(minibatches).map(Some) }
    }

    /// min_i Q_i(s, a) of the median action.
    fn values(&self, seen: &Observations<'_>) -> Option<Vec<f32>> {
        self.policy.values_by(seen, |obs, actions| self.critic.min(obs, actions))
    }

    saved! { Sac {
        policy: policy; clock, critic, target, temperature, actor_learner, critic_learner,
        temperature_learner, experience, exploration, noise;
        counters: ;
        not: config "from the run file", target_entropy "from it", drawn "written before read",
    } }
}
