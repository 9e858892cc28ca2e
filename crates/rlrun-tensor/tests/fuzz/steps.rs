//! The reference model runs steps: operations, views, writes, and what changes one tensor's record.

use rlrun_tensor::DType;

use super::formulas::{Array, Made, Refusal, count, results};
use super::model::{Model, Saved, Source};
use super::program::{Binary, Fold, Name, Op, Step, Unary};

/// What the library did, where the model must know: the memory order of fresh results is free, and
/// some errors are.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) error: Option<String>,
    pub(crate) strides: Vec<Vec<isize>>,
}

/// What an operation keeps: operand or result, and whether that is promised.
pub(crate) enum Kept {
    Input(usize, bool),
    Result(usize),
    /// Nothing, and yet it cannot run twice.
    Frees,
}

impl Model {
    /// Whether every value that the step names exists.
    pub(crate) fn can_run(&self, step: &Step) -> bool {
        step.needs().iter().all(|name| self.names.contains_key(name))
    }

    pub(crate) fn run(&mut self, step: &Step, seen: &Seen) -> Made<()> {
        match step {
            Step::Leaf { out, shape, dtype, numbers, requires_grad } => {
                let numbers = numbers.iter().cycle().take(count(shape));
                let elements = numbers.map(|&x| self.numbers.exact(f64::from(x))).collect();
                let array = Array { shape: shape.clone(), dtype: *dtype, elements };
                let made =
                    self.fresh(&array, &seen.strides.first().cloned().unwrap_or_default())?;
                self.names.insert(*out, made);
                if *requires_grad { self.require_grad(made, true) } else { Ok(()) }
            }
            Step::Op { out, op, inputs } => {
                let inputs: Vec<usize> = inputs.iter().map(|name| self.names[name]).collect();
                self.operation(*out, op, &inputs, seen)
            }
            Step::View { out, view, of } => self.view(*out, view, self.names[of], seen),
            Step::Write { to, write, inputs } => {
                let inputs: Vec<usize> = inputs.iter().map(|name| self.names[name]).collect();
                self.write(self.names[to], *write, &inputs)
            }
            Step::Enter(mode) => {
                self.enter(*mode);
                Ok(())
            }
            Step::Leave => {
                self.leave();
                Ok(())
            }
            Step::Backward { walk, inputs } => self.backward(walk, inputs.as_deref(), seen),
            Step::Grad { out, walk, wrt } => self.grad(*out, walk, wrt, seen),
            // Compared by itself: see `second_order`.
            Step::SecondOrder { .. } => Ok(()),
            Step::GradOf { out, of } => {
                let grad = self.tensor(*of).grad;
                self.names.extend(grad.map(|grad| (*out, grad)));
                Ok(())
            }
            Step::ZeroGrad(of) => {
                self.tensors[self.names[of]].grad = None;
                Ok(())
            }
            Step::RequireGrad(of, on) => self.require_grad(self.names[of], *on),
            Step::DetachInPlace(of) => {
                let of = &mut self.tensors[self.names[of]];
                if of.view.is_some() {
                    return Err(Refusal::Error("DetachViewInplace"));
                }
                (of.node, of.requires_grad) = (None, false);
                Ok(())
            }
            Step::RetainGrad(of) => self.retain_grad(self.names[of]),
            Step::Drop(of) => {
                self.names.remove(of);
                Ok(())
            }
        }
    }

    fn require_grad(&mut self, of: usize, on: bool) -> Made<()> {
        let tensor = &self.tensors[of];
        if on && tensor.inference {
            return Err(Refusal::Error("SetRequiresGradOnInference"));
        }
        if on && tensor.dtype != DType::F32 {
            return Err(Refusal::Error("NonFloatRequiresGrad"));
        }
        match self.source(of)? {
            Source::Node(_) if on => return Ok(()),
            Source::Node(_) => return Err(Refusal::Error("NonLeafRequiresGradChange")),
            _ => self.tensors[of].requires_grad = on,
        }
        if on && self.tensors[of].variables.is_empty() {
            let slots = (0..self.tensors[of].places.len()).map(|at| self.slot(of, at));
            let slots: Vec<_> = slots.collect();
            let variables = slots.into_iter().map(|(x, error)| self.numbers.variable(x, error));
            self.tensors[of].variables = variables.collect();
        }
        Ok(())
    }

    pub(crate) fn retain_grad(&mut self, of: usize) -> Made<()> {
        if !self.requires_grad(of) {
            return Err(Refusal::Error("RetainGradOnNoGrad"));
        }
        if let Ok(Source::Node(_)) = self.source(of) {
            self.tensors[of].retains = true;
        }
        Ok(())
    }

