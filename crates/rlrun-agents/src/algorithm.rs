//! What every algorithm's file uses.

pub(crate) use rlrun_core::{Purpose, Rng, rng_stream};
pub(crate) use rlrun_env::{Actions, Observations};
pub(crate) use rlrun_nn::Activation;
pub(crate) use rlrun_nn::optim::{Adam, AdamConfig};
pub(crate) use rlrun_tensor::{Tensor, phase};

pub(crate) use crate::checks::{
    self, any, at_least_one, not_negative, optional, positive, positive_schedule, positive_share,
    share,
};
pub(crate) use crate::config::config;
pub(crate) use crate::distributions::action_tensor;
pub(crate) use crate::rehearsal::trace;
pub(crate) use crate::saved::saved;
pub(crate) use crate::schedule::Schedule;
pub(crate) use crate::{
    Agent, AgentConfig, AgentContext, AgentError, Clock, Learner, Means, Metrics, Transition,
};
