//! Layers that are more than their parameters.

use std::sync::Arc;

use parking_lot::Mutex;
use rlrun_core::{State, StateError};
use rlrun_tensor::Tensor;

use crate::{Module, Training};

/// A layer that is more than its parameters: it behaves differently while training, keeps
/// statistics, or draws random numbers.
///
/// It is what the layer shares with those who switch, save and step it; the layer itself is a
/// [`Module`] that hands it out by [`Module::as_stateful`].
pub trait Stateful: Send + Sync {
    /// Whether the layer trains.
    fn training(&self) -> &Training;

    /// Statistics that belong to the `state_dict`: PyTorch's buffers.
    fn buffers(&self) -> State {
        State::new()
    }

    /// Takes over statistics that have the names and shapes of [`Stateful::buffers`].
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that does not fit.
    fn load_buffers(&self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }

    /// The position of the random stream.
    fn random_state(&self) -> State {
        State::new()
    }

    /// Continues the random stream at the position in `state`.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that is missing or does not fit.
    fn load_random_state(&self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Mean and variance of each column, which follow those of the batches while training.
#[derive(Clone, Debug)]
pub(crate) struct Running(Arc<Statistics>);

#[derive(Debug)]
struct Statistics {
    /// What mean, variance and the number of batches are called in a state.
    names: [&'static str; 3],
    training: Training,
    columns: Mutex<Columns>,
}

#[derive(Debug)]
struct Columns {
    mean: Vec<f32>,
    var: Vec<f32>,
    batches: u64,
}

impl Running {
    #[track_caller]
    pub(crate) fn new(names: [&'static str; 3], columns: usize) -> Running {
        let columns = Columns { mean: vec![0.0; columns], var: vec![1.0; columns], batches: 0 };
        let columns = Mutex::new(columns);
        Running(Arc::new(Statistics { names, training: Training::new(), columns }))
    }

    pub(crate) fn training(&self) -> &Training {
        &self.0.training
    }

    /// Mean and variance, `[columns]` each.
    pub(crate) fn mean_and_var(&self) -> [Tensor; 2] {
        let columns = self.0.columns.lock();
        [&columns.mean, &columns.var].map(|x| Tensor::from_slice(x, [x.len()]))
    }

    /// Batches so far.
    pub(crate) fn batches(&self) -> u64 {
        self.0.columns.lock().batches
    }

    /// Moves by `momentum` towards mean and variance of a batch.
    pub(crate) fn follow(&self, momentum: f32, mean: &Tensor, var: &Tensor) {
        let mut columns = self.0.columns.lock();
        columns.batches += 1;
        let Columns { mean: old_mean, var: old_var, .. } = &mut *columns;
        for (old, new) in [(old_mean, mean), (old_var, var)] {
            for (old, new) in old.iter_mut().zip(new.to_vec()) {
                *old += momentum * (new - *old);
            }
        }
    }
}

impl Module for Running {
    fn visit_fields(&self, _: &mut dyn FnMut(&str, &dyn Module)) {}

    fn as_stateful(&self) -> Option<Arc<dyn Stateful>> {
        Some(self.0.clone())
    }
}

impl Stateful for Statistics {
    fn training(&self) -> &Training {
        &self.training
    }

    fn buffers(&self) -> State {
        let (columns, [mean, var, batches]) = (self.columns.lock(), self.names);
        let mut state = State::new();
        state.insert_f32(mean, &[columns.mean.len()], &columns.mean);
        state.insert_f32(var, &[columns.var.len()], &columns.var);
        state.insert_u64(batches, [columns.batches]);
        state
    }

    fn load_buffers(&self, state: &State) -> Result<(), StateError> {
        let (mut columns, [mean, var, batches]) = (self.columns.lock(), self.names);
        let count = state.counter(batches)?;
        state.copy_f32(mean, &mut columns.mean)?;
        state.copy_f32(var, &mut columns.var)?;
        columns.batches = count;
        Ok(())
    }
}
