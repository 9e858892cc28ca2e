//! The library and the reference model side by side: after each step everything that can be seen of
//! every tensor is compared.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rlrun_tensor::{DType, Tensor, catch};

use super::formulas::Refusal;
use super::library::Library;
use super::model::{Model, Source};
use super::program::{Name, Step, Walk};
use super::steps::Seen;

/// Errors of the bound that the model keeps: how much further the library may be off.
const SLACK: f64 = 8.0;

/// Of programs with more numbers than this, recorded walks are not compared: they would take long.
const MANY: usize = 20_000;

/// How a program failed: where, in what way, and in full.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) step: usize,
    /// The same for the same fault.
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// What became of a step.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Went {
    On,
    /// What follows is not promised.
    NoFurther,
}

pub(crate) struct Lockstep {
    pub(crate) model: Model,
    library: Library,
    steps: usize,
}

impl Lockstep {
    pub(crate) fn new() -> Lockstep {
        Lockstep { model: Model::default(), library: Library::new(), steps: 0 }
    }

    fn fail(&self, kind: &str, text: String) -> Failure {
        Failure { step: self.steps - 1, kind: kind.to_owned(), text: format!("{kind}: {text}") }
    }

    /// Whether a step has all that it needs, and is of a kind that the model follows.
    fn can_run(&self, step: &Step) -> bool {
        if !self.model.can_run(step) {
            return false;
        }
        match step {
            Step::GradOf { of, .. } => {
                let modelled = self
                    .model
                    .tensor(*of)
                    .grad
                    .is_some_and(|grad| !self.model.tensors[grad].recorded);
                modelled && self.library.names[of].grad().is_some_and(|grad| grad.is_contiguous())
            }
            Step::SecondOrder { walk, then, .. } => {
                // By a result it depends on the formula: whether that is written in operand or result.
                let is_leaf = |name: &Name| {
                    let tensor = self.model.tensor(*name);
                    tensor.requires_grad && tensor.node.is_none() && tensor.view.is_none()
                };
                self.may_record(walk) && then.iter().all(is_leaf)
            }
            // Whether it still retains what arrives at its old history is an accident.
            Step::DetachInPlace(of) => !self.model.tensor(*of).retains,
            _ => true,
        }
    }

    /// Whether a recorded walk has no effects beyond its results.
    fn may_record(&self, walk: &Walk) -> bool {
        let of_gradient = |name: &Name| self.model.requires_grad(self.model.names[name]);
        let inference = |name: &Name| self.model.tensor(*name).inference;
        !self.model.inference
            && !walk.gradient.as_ref().is_some_and(|name| of_gradient(name) || inference(name))
            && !self.model.tensors.iter().any(|tensor| tensor.retains)
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<Went, Failure> {
        self.steps += 1;
        if !self.can_run(step) {
            return Ok(Went::On);
        }
        if let Step::Backward { walk, .. } | Step::Grad { walk, .. } = step
            && self.may_record(walk)
            && self.model.numbers.len() < MANY
        {
            self.guarded(|library| library.compare_recorded(walk))?;
        }
        let seen = self.guarded(|library| library.run(step))?;
        let went = match step {
            Step::SecondOrder { walk, wrt, then } => self.second_order(walk, wrt, then, &seen)?,
            _ => {
                let expected = self.model.run(step, &seen);
                self.outcome(expected, &seen)?
            }
        };
        if let Some(text) = self.library.complaints.pop() {
            return Err(self.fail("complaint", text));
        }
        if let Some(text) = self.model.contradictions.pop() {
            return Err(self.fail("the model itself", text));
        }
        let is_walk =
            matches!(step, Step::Backward { .. } | Step::Grad { .. } | Step::SecondOrder { .. });
        if went == Went::NoFurther || (is_walk && seen.error.is_some()) {
            return Ok(Went::NoFurther);
        }
        self.compare_all()?;
        Ok(Went::On)
    }

    /// Runs the library; a panic that is no error of its own is a failure.
    fn guarded<R>(&mut self, f: impl FnOnce(&mut Library) -> R) -> Result<R, Failure> {
        let library = &mut self.library;
        catch_unwind(AssertUnwindSafe(|| f(library))).map_err(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
            self.fail("panic", text.unwrap_or_default())
        })
    }

    fn outcome<T>(&self, expected: Result<T, Refusal>, seen: &Seen) -> Result<Went, Failure> {
        match (expected, &seen.error) {
            (Err(Refusal::Unclear), _) => Ok(Went::NoFurther),
            (Ok(_), None) => Ok(Went::On),
            (Err(Refusal::Error(kind)), Some(found)) if kind == found => Ok(Went::On),
            // An empty line of a view whose history is lost: which refusal comes first is free.
            (Err(Refusal::Error("EmptyReduction")), Some(found))
                if found.ends_with("ViewInplace") =>
            {
                Ok(Went::On)
            }
            (Ok(_), Some(found)) => {
                Err(self.fail("refused", format!("{found}, expected no error")))
            }
            (Err(Refusal::Error(kind)), found) => {
                Err(self.fail("error", format!("{found:?}, expected {kind}")))
            }
        }
    }

