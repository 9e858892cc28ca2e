//! Elementwise kernels over slices: unary, binary with every broadcast of a matrix, and their backward forms.
//!
//! Every function panics when the lengths of its slices do not fit together.

use super::math::{self, Function};
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::{halves, threads_for};

/// Multiply-adds in the time that one element takes, where its memory is near: moving it between
/// cores takes as long again.
const COST: usize = 1;

/// Functions of one number; NaN gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// |x|
    Abs,
    /// cos x
    Cos,
    /// eˣ
    Exp,
    /// eˣ − 1
    Expm1,
    /// ln x
    Log,
    /// ln(1 + x)
    Log1p,
    /// −x
    Neg,
    /// 1/x
    Reciprocal,
    /// max(x, 0)
    Relu,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// sin x
    Sin,
    /// ln(1 + eˣ)
    Softplus,
    /// √x
    Sqrt,
    /// x²
    Square,
    /// tanh x
    Tanh,
}

/// Functions of two numbers a, b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a·b
    Mul,
    /// a / b
    Div,
    /// The smaller; NaN if one is NaN.
    Min,
    /// The larger; NaN if one is NaN.
    Max,
    /// Gradient through tanh: a·(1 − b²), a the gradient, b the output.
    TanhBackward,
    /// Gradient through relu, whose result is b: 0 where b is 0, else a.
    ReluBackward,
    /// Gradient through sigmoid: a·b·(1 − b).
    SigmoidBackward,
}

/// An operand of [`binary`] against an output of shape `[m, n]`.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// What the output holds: in place.
    Output,
    /// As many elements as the output.
    Elements(&'a [f32]),
    /// One number for all.
    Scalar(f32),
    /// A row `[n]`, the same for every row of the output.
    Row(&'a [f32]),
    /// A column `[m]`: one number for each row of the output.
    Column(&'a [f32]),
}

impl<'a> Operand<'a> {
    /// The row length this operand prescribes for an output of `len` elements.
    fn row_len(self, len: usize) -> Option<usize> {
        match self {
            Operand::Row(x) => {
                assert!(len.is_multiple_of(x.len()), "binary: length of the row");
                Some(x.len())
            }
            Operand::Column(x) => {
                assert!(len.is_multiple_of(x.len()), "binary: length of the column");
                Some(len / x.len())
            }
            Operand::Elements(x) => {
                assert_eq!(x.len(), len, "binary: lengths of operand and output");
                None
            }
            Operand::Output | Operand::Scalar(_) => None,
        }
    }

    /// A row or column of an output with a single column or row, as what it is.
    fn simplified(self, len: usize) -> Operand<'a> {
        match self {
            Operand::Row([x]) => Operand::Scalar(*x),
            Operand::Column(x) if x.len() == len => Operand::Elements(x),
            other => other,
        }
    }

    /// The parts that meet the elements of the output before `at`, in rows of length `n`, and the
    /// others.
    fn split_at(self, at: usize, n: usize) -> (Self, Self) {
        match self {
            Operand::Elements(x) => {
                let (x, rest) = x.split_at(at);
                (Operand::Elements(x), Operand::Elements(rest))
            }
            Operand::Column(x) => {
                let (x, rest) = x.split_at(at / n);
                (Operand::Column(x), Operand::Column(rest))
            }
            same => (same, same),
        }
    }

    /// The part that meets row `i` of rows of length `n`: never `Row` or `Column`.
    #[inline(always)]
    fn row(self, i: usize, n: usize) -> Operand<'a> {
        match self {
            Operand::Elements(x) => Operand::Elements(&x[i * n..(i + 1) * n]),
            Operand::Row(x) => Operand::Elements(x),
            Operand::Column(x) => Operand::Scalar(x[i]),
            other => other,
        }
    }
}

/// out = f(x).
pub fn unary(f: Unary, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "unary: lengths of input and output");
    map(threads_for(x.len() * COST), f, x, out);
}

fn map(threads: usize, f: Unary, x: &[f32], out: &mut [f32]) {
    if threads == 1 {
        return dispatch(Map { f, x: Operand::Elements(x), out });
    }
    let at = (out.len() * (threads / 2) / threads).next_multiple_of(LANES);
    let ((x, x_rest), (out, rest)) = (x.split_at(at), out.split_at_mut(at));
    halves(threads, |n| map(n, f, x, out), |n| map(n, f, x_rest, rest));
}

/// out = f(a, b) with broadcasting over a row-major `[m, n]` output.
pub fn binary(f: Binary, a: Operand<'_>, b: Operand<'_>, out: &mut [f32]) {
    if out.is_empty() {
        return;
    }
    let [a, b] = [a, b].map(|x| x.simplified(out.len()));
    let rows = [a.row_len(out.len()), b.row_len(out.len())];
    let n = match rows {
        [Some(n), Some(k)] => {
            assert_eq!(n, k, "binary: row lengths of the operands");
            n
        }
        [Some(n), None] | [None, Some(n)] => n,
        [None, None] => out.len(),
    };
    let threads = threads_for(out.len() * COST);
    Zip { f, a, b, n, out }.run_on(threads);
}

struct Map<'a> {
    f: Unary,
    x: Operand<'a>,
    out: &'a mut [f32],
}

