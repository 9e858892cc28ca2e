//! What a network is: named parameters that can be listed, saved and loaded.

use std::borrow::Borrow;
use std::sync::Arc;

use rlrun_core::{State, StateError, Value};
use rlrun_tensor::{Parameter, Tensor, no_grad};

use crate::{Parameters, Stateful, StatefulLayers};

/// Something with named parameters: a parameter, a layer, a network of layers. A module owns its
/// fields and lists them, and all else follows: what is trained, saved and switched.
///
/// # Deriving
/// `#[derive(Module)]` lists every field of a struct, or of an enum's variants, under its name. The
/// fields are modules themselves: parameters, layers, `Box<dyn Layer>`, and `Vec`, arrays, `Option`,
/// `Box`, `Arc`, `BTreeMap<String, _>` and tuples of modules, whose parts are named `0`, `1`, … or
/// after their keys.
///
/// - `#[module(skip)]`: the field is plain data.
/// - `#[module(rename = "name")]`: the field is listed under another name.
/// - `#[module(flatten)]`: what the field holds is listed as if it were the module's own.
///
/// ```
/// use rlrun_core::{Purpose, Rng, rng_stream};
/// use rlrun_nn::{Activation, Init, Layer, Linear, Module};
/// use rlrun_tensor::Tensor;
///
/// #[derive(Module)]
/// struct Residual {
///     layers: Vec<Linear>,
///     act: Activation,
///     #[module(skip)]
///     scale: f32,
/// }
///
/// impl Layer for Residual {
///     fn forward(&self, input: &Tensor) -> Tensor {
///         let block = |x: Tensor, layer: &Linear| &x + layer.forward_act(&x, self.act) * self.scale;
///         self.layers.iter().fold(input.clone(), block)
///     }
/// }
///
/// let rng = &mut rng_stream(0, Purpose::Weights, 0);
/// let layers = (0..2).map(|_| Linear::new(4, 4, Init::KaimingUniform, rng)).collect();
/// let net = Residual { layers, act: Activation::Tanh, scale: 0.5 };
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]);
/// ```
///
/// A field cannot be forgotten: one that is no module and is not marked as plain data does not
/// compile.
///
/// ```compile_fail,E0277
/// use rlrun_nn::{Linear, Module};
///
/// #[derive(Module)]
/// struct Scaled {
///     layer: Linear,
///     scale: f32, // a factor, or a tensor that should have been a Parameter
/// }
/// ```
///
/// A parameter of the type is bounded as its field needs: `struct Body<L: Layer>`. The expansion names [`Module`] as it was imported, so that `use rlrun::prelude::*` is enough.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    label = "holds neither parameters nor layers that `Module` could list",
    note = "a field that is plain data is marked `#[module(skip)]`; what is trained is a `Parameter`",
    note = "a network or layer of your own takes `#[derive(Module)]`"
)]
pub trait Module {
    /// Calls `visit` with the name of each field and the field, in a fixed order. A field under the
    /// empty name is listed as if its own fields were this module's.
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module));

    /// The parameter that this module is, if it is one.
    fn as_parameter(&self) -> Option<&Parameter> {
        None
    }

    /// What this module is beyond its parameters, if it is more.
    fn as_stateful(&self) -> Option<Arc<dyn Stateful>> {
        None
    }

    /// Calls `visit` with the path and the parameter for each parameter within, in the order of
    /// [`Module::visit_fields`]; paths begin with `prefix`.
    fn visit_parameters(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Parameter)) {
        if let Some(parameter) = self.as_parameter() {
            visit(prefix, parameter);
        }
        self.visit_fields(&mut |name, field| field.visit_parameters(&join(prefix, name), visit));
    }

    /// Calls `visit` with the path and the layer for each layer within that is more than its
    /// parameters ([`crate::Dropout`], [`crate::BatchNorm`], …), in the order of
    /// [`Module::visit_fields`]; paths begin with `prefix`.
    fn visit_stateful(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Arc<dyn Stateful>)) {
        if let Some(layer) = self.as_stateful() {
            visit(prefix, &layer);
        }
        self.visit_fields(&mut |name, field| field.visit_stateful(&join(prefix, name), visit));
    }

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

    /// Handles to all parameters, each once, in the order of [`Module::visit_parameters`]. An
    /// optimizer that is made of them knows the layers that must train for its loss, too.
    fn parameters(&self) -> Parameters {
        let mut parameters = Vec::new();
        self.visit_parameters("", &mut |_, parameter| parameters.push(parameter.clone()));
        Parameters::new(parameters, StatefulLayers::of(self))
    }

    /// Those of [`Module::parameters`] that `is_wanted` says of, by path: a group of an optimizer, such
    /// as the weights, which decay, without the biases.
    fn parameters_where(&self, is_wanted: &dyn Fn(&str, &Parameter) -> bool) -> Parameters {
        let named = self.named_parameters().into_iter();
        let wanted = named.filter(|(path, parameter)| is_wanted(path, parameter));
        Parameters::new(wanted.map(|(_, parameter)| parameter).collect(), StatefulLayers::of(self))
    }

    /// A copy of every parameter under its path, row-major, and of running statistics: PyTorch's
    /// `state_dict`, in which a shared parameter has its first path only.
    fn state(&self) -> State {
        let mut state = State::new();
        for (path, parameter) in self.named_parameters() {
            state.insert_f32(path, parameter.dims(), &parameter.to_vec());
        }
        state.0.extend(StatefulLayers::of(self).buffers().0);
        state
    }

    /// Copies the numbers of `state` into the parameters and running statistics. Nothing is written
    /// if an entry is missing, left over or of another shape.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that does not fit.
    fn load_state(&self, state: &State) -> Result<(), StateError> {
        let (named, layers) = (self.named_parameters(), StatefulLayers::of(self));
        let buffers = layers.buffers();
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
        layers.load_buffers(state)
    }

    /// What `loss` returns, computed with training on in every layer within that knows of it
    /// ([`crate::Dropout`], [`crate::BatchNorm`], …). Training is off outside of this scope: what acts,
    /// what is evaluated and what computes targets has nothing to switch off.
    ///
    /// Only the networks that learn are named, so that others in the loss evaluate. A scope within a
    /// scope of the same network changes nothing, and one that panics is closed. An optimizer made of
    /// [`Module::parameters`] refuses to step if a layer evaluated for its loss instead.
    ///
    /// ```
    /// use rlrun_core::{Purpose, rng_stream};
    /// use rlrun_nn::optim::{Optimizer, Sgd, SgdConfig};
    /// use rlrun_nn::{Dropout, Init, Layer, Linear, Module, Sequential};
    /// use rlrun_tensor::Tensor;
    /// let linear = Linear::new(2, 1, Init::KaimingUniform, &mut rng_stream(0, Purpose::Weights, 0));
    /// let dropout = Dropout::new(0.5, rng_stream(0, Purpose::Layers, 0));
    /// let network = Sequential::new(vec![Box::new(dropout), Box::new(linear)]);
    /// let mut optimizer = Sgd::new(network.parameters(), SgdConfig::default());
    /// let loss = network.train(|| network.forward(&Tensor::ones([8, 2])).square().mean());
    /// loss.backward();
    /// optimizer.step();
    /// ```
    fn train<T>(&self, loss: impl FnOnce() -> T) -> T
    where
        Self: Sized,
    {
        StatefulLayers::of(self).train(loss)
    }

    /// Starts or stops training in every layer within that knows of it; it is off at first. For a
    /// loss, [`Module::train`] is the safer way: it cannot be left on.
    fn set_training(&self, training: bool) {
        self.visit_stateful("", &mut |_, layer| layer.training().switch(training));
    }

    /// The position of every random stream within, under the path of its layer. It is kept apart
    /// from [`Module::state`], which holds what PyTorch's `state_dict` holds.
    fn random_state(&self) -> State {
        StatefulLayers::of(self).state()
    }

    /// Continues every random stream within at the position in `state`.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that is missing or does not fit.
    fn load_random_state(&self, state: &State) -> Result<(), StateError> {
        StatefulLayers::of(self).load_state(state)
    }
}

/// `error` with the path of the layer before that of its entry.
pub(crate) fn within(prefix: &str, mut error: StateError) -> StateError {
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
pub(crate) fn below(state: &State, prefix: &str) -> State {
    if prefix.is_empty() { state.clone() } else { state.child(prefix) }
}

pub(crate) fn above(prefix: &str, state: State) -> State {
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

/// `prefix.name`, or the one of them that is not empty.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    let dot = if prefix.is_empty() || name.is_empty() { "" } else { "." };
    format!("{prefix}{dot}{name}")
}
