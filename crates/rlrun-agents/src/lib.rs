//! Reinforcement-learning algorithms, one file each, on top of shared pure functions.

mod agent;
pub mod buffers;
mod checks;
pub mod distributions;
pub mod dqn;
mod metrics;
pub mod networks;
mod normalize;
pub mod ppo;
pub mod schedule;
pub mod targets;

pub use agent::{Agent, AgentConfig, AgentContext, AgentError, Policy, Transition};
pub use dqn::DqnConfig;
pub use metrics::{Mean, Metrics, explained_variance};
pub use normalize::NormalizeConfig;
pub use ppo::PpoConfig;
