//! Views: tensors on the memory of another, and what tracking them means.
//!
//! A view of a normal tensor remembers its root and the steps that lead from it, so that a write
//! through the view reaches the history of the root, and the other way round. Views of inference
//! tensors are not tracked.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok};
use crate::layout::{Dims, Layout, Shape, checked_numel, dim_index, existing_dim};
use crate::meta::Meta;
use crate::mode;
use crate::tensor::Tensor;

/// Where a tracked view was made: what restricts writes to it while history is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewMadeIn {
    /// In grad mode, by an operation with one result.
    Default,
    /// By `split`, `chunk` or `unbind`.
    MultiOutputNode,
    /// In `no_grad`.
    NoGradMode,
    /// In `inference_mode`.
    InferenceMode,
}

/// One step from a tensor to a view of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ViewStep {
    Reshape(Shape),
    Expand(Shape),
    Permute(Dims<usize>),
    /// `len` indices of `dim` from `start`.
    Narrow {
        dim: usize,
        start: usize,
        len: usize,
    },
    /// One index of `dim`, which disappears.
    Select {
        dim: usize,
        index: usize,
    },
    Unsqueeze(usize),
    Squeeze(usize),
}

/// What a tracked view knows of its root.
pub(crate) struct View {
    pub(crate) root: Tensor,
    pub(crate) steps: SmallVec<[ViewStep; 1]>,
    pub(crate) made_in: ViewMadeIn,
    /// Version of the memory for which the recorded history holds.
    pub(crate) history_version: u32,
}

impl ViewStep {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ViewStep::Reshape(_) => "view",
            ViewStep::Expand(_) => "expand",
            ViewStep::Permute(_) => "permute",
            ViewStep::Narrow { .. } => "narrow",
            ViewStep::Select { .. } => "select",
            ViewStep::Unsqueeze(_) => "unsqueeze",
            ViewStep::Squeeze(_) => "squeeze",
        }
    }

    /// The layout of the view; the arguments were checked when the step was made.
    pub(crate) fn layout(&self, of: &Layout) -> Result<Layout, TensorError> {
        let mut layout = *of;
        match *self {
            ViewStep::Reshape(shape) => {
                return of.view(&shape).ok_or_else(|| TensorError::ViewSizeIncompatible {
                    shape: of.shape.to_vec(),
                    strides: of.strides.to_vec(),
                    target: shape.iter().map(|&extent| extent as isize).collect(),
                });
            }
            ViewStep::Expand(shape) => {
                return of.broadcast(&shape).ok_or_else(|| TensorError::ShapeMismatch {
                    op: "expand",
                    detail: format!("{:?} does not expand to {:?}", &of.shape[..], &shape[..]),
                });
            }
            ViewStep::Permute(order) => {
                for (to, &from) in order.iter().enumerate() {
                    layout.shape[to] = of.shape[from];
                    layout.strides[to] = of.strides[from];
                }
            }
            ViewStep::Narrow { dim, start, len } => {
                layout.shape[dim] = len;
                layout.offset =
                    (layout.offset as isize + start as isize * of.strides[dim]) as usize;
            }
            ViewStep::Select { dim, index } => {
                layout.offset =
                    (layout.offset as isize + index as isize * of.strides[dim]) as usize;
                layout.shape.remove(dim);
                layout.strides.remove(dim);
            }
            ViewStep::Unsqueeze(dim) => {
                let step = of.shape.get(dim).map_or(1, |&extent| extent as isize * of.strides[dim]);
                layout.shape.insert(dim, 1);
                layout.strides.insert(dim, step);
            }
            ViewStep::Squeeze(dim) => {
                layout.shape.remove(dim);
                layout.strides.remove(dim);
            }
        }
        if layout.numel() == 0 {
            // Nowhere, which may lie behind the end of the memory.
            layout.offset = 0;
        }
        Ok(layout)
    }

    /// The gradient of the viewed tensor, of shape `shape`, from the gradient of the view.
    fn backward(&self, grad: &Tensor, shape: &Shape) -> Tensor {
        match *self {
            ViewStep::Reshape(_) | ViewStep::Unsqueeze(_) | ViewStep::Squeeze(_) => {
                grad.reshape(&shape[..])
            }
            ViewStep::Expand(_) => grad.sum_to(shape),
            ViewStep::Permute(order) => {
                let mut inverse = order;
                for (to, &from) in order.iter().enumerate() {
                    inverse[from] = to;
                }
                grad.step(ViewStep::Permute(inverse), false)
            }
            ViewStep::Narrow { .. } | ViewStep::Select { .. } => {
                let whole = Tensor::zeros(&shape[..]);
                whole.step(*self, false).copy_(grad);
                whole
            }
        }
    }
}

