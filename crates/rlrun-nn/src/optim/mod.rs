//! Optimizers and gradient clipping, with PyTorch's formulas.

mod adagrad;
mod adam;
mod clip;
mod per_parameter;
mod rmsprop;
mod sgd;

use rlrun_core::{State, StateError};
use rlrun_tensor::Parameter;

pub use adagrad::{Adagrad, AdagradConfig};
pub use adam::{Adam, AdamConfig};
pub use clip::{Norm, clip_grad_norm, clip_grad_value};
pub use per_parameter::{PerParameter, Rule, Step};
pub use rmsprop::{RmsProp, RmsPropConfig};
pub use sgd::{Sgd, SgdConfig};

/// A rule that moves parameters against their gradients.
///
/// A parameter without a gradient is left alone, and so is its step count. A parameter that was
/// given twice is moved once. The moments are kept in the memory order of their parameter.
pub trait Optimizer: Send {
    /// Moves every parameter that has a gradient.
    fn step(&mut self);

    /// What it moves, each once.
    fn parameters(&self) -> &[Parameter];

    /// Forgets all gradients.
    fn zero_grad(&mut self) {
        self.parameters().iter().for_each(Parameter::zero_grad);
    }

    /// The step size.
    fn learning_rate(&self) -> f64;

    /// Uses another step size from now on.
    ///
    /// # Panics
    /// If it is negative or not a finite number.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// Moments, step counts and step size.
    fn state(&self) -> State;

    /// Continues from a saved state; nothing is changed if it does not fit.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing, left over or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}
