//! Which operation, view or write a random program tries next, and on what.

use rand::RngExt;
use rlrun_tensor::DType;

use super::formulas::broadcast;
use super::generate::{Continues, End, Generator};
use super::program::{Binary, Fold, Name, Op, Step, Unary, View, Write};

const UNARIES: [Unary; 22] = [
    Unary::Neg,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Relu,
    Unary::Abs,
    Unary::Sin,
    Unary::Reciprocal,
    Unary::Square,
    Unary::Clamp(-1.0, 1.0),
    Unary::Clamp(0.0, 1.0),
    Unary::ClampMin(0.0),
    Unary::ClampMin(0.5),
    Unary::ClampMax(0.5),
    Unary::Pow(0.0),
    Unary::Pow(3.0),
    Unary::Pow(0.5),
    Unary::Plus(0.5),
    Unary::Times(3.0),
    Unary::Times(-0.5),
];

const FOLDS: [Fold; 7] =
    [Fold::Sum, Fold::Mean, Fold::Var, Fold::Std, Fold::Amax, Fold::Amin, Fold::LogSumExp];

impl Generator {
    pub(crate) fn operation(&mut self) -> Continues {
        let Some(x) = self.float() else { return Ok(()) };
        let shape = self.shape(x);
        let ndim = shape.len();
        let dim = self.dim(ndim);
        let mut inputs = vec![x];
        let op = match self.rng.random_range(0..100) {
            0..30 => Op::Unary(self.pick(&UNARIES)),
            30..52 => {
                let Some(y) = self.partner(x) else { return Ok(()) };
                inputs.push(y);
                let all = [
                    Binary::Add,
                    Binary::Sub,
                    Binary::Mul,
                    Binary::Mul,
                    Binary::Div,
                    Binary::Maximum,
                    Binary::Minimum,
                ];
                Op::Binary(self.pick(&all))
            }
            52..67 => {
                let dims = (0..self.rng.random_range(0..=ndim.min(2))).map(|_| self.dim(ndim));
                let dims = dims.collect();
                Op::Fold(self.pick(&FOLDS), dims, self.chance(40))
            }
            67..72 => self.pick(&[Op::LogSoftmax(dim), Op::Softmax(dim), Op::LogSoftmax(dim)]),
            72..74 => Op::Cumsum(dim),
            74..78 => self.pick(&[Op::MaxDim(dim), Op::MinDim(dim)]),
            78..82 => {
                let mask = self.mask(&shape)?;
                let Some(y) = self.partner(x) else { return Ok(()) };
                inputs = vec![mask, x, y];
                Op::Where
            }
            82..85 => {
                inputs.push(self.mask(&shape)?);
                Op::MaskedFill(self.pick(&[0.0, 1.0, -1.0]))
            }
            85..88 => self.indexed(&shape, dim, &mut inputs)?,
            88..92 if !self.long => self.product(&shape, &mut inputs)?,
            92..94 => {
                inputs.push(x);
                Op::Cat(dim)
            }
            94..96 => Op::Flip(dim),
            96..98 if !self.long => {
                let times =
                    (0..ndim + usize::from(self.chance(30))).map(|_| self.rng.random_range(0..3));
                Op::Repeat(times.collect())
            }
            _ => Op::Clone,
        };
        let out = self.names(2);
        self.push(Step::Op { out, op, inputs })
    }

    fn indexed(&mut self, shape: &[usize], dim: isize, inputs: &mut Vec<Name>) -> Result<Op, End> {
        let at = dim.rem_euclid(shape.len().max(1) as isize) as usize;
        let extent = shape.get(at).copied().unwrap_or(1) + usize::from(self.chance(3));
        if self.chance(50) {
            let count = self.rng.random_range(0..4);
            let few = if shape.is_empty() && self.chance(70) { 1 } else { count };
            inputs.push(self.whole_numbers(vec![few], DType::I64, extent)?);
            return Ok(Op::IndexSelect(dim));
        }
        inputs.push(self.whole_numbers(shape.to_vec(), DType::I64, extent)?);
        Ok(Op::Gather(dim))
    }

