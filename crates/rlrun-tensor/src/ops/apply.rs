//! Functions applied to every element: of one tensor, with the derivative beside it, and of two,
//! broadcast to a common shape.

use crate::autograd::{NodeRef, Saved};
use crate::error::ok;
use crate::kernels::{self, Binary, Operand};
use crate::layout::{Layout, Shape, broadcast_shape, gather};
use crate::pool::Scratch;
use crate::read::f32s;
use crate::tensor::Tensor;

/// What the derivative is written in.
pub(super) enum Keep {
    /// Nothing: the derivative is constant.
    Nothing,
    /// The input.
    Input,
    /// The result.
    Result,
}

/// A function of one number and its derivative: `backward(kept, grad)`.
pub(super) struct Unary<F, B> {
    op: &'static str,
    keep: Keep,
    forward: F,
    backward: B,
}

impl<F, B> Unary<F, B>
where
    F: Fn(&[f32], &mut [f32]),
    B: Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
{
    pub(super) fn new(op: &'static str, keep: Keep, forward: F, backward: B) -> Unary<F, B> {
        Unary { op, keep, forward, backward }
    }
}

/// Lifts a function of one number to slices.
pub(super) fn each(f: impl Fn(f32) -> f32) -> impl Fn(&[f32], &mut [f32]) {
    move |input, out| {
        for (out, &x) in out.iter_mut().zip(input) {
            *out = f(x);
        }
    }
}

impl Tensor {
    #[track_caller]
    pub(super) fn unary<F, B>(&self, unary: Unary<F, B>) -> Tensor
    where
        F: Fn(&[f32], &mut [f32]),
        B: Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
    {
        let Unary { op, keep, forward, backward } = unary;
        ok(self.expect_f32(op));
        let value = self.map(forward);
        if !Tensor::any_requires_grad(&[self]) {
            return value;
        }
        let result = value.clone();
        value.record(op, [self], |saver| {
            let kept = match keep {
                Keep::Nothing => None,
                Keep::Input => Some(saver.input(self)),
                Keep::Result => Some(saver.result(&result)),
            };
            move |grad: &Tensor, node: &NodeRef| {
                let kept = kept.as_ref().map(|kept| kept.get(node));
                [Some(backward(kept.as_ref().unwrap_or(grad), grad))]
            }
        })
    }

    #[track_caller]
    pub(super) fn unary_<F, B>(&self, unary: Unary<F, B>)
    where
        F: Fn(&[f32], &mut [f32]),
        B: Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
    {
        let Unary { op, keep, forward, backward } = unary;
        ok(self.expect_f32(op));
        let node = self.begin_write(op, [self], |saver| {
            let kept = match keep {
                Keep::Nothing => None,
                Keep::Input => Some(saver.input(&self.clone_contiguous())),
                Keep::Result => Some(saver.result_of_write(self)),
            };
            move |grad: &Tensor, node: &NodeRef| {
                let kept = kept.as_ref().map(|kept| kept.get(node));
                [Some(backward(kept.as_ref().unwrap_or(grad), grad))]
            }
        });
        // Read and written under one lock: writes from several threads do not lose each other.
        self.update_each(op, |target| match target {
            [only] => forward(&[*only], std::slice::from_mut(only)),
            _ => {
                let mut old = Scratch::new(target.len());
                old.copy_from_slice(target);
                forward(&old, target);
            }
        });
        self.end_write(node);
    }

    /// The function applied to every element; memory order is kept where it is dense.
    #[track_caller]
    pub(super) fn map(&self, forward: impl Fn(&[f32], &mut [f32])) -> Tensor {
        if self.layout.is_dense() {
            let numbers = self.read_memory();
            return Tensor::build_as(self.layout, |out| forward(&numbers, out));
        }
        let numbers = self.read();
        Tensor::build(self.dims(), |out| forward(&numbers, out))
    }
}

/// A kernel over two tensors, broadcast to a common shape.
#[track_caller]
pub(super) fn zip(f: Binary, a: &Tensor, b: &Tensor) -> Tensor {
    let op = name(f);
    ok(a.expect_f32(op).and_then(|()| b.expect_f32(op)));
    if a.layout.shape == b.layout.shape
        && a.layout.strides == b.layout.strides
        && a.layout.is_dense()
    {
        let (x, y) = (a.read_memory(), b.read_memory());
        let (x, y) = (Operand::Elements(&x), Operand::Elements(&y));
        return Tensor::build_as(a.layout, |out| kernels::binary(f, x, y, out));
    }
    let shape = ok(broadcast_shape(op, a.dims(), b.dims()));
    let (Some(over_a), Some(over_b)) = (a.layout.broadcast(&shape), b.layout.broadcast(&shape))
    else {
        unreachable!("both broadcast to the common shape")
    };
    let (x, y) = (a.storage.read(), b.storage.read());
    let (x, y) = (f32s(&x), f32s(&y));
    let (mut copy_a, mut copy_b) = (Scratch::new(0), Scratch::new(0));
    let x = operand(x, &over_a, &mut copy_a);
    let y = operand(y, &over_b, &mut copy_b);
    Tensor::build(&shape, |out| kernels::binary(f, x, y, out))
}

