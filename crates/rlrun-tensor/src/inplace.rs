//! Writing into a tensor: what is refused, the version bump, and the history of what was written.

use crate::autograd::{Grads, NodeRef, Saver, edges, new_node};
use crate::call;
use crate::error::{TensorError, ok};
use crate::layout::{Layout, gather};
use crate::mode;
use crate::pool::Scratch;
use crate::read::f32s;
use crate::storage::{Buffer, DType};
use crate::tensor::Tensor;
use crate::view::{Steps, move_retained, take_steps};

impl Tensor {
    /// Checks a write of `self` that reads `inputs` and, if history is recorded, makes its node.
    /// `inputs[0]` is `self`. The rule runs before the write.
    #[track_caller]
    pub(crate) fn begin_write<const N: usize, const M: usize, B>(
        &self,
        op: &'static str,
        inputs: [&Tensor; N],
        rule: impl FnOnce(&mut Saver<'_>) -> B,
    ) -> Option<NodeRef>
    where
        B: Fn(&Tensor, &NodeRef) -> [Option<Tensor>; M] + Send + Sync + 'static,
    {
        let recorded = Tensor::any_requires_grad(&inputs);
        if recorded {
            ok(self.check_recorded_write(op));
        }
        ok(self.check_write(op, &inputs));
        if !recorded {
            return None;
        }
        let mut edges = edges(op, &inputs);
        let Some((root, steps)) = self.base_and_steps() else {
            let node = new_node(op, edges, |saver| {
                let backward = rule(saver);
                move |grad: &Tensor, node: &NodeRef| Grads::from_iter(backward(grad, node))
            });
            return Some(node);
        };
        edges[0] = ok(root.edge(op));
        Some(new_node(op, edges, |saver| {
            // As in PyTorch, one backward frees it.
            saver.frees();
            through_view(steps, rule(saver))
        }))
    }

    /// What only a recorded write may not do.
    fn check_recorded_write(&self, op: &'static str) -> Result<(), TensorError> {
        self.check_view_restriction(op)?;
        if !self.requires_grad() {
            return Ok(());
        }
        let tensor = || self.origin();
        if let Some(root) = self.base()
            && root.grad_fn(op)?.is_none()
        {
            return Err(TensorError::ViewOfLeafInplace { op, tensor: tensor() });
        }
        match self.grad_fn(op)? {
            None => Err(TensorError::LeafInplace { op, tensor: tensor() }),
            Some(_) => Ok(()),
        }
    }

    /// What no write may do.
    fn check_write(&self, op: &'static str, inputs: &[&Tensor]) -> Result<(), TensorError> {
        if self.layout.overlaps() {
            return Err(TensorError::OverlappingInplace { op, tensor: self.origin() });
        }
        for input in inputs {
            if input.layout.broadcast(self.dims()).is_none() {
                let (from, to) = (input.dims(), self.dims());
                let detail = format!("{from:?} does not broadcast to the target's {to:?}");
                return Err(TensorError::ShapeMismatch { op, detail });
            }
        }
        if self.is_inference() && mode::mode().inference.is_none() {
            return Err(TensorError::InplaceOnInferenceTensor { op, tensor: self.origin() });
        }
        Ok(())
    }

    /// Gives the written tensor, or the root of the written view, its new history.
    pub(crate) fn end_write(&self, node: Option<NodeRef>) {
        let Some(node) = node else { return };
        let root = self.base();
        let written = root.as_ref().unwrap_or(self);
        let meta = written.meta_or_new();
        let before = meta.lock().grad_fn.replace(node.clone());
        move_retained(meta, before.as_ref(), Some(&node));
    }

    /// Counts one write.
    pub(crate) fn bump(&self) {
        if !self.is_inference() {
            self.counter().bump();
        }
    }

    /// Changes every element from its old value.
    #[track_caller]
    pub(crate) fn update_each(&self, op: &'static str, f: impl Fn(&mut [f32])) {
        let mut memory = self.storage.write();
        memory.last_write = Some((op, call::site()));
        let Buffer::F32(target) = &mut memory.buffer else { unreachable!("the dtype was checked") };
        if self.layout.is_dense() {
            f(&mut target[self.layout.offset..][..self.numel()]);
        } else {
            let (rows, width) = self.layout.rows();
            for start in rows {
                f(&mut target[start..][..width]);
            }
        }
        drop(memory);
        self.bump();
    }

    /// Changes this tensor with the numbers of another of any layout that broadcasts to it.
    /// `f` sees runs of equal length.
    #[track_caller]
    pub(crate) fn update_with(
        &self,
        op: &'static str,
        other: &Tensor,
        f: impl Fn(&mut [f32], &[f32]),
    ) {
        let Some(spread) = other.layout.broadcast(self.dims()) else {
            unreachable!("shapes were checked before the write")
        };
        if self.shares_storage(other) {
            let mut copy = Scratch::new(self.numel());
            gather(f32s(&other.storage.read()), &spread, &mut copy);
            return self.update_from(op, &copy, &Layout::contiguous(self.dims()), f);
        }
        let first = self.storage.address() < other.storage.address();
        if first {
            let mut memory = self.storage.write();
            memory.last_write = Some((op, call::site()));
            let source = other.storage.read();
            update(&mut memory.buffer, &self.layout, f32s(&source), &spread, f);
        } else {
            let source = other.storage.read();
            let mut memory = self.storage.write();
            memory.last_write = Some((op, call::site()));
            update(&mut memory.buffer, &self.layout, f32s(&source), &spread, f);
        }
        self.bump();
    }

    #[track_caller]
    fn update_from(
        &self,
        op: &'static str,
        source: &[f32],
        spread: &Layout,
        f: impl Fn(&mut [f32], &[f32]),
    ) {
        let mut memory = self.storage.write();
        memory.last_write = Some((op, call::site()));
        update(&mut memory.buffer, &self.layout, source, spread, f);
        drop(memory);
        self.bump();
    }
}

/// Applies `f` to target and source, which have the same shape.
fn update(
    target: &mut Buffer,
    layout: &Layout,
    source: &[f32],
    spread: &Layout,
    f: impl Fn(&mut [f32], &[f32]),
) {
    let Buffer::F32(target) = target else { unreachable!("the dtype was checked") };
    let numel = layout.numel();
    if layout.strides == spread.strides && layout.is_dense() {
        f(&mut target[layout.offset..][..numel], &source[spread.offset..][..numel]);
        return;
    }
    let mut values = Scratch::new(numel);
    gather(source, spread, &mut values);
    if layout.is_contiguous() {
        return f(&mut target[layout.offset..][..numel], &values);
    }
    let (rows, width) = layout.rows();
    for (start, values) in rows.zip(values.chunks_exact(width)) {
        f(&mut target[start..][..width], values);
    }
}

/// The rule of a write through a view: the part of the root's gradient that was written goes
/// through the operation, the rest passes.
fn through_view<const M: usize>(
    steps: Steps,
    backward: impl Fn(&Tensor, &NodeRef) -> [Option<Tensor>; M] + Send + Sync + 'static,
) -> impl Fn(&Tensor, &NodeRef) -> Grads + Send + Sync + 'static {
    move |grad, node| {
        // Nobody looks at a gradient after its node: thousands of written rows share its memory.
        let own = grad.is_contiguous() && grad.is_unshared() && !grad.is_inference();
        let whole = if own && !mode::recording() { grad.clone() } else { grad.clone_contiguous() };
        let part = take_steps(&whole, &steps);
        let mut grads = Grads::from_iter(backward(&part.clone_contiguous(), node));
        if !node.needs(0) {
            return grads;
        }
        match grads[0].take() {
            Some(grad) => part.copy_(&grad),
            None => part.zero_(),
        }
        grads[0] = Some(whole);
        grads
    }
}

