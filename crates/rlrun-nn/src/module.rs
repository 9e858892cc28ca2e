//! What a network is: named parameters that can be listed, saved and loaded.

use std::borrow::Borrow;

use rlrun_core::{State, StateError};
use rlrun_tensor::{Parameter, Tensor, no_grad};

use crate::Dropout;

/// Something with named parameters. A module owns its parameters and lists them.
pub trait Module {
    /// Calls `visit` with the path and the parameter, in a fixed order; paths are [`join`]ed to
    /// `prefix`.
    fn visit_parameters(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Parameter));

    /// Calls `visit` with the path and the layer for each [`Dropout`] within, in a fixed order. A
    /// module that contains modules passes the call on to them; the others have none.
    fn visit_dropout(&self, _prefix: &str, _visit: &mut dyn FnMut(&str, &Dropout)) {}

    /// Every parameter and its path, in the order of [`Module::visit_parameters`]. A parameter that
    /// several layers share is listed once, under its first path.
    fn named_parameters(&self) -> Vec<(String, Parameter)> {
        let mut named: Vec<(String, Parameter)> = Vec::new();
        self.visit_parameters("", &mut |path, parameter| {
            if named.iter().all(|(_, other)| !other.is(parameter)) {
                named.push((path.to_owned(), parameter.clone()));
            }
        });
        named
    }

    /// Handles to all parameters, each once, in the order of [`Module::visit_parameters`].
    fn parameters(&self) -> Vec<Parameter> {
        self.named_parameters().into_iter().map(|(_, parameter)| parameter).collect()
    }

    /// A copy of every parameter under its path, row-major: PyTorch's `state_dict`, in which a
    /// shared parameter has its first path only.
    fn state(&self) -> State {
        let mut state = State::new();
        for (path, parameter) in self.named_parameters() {
            state.insert_f32(path, parameter.dims(), &parameter.to_vec());
        }
        state
    }

    /// Copies the numbers of `state` into the parameters. Nothing is written if an entry is
    /// missing, left over or of another shape.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that does not fit.
    fn load_state(&self, state: &State) -> Result<(), StateError> {
        let named = self.named_parameters();
        let load = |(path, parameter): &(String, Parameter)| fitting(state, path, parameter);
        let sources = named.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = state.0.keys().find(|path| named.iter().all(|(name, _)| name != *path))
        {
            let reason = "the network has no parameter of this name, or has it under another one";
            return Err(StateError::Invalid { path: path.clone(), reason: reason.to_owned() });
        }
        no_grad(|| named.iter().zip(&sources).for_each(|((_, p), source)| p.copy_(source)));
        Ok(())
    }

    /// Starts or stops every [`Dropout`] within, which is off at first. The rule: a policy acts and
    /// is evaluated with it off; learning turns it on for the forward passes of its loss and off
    /// again after them.
    fn set_training(&self, training: bool) {
        self.visit_dropout("", &mut |_, layer| layer.switch(training));
    }

    /// The position of every random stream within, under the path of its layer. It is kept apart
    /// from [`Module::state`], which holds what PyTorch's `state_dict` holds.
    fn random_state(&self) -> State {
        let mut state = State::new();
        self.visit_dropout("", &mut |path, layer| {
            for (name, value) in layer.rng().lock().state().0 {
                state.insert(join(path, &name), value);
            }
        });
        state
    }

    /// Continues every random stream within at the position in `state`.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that is missing or does not fit.
    fn load_random_state(&self, state: &State) -> Result<(), StateError> {
        let mut outcome = Ok(());
        self.visit_dropout("", &mut |path, layer| {
            if outcome.is_ok() {
                let stream = stream_at(state, path);
                outcome = stream.and_then(|stream| layer.rng().lock().load_state(&stream));
            }
        });
        outcome
    }
}

/// `parameters` without those that came before.
pub(crate) fn distinct<P: Borrow<Parameter>>(parameters: impl IntoIterator<Item = P>) -> Vec<P> {
    let mut distinct: Vec<P> = Vec::new();
    for parameter in parameters {
        if distinct.iter().all(|other| !other.borrow().is(parameter.borrow())) {
            distinct.push(parameter);
        }
    }
    distinct
}

/// The entry at `path`, if it has the shape of `parameter`.
fn fitting(state: &State, path: &str, parameter: &Parameter) -> Result<Tensor, StateError> {
    let (shape, data) = state.f32(path)?;
    if shape != parameter.dims() {
        let (expected, found) = (parameter.dims().to_vec(), shape.to_vec());
        return Err(StateError::Shape { path: path.to_owned(), expected, found });
    }
    Ok(Tensor::from_slice(data, shape))
}

/// The state of the random stream of the layer at `path`.
fn stream_at(state: &State, path: &str) -> Result<State, StateError> {
    let mut stream = State::new();
    for name in ["key", "position"] {
        stream.insert_u64(name, state.u64(&join(path, name))?);
    }
    Ok(stream)
}

/// A module with one input and one output.
pub trait Layer: Module + Send + Sync {
    /// The output for `input`.
    fn forward(&self, input: &Tensor) -> Tensor;
}

/// `prefix.name`, or `name` if the prefix is empty.
pub fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