    fn product(&mut self, shape: &[usize], inputs: &mut Vec<Name>) -> Result<Op, End> {
        let width = shape.last().copied().unwrap_or(1);
        let outputs = self.rng.random_range(0..4);
        match self.rng.random_range(0..5) {
            0 => inputs.push(self.leaf_of(vec![width])?),
            1 => inputs.push(self.leaf_of(vec![width, outputs])?),
            2 => {
                inputs.push(self.leaf_of(vec![outputs, width])?);
                if self.chance(60) {
                    inputs.push(self.leaf_of(vec![outputs])?);
                }
                return Ok(Op::Linear { tanh: self.chance(50) });
            }
            3 => {
                *inputs = vec![self.leaf_of(vec![2, 1, 3, 2])?, self.leaf_of(vec![2, 1, 2, 1])?];
                return Ok(Op::Conv2d { padding: self.rng.random_range(0..2) });
            }
            _ => inputs.push(self.float().unwrap_or(inputs[0])),
        }
        Ok(Op::Matmul)
    }

    pub(crate) fn view(&mut self) -> Continues {
        let any = self.chance(5);
        let Some(of) = (if any { self.tensor(|_, _| true) } else { self.float() }) else {
            return Ok(());
        };
        let shape = self.shape(of);
        let (ndim, count) = (shape.len(), shape.iter().product());
        let (dim, other) = (self.dim(ndim), self.dim(ndim));
        let extent = shape.get(dim.rem_euclid(ndim.max(1) as isize) as usize).copied().unwrap_or(1);
        let start = self.rng.random_range(0..=extent);
        let view = match self.rng.random_range(0..13) {
            0 | 1 => View::Narrow(dim, start as isize, self.rng.random_range(0..=extent - start)),
            2 | 3 => View::Select(dim, self.rng.random_range(0..extent.max(1)) as isize - 1),
            4 => View::Transpose(dim, other),
            5 => View::Permute((0..ndim as isize).rev().collect()),
            6 => {
                let grown = shape.iter().map(|&extent| if extent == 1 { 2 } else { extent });
                let mut to: Vec<usize> = grown.collect();
                if self.chance(40) && ndim < 4 {
                    to.insert(0, 2);
                }
                View::Expand(to)
            }
            7 => View::Shaped(if self.chance(50) { vec![count] } else { vec![1, count] }),
            8 => {
                let reversed = shape.iter().rev().copied().collect();
                View::Reshape(if self.chance(60) { vec![count] } else { reversed })
            }
            9 if ndim < 4 => View::Unsqueeze(dim),
            10 => self.pick(&[View::Unbind(dim), View::Split(1, dim), View::Split(2, dim)]),
            11 => self.pick(&[View::Detach, View::Squeeze(dim)]),
            _ => View::Contiguous,
        };
        let out = self.names(4);
        self.push(Step::View { out, view, of })
    }

    pub(crate) fn write(&mut self) -> Continues {
        // Mostly where it is allowed: gradients through writes are what matters.
        let careful = self.chance(85);
        let found = self.tensor(|of, name| {
            let tensor = of.lockstep.model.tensor(name);
            let leaf = of.requires_grad(name) && tensor.node.is_none();
            (!careful || !leaf) && (tensor.dtype == DType::F32 || tensor.dtype == DType::I64)
        });
        let Some(to) = found else { return Ok(()) };
        let mut inputs = Vec::new();
        let write = if self.is_float(to) {
            let all = [Write::Add, Write::Sub, Write::Mul, Write::Mul, Write::Div, Write::Copy];
            match self.rng.random_range(0..10) {
                0..6 => {
                    let shape = self.shape(to);
                    let partner = self.tensor(|of, name| {
                        of.is_float(name) && broadcast(&of.shape(name), &shape).is_ok()
                    });
                    inputs.extend(if self.chance(97) { partner } else { self.float() });
                    if inputs.is_empty() {
                        return Ok(());
                    }
                    self.pick(&all)
                }
                6..8 => Write::Unary(self.pick(&UNARIES)),
                8 => {
                    let shape = self.shape(to);
                    inputs.push(self.mask(&shape)?);
                    Write::MaskedFill(0.0)
                }
                _ => Write::Fill(self.pick(&[0.0, 1.0, -0.5])),
            }
        } else {
            Write::Fill(0.0)
        };
        self.push(Step::Write { to, write, inputs })
    }
}
