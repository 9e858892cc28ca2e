//! The autograd record of a tensor: what it came from, whether it is trained, and its gradient.
//!
//! Made only for tensors that have any of this; an ordinary constant has no record.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::autograd::{Edge, NodeRef};
use crate::error::{TensorError, ok, raise};
use crate::mode;
use crate::pool::{self, Recycle};
use crate::storage::DType;
use crate::tensor::Tensor;
use crate::view::View;

/// Sees a gradient and may replace it.
pub(crate) type Hook = Arc<dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync>;
/// Sees a leaf's accumulated gradient.
pub(crate) type PostHook = Arc<dyn Fn(&Tensor) + Send + Sync>;

#[derive(Default)]
pub(crate) struct MetaState {
    /// Set by the user on a leaf.
    pub(crate) requires_grad: bool,
    /// The operation that made this tensor, if its history was recorded.
    pub(crate) grad_fn: Option<NodeRef>,
    pub(crate) grad: Option<Tensor>,
    pub(crate) view: Option<Arc<View>>,
    /// Version of the memory for which the recorded history of a view holds.
    pub(crate) history_version: u32,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) post_hooks: Vec<PostHook>,
    /// A result that keeps its gradient.
    pub(crate) retains_grad: bool,
}

#[derive(Default)]
pub(crate) struct Meta(Mutex<MetaState>);

thread_local! {
    static BLOCKS: RefCell<Vec<Arc<Meta>>> = const { RefCell::new(Vec::new()) };
}

impl Recycle for Meta {
    fn with_list<R>(f: impl FnOnce(&mut Vec<Arc<Meta>>) -> R) -> Option<R> {
        BLOCKS.try_with(|list| f(&mut list.borrow_mut())).ok()
    }

    fn clear(&mut self) {
        *self.0.get_mut() = MetaState::default();
    }
}

impl Meta {
    pub(crate) fn new() -> Arc<Meta> {
        pool::block(Meta::default())
    }

