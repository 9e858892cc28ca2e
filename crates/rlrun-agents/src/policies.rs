//! The policies that networks compute. Tensors are made and inference mode is entered here, in
//! `infer`, and nowhere else: what acts, evaluates or serves a policy hands it plain numbers.

use rlrun_core::Rng;
use rlrun_env::{Actions, BoxSpace, Observations, Space};
use rlrun_nn::Layer;
use rlrun_tensor::{Tensor, inference_mode};

use crate::distributions::{TanhNormal, argmax, write_choices};
use crate::encoder::Encoder;
use crate::networks::ActorCritic;
use crate::saved::saved;
use crate::{AgentContext, AgentError, Memory, Normalizer, Policy};

/// What `compute` makes of the features of what is seen, in inference mode.
fn infer<T>(
    (encoder, normalizer): (&Encoder, &Normalizer),
    seen: &Observations<'_>,
    compute: impl FnOnce(&Tensor) -> T,
) -> Result<T, AgentError> {
    encoder.check(seen)?;
    Ok(inference_mode(|| {
        if !normalizer.normalizes_obs() {
            return compute(&encoder.tensor(seen.rows));
        }
        let mut rows = seen.rows.to_vec();
        normalizer.normalize_obs(&mut rows);
        compute(&encoder.tensor(&rows))
    }))
}

/// Values of normalised rewards in the environment's own.
fn in_own_rewards(mut values: Vec<f32>, normalizer: &Normalizer) -> Option<Vec<f32>> {
    let scale = normalizer.reward_scale();
    values.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
    Some(values)
}

/// π(a | s) of a network that also knows v(s).
pub struct ActorCriticPolicy {
    /// How observations are laid before the network.
    pub encoder: Encoder,
    /// Running statistics.
    pub normalizer: Normalizer,
    /// π and v.
    pub net: Box<dyn ActorCritic>,
    bounds: Option<BoxSpace>,
}

impl ActorCriticPolicy {
    /// The policy of `net` in the environment of `context`.
    ///
    /// # Errors
    /// [`AgentError`] if the observations cannot be encoded or normalised.
    pub fn new(
        context: &AgentContext<'_>,
        net: Box<dyn ActorCritic>,
    ) -> Result<ActorCriticPolicy, AgentError> {
        let bounds = match &context.spec.action_space {
            Space::Box(bounds) => Some(bounds.clone()),
            _ => None,
        };
        let encoder = Encoder::of(&context.spec.observation_space)?;
        Ok(ActorCriticPolicy { encoder, normalizer: Normalizer::of(context)?, net, bounds })
    }

    /// Draws actions, one stream per row, that may lie outside of the action space: their density
    /// is the policy's.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if the network computed NaN or infinity.
    pub fn sample(
        &self,
        seen: &Observations<'_>,
        rngs: &mut [Rng],
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        infer((&self.encoder, &self.normalizer), seen, |obs| {
            self.net.policy(obs).masked(seen.masks).sample(rngs, actions)
        })?
    }

    /// Moves continuous actions into the bounds of the action space.
    pub fn clip(&self, actions: &mut Actions) {
        if let (Some(BoxSpace { low, high, .. }), Actions::Continuous { values, dim }) =
            (&self.bounds, actions)
        {
            for row in values.chunks_exact_mut(*dim) {
                let bounds = low.iter().zip(high);
                row.iter_mut().zip(bounds).for_each(|(x, (low, high))| *x = x.clamp(*low, *high));
            }
        }
    }
}

impl Policy for ActorCriticPolicy {
    fn act(
        &self,
        seen: &Observations<'_>,
        _memory: &mut Memory,
        rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        match rngs {
            Some(rngs) => self.sample(seen, rngs, actions)?,
            None => infer((&self.encoder, &self.normalizer), seen, |obs| {
                self.net.policy(obs).masked(seen.masks).mode(actions)
            })??,
        }
        self.clip(actions);
        Ok(())
    }

    /// v(s), in the environment's own rewards.
    fn values(&self, seen: &Observations<'_>, _memory: &Memory) -> Option<Vec<f32>> {
        let value = |obs: &Tensor| self.net.value(obs).to_vec();
        let values = infer((&self.encoder, &self.normalizer), seen, value).ok()?;
        in_own_rewards(values, &self.normalizer)
    }

    saved! { ActorCriticPolicy {
        normalizer, net;
        counters: ;
        not: encoder "from the observation space", bounds "from the action space",
    } }
}

/// The greedy policy of a network of action values, or of quantiles of returns whose mean they are.
pub struct GreedyPolicy {
    /// How observations are laid before the network.
    pub encoder: Encoder,
    /// Running statistics.
    pub normalizer: Normalizer,
    /// Q(s, ·), `[B, n_actions]`, or its quantiles, `[B, n_quantiles * n_actions]`.
    pub net: Box<dyn Layer>,
    n_actions: usize,
}

impl GreedyPolicy {
    /// The policy of `net`, which chooses among `n_actions` in the environment of `context`.
    ///
    /// # Errors
    /// [`AgentError`] if the observations cannot be encoded or normalised.
    pub fn new(
        context: &AgentContext<'_>,
        net: Box<dyn Layer>,
        n_actions: usize,
    ) -> Result<GreedyPolicy, AgentError> {
        let encoder = Encoder::of(&context.spec.observation_space)?;
        Ok(GreedyPolicy { encoder, normalizer: Normalizer::of(context)?, net, n_actions })
    }

    /// Q(s, ·) for features `[B, width]`, `[B, n_actions]`: the mean over the quantiles.
    pub fn action_values(&self, obs: &Tensor) -> Tensor {
        let quantiles = self.quantiles(&*self.net, obs);
        if quantiles.dims()[1] == 1 {
            return quantiles.squeeze_dim(1);
        }
        quantiles.mean_dim(1, false)
    }

