//! The weight of the entropy in soft actor-critic.

use rlrun_nn::Module;
use rlrun_tensor::{Parameter, Tensor};

use crate::coefficient::Coefficient;

/// α, fixed or learnt through log α (Haarnoja et al. 2018, arXiv 1812.05905, §5).
#[derive(Debug, Module)]
pub enum Temperature {
    /// log α, `[1]`.
    Learnt(#[module(rename = "log_alpha")] Parameter),
    /// α.
    Fixed(#[module(skip)] f32),
}

impl Temperature {
    /// The temperature that `ent_coef` asks for.
    pub fn new(ent_coef: Coefficient) -> Temperature {
        match ent_coef {
            Coefficient::Fixed(alpha) => Temperature::Fixed(alpha as f32),
            Coefficient::Auto { initial } => {
                Temperature::Learnt(Parameter::new(Tensor::full([1], initial.ln() as f32)))
            }
        }
    }

    /// α.
    pub fn alpha(&self) -> f32 {
        match self {
            Temperature::Learnt(log_alpha) => log_alpha.to_vec()[0].exp(),
            Temperature::Fixed(alpha) => *alpha,
        }
    }

    /// log α, if it is learnt.
    pub fn log_alpha(&self) -> Option<&Parameter> {
        match self {
            Temperature::Learnt(log_alpha) => Some(log_alpha),
            Temperature::Fixed(_) => None,
        }
    }
}
