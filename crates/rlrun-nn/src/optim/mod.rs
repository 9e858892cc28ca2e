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
pub use per_parameter::{ParamGroup, PerParameter, Rule, Step};
pub use rmsprop::{RmsProp, RmsPropConfig};
pub use sgd::{Sgd, SgdConfig};

/// A rule that moves parameters against their gradients.
///
/// A parameter without a gradient is left alone, and so is its step count. A parameter that was
/// given twice is moved once. The moments are kept in the memory order of their parameter.
pub trait Optimizer: Send {
    /// Moves every parameter that has a gradient.
    #[track_caller]
    fn step(&mut self);

    /// What it moves, each once.
    fn parameters(&self) -> &[Parameter];

    /// Forgets all gradients.
    fn zero_grad(&mut self) {
        self.parameters().iter().for_each(Parameter::zero_grad);
    }

    /// The step size, that of the first group if there are several.
    fn learning_rate(&self) -> f64;

    /// Uses another step size from now on, in every group.
    ///
    /// # Panics
    /// If it is negative or not a finite number.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// How many groups of parameters there are with settings of their own.
    fn group_count(&self) -> usize {
        1
    }

    /// The step size of a group.
    ///
    /// # Panics
    /// If there is no such group.
    #[track_caller]
    fn group_learning_rate(&self, group: usize) -> f64 {
        check_group(group, self.group_count());
        self.learning_rate()
    }

    /// Uses another step size from now on in one group.
    ///
    /// # Panics
    /// If there is no such group, or the step size is negative or not a finite number.
    #[track_caller]
    fn set_group_learning_rate(&mut self, group: usize, learning_rate: f64) {
        check_group(group, self.group_count());
        self.set_learning_rate(learning_rate);
    }

    /// Moments, step counts and step size.
    fn state(&self) -> State;

    /// Continues from a saved state; nothing is changed if it does not fit.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing, left over or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

#[track_caller]
fn check_group(group: usize, count: usize) {
    assert!(group < count, "no group {group} of parameters: the optimizer has {count}, from 0 on");
}