fn name(f: Binary) -> &'static str {
    match f {
        Binary::Add => "add",
        Binary::Sub => "sub",
        Binary::Mul => "mul",
        Binary::Div => "div",
        Binary::Min => "minimum",
        Binary::Max => "maximum",
        _ => "backward",
    }
}

/// What a kernel calls a broadcast layout, or a copy of its elements in `copy`.
fn operand<'a>(memory: &'a [f32], layout: &Layout, copy: &'a mut Scratch) -> Operand<'a> {
    let (at, numel) = (layout.offset, layout.numel());
    if layout.is_contiguous() {
        return Operand::Elements(&memory[at..at + numel]);
    }
    let moves = |dim: usize| layout.shape[dim] != 1 && layout.strides[dim] != 0;
    let last = layout.shape.len() - 1;
    let (width, step) = (layout.shape[last], layout.strides[last]);
    if numel > 0 && !(0..last).any(moves) {
        match step {
            0 => return Operand::Scalar(memory[at]),
            1 => return Operand::Row(&memory[at..at + width]),
            _ => {}
        }
    }
    if last == 1 && step == 0 && layout.strides[0] == 1 {
        return Operand::Column(&memory[at..at + layout.shape[0]]);
    }
    *copy = Scratch::new(numel);
    gather(memory, layout, copy);
    Operand::Elements(copy)
}

/// `f` over two tensors, broadcast to a common shape.
#[track_caller]
pub(super) fn zip_each(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(f32, f32) -> f32,
) -> Tensor {
    ok(a.expect_f32(op).and_then(|()| b.expect_f32(op)));
    if a.layout.shape == b.layout.shape
        && a.layout.strides == b.layout.strides
        && a.layout.is_dense()
    {
        let (x, y) = (a.read_memory(), b.read_memory());
        return Tensor::build_as(a.layout, |out| {
            for ((out, &x), &y) in out.iter_mut().zip(x.iter()).zip(y.iter()) {
                *out = f(x, y);
            }
        });
    }
    let shape = ok(broadcast_shape(op, a.dims(), b.dims()));
    let (x, y) = (a.storage.read(), b.storage.read());
    let (x, y) = (f32s(&x), f32s(&y));
    let (Some(over_a), Some(over_b)) = (a.layout.broadcast(&shape), b.layout.broadcast(&shape))
    else {
        unreachable!("both broadcast to the common shape")
    };
    Tensor::build(&shape, |out| zip_rows(out, (x, &over_a), (y, &over_b), f))
}

/// `f` over two broadcast layouts, one row of the last dimension at a time.
fn zip_rows(
    out: &mut [f32],
    (x, over_x): (&[f32], &Layout),
    (y, over_y): (&[f32], &Layout),
    f: impl Fn(f32, f32) -> f32,
) {
    let width = over_x.shape.last().copied().unwrap_or(1);
    if out.is_empty() {
        return;
    }
    let (x_rows, x_step) = rows(over_x);
    let (y_rows, y_step) = rows(over_y);
    for ((out, x_start), y_start) in out.chunks_exact_mut(width).zip(x_rows).zip(y_rows) {
        match (x_step, y_step) {
            (1, 1) => {
                let (x, y) = (&x[x_start..][..width], &y[y_start..][..width]);
                for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *out = f(x, y);
                }
            }
            (1, 0) => {
                let y = y[y_start];
                for (out, &x) in out.iter_mut().zip(&x[x_start..][..width]) {
                    *out = f(x, y);
                }
            }
            _ => {
                for (i, out) in out.iter_mut().enumerate() {
                    let i = i as isize;
                    let at = |start: usize, step: isize| (start as isize + i * step) as usize;
                    *out = f(x[at(x_start, x_step)], y[at(y_start, y_step)]);
                }
            }
        }
    }
}

/// Where each row of the last dimension starts, and the step within it.
fn rows(layout: &Layout) -> (impl Iterator<Item = usize>, isize) {
    let mut outer = *layout;
    let step = layout.strides.last().copied().unwrap_or(0);
    if let Some(last) = layout.shape.len().checked_sub(1) {
        outer.shape.remove(last);
        outer.strides.remove(last);
    }
    (outer.offsets(), step)
}

/// A kernel of a tensor and a number.
pub(super) fn with_number(f: Binary, number: f32) -> impl Fn(&[f32], &mut [f32]) {
    move |x, out| kernels::binary(f, Operand::Elements(x), Operand::Scalar(number), out)
}

/// Sends the two gradients back through broadcasting.
pub(super) fn reduce(grad: impl FnOnce() -> Tensor, needed: bool, shape: &Shape) -> Option<Tensor> {
    needed.then(|| grad().sum_to(shape))
}

/// What was saved for the gradient of input `index`, if that is wanted. That it was not written
/// since is checked in any case, as in PyTorch.
pub(super) fn wanted(node: &NodeRef, index: usize, saved: &Option<Saved>) -> Option<Tensor> {
    saved.as_ref().map(|saved| saved.get(node)).filter(|_| node.needs(index))
}
