//! What algorithms share that learn from rollouts of their own policy.

use rlrun_core::{Purpose, Streams};
use rlrun_env::{Actions, Observations};
use rlrun_tensor::{Tensor, inference_mode, phase};

use crate::buffers::{RolloutBuffer, gather, gather_actions};
use crate::distributions::action_tensor;
use crate::encoder::Encoder;
use crate::policies::ActorCriticPolicy;
use crate::saved::saved;
use crate::targets::normalize;
use crate::{AgentContext, AgentError, DiscountedReturns, Transition, explained_variance};

/// Acts with the policy that is learnt, each environment with its own exploration stream, and keeps
/// what comes of it until a rollout is complete.
pub struct Collector {
    rollout: RolloutBuffer,
    exploration: Streams,
    discounted: DiscountedReturns,
    /// The actions of the current step before they were clipped to the action space.
    drawn: Actions,
    /// Memory that minibatches are gathered in.
    column: Vec<f32>,
    gathered: Actions,
}

impl Collector {
    /// For rollouts of `n_steps` vector steps in the environments of `context`.
    pub fn new(context: &AgentContext<'_>, n_steps: usize) -> Collector {
        let AgentContext { spec, n_envs, seed, .. } = *context;
        Collector {
            rollout: RolloutBuffer::new(n_steps, n_envs, spec),
            exploration: Streams::new(seed, Purpose::Exploration, n_envs),
            discounted: DiscountedReturns::new(n_envs),
            drawn: Actions::zeros(&spec.action_space, n_envs),
            column: Vec::new(),
            gathered: Actions::zeros(&spec.action_space, 0),
        }
    }

    /// What was collected.
    pub fn rollout(&self) -> &RolloutBuffer {
        &self.rollout
    }

    /// Draws an action for each row of `seen`.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if the policy computed NaN or infinity.
    pub fn act(
        &mut self,
        policy: &mut ActorCriticPolicy,
        seen: &Observations<'_>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        policy.normalizer.observe(seen.rows);
        policy.sample(seen, self.exploration.lanes(), &mut self.drawn)?;
        actions.clone_from(&self.drawn);
        policy.clip(actions);
        Ok(())
    }

    /// Keeps one vector step; the one that completes the rollout is followed by what the policy says
    /// of all of them, while it still is the one that acted.
    pub fn observe(&mut self, policy: &mut ActorCriticPolicy, transition: &Transition<'_>) {
        self.discounted.observe(transition.step, &mut policy.normalizer);
        // The environment got clipped actions; the policy's density is that of the drawn ones.
        let actions = match transition.actions {
            Actions::Continuous { .. } => &self.drawn,
            unclipped => unclipped,
        };
        self.rollout.push(&Transition { actions, ..*transition }, &policy.normalizer);
        if self.rollout.is_full() {
            phase("target", || self.evaluate(policy));
        }
    }

    /// log π(a | s), v(s) and the values to bootstrap from.
    fn evaluate(&mut self, policy: &ActorCriticPolicy) {
        let ActorCriticPolicy { encoder, net, .. } = policy;
        let rollout = &self.rollout;
        let (log_probs, values, bootstrap) = inference_mode(|| {
            let (policy, values) = net.policy_and_value(&encoder.tensor(rollout.obs()));
            let log_probs =
                policy.masked(rollout.masks()).log_prob(&action_tensor(rollout.actions()));
            let bootstrap = match rollout.bootstrap_obs() {
                [] => Vec::new(),
                obs => net.value(&encoder.tensor(obs)).to_vec(),
            };
            (log_probs.to_vec(), values.to_vec(), bootstrap)
        });
        self.rollout.evaluate(log_probs, values, &bootstrap);
    }

    /// Estimates the advantages of the complete rollout.
    pub fn estimate_advantages(&mut self, gamma: f64, gae_lambda: f64) {
        self.rollout.estimate_advantages(gamma, gae_lambda);
    }

    /// The given rows of the rollout; with `normalized`, their advantages by [`normalize`].
    pub fn minibatch(&mut self, encoder: &Encoder, rows: &[usize], normalized: bool) -> Minibatch {
        let Collector { rollout, column, gathered, .. } = self;
        gather_actions(rollout.actions(), rows, gathered);
        gather(rollout.obs(), rollout.obs_dim(), rows, column);
        let obs = encoder.tensor(column);
        let mut masks = Vec::new();
        gather(rollout.masks(), rollout.masks().len() / rollout.len(), rows, &mut masks);
        let mut tensor = |numbers: &[f32], normalized: bool| {
            gather(numbers, 1, rows, column);
            if normalized {
                normalize(column);
            }
            Tensor::from_slice(column, [rows.len()])
        };
        let evaluation = rollout.evaluation();
        Minibatch {
            log_probs: tensor(&evaluation.log_probs, false),
            values: tensor(&evaluation.values, false),
            advantages: tensor(rollout.advantages(), normalized),
            returns: tensor(rollout.returns(), false),
            obs,
            actions: action_tensor(gathered),
            masks,
        }
    }

    /// How much of the variance of the returns the values predicted.
    pub fn explained_variance(&self) -> f64 {
        explained_variance(&self.rollout.evaluation().values, self.rollout.returns())
    }

    /// Forgets the rollout.
    pub fn clear(&mut self) {
        self.rollout.clear();
    }

    saved! { pub Collector {
        rollout, exploration, discounted;
        counters: ;
        not: drawn "written before it is read", column "the same", gathered "the same",
    } }
}

/// Rows of a rollout, as tensors.
pub struct Minibatch {
    /// Features of s, `[B, width]`.
    pub obs: Tensor,
    /// a, `[B]` or `[B, dim]`.
    pub actions: Tensor,
    /// Which choices were legal; empty if all were.
    pub masks: Vec<bool>,
    /// log π_old(a | s), `[B]`.
    pub log_probs: Tensor,
    /// v_old(s), `[B]`.
    pub values: Tensor,
    /// Â, `[B]`.
    pub advantages: Tensor,
    /// v_old(s) + Â, `[B]`.
    pub returns: Tensor,
}
