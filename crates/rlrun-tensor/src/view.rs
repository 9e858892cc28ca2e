//! Views: tensors on the memory of another, and what tracking them means.
//!
//! A view of a normal tensor remembers its root and the steps that lead from it, so that a write
//! through the view reaches the history of the root, and the other way round. Views of inference
//! tensors are not tracked.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok};
use crate::layout::{Dims, Layout, Shape};
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
    /// The view that this one was taken from, if it was not the root.
    before: Option<Arc<View>>,
    step: ViewStep,
    pub(crate) made_in: ViewMadeIn,
}

/// Steps from a root to a view of it.
pub(crate) type Steps = SmallVec<[ViewStep; 1]>;

impl View {
    fn steps(&self) -> Steps {
        let views = std::iter::successors(Some(self), |view| view.before.as_deref());
        let mut steps: Steps = views.map(|view| view.step).collect();
        steps.reverse();
        steps
    }
}

impl Drop for View {
    /// Long chains are dropped one view after the other, not one inside the other.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some(mut view) = next.and_then(Arc::into_inner) {
            next = view.before.take();
        }
    }
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
                unreachable!("the gradient of a part is recorded as such")
            }
        }
    }
}

impl Tensor {
    /// The view that one step leads to: tracked if this is a normal tensor, recorded if history is.
    #[track_caller]
    pub(crate) fn step(&self, step: ViewStep, one_of_many: bool) -> Tensor {
        let view = self.alias(ok(step.layout(&self.layout)));
        let mode = mode::mode();
        if self.is_inference() || mode.walk {
            return view;
        }
        let mut made_in = match mode {
            _ if mode.inference.is_some() => ViewMadeIn::InferenceMode,
            _ if !mode.grad => ViewMadeIn::NoGradMode,
            _ if one_of_many => ViewMadeIn::MultiOutputNode,
            _ => ViewMadeIn::Default,
        };
        let before = self.meta().and_then(|meta| meta.lock().view.clone());
        let root = before.as_ref().map_or(self, |before| &before.root).clone();
        if let Some(before) = &before {
            let kept =
                before.made_in == ViewMadeIn::InferenceMode || made_in == ViewMadeIn::Default;
            made_in = if kept { before.made_in } else { made_in };
        }
        let view = self.record_step(view, step);
        let history_version = root.counter().version();
        let mut state = view.meta_or_new().lock();
        state.view = Some(Arc::new(View { root, before, step, made_in }));
        state.history_version = history_version;
        drop(state);
        view
    }

    #[track_caller]
    fn record_step(&self, view: Tensor, step: ViewStep) -> Tensor {
        if matches!(step, ViewStep::Narrow { .. } | ViewStep::Select { .. }) {
            return view.record_part(step.name(), self, step);
        }
        let shape = self.layout.shape;
        view.record(step.name(), [self], |_| {
            move |grad: &Tensor, _: &_| [Some(step.backward(grad, &shape))]
        })
    }

    /// The root of a tracked view and the way from it.
    pub(crate) fn base_and_steps(&self) -> Option<(Tensor, Steps)> {
        let view = self.meta()?.lock().view.clone()?;
        Some((view.root.clone(), view.steps()))
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
        let Some(view) = state.view.clone() else { return Ok(state.grad_fn.clone()) };
        let old_version = state.history_version;
        let recorded = state.grad_fn.clone();
        drop(state);

        let version = self.counter().version();
        if recorded.is_none() && !view.root.requires_grad() {
            return Ok(None);
        }
        let written = version != old_version;
        let never_recorded = recorded.is_none() && view.made_in == ViewMadeIn::Default;
        if !written && !never_recorded {
            return Ok(recorded);
        }
        if written {
            self.check_view_restriction(op)?;
        }
        let again = replay(&view.root, &view.steps());
        let node = again.meta().and_then(|meta| meta.lock().grad_fn.clone());
        move_retained(meta, recorded.as_ref(), node.as_ref());
        let mut state = meta.lock();
        state.grad_fn.clone_from(&node);
        state.history_version = version;
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