impl Tensor {
    /// The view that one step leads to: tracked if this is a normal tensor, recorded if history is.
    #[track_caller]
    pub(crate) fn step(&self, step: ViewStep, one_of_many: bool) -> Tensor {
        let view = self.alias(ok(step.layout(&self.layout)));
        if self.is_inference() {
            return view;
        }
        let mode = mode::mode();
        let mut made_in = match mode {
            _ if mode.inference.is_some() => ViewMadeIn::InferenceMode,
            _ if !mode.grad => ViewMadeIn::NoGradMode,
            _ if one_of_many => ViewMadeIn::MultiOutputNode,
            _ => ViewMadeIn::Default,
        };
        let mut steps = SmallVec::new();
        let mut root = self.clone();
        if let Some(meta) = self.meta()
            && let Some(of) = &meta.lock().view
        {
            steps.extend_from_slice(&of.steps);
            root = of.root.clone();
            let kept = of.made_in == ViewMadeIn::InferenceMode || made_in == ViewMadeIn::Default;
            made_in = if kept { of.made_in } else { made_in };
        }
        steps.push(step);
        let view = self.record_step(view, step);
        let history_version = root.counter().version();
        let record = View { root, steps, made_in, history_version };
        view.meta_or_new().lock().view = Some(Box::new(record));
        view
    }

    #[track_caller]
    fn record_step(&self, view: Tensor, step: ViewStep) -> Tensor {
        let shape = self.layout.shape;
        view.record(step.name(), [self], |_| {
            move |grad: &Tensor, _: &_| [Some(step.backward(grad, &shape))]
        })
    }

    /// The root of a tracked view and the way from it.
    pub(crate) fn base_and_steps(&self) -> Option<(Tensor, SmallVec<[ViewStep; 1]>)> {
        let state = self.meta()?.lock();
        state.view.as_ref().map(|view| (view.root.clone(), view.steps.clone()))
    }

    /// The tensor that this is tracked as a view of.
    pub fn base(&self) -> Option<Tensor> {
        self.meta()?.lock().view.as_ref().map(|view| view.root.clone())
    }

    /// Where this tracked view was made.
    pub fn view_made_in(&self) -> Option<ViewMadeIn> {
        self.meta()?.lock().view.as_ref().map(|view| view.made_in)
    }

    /// The error of a restricted view that is written, or used after a write, in recorded history.
    pub(crate) fn check_view_restriction(&self, op: &'static str) -> Result<(), TensorError> {
        let tensor = self.origin();
        match self.view_made_in() {
            None | Some(ViewMadeIn::Default) => Ok(()),
            Some(ViewMadeIn::NoGradMode) => Err(TensorError::NoGradViewInplace { op, tensor }),
            Some(ViewMadeIn::InferenceMode) => {
                Err(TensorError::InferenceViewInplace { op, tensor })
            }
            Some(ViewMadeIn::MultiOutputNode) => {
                Err(TensorError::MultiOutputViewInplace { op, tensor })
            }
        }
    }