    /// Operands with their history, if the operation is recorded. Arguments are refused first.
    pub(crate) fn operands(
        &mut self,
        inputs: &[usize],
        recorded: bool,
    ) -> (Made<Vec<Source>>, Vec<Array>) {
        let sources: Made<Vec<Source>> = inputs
            .iter()
            .map(|&input| if recorded { self.source(input) } else { Ok(Source::Nowhere) })
            .collect();
        let known = sources.clone().unwrap_or(vec![Source::Nowhere; inputs.len()]);
        let arrays = inputs.iter().zip(known).map(|(&input, source)| self.read(input, source));
        let arrays = arrays.collect();
        (sources, arrays)
    }

    fn operation(&mut self, out: Name, op: &Op, inputs: &[usize], seen: &Seen) -> Made<()> {
        let recorded = self.records(inputs);
        let (sources, arrays) = self.operands(inputs, recorded);
        let made = results(&mut self.numbers, op, &arrays)?;
        let sources = sources?;
        let kept = if recorded { kept_by(op, &sources) } else { Vec::new() };
        self.check_inference(&kept, inputs, seen)?;
        // How versions of copies out of inference mode start is an accident.
        let from_inference = inputs.iter().any(|&input| self.tensors[input].inference);
        let mut fresh = Vec::new();
        for (array, strides) in made.iter().zip(&seen.strides) {
            let tensor = self.fresh(array, strides)?;
            self.tensors[tensor].version_known = !from_inference;
            fresh.push(tensor);
        }
        if recorded && !fresh.is_empty() {
            let saved = self.saved(&kept, inputs, &fresh);
            let node = self.add_node(sources, made[0].elements.clone(), saved);
            self.nodes[node].saves |= !kept.is_empty();
            self.tensors[fresh[0]].node = Some(node);
        }
        self.names.extend((out..).zip(fresh));
        Ok(())
    }

    /// An inference tensor cannot be saved.
    pub(crate) fn check_inference(&self, kept: &[Kept], inputs: &[usize], seen: &Seen) -> Made<()> {
        const KIND: &str = "SaveInferenceForBackward";
        for kept in kept {
            if let Kept::Input(at, certain) = *kept
                && self.tensors[inputs[at]].inference
                && (certain || seen.error.as_deref() == Some(KIND))
            {
                return Err(Refusal::Error(KIND));
            }
        }
        Ok(())
    }

    pub(crate) fn saved(&self, kept: &[Kept], inputs: &[usize], made: &[usize]) -> Vec<Saved> {
        let saved = |tensor: usize, certain| Saved {
            storage: self.tensors[tensor].storage,
            version: self.version(tensor),
            certain,
        };
        let each = kept.iter().filter_map(|kept| match *kept {
            Kept::Input(at, certain) => Some(saved(inputs[at], certain)),
            Kept::Result(at) => Some(saved(made[at], true)),
            Kept::Frees => None,
        });
        each.collect()
    }
}

fn kept_by(op: &Op, sources: &[Source]) -> Vec<Kept> {
    let needs = |at: usize| sources[at] != Source::Nowhere;
    let factors = |certain| {
        let kept = [(0, 1), (1, 0)].into_iter().filter(|&(_, for_other)| needs(for_other));
        kept.map(|(at, _)| Kept::Input(at, certain)).collect::<Vec<_>>()
    };
    match op {
        Op::Unary(f) => kept_by_unary(*f),
        Op::Binary(Binary::Mul) | Op::Matmul => factors(true),
        Op::Binary(Binary::Div) if needs(1) => vec![Kept::Input(0, true), Kept::Input(1, true)],
        Op::Binary(Binary::Div) => vec![Kept::Input(1, true)],
        Op::Binary(Binary::Maximum | Binary::Minimum) => {
            vec![Kept::Input(0, true), Kept::Input(1, true)]
        }
        Op::Linear { tanh: false } => factors(true),
        Op::Linear { tanh: true } => {
            let mut kept = factors(true);
            kept.push(Kept::Result(0));
            kept
        }
        Op::Conv2d { .. } => factors(false),
        Op::Fold(Fold::Var, ..) => vec![Kept::Input(0, false)],
        Op::Fold(Fold::Std | Fold::Amax | Fold::Amin | Fold::LogSumExp, ..) => {
            vec![Kept::Input(0, false), Kept::Result(0)]
        }
        Op::Softmax(_) | Op::LogSoftmax(_) => vec![Kept::Result(0)],
        Op::MaxDim(_) | Op::MinDim(_) => vec![Kept::Result(1)],
        Op::Where => vec![Kept::Input(0, true)],
        Op::MaskedFill(_) | Op::IndexSelect(_) | Op::Gather(_) => vec![Kept::Input(1, true)],
        _ => Vec::new(),
    }
}

pub(crate) fn kept_by_unary(f: Unary) -> Vec<Kept> {
    match f {
        Unary::Neg | Unary::Plus(_) => Vec::new(),
        Unary::Times(_) => vec![Kept::Frees],
        Unary::Exp
        | Unary::Sqrt
        | Unary::Tanh
        | Unary::Sigmoid
        | Unary::Relu
        | Unary::Reciprocal => vec![Kept::Result(0)],
        _ => vec![Kept::Input(0, true)],
    }
}
