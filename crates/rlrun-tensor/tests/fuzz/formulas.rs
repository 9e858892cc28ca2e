//! The operations, one number at a time: what a result is, and which of its operands' numbers it
//! comes from.

use std::cmp::Ordering;

use rlrun_tensor::DType;

use super::numbers::{Function, Number, Numbers, Unclear};
use super::products::{conv2d, linear, matmul};
use super::program::{Binary, Op, Unary};
use super::reductions::{along, first_extreme, fold, log_softmax, softmax};

/// Numbers of a tensor, row-major.
#[derive(Clone)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    pub(crate) elements: Vec<Number>,
}

/// Why an operation has no result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// By the name of the error.
    Error(&'static str),
    Unclear,
}

impl std::convert::From<Unclear> for Refusal {
    fn from(_: Unclear) -> Refusal {
        Refusal::Unclear
    }
}

pub(crate) const SHAPE: Refusal = Refusal::Error("ShapeMismatch");
pub(crate) const RANGE: Refusal = Refusal::Error("IndexOutOfRange");
const DTYPE: Refusal = Refusal::Error("DtypeMismatch");

pub(crate) type Made<T> = Result<T, Refusal>;

pub(crate) fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A dimension that may count from the end. Without dimensions, 0 and -1 name the number itself.
pub(crate) fn dimension(dim: isize, ndim: usize) -> Made<usize> {
    let bound = ndim.max(1) as isize;
    if dim < -bound || dim >= bound { Err(RANGE) } else { Ok(dim.rem_euclid(bound) as usize) }
}

/// The place of each element of `shape`, row-major, as an index.
pub(crate) fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let unravel = |mut at: usize| {
        let mut index = vec![0; shape.len()];
        for (i, extent) in index.iter_mut().zip(shape).rev() {
            *i = at % extent;
            at /= extent;
        }
        index
    };
    (0..count(shape)).map(unravel).collect()
}

/// The row-major place of an index.
pub(crate) fn ravel(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (i, extent)| at * extent + i)
}

/// For each element of `shape`, the place of the element of `from` that is repeated there.
pub(crate) fn broadcast(from: &[usize], shape: &[usize]) -> Made<Vec<usize>> {
    let missing = shape.len().checked_sub(from.len()).ok_or(SHAPE)?;
    if from.iter().zip(&shape[missing..]).any(|(a, b)| a != b && *a != 1) {
        return Err(SHAPE);
    }
    let place = |index: Vec<usize>| {
        let clipped: Vec<usize> = index[missing..]
            .iter()
            .zip(from)
            .map(|(&i, &extent)| i.min(extent.max(1) - 1))
            .collect();
        ravel(&clipped, from)
    };
    Ok(indices(shape).into_iter().map(place).collect())
}

pub(crate) fn common_shape(a: &[usize], b: &[usize]) -> Made<Vec<usize>> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut shape = long.to_vec();
    let missing = long.len() - short.len();
    for (out, &extent) in shape[missing..].iter_mut().zip(short) {
        *out = match (*out, extent) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return Err(SHAPE),
        };
    }
    Ok(shape)
}

impl Array {
    pub(crate) fn new(shape: Vec<usize>, elements: Vec<Number>) -> Array {
        Array { shape, dtype: DType::F32, elements }
    }

    pub(crate) fn spread(&self, shape: &[usize]) -> Made<Vec<Number>> {
        let places = broadcast(&self.shape, shape)?;
        Ok(places.into_iter().map(|place| self.elements[place]).collect())
    }

    /// The numbers along a dimension, and where they lie: one line per other index.
    pub(crate) fn lines(&self, dim: usize) -> Vec<Vec<usize>> {
        let extent = self.shape.get(dim).copied().unwrap_or(1);
        let inner = count(self.shape.get(dim + 1..).unwrap_or(&[]));
        let outer = count(&self.shape[..dim.min(self.shape.len())]);
        let start = (0..outer).flat_map(|o| (0..inner).map(move |i| o * extent * inner + i));
        start.map(|start| (0..extent).map(|i| start + i * inner).collect()).collect()
    }

