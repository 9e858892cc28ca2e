//! What a program is: plain steps over numbered values, so that any step can be left out.

use std::fmt;

use rlrun_tensor::DType;

/// A value of a program.
pub(crate) type Name = u32;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unary {
    Neg,
    Exp,
    Log,
    Sqrt,
    Tanh,
    Sigmoid,
    Relu,
    Abs,
    Sin,
    Reciprocal,
    Square,
    Clamp(f32, f32),
    ClampMin(f32),
    ClampMax(f32),
    Pow(f32),
    Plus(f32),
    Times(f32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
    Minimum,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fold {
    Sum,
    Mean,
    Var,
    Std,
    Amax,
    Amin,
    LogSumExp,
}

/// An operation whose results have memory of their own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Unary(Unary),
    Binary(Binary),
    Matmul,
    Linear {
        tanh: bool,
    },
    Conv2d {
        padding: usize,
    },
    /// Over these dimensions, over all if there are none.
    Fold(Fold, Vec<isize>, bool),
    Softmax(isize),
    LogSoftmax(isize),
    Cumsum(isize),
    /// Values and places.
    MaxDim(isize),
    MinDim(isize),
    /// Of a mask and two tensors.
    Where,
    /// Of a tensor and a mask.
    MaskedFill(f32),
    IndexSelect(isize),
    Gather(isize),
    Cat(isize),
    Flip(isize),
    Repeat(Vec<usize>),
    Clone,
}

/// An operation whose results lie in the memory of its operand, if they can.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum View {
    Narrow(isize, isize, usize),
    Select(isize, isize),
    Transpose(isize, isize),
    Permute(Vec<isize>),
    Expand(Vec<usize>),
    Shaped(Vec<usize>),
    Reshape(Vec<usize>),
    Unsqueeze(isize),
    Squeeze(isize),
    Unbind(isize),
    Split(usize, isize),
    Detach,
    Contiguous,
}

/// An operation that changes its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Write {
    Unary(Unary),
    Add,
    Sub,
    Mul,
    Div,
    Copy,
    Fill(f32),
    MaskedFill(f32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    NoGrad,
    EnableGrad,
    Inference,
    InferenceOff,
}

/// Options of a walk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Walk {
    pub(crate) of: Name,
    pub(crate) gradient: Option<Name>,
    pub(crate) retain: bool,
    pub(crate) create: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A fresh tensor; the numbers repeat until it is full.
    Leaf {
        out: Name,
        shape: Vec<usize>,
        dtype: DType,
        numbers: Vec<f32>,
        requires_grad: bool,
    },
    /// Several results have consecutive names.
    Op {
        out: Name,
        op: Op,
        inputs: Vec<Name>,
    },
    View {
        out: Name,
        view: View,
        of: Name,
    },
    Write {
        to: Name,
        write: Write,
        inputs: Vec<Name>,
    },
    Enter(Mode),
    Leave,
    Backward {
        walk: Walk,
        inputs: Option<Vec<Name>>,
    },
    /// Gradients as values; unused ones define no name.
    Grad {
        out: Name,
        walk: Walk,
        wrt: Vec<Name>,
    },
    /// Gradients of `Σ weight · gradient` of a recorded walk.
    SecondOrder {
        walk: Walk,
        wrt: Vec<Name>,
        then: Vec<Name>,
    },
    /// `.grad` as a value.
    GradOf {
        out: Name,
        of: Name,
    },
    ZeroGrad(Name),
    RequireGrad(Name, bool),
    DetachInPlace(Name),
    RetainGrad(Name),
    Drop(Name),
}

impl Step {
    /// The values without which the step cannot be run.
    pub(crate) fn needs(&self) -> Vec<Name> {
        let of_walk = |walk: &Walk, more: &[Name]| {
            let mut names = vec![walk.of];
            names.extend(walk.gradient);
            names.extend(more);
            names
        };
        match self {
            Step::Leaf { .. } | Step::Enter(_) | Step::Leave => Vec::new(),
            Step::Op { inputs, .. } => inputs.clone(),
            Step::Write { to, inputs, .. } => [&[*to], &inputs[..]].concat(),
            Step::Backward { walk, inputs } => of_walk(walk, inputs.as_deref().unwrap_or(&[])),
            Step::Grad { walk, wrt, .. } => of_walk(walk, wrt),
            Step::SecondOrder { walk, wrt, then } => of_walk(walk, &[&wrt[..], then].concat()),
            Step::View { of, .. } | Step::GradOf { of, .. } => vec![*of],
            Step::ZeroGrad(of)
            | Step::RequireGrad(of, _)
            | Step::DetachInPlace(of)
            | Step::RetainGrad(of)
            | Step::Drop(of) => vec![*of],
        }
    }
}

fn list(names: &[Name]) -> String {
    names.iter().map(|name| format!("v{name}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Walk { of, gradient, retain, create } = self;
        let gradient = gradient.map_or_else(|| "None".to_owned(), |name| format!("Some(v{name})"));
        write!(f, "v{of}, gradient: {gradient}, retain_graph: {retain}, create_graph: {create}")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Leaf { out, shape, dtype, numbers, requires_grad } => write!(
                f,
                "let v{out} = tensor({dtype:?}, {numbers:?}, {shape:?}).requires_grad_({requires_grad});"
            ),
            Step::Op { out, op, inputs } => write!(f, "let v{out} = {op:?}({});", list(inputs)),
            Step::View { out, view, of } => write!(f, "let v{out} = v{of}.{view:?};"),
            Step::Write { to, write, inputs } => write!(f, "v{to}.{write:?}_({});", list(inputs)),
            Step::Enter(mode) => write!(f, "enter({mode:?});"),
            Step::Leave => write!(f, "leave();"),
            Step::Backward { walk, inputs: None } => write!(f, "backward({walk});"),
            Step::Backward { walk, inputs: Some(inputs) } => {
                write!(f, "backward({walk}, inputs: [{}]);", list(inputs))
            }
            Step::Grad { out, walk, wrt } => {
                write!(f, "let v{out}… = grad({walk}, wrt: [{}]);", list(wrt))
            }
            Step::SecondOrder { walk, wrt, then } => {
                let (wrt, then) = (list(wrt), list(then));
                write!(f, "grad(Σ weight · grad({walk}, wrt: [{wrt}]), wrt: [{then}]);")
            }
            Step::GradOf { out, of } => write!(f, "let v{out} = v{of}.grad();"),
            Step::ZeroGrad(of) => write!(f, "v{of}.set_grad(None);"),
            Step::RequireGrad(of, on) => write!(f, "v{of}.set_requires_grad({on});"),
            Step::DetachInPlace(of) => write!(f, "v{of}.detach_();"),
            Step::RetainGrad(of) => write!(f, "v{of}.retain_grad();"),
            Step::Drop(of) => write!(f, "drop(v{of});"),
        }
    }
}

/// The program as text.
pub(crate) fn text(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("    {step}\n")).collect()
}
