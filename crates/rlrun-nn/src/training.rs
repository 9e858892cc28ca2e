//! Training and evaluation: the switch of a layer, and the scope around a loss.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rlrun_core::{State, StateError};
use rlrun_tensor::is_grad_enabled;
use thiserror::Error;

use crate::module::{above, below, within};
use crate::{Module, Stateful, check};

/// Whether a layer trains, as [`Module::train`] and [`Module::set_training`] switch it. Clones are the
/// same switch; a new one is off.
#[derive(Clone, Debug)]
pub struct Training(Arc<Switch>);

#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) made_at: &'static Location<'static>,
    switched: AtomicBool,
    /// Scopes of [`Module::train`] that are open.
    scopes: AtomicUsize,
    frozen: AtomicBool,
    /// Whether recorded passes trained and evaluated since the last step of an optimizer.
    trained: AtomicBool,
    evaluated: AtomicBool,
}

impl Default for Training {
    #[track_caller]
    fn default() -> Training {
        Training::new()
    }
}

impl Training {
    /// The switch of a new layer, off.
    #[track_caller]
    pub fn new() -> Training {
        let switch = Arc::new(Switch {
            made_at: Location::caller(),
            switched: AtomicBool::new(false),
            scopes: AtomicUsize::new(0),
            frozen: AtomicBool::new(false),
            trained: AtomicBool::new(false),
            evaluated: AtomicBool::new(false),
        });
        check::note(&switch);
        Training(switch)
    }

    /// Whether the layer trains.
    pub fn is_on(&self) -> bool {
        let Switch { switched, scopes, frozen, .. } = &*self.0;
        !frozen.load(Relaxed) && (switched.load(Relaxed) || scopes.load(Relaxed) > 0)
    }

    /// [`Training::is_on`], for a forward pass of the layer: what a recorded pass did is remembered
    /// until an optimizer steps, which refuses layers that only evaluated for its loss.
    pub fn in_forward(&self) -> bool {
        let is_on = self.is_on();
        if is_grad_enabled() {
            let seen = if is_on { &self.0.trained } else { &self.0.evaluated };
            seen.store(true, Relaxed);
        }
        is_on
    }

    /// Starts or stops training outside of scopes.
    pub fn switch(&self, on: bool) {
        self.0.switched.store(on, Relaxed);
    }

    /// From now on the layer evaluates, whatever is switched, and optimizers agree: a batch
    /// normalisation keeps its statistics, dropout drops nothing. Parameters train as before.
    ///
    /// ```
    /// use rlrun_nn::{BatchNorm, Layer, Module};
    /// use rlrun_tensor::Tensor;
    /// let norm = BatchNorm::new(2);
    /// norm.training().freeze();
    /// let input = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
    /// assert!((norm.train(|| norm.forward(&input)).sum().item() - 10.0).abs() < 1e-3);
    /// ```
    pub fn freeze(&self) {
        self.0.frozen.store(true, Relaxed);
    }

    /// Undoes [`Training::freeze`].
    pub fn unfreeze(&self) {
        self.0.frozen.store(false, Relaxed);
    }

    /// Whether recorded passes only evaluated since the last step.
    fn only_evaluated(&self) -> bool {
        let Switch { frozen, trained, evaluated, .. } = &*self.0;
        evaluated.load(Relaxed) && !trained.load(Relaxed) && !frozen.load(Relaxed)
    }

    fn forget(&self) {
        self.0.trained.store(false, Relaxed);
        self.0.evaluated.store(false, Relaxed);
    }

    pub(crate) fn is(&self, switch: &Arc<Switch>) -> bool {
        Arc::ptr_eq(&self.0, switch)
    }
}

/// A layer that only evaluated for the loss that an optimizer would step on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the layer `{path}` did not train for the loss: it evaluated in every recorded pass since the last \
     step of the optimizer. Compute the loss within `train(|| ..)` of the network or of its learner; \
     a layer that shall only evaluate says so by `training().freeze()`"
)]
pub struct UntrainedLayer {
    /// Path of the layer in its network.
    pub path: String,
}

/// Handles on the layers of a network that are more than their parameters, under their paths.
#[derive(Clone, Default)]
pub struct StatefulLayers(Vec<(String, Arc<dyn Stateful>)>);

impl fmt::Debug for StatefulLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(path, _)| path)).finish()
    }
}

/// Closes a scope, also when the loss panics.
struct Scope<'a>(&'a StatefulLayers);

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        for (_, layer) in &self.0.0 {
            layer.training().0.scopes.fetch_sub(1, Relaxed);
        }
    }
}

impl StatefulLayers {
    /// Those of `module`, each once.
    pub fn of(module: &(impl Module + ?Sized)) -> StatefulLayers {
        let mut layers = StatefulLayers::default();
        module.visit_stateful("", &mut |path, layer| layers.add(path, layer));
        layers
    }

    fn add(&mut self, path: &str, layer: &Arc<dyn Stateful>) {
        if self.0.iter().all(|(_, other)| !Arc::ptr_eq(other, layer)) {
            self.0.push((path.to_owned(), layer.clone()));
        }
    }

    pub(crate) fn extend(&mut self, other: &StatefulLayers) {
        other.0.iter().for_each(|(path, layer)| self.add(path, layer));
    }

    /// What `loss` returns, computed with training on: [`Module::train`].
    pub fn train<T>(&self, loss: impl FnOnce() -> T) -> T {
        for (_, layer) in &self.0 {
            layer.training().0.scopes.fetch_add(1, Relaxed);
        }
        let _scope = Scope(self);
        loss()
    }

    /// Before a step on a loss: whether each layer that a recorded pass went through since the last
    /// step trained in one.
    ///
    /// # Errors
    /// [`UntrainedLayer`] naming the first that did not.
    pub fn check_trained(&self) -> Result<(), UntrainedLayer> {
        let mut layers = self.0.iter();
        match layers.find(|(_, layer)| layer.training().only_evaluated()) {
            Some((path, _)) => Err(UntrainedLayer { path: path.clone() }),
            None => Ok(()),
        }
    }

    /// After a step: what passes did is forgotten.
    pub fn stepped(&self) {
        self.0.iter().for_each(|(_, layer)| layer.training().forget());
    }

    /// The position of every random stream: [`Module::random_state`].
    pub fn state(&self) -> State {
        self.collect(|layer| layer.random_state())
    }

    /// Continues every random stream at the position in `state`.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that is missing or does not fit.
    pub fn load_state(&self, state: &State) -> Result<(), StateError> {
        self.each(|path, layer| layer.load_random_state(&below(state, path)))
    }

    /// The running statistics: what [`Module::state`] has beside parameters.
    pub fn buffers(&self) -> State {
        self.collect(|layer| layer.buffers())
    }

    /// Takes over running statistics.
    ///
    /// # Errors
    /// [`StateError`] naming the first entry that is missing or does not fit.
    pub fn load_buffers(&self, state: &State) -> Result<(), StateError> {
        self.each(|path, layer| layer.load_buffers(&below(state, path)))
    }

    fn collect(&self, of: impl Fn(&dyn Stateful) -> State) -> State {
        let entries = self.0.iter().flat_map(|(path, layer)| above(path, of(&**layer)).0);
        State(entries.collect())
    }

    /// `f` of each layer, until it fails; the error names the whole path.
    fn each(
        &self,
        f: impl Fn(&str, &dyn Stateful) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let mut layers = self.0.iter();
        layers.try_for_each(|(path, layer)| f(path, &**layer).map_err(|e| within(path, e)))
    }
}