    pub(crate) fn without(&self, dim: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if !shape.is_empty() {
            shape.remove(dim);
        }
        shape
    }
}

/// The results of an operation.
pub(crate) fn results(n: &mut Numbers, op: &Op, inputs: &[Array]) -> Made<Vec<Array>> {
    let x = &inputs[0];
    let whole_numbers = match op {
        Op::Where => 0,
        Op::MaskedFill(_) | Op::IndexSelect(_) | Op::Gather(_) => 1,
        _ => usize::MAX,
    };
    let is_f32 = |(at, input): (usize, &Array)| at == whole_numbers || input.dtype == DType::F32;
    let fits = match op {
        Op::Where | Op::MaskedFill(_) => inputs[whole_numbers].dtype == DType::Bool,
        Op::IndexSelect(_) | Op::Gather(_) => inputs[1].dtype == DType::I64,
        _ => true,
    };
    if *op != Op::Clone && !(fits && inputs.iter().enumerate().all(is_f32)) {
        // Operations that move elements take others too, which the model does not follow; and of two
        // wrong arguments of a reduction it is free which is named.
        let numbers_alone = matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Matmul);
        return Err(if numbers_alone { DTYPE } else { Refusal::Unclear });
    }
    Ok(match op {
        Op::Unary(f) => {
            let made: Made<Vec<_>> = x.elements.iter().map(|&x| unary(n, *f, x)).collect();
            vec![Array::new(x.shape.clone(), made?)]
        }
        Op::Binary(f) => {
            let shape = common_shape(&x.shape, &inputs[1].shape)?;
            let pairs = x.spread(&shape)?.into_iter().zip(inputs[1].spread(&shape)?);
            let made: Made<Vec<_>> = pairs.map(|(x, y)| binary(n, *f, x, y)).collect();
            vec![Array::new(shape, made?)]
        }
        Op::Matmul => vec![matmul(n, x, &inputs[1])?],
        Op::Linear { tanh } => vec![linear(n, inputs, *tanh)?],
        Op::Conv2d { padding } => vec![conv2d(n, inputs, *padding)?],
        Op::Fold(f, dims, keepdim) => vec![fold(n, x, *f, dims, *keepdim)?],
        Op::Softmax(dim) => vec![along(n, x, *dim, softmax)?],
        Op::LogSoftmax(dim) => vec![along(n, x, *dim, log_softmax)?],
        Op::Cumsum(dim) => vec![along(n, x, *dim, |n, line| n.running_sums(line))?],
        Op::MaxDim(dim) => first_extreme(n, x, *dim, Ordering::Greater)?,
        Op::MinDim(dim) => first_extreme(n, x, *dim, Ordering::Less)?,
        Op::Where => vec![choose(n, x, &inputs[1], &inputs[2])?],
        Op::MaskedFill(value) => {
            let value = Array::new(Vec::new(), vec![n.exact(f64::from(*value))]);
            vec![choose(n, &inputs[1], &value, x)?]
        }
        Op::IndexSelect(dim) => vec![index_select(n, x, &inputs[1], *dim)?],
        Op::Gather(dim) => vec![gather(n, x, &inputs[1], *dim)?],
        Op::Cat(dim) => vec![cat(inputs, *dim)?],
        Op::Flip(dim) => {
            let dim = dimension(*dim, x.shape.len())?;
            let mut made = x.elements.clone();
            for line in x.lines(dim) {
                line.iter().zip(line.iter().rev()).for_each(|(&to, &at)| made[to] = x.elements[at]);
            }
            vec![Array::new(x.shape.clone(), made)]
        }
        Op::Repeat(times) => vec![repeat(x, times)?],
        Op::Clone => vec![x.clone()],
    })
}

/// A number as a choice sees it: below, at or above a bound, or not a number.
fn against(n: &mut Numbers, x: Number, bound: f32) -> Made<Option<Ordering>> {
    let bound = n.exact(f64::from(bound));
    Ok(n.compare(x, bound)?)
}