    /// The history of a view: if its memory was written since it was recorded, the steps are
    /// taken again from the root as it is now.
    pub(crate) fn view_grad_fn(&self, op: &'static str) -> Result<Option<NodeRef>, TensorError> {
        let Some(meta) = self.meta() else { return Ok(None) };
        let state = meta.lock();
        let Some(view) = &state.view else { return Ok(state.grad_fn.clone()) };
        let (root, steps) = (view.root.clone(), view.steps.clone());
        let (made_in, old_version) = (view.made_in, view.history_version);
        let recorded = state.grad_fn.clone();
        drop(state);

        let version = self.counter().version();
        if recorded.is_none() && !root.requires_grad() {
            return Ok(None);
        }
        let written = version != old_version;
        let never_recorded = recorded.is_none() && made_in == ViewMadeIn::Default;
        if !written && !never_recorded {
            return Ok(recorded);
        }
        if written {
            self.check_view_restriction(op)?;
        }
        let again = replay(&root, &steps);
        let node = again.meta().and_then(|meta| meta.lock().grad_fn.clone());
        move_retained(meta, recorded.as_ref(), node.as_ref());
        let mut state = meta.lock();
        state.grad_fn.clone_from(&node);
        if let Some(view) = &mut state.view {
            view.history_version = version;
        }
        Ok(node)
    }
}

/// `retain_grad` follows a tensor to its new history.
pub(crate) fn move_retained(meta: &Arc<Meta>, from: Option<&NodeRef>, to: Option<&NodeRef>) {
    if meta.lock().retains_grad {
        if let Some(from) = from {
            from.release_for(meta);
        }
        if let Some(to) = to {
            to.retain_for(meta);
        }
    }
}

/// Takes recorded steps from `root`, with history.
fn replay(root: &Tensor, steps: &[ViewStep]) -> Tensor {
    let _normal = mode::GradModeGuard::inference_mode(false);
    steps.iter().fold(root.clone(), |tensor, &step| tensor.step(step, false))
}

/// Takes steps from `whole` in the current mode.
pub(crate) fn take_steps(whole: &Tensor, steps: &[ViewStep]) -> Tensor {
    steps.iter().fold(whole.clone(), |tensor, &step| tensor.step(step, false))
}

/// A target shape in which one extent may be -1: as many as are left.
#[derive(Clone, Debug)]
pub struct ReshapeTo(SmallVec<[isize; 4]>);

macro_rules! reshape_from {
    ($($int:ty),*) => { $(
        impl<const N: usize> From<[$int; N]> for ReshapeTo {
            fn from(extents: [$int; N]) -> ReshapeTo {
                ReshapeTo(extents.iter().map(|&extent| extent as isize).collect())
            }
        }
        impl From<&[$int]> for ReshapeTo {
            fn from(extents: &[$int]) -> ReshapeTo {
                ReshapeTo(extents.iter().map(|&extent| extent as isize).collect())
            }
        }
    )* };
}
reshape_from!(usize, isize, i32);

impl ReshapeTo {
    fn resolve(&self, op: &'static str, numel: usize) -> Result<Shape, TensorError> {
        let target = || self.0.to_vec();
        let mismatch = || {
            let detail = format!("{numel} elements do not fill the shape {:?}", target());
            TensorError::ShapeMismatch { op, detail }
        };
        let mut known = self.0.iter().filter(|&&extent| extent >= 0);
        let known = known.try_fold(1isize, |known, &extent| known.checked_mul(extent));
        let known = known.ok_or_else(mismatch)?;
        let unknown = self.0.iter().filter(|&&extent| extent == -1).count();
        if unknown > 1 || (unknown == 1 && known == 0) {
            return Err(TensorError::AmbiguousReshape { target: target(), numel });
        }
        let left = if unknown == 1 { numel as isize / known } else { 1 };
        if self.0.iter().any(|&extent| extent < -1) || known * left != numel as isize {
            return Err(mismatch());
        }
        let fill = |&extent: &isize| if extent == -1 { left as usize } else { extent as usize };
        Ok(Shape::of(&self.0.iter().map(fill).collect::<SmallVec<[usize; 4]>>()))
    }
}

impl Tensor {
    /// The same elements with another shape, on the same memory. One extent may be -1.
    ///
    /// # Panics
    /// [`TensorError::ViewSizeIncompatible`] if that needs a copy; sizes that do not fit.
    #[track_caller]
    pub fn view(&self, shape: impl Into<ReshapeTo>) -> Tensor {
        let shape = ok(shape.into().resolve("view", self.numel()));
        self.step(ViewStep::Reshape(shape), false)
    }

