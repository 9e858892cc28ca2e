//! Reinforcement-learning algorithms, one file each, on top of shared pieces.
//!
//! An algorithm's file reads from its paper's equations to its settings, its losses and targets, and
//! what of it is saved. Around it lie the pieces that several share: [`on_policy`] and
//! [`off_policy`] (what was collected, and how it is drawn), [`targets`] (advantages, targets,
//! shared losses), [`distributions`], [`networks`], [`policies`], [`Learner`] (the one descend),
//! [`Clock`] (the one owner of periods), [`exploration`] and [`Normalizer`].

pub mod a2c;
mod agent;
mod algorithm;
pub mod buffers;
mod checks;
mod clock;
mod coefficient;
mod config;
pub mod distributions;
pub mod dqn;
mod encoder;
pub mod exploration;
mod learner;
mod metrics;
pub mod networks;
mod normalize;
pub mod off_policy;
pub mod on_policy;
pub mod policies;
mod policy;
pub mod ppo;
pub mod qrdqn;
pub mod rehearsal;
pub mod sac;
mod saved;
pub mod schedule;
pub mod targets;

pub use a2c::A2cConfig;
pub use agent::{Agent, AgentConfig, AgentContext, AgentError, Transition};
pub use clock::Clock;
pub use coefficient::Coefficient;
pub use dqn::DqnConfig;
pub use encoder::Encoder;
pub use learner::Learner;
pub use metrics::{Mean, Means, Metrics, explained_variance};
pub use normalize::{DiscountedReturns, NormalizeConfig, Normalizer};
pub use policy::{Memory, Policy};
pub use ppo::PpoConfig;
pub use qrdqn::QrDqnConfig;
pub use sac::SacConfig;