pub(crate) fn unary(n: &mut Numbers, f: Unary, x: Number) -> Made<Number> {
    use Ordering::{Equal, Greater, Less};
    let function = |n: &mut Numbers, f| Ok(n.of(f, x));
    match f {
        Unary::Neg => Ok(n.neg(x)),
        Unary::Exp => function(n, Function::Exp),
        Unary::Log => function(n, Function::Log),
        Unary::Sqrt => function(n, Function::Sqrt),
        Unary::Tanh => function(n, Function::Tanh),
        Unary::Sigmoid => function(n, Function::Sigmoid),
        Unary::Sin => function(n, Function::Sin),
        Unary::Square => Ok(n.mul(x, x)),
        Unary::Plus(number) => {
            let number = n.exact(f64::from(number));
            Ok(n.sum(vec![x, number]))
        }
        Unary::Times(number) => Ok(n.scale(x, f64::from(number))),
        Unary::Reciprocal => {
            let one = n.exact(1.0);
            Ok(n.div(one, x))
        }
        Unary::Pow(0.0) => Ok(n.exact(1.0)),
        Unary::Pow(2.0) => Ok(n.mul(x, x)),
        Unary::Pow(exponent) => function(n, Function::Pow(f64::from(exponent))),
        Unary::Relu => match against(n, x, 0.0)? {
            Some(Less | Equal) => Ok(n.exact(0.0)),
            _ => Ok(x),
        },
        Unary::Abs => match against(n, x, 0.0)? {
            Some(Less) => Ok(n.neg(x)),
            Some(Equal) => Ok(n.scale(x, 0.0)),
            Some(Greater) => Ok(x),
            None => Ok(n.undefined(x)),
        },
        Unary::Clamp(min, max) => {
            let above = unary(n, Unary::ClampMin(min), x)?;
            if above == x { unary(n, Unary::ClampMax(max), x) } else { Ok(above) }
        }
        Unary::ClampMin(bound) | Unary::ClampMax(bound) => {
            let outside = if f == Unary::ClampMin(bound) { Less } else { Greater };
            match against(n, x, bound)? {
                None => Ok(n.constant(f64::NAN, n.error(x))),
                Some(order) if order == outside || order == Equal => Ok(n.exact(f64::from(bound))),
                Some(_) => Ok(x),
            }
        }
    }
}

pub(crate) fn binary(n: &mut Numbers, f: Binary, x: Number, y: Number) -> Made<Number> {
    let better = match f {
        Binary::Add => return Ok(n.sum(vec![x, y])),
        Binary::Sub => return Ok(n.sub(x, y)),
        Binary::Mul => return Ok(n.mul(x, y)),
        Binary::Div => return Ok(n.div(x, y)),
        Binary::Maximum => Ordering::Greater,
        Binary::Minimum => Ordering::Less,
    };
    match n.compare(x, y)? {
        Some(Ordering::Equal) => Ok(mean_of_ties(n, vec![x, y])),
        Some(order) => Ok(if order == better { x } else { y }),
        None => Err(Refusal::Unclear),
    }
}

/// Equal numbers that share the derivative.
pub(crate) fn mean_of_ties(n: &mut Numbers, ties: Vec<Number>) -> Number {
    let (value, error) = (n.value(ties[0]), n.error(ties[0]));
    let share = 1.0 / ties.len() as f64;
    let parts = ties.into_iter().map(|x| n.scale(x, share)).collect();
    let mean = n.sum(parts);
    n.same(mean, value, error)
}

fn choose(n: &Numbers, mask: &Array, then: &Array, otherwise: &Array) -> Made<Array> {
    let shape = common_shape(&then.shape, &otherwise.shape)?;
    let shape = common_shape(&mask.shape, &shape)?;
    let (then, otherwise) = (then.spread(&shape)?, otherwise.spread(&shape)?);
    let flags = mask.spread(&shape)?.into_iter().map(|flag| n.value(flag) != 0.0);
    let elements =
        flags.zip(then.iter().zip(&otherwise)).map(|(f, (a, b))| if f { *a } else { *b });
    Ok(Array::new(shape.clone(), elements.collect()))
}