    /// The same elements with another shape: a view if strides allow it, else a copy.
    ///
    /// # Panics
    /// If the sizes do not fit.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<ReshapeTo>) -> Tensor {
        let shape = ok(shape.into().resolve("reshape", self.numel()));
        if self.layout.view(&shape).is_some() {
            return self.step(ViewStep::Reshape(shape), false);
        }
        let whole = self.layout.shape;
        self.contiguous_copy().with_shape(shape).record("reshape", [self], |_| {
            move |grad: &Tensor, _: &_| [Some(grad.reshape(&whole[..]))]
        })
    }

    /// Repeats extents of 1 and missing leading ones, without copying. -1 keeps an extent.
    ///
    /// # Panics
    /// If an extent other than 1 would change.
    #[track_caller]
    pub fn expand(&self, shape: impl Into<ReshapeTo>) -> Tensor {
        let ReshapeTo(target) = shape.into();
        let missing = target.len().saturating_sub(self.ndim());
        let extent = |(dim, &extent): (usize, &isize)| match usize::try_from(extent) {
            Ok(extent) => Some(extent),
            Err(_) if extent == -1 => self.dims().get(dim.checked_sub(missing)?).copied(),
            Err(_) => None,
        };
        let found = target.iter().enumerate().map(extent).collect::<Option<SmallVec<[usize; 4]>>>();
        let Some(target) = found else {
            let detail = format!("{:?} does not expand to {target:?}", self.dims());
            crate::error::raise(TensorError::ShapeMismatch { op: "expand", detail })
        };
        ok(checked_numel("expand", &target));
        self.step(ViewStep::Expand(Shape::of(&target)), false)
    }

    /// Exchanges two dimensions.
    ///
    /// # Panics
    /// If a dimension is out of range.
    #[track_caller]
    pub fn transpose(&self, dim0: isize, dim1: isize) -> Tensor {
        let dim0 = ok(dim_index("transpose", dim0, self.ndim()));
        let dim1 = ok(dim_index("transpose", dim1, self.ndim()));
        let mut order = Dims::of(&[0, 1, 2, 3, 4, 5, 6, 7][..self.ndim()]);
        if self.ndim() > 0 {
            order.swap(dim0, dim1);
        }
        self.step(ViewStep::Permute(order), false)
    }

    /// Reorders the dimensions.
    ///
    /// # Panics
    /// If `order` is not a permutation of the dimensions.
    #[track_caller]
    pub fn permute(&self, order: impl AsRef<[isize]>) -> Tensor {
        let order = order.as_ref();
        let mut dims = SmallVec::<[usize; 4]>::new();
        for &dim in order {
            let dim = ok(dim_index("permute", dim, self.ndim()));
            if !dims.contains(&dim) {
                dims.push(dim);
            }
        }
        if dims.len() != self.ndim() || order.len() != self.ndim() {
            let detail = format!("{order:?} does not reorder {} dimensions", self.ndim());
            crate::error::raise(TensorError::ShapeMismatch { op: "permute", detail });
        }
        self.step(ViewStep::Permute(Dims::of(&dims)), false)
    }

    /// `len` indices of `dim`, from `start`; a negative start counts from the end.
    ///
    /// # Panics
    /// If the range is not within the dimension.
    #[track_caller]
    pub fn narrow(&self, dim: isize, start: isize, len: usize) -> Tensor {
        self.step(ok(self.narrow_step("narrow", dim, start, len)), false)
    }

    fn narrow_step(
        &self,
        op: &'static str,
        dim: isize,
        start: isize,
        len: usize,
    ) -> Result<ViewStep, TensorError> {
        let dim = existing_dim(op, dim, self.ndim())?;
        let extent = self.dims()[dim];
        let from = if start < 0 { start + extent as isize } else { start };
        match usize::try_from(from) {
            Ok(start) if start.checked_add(len).is_some_and(|end| end <= extent) => {
                Ok(ViewStep::Narrow { dim, start, len })
            }
            _ => {
                let bound = format!("a range of {len} in an extent of {extent}");
                let index = start as i64;
                Err(TensorError::IndexOutOfRange { op, what: "start", index, bound })
            }
        }
    }

    /// One index of `dim`, which disappears; a negative index counts from the end.
    ///
    /// # Panics
    /// If the index is out of range.
    #[track_caller]
    pub fn select(&self, dim: isize, index: isize) -> Tensor {
        self.step(ok(self.select_step("select", dim, index)), false)
    }

    fn select_step(
        &self,
        op: &'static str,
        dim: isize,
        index: isize,
    ) -> Result<ViewStep, TensorError> {
        let dim = existing_dim(op, dim, self.ndim())?;
        let extent = self.dims()[dim] as isize;
        if index < -extent || index >= extent {
            let bound = format!("an extent of {extent}");
            let index = index as i64;
            return Err(TensorError::IndexOutOfRange { op, what: "index", index, bound });
        }
        let index = if index < 0 { index + extent } else { index } as usize;
        Ok(ViewStep::Select { dim, index })
    }

    /// Adds a dimension of extent 1 at `dim`.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn unsqueeze(&self, dim: isize) -> Tensor {
        let dim = ok(dim_index("unsqueeze", dim, self.ndim() + 1));
        self.step(ViewStep::Unsqueeze(dim), false)
    }

    /// Removes `dim` if its extent is 1.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn squeeze_dim(&self, dim: isize) -> Tensor {
        let dim = ok(dim_index("squeeze", dim, self.ndim()));
        if self.dims().get(dim) == Some(&1) {
            self.step(ViewStep::Squeeze(dim), false)
        } else {
            self.step(ViewStep::Reshape(self.layout.shape), false)
        }
    }

    /// Removes every dimension of extent 1.
    #[track_caller]
    pub fn squeeze(&self) -> Tensor {
        let left = self.dims().iter().copied().filter(|&extent| extent != 1);
        let left = left.collect::<SmallVec<[usize; 4]>>();
        self.step(ViewStep::Reshape(Shape::of(&left)), false)
    }

    /// Views of `size` indices of `dim` each; the last may be shorter.
    ///
    /// # Panics
    /// If `size` is 0 or `dim` is out of range.
    #[track_caller]
    pub fn split(&self, size: usize, dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("split", dim, self.ndim()))];
        if size == 0 {
            let detail = "a part of 0 indices never ends".to_owned();
            crate::error::raise(TensorError::ShapeMismatch { op: "split", detail });
        }
        let sizes = (0..extent.max(1)).step_by(size).map(|start| size.min(extent - start));
        self.split_sizes(&sizes.collect::<Vec<_>>(), dim)
    }

    /// Views of the given numbers of indices of `dim`.
    ///
    /// # Panics
    /// If the sizes do not add up to the extent.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("split", dim, self.ndim()))];
        if sizes.iter().sum::<usize>() != extent {
            let detail = format!("the sizes {sizes:?} do not add up to {extent}");
            crate::error::raise(TensorError::ShapeMismatch { op: "split", detail });
        }
        let mut start = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for &len in sizes {
            parts.push(self.step(ok(self.narrow_step("split", dim, start as isize, len)), true));
            start += len;
        }
        parts
    }

    /// At most `count` views of equal size (the last may be shorter).
    ///
    /// # Panics
    /// If `count` is 0 or `dim` is out of range.
    #[track_caller]
    pub fn chunk(&self, count: usize, dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("chunk", dim, self.ndim()))];
        if count == 0 {
            let detail = "expected at least one chunk".to_owned();
            crate::error::raise(TensorError::ShapeMismatch { op: "chunk", detail });
        }
        self.split(extent.div_ceil(count).max(1), dim)
    }

    /// One view per index of `dim`, which disappears.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn unbind(&self, dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("unbind", dim, self.ndim()))];
        let at = |index| self.step(ok(self.select_step("unbind", dim, index as isize)), true);
        (0..extent).map(at).collect()
    }
}
