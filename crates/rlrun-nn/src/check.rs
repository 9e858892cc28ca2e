//! `check_module`: does a module list all that it owns?

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Weak};

use rlrun_tensor::{Parameter, parameters_made};

use crate::training::Switch;
use crate::{Module, Training, distinct};

/// A fault in what a module lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleViolation {
    /// A parameter that the module owns and does not list: it is neither trained nor saved.
    Parameter {
        /// Its shape.
        shape: Vec<usize>,
        /// Path of the listed parameter that was made last before it.
        after: Option<String>,
    },
    /// A layer that the module owns and does not list: it is neither switched nor saved.
    Layer {
        /// Where it was made.
        made_at: String,
    },
    /// Two parameters, or two layers, under one path: only one of them is saved.
    Path(String),
}

/// What [`check_module`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleReport {
    /// Parameters that are listed.
    pub parameters: usize,
    /// Layers that are listed and are more than their parameters.
    pub layers: usize,
    /// Faults; empty if all is well.
    pub violations: Vec<ModuleViolation>,
}

impl ModuleReport {
    /// Whether nothing was forgotten.
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for ModuleViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModuleViolation::Parameter { shape, after: Some(path) } => {
                write!(f, "a parameter {shape:?}, made after `{path}`, is not listed")
            }
            ModuleViolation::Parameter { shape, after: None } => {
                write!(f, "a parameter {shape:?}, made before all that are, is not listed")
            }
            ModuleViolation::Layer { made_at } => {
                write!(f, "a layer that trains and evaluates, made at {made_at}, is not listed")
            }
            ModuleViolation::Path(path) => write!(f, "two things are listed as `{path}`"),
        }
    }
}

impl fmt::Display for ModuleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModuleReport { parameters, layers, violations } = self;
        if self.is_ok() {
            return write!(
                f,
                "the module lists all it owns: {parameters} parameters, {layers} layers"
            );
        }
        write!(
            f,
            "the module does not list what it owns: `visit_fields` must visit every field once"
        )?;
        violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

thread_local! {
    /// The switches that were made since a check began.
    static SWITCHES: RefCell<Option<Vec<Weak<Switch>>>> = const { RefCell::new(None) };
}

/// Remembers the switch of a new layer while a check goes on.
pub(crate) fn note(switch: &Arc<Switch>) {
    SWITCHES.with_borrow_mut(|noted| {
        noted.iter_mut().for_each(|noted| noted.push(Arc::downgrade(switch)));
    });
}

/// Puts back what was noted for an outer check, also when the inner one panics.
struct Outer(Option<Vec<Weak<Switch>>>);

impl Drop for Outer {
    fn drop(&mut self) {
        SWITCHES.set(self.0.take());
    }
}

/// Compares what the module that `build` makes owns with what it lists: the parameters and the
/// training layers that are made on this thread meanwhile, and that are alive afterwards, with those
/// that [`Module::visit_fields`] reaches. It notices one that is left out or skipped, and two under
/// one path. It does not notice what existed before, what other threads make, and plain tensors that
/// should have been parameters.
///
/// ```
/// use rlrun_core::{Purpose, rng_stream};
/// use rlrun_nn::{Dropout, Init, LayerNorm, Linear, Module, check_module};
///
/// struct Forgetful {
///     linear: Linear,
///     norm: LayerNorm,
///     dropout: Dropout,
/// }
///
/// impl Module for Forgetful {
///     fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
///         visit("linear", &self.linear);
///     }
/// }
///
/// let report = check_module(|| Forgetful {
///     linear: Linear::new(4, 3, Init::KaimingUniform, &mut rng_stream(0, Purpose::Weights, 0)),
///     norm: LayerNorm::new(&[3]),
///     dropout: Dropout::new(0.1, rng_stream(0, Purpose::Layers, 0)),
/// });
/// assert_eq!(report.violations.len(), 3);
/// assert!(report.to_string().contains("a parameter [3], made after `linear.bias`, is not listed"));
/// ```
pub fn check_module<M: Module>(build: impl FnOnce() -> M) -> ModuleReport {
    let outer = Outer(SWITCHES.replace(Some(Vec::new())));
    let (module, made) = parameters_made(build);
    let switches = SWITCHES.take().unwrap_or_default();
    drop(outer);
    let mut report = ModuleReport { parameters: 0, layers: 0, violations: Vec::new() };
    check_parameters(&module, made, &mut report);
    check_layers(&module, &switches, &mut report);
    report
}

fn check_parameters(module: &impl Module, made: Vec<Parameter>, report: &mut ModuleReport) {
    let named = module.named_parameters();
    report.parameters = named.len();
    let mut after = None;
    for parameter in distinct(made) {
        match named.iter().find(|(_, listed)| listed.is(&parameter)) {
            Some((path, _)) => after = Some(path.clone()),
            None => report.violations.push(ModuleViolation::Parameter {
                shape: parameter.dims().to_vec(),
                after: after.clone(),
            }),
        }
    }
    check_paths(named.into_iter().map(|(path, _)| path), report);
}

fn check_layers(module: &impl Module, made: &[Weak<Switch>], report: &mut ModuleReport) {
    let (mut paths, mut listed) = (Vec::new(), Vec::<Training>::new());
    module.visit_stateful("", &mut |path, layer| {
        paths.push(path.to_owned());
        listed.push(layer.training().clone());
    });
    report.layers = listed.len();
    let forgotten = made.iter().filter_map(Weak::upgrade);
    let forgotten = forgotten.filter(|switch| listed.iter().all(|layer| !layer.is(switch)));
    let violation =
        |switch: Arc<Switch>| ModuleViolation::Layer { made_at: switch.made_at.to_string() };
    report.violations.extend(forgotten.map(violation));
    check_paths(paths.into_iter(), report);
}

/// Each of `paths` that was there before.
fn check_paths(paths: impl Iterator<Item = String>, report: &mut ModuleReport) {
    let mut seen = Vec::new();
    for path in paths {
        if seen.contains(&path) {
            report.violations.push(ModuleViolation::Path(path));
        } else {
            seen.push(path);
        }
    }
}