impl Tensor {
    /// Writes the values of `source`, broadcast to this shape.
    ///
    /// # Panics
    /// As every write: see [`Tensor::add_`].
    #[track_caller]
    pub fn copy_(&self, source: &Tensor) {
        ok(source.expect_dtype("copy_", self.dtype()));
        let shape = source.layout.shape;
        let node = self.begin_write("copy_", [self, source], |_| {
            move |grad: &Tensor, node: &NodeRef| {
                let to_source = node.needs(1).then(|| grad.sum_to(&shape));
                [node.needs(0).then(|| Tensor::zeros(grad.dims())), to_source]
            }
        });
        match self.dtype() {
            DType::F32 => {
                self.update_with("copy_", source, |target, source| target.copy_from_slice(source));
            }
            _ => self.copy_whole_numbers(source),
        }
        self.end_write(node);
    }

    /// Sets every element; an index takes the whole part of `value`, a flag whether it is not 0.
    ///
    /// # Panics
    /// As every write: see [`Tensor::add_`].
    #[track_caller]
    pub fn fill_(&self, value: f32) {
        self.fill_as("fill_", value);
    }

    /// Sets every element to zero.
    ///
    /// # Panics
    /// As every write: see [`Tensor::add_`].
    #[track_caller]
    pub fn zero_(&self) {
        self.fill_as("zero_", 0.0);
    }

    #[track_caller]
    fn fill_as(&self, op: &'static str, value: f32) {
        let node = self.begin_write(op, [self], |_| {
            |grad: &Tensor, _: &NodeRef| [Some(Tensor::zeros(grad.dims()))]
        });
        match self.dtype() {
            DType::F32 => self.update_each(op, |target| target.fill(value)),
            _ => self.write_whole_numbers(op, std::iter::repeat(value as i64)),
        }
        self.end_write(node);
    }

    #[track_caller]
    fn copy_whole_numbers(&self, source: &Tensor) {
        let Some(layout) = source.layout.broadcast(self.dims()) else {
            unreachable!("shapes were checked before the write")
        };
        let numbers: Vec<i64> = match &source.storage.read().buffer {
            Buffer::I64(values) => layout.offsets().map(|at| values[at]).collect(),
            Buffer::Bool(values) => layout.offsets().map(|at| i64::from(values[at])).collect(),
            Buffer::F32(_) => unreachable!("the dtype was checked"),
        };
        self.write_whole_numbers("copy_", numbers.into_iter());
    }

    /// Writes indices or flags, row-major.
    #[track_caller]
    fn write_whole_numbers(&self, op: &'static str, numbers: impl Iterator<Item = i64>) {
        let mut memory = self.storage.write();
        memory.last_write = Some((op, call::site()));
        let places = self.layout.offsets().zip(numbers);
        match &mut memory.buffer {
            Buffer::I64(target) => places.for_each(|(at, number)| target[at] = number),
            Buffer::Bool(target) => places.for_each(|(at, number)| target[at] = number != 0),
            Buffer::F32(_) => unreachable!("numbers are written by `store`"),
        }
        drop(memory);
        self.bump();
    }
}