    /// The record of a result.
    pub(crate) fn of_result(grad_fn: NodeRef) -> Arc<Meta> {
        pool::block(Meta(Mutex::new(MetaState { grad_fn: Some(grad_fn), ..MetaState::default() })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, MetaState> {
        self.0.lock()
    }
}

impl Tensor {
    /// Whether gradients flow to or through this tensor: a leaf that was asked to, a recorded
    /// result, or a view whose root does.
    pub fn requires_grad(&self) -> bool {
        let Some(meta) = self.meta() else { return false };
        let state = meta.lock();
        if state.requires_grad || state.grad_fn.is_some() {
            return true;
        }
        let root = state.view.as_ref().map(|view| view.root.clone());
        drop(state);
        root.is_some_and(|root| root.requires_grad())
    }

    /// Whether this tensor has no recorded operation behind it.
    ///
    /// # Panics
    /// As [`Tensor::has_grad_fn`].
    #[track_caller]
    pub fn is_leaf(&self) -> bool {
        !self.has_grad_fn()
    }

    /// Whether a recorded operation made this tensor.
    ///
    /// # Panics
    /// For a restricted view that was written since it was made
    /// ([`TensorError::NoGradViewInplace`] and its kin).
    #[track_caller]
    pub fn has_grad_fn(&self) -> bool {
        ok(self.grad_fn("grad_fn")).is_some()
    }

    /// The operation that made this tensor. The history of a view is made anew if its memory was
    /// written since.
    pub(crate) fn grad_fn(&self, op: &'static str) -> Result<Option<NodeRef>, TensorError> {
        let Some(meta) = self.meta() else { return Ok(None) };
        let state = meta.lock();
        if state.view.is_none() {
            return Ok(state.grad_fn.clone());
        }
        drop(state);
        self.view_grad_fn(op)
    }

    /// Whether this operation made this tensor, as far as it is recorded now.
    pub(crate) fn has_history(&self, node: &NodeRef) -> bool {
        let Some(meta) = self.meta() else { return false };
        meta.lock().grad_fn.as_ref().is_some_and(|grad_fn| grad_fn.id() == node.id())
    }

    /// Where a gradient for this tensor goes, if anywhere.
    pub(crate) fn edge(&self, op: &'static str) -> Result<Option<Edge>, TensorError> {
        let Some(meta) = self.meta() else { return Ok(None) };
        if let Some(node) = self.grad_fn(op)? {
            return Ok(Some(Edge::Node(node)));
        }
        Ok(meta.lock().requires_grad.then(|| Edge::Leaf(meta.clone())))
    }

    /// Asks for gradients of this leaf, or no longer; returns the same tensor.
    ///
    /// # Panics
    /// [`TensorError::SetRequiresGradOnInference`], [`TensorError::NonFloatRequiresGrad`], or
    /// [`TensorError::NonLeafRequiresGradChange`] for clearing it on a result.
    #[track_caller]
    pub fn requires_grad_(self, on: bool) -> Tensor {
        self.set_requires_grad(on);
        self
    }

    /// Asks for gradients of this leaf, or no longer.
    ///
    /// # Panics
    /// As [`Tensor::requires_grad_`].
    #[track_caller]
    pub fn set_requires_grad(&self, on: bool) {
        if on && self.is_inference() {
            raise(TensorError::SetRequiresGradOnInference { tensor: self.origin() });
        }
        if on && self.dtype() != DType::F32 {
            raise(TensorError::NonFloatRequiresGrad { dtype: self.dtype().name() });
        }
        if ok(self.grad_fn("requires_grad_")).is_some() {
            if !on {
                raise(TensorError::NonLeafRequiresGradChange { tensor: self.origin() });
            }
        } else if on || self.meta().is_some() {
            self.meta_or_new().lock().requires_grad = on;
        }
    }

    /// The accumulated gradient of a leaf, or of a result that retains it.
    pub fn grad(&self) -> Option<Tensor> {
        self.meta()?.lock().grad.clone()
    }

    /// Replaces the gradient.
    ///
    /// # Panics
    /// [`TensorError::AssignGradShapeMismatch`] if it has another shape,
    /// [`TensorError::DtypeMismatch`] if it is not `f32`.
    #[track_caller]
    pub fn set_grad(&self, grad: Option<&Tensor>) {
        if let Some(grad) = grad {
            ok(grad.expect_f32("set_grad"));
        }
        if let Some(grad) = grad
            && grad.dims() != self.dims()
        {
            let (expected, found) = (self.dims().to_vec(), grad.dims().to_vec());
            raise(TensorError::AssignGradShapeMismatch { expected, found });
        }
        if grad.is_some() || self.meta().is_some() {
            self.meta_or_new().lock().grad = grad.cloned();
        }
    }

    /// Keeps the gradient of this result at the next backward.
    ///
    /// # Panics
    /// [`TensorError::RetainGradOnNoGrad`] if it requires no grad.
    #[track_caller]
    pub fn retain_grad(&self) {
        if !self.requires_grad() {
            raise(TensorError::RetainGradOnNoGrad { tensor: self.origin() });
        }
        // A restricted view that was written has no history to keep a gradient of.
        if let Ok(Some(node)) = self.grad_fn("retain_grad") {
            let meta = self.meta_or_new();
            meta.lock().retains_grad = true;
            node.retain_for(meta);
        }
    }

    /// Calls `hook` with the gradient of this tensor during backward; `Some` replaces it. A leaf's
    /// hook sees the sum of all contributions, before it is accumulated.
    ///
    /// # Panics
    /// [`TensorError::HookOnNoGrad`] if this tensor requires no grad.
    #[track_caller]
    pub fn register_hook(&self, hook: impl Fn(&Tensor) -> Option<Tensor> + Send + Sync + 'static) {
        if !self.requires_grad() {
            raise(TensorError::HookOnNoGrad { tensor: self.origin() });
        }
        match ok(self.grad_fn("register_hook")) {
            Some(node) => node.add_hook(Arc::new(hook)),
            None => self.meta_or_new().lock().hooks.push(Arc::new(hook)),
        }
    }

    /// Calls `hook` with a leaf's gradient after it was accumulated.
    ///
    /// # Panics
    /// [`TensorError::HookOnNoGrad`] or [`TensorError::PostAccHookOnNonLeaf`].
    #[track_caller]
    pub fn register_post_accumulate_grad_hook(
        &self,
        hook: impl Fn(&Tensor) + Send + Sync + 'static,
    ) {
        if !self.requires_grad() {
            raise(TensorError::HookOnNoGrad { tensor: self.origin() });
        }
        if ok(self.grad_fn("register_post_accumulate_grad_hook")).is_some() {
            raise(TensorError::PostAccHookOnNonLeaf { tensor: self.origin() });
        }
        self.meta_or_new().lock().post_hooks.push(Arc::new(hook));
    }

    /// The same values and memory, without history; shares the version counter.
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        self.alias(self.layout)
    }

    /// Cuts this tensor off its history.
    ///
    /// # Panics
    /// [`TensorError::DetachViewInplace`] for a tracked view.
    #[track_caller]
    pub fn detach_(&self) {
        let Some(meta) = self.meta() else { return };
        let mut state = meta.lock();
        if state.view.is_some() {
            drop(state);
            raise(TensorError::DetachViewInplace { tensor: self.origin() });
        }
        let history = state.grad_fn.take();
        state.requires_grad = false;
        drop(state);
        drop(history);
    }

    /// Whether an operation on these may be recorded now.
    pub(crate) fn any_requires_grad(inputs: &[&Tensor]) -> bool {
        mode::recording() && inputs.iter().any(|input| input.requires_grad())
    }
}
