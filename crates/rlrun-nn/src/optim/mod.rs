//! Optimizers and gradient clipping, with PyTorch's formulas.

mod adagrad;
mod adam;
mod clip;
mod rmsprop;
mod sgd;

use rlrun_core::{State, StateError};

pub use adagrad::{Adagrad, AdagradConfig};
pub use adam::{Adam, AdamConfig};
pub use clip::{Norm, clip_grad_norm, clip_grad_value};
pub use rmsprop::{RmsProp, RmsPropConfig};
pub use sgd::{Sgd, SgdConfig};

/// A rule that moves parameters against their gradients.
///
/// A parameter without a gradient is left alone, and so is its step count. The moments are kept in
/// the memory order of their parameter.
pub trait Optimizer: Send {
    /// Moves every parameter that has a gradient.
    fn step(&mut self);

    /// Forgets all gradients.
    fn zero_grad(&mut self);

    /// Uses another step size from now on.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// Moments, step counts and step size.
    fn state(&self) -> State;

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit; the optimizer may then be half
    /// loaded.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

/// `count` numbers of `state` at `path`.
fn read_moments(state: &State, path: &str, count: usize) -> Result<Vec<f32>, StateError> {
    let mut moments = vec![0.0; count];
    state.copy_f32(path, &mut moments)?;
    Ok(moments)
}

fn read_learning_rate(state: &State) -> Result<f64, StateError> {
    match state.f64("learning_rate")? {
        [learning_rate] => Ok(*learning_rate),
        many => {
            let (expected, found) = (vec![1], vec![many.len()]);
            Err(StateError::Shape { path: "learning_rate".to_owned(), expected, found })
        }
    }
}