    fn second_order(
        &mut self,
        walk: &Walk,
        wrt: &[Name],
        then: &[Name],
        seen: &Seen,
    ) -> Result<Went, Failure> {
        let walk = Walk { create: true, ..walk.clone() };
        let expected = self.model.second_order(&walk, wrt, then, seen);
        let found = std::mem::take(&mut self.library.second);
        let went = self.outcome(expected.as_ref().map(|_| ()).map_err(|&refusal| refusal), seen)?;
        for (numbers, found) in expected.unwrap_or_default().into_iter().zip(found) {
            let found = found.unwrap_or_else(|| vec![0.0; numbers.len()]);
            let n = &self.model.numbers;
            for (&number, found) in numbers.iter().zip(found).filter(|(_, found)| found.is_finite())
            {
                self.agree("second order", f64::from(found), n.value(number), n.error(number))?;
            }
        }
        Ok(went)
    }

    fn agree(&self, what: &str, found: f64, expected: f64, error: f64) -> Result<(), Failure> {
        let same = found == expected || (found.is_nan() && expected.is_nan());
        if same || !error.is_finite() || (found - expected).abs() <= SLACK * error {
            return Ok(());
        }
        Err(self.fail(what, format!("{found}, expected {expected} ± {error:e}")))
    }

    fn compare_all(&mut self) -> Result<(), Failure> {
        let names: Vec<(Name, usize)> =
            self.model.names.iter().map(|(&name, &tensor)| (name, tensor)).collect();
        for &(name, of) in &names {
            let Some(tensor) = self.library.names.get(&name).cloned() else {
                return Err(self.fail("missing", format!("v{name} was not made")));
            };
            self.compare_flags(name, of, &tensor)?;
            self.compare_values("value", name, of, &tensor)?;
            match (self.model.tensors[of].grad, tensor.grad()) {
                (Some(expected), Some(grad)) => {
                    self.compare_values("gradient", name, expected, &grad)?;
                    let requires_grad = self.model.requires_grad(expected);
                    let expected = &self.model.tensors[expected];
                    if grad.is_inference() != expected.inference
                        || (!expected.recorded && grad.requires_grad() != requires_grad)
                    {
                        return Err(self.fail("kind of gradient", format!("v{name}")));
                    }
                }
                (None, None) => {}
                (expected, found) => {
                    let text =
                        format!("v{name}: {}, expected {}", found.is_some(), expected.is_some());
                    return Err(self.fail("has a gradient", text));
                }
            }
            for &(other, other_of) in names.iter().take_while(|&&(other, _)| other < name) {
                let tensors = &self.model.tensors;
                let expected = tensors[of].storage == tensors[other_of].storage;
                if tensor.shares_storage(&self.library.names[&other]) != expected {
                    return Err(self.fail("shared memory", format!("v{name} and v{other}")));
                }
            }
        }
        Ok(())
    }

    fn compare_values(
        &self,
        what: &str,
        name: Name,
        of: usize,
        tensor: &Tensor,
    ) -> Result<(), Failure> {
        let expected = &self.model.tensors[of];
        if tensor.dims() != expected.shape || tensor.dtype() != expected.dtype {
            let text = format!("v{name}: {:?}, expected {:?}", tensor.dims(), expected.shape);
            return Err(self.fail("shape", text));
        }
        let values: Vec<f64> = match tensor.dtype() {
            DType::F32 => tensor.to_vec().into_iter().map(f64::from).collect(),
            DType::I64 => tensor.to_vec_i64().into_iter().map(|x| x as f64).collect(),
            DType::Bool => {
                tensor.to_vec_bool().into_iter().map(|x| f64::from(u8::from(x))).collect()
            }
        };
        for (at, found) in values.into_iter().enumerate() {
            let (value, error) = self.model.slot(of, at);
            self.agree(what, found, value, error).map_err(|failure| Failure {
                text: format!("{} at element {at} of v{name}", failure.text),
                ..failure
            })?;
        }
        Ok(())
    }

    fn compare_flags(&mut self, name: Name, of: usize, tensor: &Tensor) -> Result<(), Failure> {
        let has_node = self.model.source(of).map(|source| matches!(source, Source::Node(_)));
        let found = catch(|| tensor.has_grad_fn()).map_err(|error| error.kind());
        let has_node = has_node.map_err(|refusal| match refusal {
            Refusal::Error(kind) => kind.to_owned(),
            Refusal::Unclear => String::new(),
        });
        let root = self.model.tensors[of].view.as_ref().map(|view| view.root);
        let known = self.model.names.iter().find(|&(_, &other)| Some(other) == root);
        let same_root = match (known, tensor.base()) {
            (Some((name, _)), Some(base)) => base.is(&self.library.names[name]),
            (None, base) => base.is_some() == root.is_some(),
            (Some(_), None) => false,
        };
        let expected = &self.model.tensors[of];
        let version =
            (!expected.inference && expected.version_known).then(|| self.model.version(of));
        let found_version = version.and_then(|_| catch(|| tensor.version()).ok());
        let made_in = expected.view.as_ref().map(|view| view.made_in);
        let flags = [
            ("grad_fn", found == has_node),
            ("requires_grad", tensor.requires_grad() == self.model.requires_grad(of)),
            ("is_inference", tensor.is_inference() == expected.inference),
            ("base", same_root),
            ("view_made_in", tensor.view_made_in() == made_in),
            ("version", found_version == version),
        ];
        match flags.iter().find(|(_, agrees)| !agrees) {
            Some((flag, _)) => Err(self.fail(flag, format!("of v{name}"))),
            None => Ok(()),
        }
    }
}

/// Runs a whole program.
pub(crate) fn check(steps: &[Step]) -> Result<(), Failure> {
    let mut lockstep = Lockstep::new();
    for step in steps {
        if lockstep.step(step)? == Went::NoFurther {
            break;
        }
    }
    Ok(())
}