/// An index within an extent.
fn within(n: &Numbers, index: Number, extent: usize) -> Made<usize> {
    let index = n.value(index);
    if index < 0.0 || index >= extent as f64 { Err(RANGE) } else { Ok(index as usize) }
}

fn index_select(n: &Numbers, x: &Array, index: &Array, dim: isize) -> Made<Array> {
    let dim = dimension(dim, x.shape.len())?;
    if index.shape.len() > 1 || (x.shape.is_empty() && index.elements.len() != 1) {
        return Err(SHAPE);
    }
    let extent = x.shape.get(dim).copied().unwrap_or(1);
    let rows = index.elements.iter().map(|&at| within(n, at, extent)).collect::<Made<Vec<_>>>()?;
    let mut shape = x.shape.clone();
    if let Some(extent) = shape.get_mut(dim) {
        *extent = rows.len();
    }
    let pick = |mut at: Vec<usize>| {
        if let Some(i) = at.get_mut(dim) {
            *i = rows[*i];
        }
        x.elements[ravel(&at, &x.shape)]
    };
    Ok(Array::new(shape.clone(), indices(&shape).into_iter().map(pick).collect()))
}

fn gather(n: &Numbers, x: &Array, index: &Array, dim: isize) -> Made<Array> {
    let dim = dimension(dim, x.shape.len())?;
    let extents = || index.shape.iter().zip(&x.shape).enumerate();
    if index.shape.len() != x.shape.len() || extents().any(|(d, (a, b))| d != dim && a > b) {
        return Err(SHAPE);
    }
    let extent = x.shape.get(dim).copied().unwrap_or(1);
    let pick = |(mut at, &place): (Vec<usize>, &Number)| {
        let place = within(n, place, extent)?;
        if let Some(i) = at.get_mut(dim) {
            *i = place;
        }
        Ok(x.elements[ravel(&at, &x.shape)])
    };
    let picked = indices(&index.shape).into_iter().zip(&index.elements).map(pick);
    Ok(Array::new(index.shape.clone(), picked.collect::<Made<Vec<_>>>()?))
}

fn cat(inputs: &[Array], dim: isize) -> Made<Array> {
    let some: Vec<&Array> = inputs.iter().filter(|array| array.shape != [0]).collect();
    let Some(like) = some.first() else { return Ok(inputs[0].clone()) };
    if like.shape.is_empty() {
        return Err(RANGE);
    }
    let dim = dimension(dim, like.shape.len())?;
    let others =
        |array: &Array| (array.without(dim.min(array.shape.len().max(1) - 1)), array.shape.len());
    if some.iter().any(|array| others(array) != others(like)) {
        return Err(SHAPE);
    }
    let outer = count(&like.shape[..dim]);
    let mut elements = Vec::new();
    for block in 0..outer {
        for array in &some {
            let run = array.elements.len() / outer;
            elements.extend_from_slice(&array.elements[block * run..][..run]);
        }
    }
    let mut shape = like.shape.clone();
    shape[dim] = some.iter().map(|array| array.shape[dim]).sum();
    Ok(Array::new(shape, elements))
}

fn repeat(x: &Array, times: &[usize]) -> Made<Array> {
    let missing = times.len().checked_sub(x.shape.len()).ok_or(SHAPE)?;
    let start = [&vec![1; missing][..], &x.shape].concat();
    let shape: Vec<usize> = start.iter().zip(times).map(|(extent, times)| extent * times).collect();
    let pick = |at: Vec<usize>| {
        let at: Vec<usize> = at.iter().zip(&start).map(|(i, extent)| i % extent).collect();
        x.elements[ravel(&at, &start)]
    };
    Ok(Array::new(shape.clone(), indices(&shape).into_iter().map(pick).collect()))
}
