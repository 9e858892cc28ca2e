//! Reinforcement-learning algorithms, one file each, on top of shared pure functions.

mod agent;
mod metrics;

pub use agent::{Agent, AgentConfig, AgentContext, AgentError, Policy, Transition};
pub use metrics::Metrics;