    /// The quantiles of the returns of each action, `[B, n_quantiles, n_actions]`, by a network
    /// like this policy's.
    pub fn quantiles(&self, net: &dyn Layer, obs: &Tensor) -> Tensor {
        let output = net.forward(obs);
        let [rows, numbers] = [output.dims()[0], output.dims()[1]];
        output.view([rows, numbers / self.n_actions, self.n_actions])
    }
}

/// What `values` `[B, n_actions]` or `[B, N, n_actions]` say of one action per row, `[B]` or `[B, N]`.
pub fn choose(values: &Tensor, actions: &Tensor) -> Tensor {
    let mut index = actions.unsqueeze(-1);
    if let [rows, n, _] = *values.dims() {
        index = index.unsqueeze(-1).expand([rows, n, 1]);
    }
    values.gather(-1, &index).squeeze_dim(-1)
}

/// Q(s, a) with -∞ where `masks` (`[B * n_actions]`, empty: nowhere) forbids a.
pub fn masked_values(values: &Tensor, masks: &[bool]) -> Tensor {
    if masks.is_empty() {
        return values.clone();
    }
    let forbidden: Vec<bool> = masks.iter().map(|legal| !legal).collect();
    values.masked_fill(&Tensor::from_bool(&forbidden, values.dims()), f32::NEG_INFINITY)
}

impl Policy for GreedyPolicy {
    /// argmax_a Q(s, a) over the legal a, with or without `rngs`: the policy that is learnt is
    /// greedy.
    fn act(
        &self,
        seen: &Observations<'_>,
        _memory: &mut Memory,
        _rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        infer((&self.encoder, &self.normalizer), seen, |obs| {
            let values = masked_values(&self.action_values(obs), seen.masks);
            write_choices(&values, |_, row| argmax(row), actions)
        })?
    }

    /// max_a Q(s, a) over the legal a, in the environment's own rewards.
    fn values(&self, seen: &Observations<'_>, _memory: &Memory) -> Option<Vec<f32>> {
        let values = infer((&self.encoder, &self.normalizer), seen, |obs| {
            masked_values(&self.action_values(obs), seen.masks).max_dim(-1, false).0.to_vec()
        })
        .ok()?;
        in_own_rewards(values, &self.normalizer)
    }

    saved! { GreedyPolicy {
        normalizer, net;
        counters: ;
        not: encoder "from the observation space", n_actions "from the action space",
    } }
}

/// Smallest and largest log σ of [`SquashedPolicy`].
const LOG_STD_BOUNDS: (f32, f32) = (-20.0, 2.0);

/// A policy of tanh-squashed normals between the bounds of a box.
pub struct SquashedPolicy {
    /// How observations are laid before the network.
    pub encoder: Encoder,
    /// Running statistics.
    pub normalizer: Normalizer,
    /// Mean and log σ of each number of an action, `[B, 2 * action_dim]`.
    pub net: Box<dyn Layer>,
    bounds: BoxSpace,
}

impl SquashedPolicy {
    /// The policy of `net`, whose actions lie within `bounds`, in the environment of `context`.
    ///
    /// # Errors
    /// [`AgentError`] if the observations cannot be encoded or normalised.
    pub fn new(
        context: &AgentContext<'_>,
        net: Box<dyn Layer>,
        bounds: BoxSpace,
    ) -> Result<SquashedPolicy, AgentError> {
        let encoder = Encoder::of(&context.spec.observation_space)?;
        Ok(SquashedPolicy { encoder, normalizer: Normalizer::of(context)?, net, bounds })
    }

    /// π(· | s) in ±1, for features `[B, width]`.
    pub fn distribution(&self, obs: &Tensor) -> TanhNormal {
        let output = self.net.forward(obs);
        let dim = self.bounds.low.len();
        let (low, high) = LOG_STD_BOUNDS;
        let log_std = output.narrow(-1, dim as isize, dim).clamp(low, high);
        TanhNormal { mean: output.narrow(-1, 0, dim), log_std }
    }

    /// Writes actions in ±1: drawn with `rngs`, one stream per row, the median without.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if the network computed NaN or infinity.
    pub fn squashed(
        &self,
        seen: &Observations<'_>,
        rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        infer((&self.encoder, &self.normalizer), seen, |obs| match rngs {
            Some(rngs) => self.distribution(obs).sample(rngs, actions),
            None => self.distribution(obs).mode(actions),
        })?
    }

    /// What `critic` says of the features and of the median action, in the environment's own rewards.
    pub fn values_by(
        &self,
        seen: &Observations<'_>,
        critic: impl FnOnce(&Tensor, &Tensor) -> Tensor,
    ) -> Option<Vec<f32>> {
        let values = infer((&self.encoder, &self.normalizer), seen, |obs| {
            critic(obs, &self.distribution(obs).mean.tanh()).to_vec()
        })
        .ok()?;
        in_own_rewards(values, &self.normalizer)
    }

    /// Brings actions from ±1 to the bounds.
    pub fn unscale(&self, actions: &mut Actions) {
        if let Actions::Continuous { values, .. } = actions {
            self.bounds.unscale(values);
        }
    }
}

impl Policy for SquashedPolicy {
    fn act(
        &self,
        seen: &Observations<'_>,
        _memory: &mut Memory,
        rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        self.squashed(seen, rngs, actions)?;
        self.unscale(actions);
        Ok(())
    }

    saved! { SquashedPolicy {
        normalizer, net;
        counters: ;
        not: encoder "from the observation space", bounds "from the action space",
    } }
}
