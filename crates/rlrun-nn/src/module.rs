//! What a network is: named parameters that can be listed, saved and loaded.

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

    /// Handles to all parameters, in the order of [`Module::visit_parameters`].
    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        self.visit_parameters("", &mut |_, parameter| parameters.push(parameter.clone()));
        parameters
    }

    /// A copy of every parameter under its path, row-major: PyTorch's `state_dict`.
    fn state(&self) -> State {
        let mut state = State::new();
        self.visit_parameters("", &mut |path, parameter| {
            state.insert_f32(path, parameter.dims(), &parameter.to_vec());
        });
        state
    }

    /// Copies the numbers of `state` into the parameters. Nothing is written if an entry is
    /// missing, left over or of another shape.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that does not fit.
    fn load_state(&self, state: &State) -> Result<(), StateError> {
        let mut loads = Vec::new();
        let mut outcome = Ok(());
        self.visit_parameters("", &mut |path, parameter| match fitting(state, path, parameter) {
            Ok(source) => loads.push((path.to_owned(), parameter.clone(), source)),
            Err(error) if outcome.is_ok() => outcome = Err(error),
            Err(_) => {}
        });
        outcome?;
        if let Some(path) = state.0.keys().find(|path| loads.iter().all(|(name, ..)| name != *path))
        {
            let reason = "the network has no parameter of this name".to_owned();
            return Err(StateError::Invalid { path: path.clone(), reason });
        }
        no_grad(|| loads.iter().for_each(|(_, parameter, source)| parameter.copy_(source)));
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
