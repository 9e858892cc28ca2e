//! What algorithms share that learn from replayed steps.

use rlrun_core::{Purpose, Rng, rng_stream};

use crate::buffers::{ReplayBatch, ReplayBuffer, Sampling};
use crate::saved::saved;
use crate::{AgentContext, AgentError, DiscountedReturns, Normalizer, Transition};

/// Past steps, and the minibatch that was last drawn from them.
pub struct Experience {
    replay: ReplayBuffer,
    discounted: DiscountedReturns,
    rng: Rng,
    sampling: Sampling,
    /// What [`Experience::sample`] drew.
    pub batch: ReplayBatch,
}

impl Experience {
    /// Room for `buffer_size` steps of the environments of `context`.
    ///
    /// # Errors
    /// [`AgentError::Config`] if the buffer does not hold a step of each environment.
    pub fn new(
        context: &AgentContext<'_>,
        buffer_size: usize,
        sampling: Sampling,
    ) -> Result<Experience, AgentError> {
        let AgentContext { spec, n_envs, seed, .. } = *context;
        let rule = format!("must hold at least one step of each of {n_envs} environments");
        AgentError::require(buffer_size >= n_envs, "buffer_size", buffer_size, rule)?;
        let replay = ReplayBuffer::new(buffer_size, n_envs, spec);
        Ok(Experience {
            batch: replay.batch(),
            replay,
            discounted: DiscountedReturns::new(n_envs),
            rng: rng_stream(seed, Purpose::Sampling, 0),
            sampling,
        })
    }

    /// Keeps one vector step, raw.
    pub fn observe(&mut self, normalizer: &mut Normalizer, transition: &Transition<'_>) {
        self.discounted.observe(transition.step, normalizer);
        self.replay.push(transition);
    }

    /// Draws a minibatch, normalised by the statistics of this moment.
    pub fn sample(&mut self, normalizer: &Normalizer) {
        self.replay.sample(self.sampling, normalizer, &mut self.rng, &mut self.batch);
    }

    saved! { pub Experience {
        replay, discounted, rng;
        counters: ;
        not: sampling "from the run file", batch "drawn before it is read",
    } }
}
