//! What a network is: named parameters that can be listed, saved and loaded.

use std::borrow::Borrow;

use rlrun_core::{State, StateError, Value};
use rlrun_tensor::{Parameter, Tensor, no_grad};

use crate::Stateful;

/// Something with named parameters. A module owns its parameters and lists them.
pub trait Module {
    /// Calls `visit` with the path and the parameter, in a fixed order; paths are [`join`]ed to
    /// `prefix`.
    fn visit_parameters(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Parameter));

    /// Calls `visit` with the path and the layer for each layer within that is more than its
    /// parameters ([`crate::Dropout`], [`crate::BatchNorm`], …), in a fixed order. A module that
    /// contains modules passes the call on to them; the others have none.
    fn visit_stateful(&self, _prefix: &str, _visit: &mut dyn FnMut(&str, &dyn Stateful)) {}

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

    /// A copy of every parameter under its path, row-major, and of running statistics: PyTorch's
    /// `state_dict`, in which a shared parameter has its first path only.
    fn state(&self) -> State {
        let mut state = State::new();
        for (path, parameter) in self.named_parameters() {
            state.insert_f32(path, parameter.dims(), &parameter.to_vec());
        }
        state.0.extend(buffers(self).0);
        state
    }

    /// Copies the numbers of `state` into the parameters and running statistics. Nothing is written
    /// if an entry is missing, left over or of another shape.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that does not fit.
    fn load_state(&self, state: &State) -> Result<(), StateError> {
        let (named, buffers) = (self.named_parameters(), buffers(self));
        let load = |(path, parameter): &(String, Parameter)| fitting(state, path, parameter);
        let sources = named.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        buffers.0.iter().try_for_each(|(path, buffer)| check_buffer(state, path, buffer))?;
        let known = |path: &String| {
            named.iter().any(|(name, _)| name == path) || buffers.0.contains_key(path)
        };
        if let Some(path) = state.0.keys().find(|path| !known(path)) {
            let reason = "the network has no parameter of this name, or has it under another one";
            return Err(StateError::Invalid { path: path.clone(), reason: reason.to_owned() });
        }
        no_grad(|| named.iter().zip(&sources).for_each(|((_, p), source)| p.copy_(source)));
        each_stateful(self, |path, layer| layer.load_buffers(&below(state, path)))
    }

    /// Starts or stops training in every layer within that knows of it; it is off at first. The rule:
    /// a policy acts and is evaluated with it off; learning turns it on for the forward passes of its
    /// loss and off again after them.
    fn set_training(&self, training: bool) {
        self.visit_stateful("", &mut |_, layer| layer.switch(training));
    }

    /// The position of every random stream within, under the path of its layer. It is kept apart
    /// from [`Module::state`], which holds what PyTorch's `state_dict` holds.
    fn random_state(&self) -> State {
        let mut state = State::new();
        self.visit_stateful("", &mut |path, layer| {
            state.0.extend(above(path, layer.random_state()).0);
        });
        state
    }

    /// Continues every random stream within at the position in `state`.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that is missing or does not fit.
    fn load_random_state(&self, state: &State) -> Result<(), StateError> {
        each_stateful(self, |path, layer| layer.load_random_state(&below(state, path)))
    }
}

/// The running statistics within, under the paths of their layers.
fn buffers(module: &(impl Module + ?Sized)) -> State {
    let mut state = State::new();
    module.visit_stateful("", &mut |path, layer| {
        state.0.extend(above(path, layer.buffers()).0);
    });
    state
}

/// Calls `f` for each layer that is more than its parameters, until it fails; the error names the
/// whole path.
fn each_stateful(
    module: &(impl Module + ?Sized),
    mut f: impl FnMut(&str, &dyn Stateful) -> Result<(), StateError>,
) -> Result<(), StateError> {
    let mut outcome = Ok(());
    module.visit_stateful("", &mut |prefix, layer| {
        if outcome.is_ok() {
            outcome = f(prefix, layer).map_err(|error| within(prefix, error));
        }
    });
    outcome
}

/// `error` with the path of the layer before that of its entry.
fn within(prefix: &str, mut error: StateError) -> StateError {
    if let StateError::Missing { path }
    | StateError::Kind { path, .. }
    | StateError::Shape { path, .. }
    | StateError::Invalid { path, .. } = &mut error
    {
        *path = join(prefix, path);
    }
    error
}

/// The entries of a layer at `prefix`, whose names have no dots.
fn below(state: &State, prefix: &str) -> State {
    if prefix.is_empty() { state.clone() } else { state.child(prefix) }
}

fn above(prefix: &str, state: State) -> State {
    State(state.0.into_iter().map(|(name, value)| (join(prefix, &name), value)).collect())
}

/// Whether the entry at `path` has the kind and the shape of `buffer`.
fn check_buffer(state: &State, path: &str, buffer: &Value) -> Result<(), StateError> {
    match buffer {
        Value::F32 { shape: expected, .. } => {
            let (found, _) = state.f32(path)?;
            if found != expected {
                let (expected, found) = (expected.clone(), found.to_vec());
                return Err(StateError::Shape { path: path.to_owned(), expected, found });
            }
        }
        Value::F64(_) => drop(state.f64(path)?),
        Value::U64(_) => drop(state.counter(path)?),
        Value::U8(_) => drop(state.bools(path)?),
    }
    Ok(())
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

/// A module with one input and one output.
pub trait Layer: Module + Send + Sync {
    /// The output for `input`.
    fn forward(&self, input: &Tensor) -> Tensor;
}

/// `prefix.name`, or `name` if the prefix is empty.
pub fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