impl Kernel for Map<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.f {
            Unary::Abs => self.with::<S, math::Abs>(s),
            Unary::Cos => self.with::<S, math::Cos>(s),
            Unary::Exp => self.with::<S, math::Exp>(s),
            Unary::Expm1 => self.with::<S, math::Expm1>(s),
            Unary::Log => self.with::<S, math::Log>(s),
            Unary::Log1p => self.with::<S, math::Log1p>(s),
            Unary::Neg => self.with::<S, math::Neg>(s),
            Unary::Reciprocal => self.with::<S, math::Reciprocal>(s),
            Unary::Relu => self.with::<S, math::Relu>(s),
            Unary::Sigmoid => self.with::<S, math::Sigmoid>(s),
            Unary::Sin => self.with::<S, math::Sin>(s),
            Unary::Softplus => self.with::<S, math::Softplus>(s),
            Unary::Sqrt => self.with::<S, math::Sqrt>(s),
            Unary::Square => self.with::<S, math::Square>(s),
            Unary::Tanh => self.with::<S, math::Tanh>(s),
        }
    }
}

impl Map<'_> {
    #[inline(always)]
    fn with<S: Simd, T: Function<1>>(self, s: S) {
        each::<S, T, 1>(s, [self.x], self.out);
    }
}

struct Zip<'a> {
    f: Binary,
    a: Operand<'a>,
    b: Operand<'a>,
    /// Length of a row.
    n: usize,
    out: &'a mut [f32],
}

impl Kernel for Zip<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.f {
            Binary::Add => self.with::<S, math::Add>(s),
            Binary::Sub => self.with::<S, math::Sub>(s),
            Binary::Mul => self.with::<S, math::Mul>(s),
            Binary::Div => self.with::<S, math::Div>(s),
            Binary::Min => self.with::<S, math::Min>(s),
            Binary::Max => self.with::<S, math::Max>(s),
            Binary::TanhBackward => self.with::<S, math::TanhBackward>(s),
            Binary::ReluBackward => self.with::<S, math::ReluBackward>(s),
            Binary::SigmoidBackward => self.with::<S, math::SigmoidBackward>(s),
        }
    }
}

impl Zip<'_> {
    /// Splits the output between rows, or within its only row.
    fn run_on(self, threads: usize) {
        let len = self.out.len();
        let whole = if self.n == len { LANES } else { self.n };
        let at = (len * (threads / 2) / threads).next_multiple_of(whole);
        if threads == 1 || at >= len {
            return dispatch(self);
        }
        let Zip { f, mut a, mut b, n, out } = self;
        if n == len {
            (a, b) = (a.row(0, n), b.row(0, n));
        }
        let ((a, a_rest), (b, b_rest)) = (a.split_at(at, n), b.split_at(at, n));
        let (out, rest) = out.split_at_mut(at);
        let lengths = if n == len { [at, len - at] } else { [n, n] };
        let first = Zip { f, a, b, n: lengths[0], out };
        let rest = Zip { f, a: a_rest, b: b_rest, n: lengths[1], out: rest };
        halves(threads, |n| first.run_on(n), |n| rest.run_on(n));
    }

    #[inline(always)]
    fn with<S: Simd, T: Function<2>>(self, s: S) {
        for (i, out) in self.out.chunks_exact_mut(self.n).enumerate() {
            each::<S, T, 2>(s, [self.a.row(i, self.n), self.b.row(i, self.n)], out);
        }
    }
}

/// out = f(x…), 16 elements at a time.
#[inline(always)]
fn each<S: Simd, T: Function<N>, const N: usize>(s: S, x: [Operand<'_>; N], out: &mut [f32]) {
    let mut sources = [Source::Output; N];
    for (source, x) in sources.iter_mut().zip(x) {
        *source = Source::new(s, x);
    }
    let mut v = [s.zero(); N];
    let (chunks, tail) = out.as_chunks_mut::<LANES>();
    for (i, out) in chunks.iter_mut().enumerate() {
        for (v, source) in v.iter_mut().zip(&sources) {
            *v = source.chunk(s, i, out);
        }
        s.store(T::at(s, v), out);
    }
    if !tail.is_empty() {
        for (v, source) in v.iter_mut().zip(&sources) {
            *v = source.tail(s, tail);
        }
        s.store_head(T::at(s, v), tail);
    }
}

/// Where the vectors of an operand come from.
#[derive(Clone, Copy)]
enum Source<'a, S: Simd> {
    Output,
    Number(S::F),
    Memory(&'a [[f32; LANES]], &'a [f32]),
}

impl<'a, S: Simd> Source<'a, S> {
    #[inline(always)]
    fn new(s: S, operand: Operand<'a>) -> Self {
        match operand {
            Operand::Scalar(x) => Source::Number(s.splat(x)),
            Operand::Elements(x) | Operand::Row(x) | Operand::Column(x) => {
                let (chunks, tail) = x.as_chunks();
                Source::Memory(chunks, tail)
            }
            Operand::Output => Source::Output,
        }
    }
    #[inline(always)]
    fn chunk(&self, s: S, i: usize, out: &[f32; LANES]) -> S::F {
        match self {
            Source::Output => s.load(out),
            Source::Number(x) => *x,
            Source::Memory(chunks, _) => s.load(&chunks[i]),
        }
    }
    #[inline(always)]
    fn tail(&self, s: S, out: &[f32]) -> S::F {
        match self {
            Source::Output => s.load_head(out),
            Source::Number(x) => *x,
            Source::Memory(_, tail) => s.load_head(tail),
        }
    }
}
