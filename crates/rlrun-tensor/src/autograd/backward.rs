//! The walk back through the graph.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::node::{Edge, NodeRef};
use crate::diagnostics;
use crate::error::{TensorError, ok, raise};
use crate::meta::{Hook, Meta};
use crate::mode::{self, GradModeGuard};
use crate::tensor::Tensor;

/// Options of a walk through the graph.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backward<'a> {
    /// Gradient of the tensor that the walk starts from; not needed for one element.
    pub gradient: Option<&'a Tensor>,
    /// Keeps the graph for another walk.
    pub retain_graph: bool,
    /// Records the walk itself, for second-order gradients; keeps the graph.
    pub create_graph: bool,
    /// Accumulates into these leaves only.
    pub inputs: Option<&'a [&'a Tensor]>,
}

impl Tensor {
    /// Accumulates the gradient of this one element into `.grad` of every leaf it came from.
    ///
    /// # Panics
    /// [`TensorError::NoGraph`], [`TensorError::NonScalarBackward`],
    /// [`TensorError::SavedTensorModified`], [`TensorError::BackwardThroughFreedGraph`].
    ///
    /// ```
    /// use rlrun_tensor::Tensor;
    /// let w = Tensor::from_slice(&[3.0], [1]).requires_grad_(true);
    /// (&w * &w).sum().backward();
    /// assert_eq!(w.grad().unwrap().to_vec(), [6.0]);
    /// ```
    #[track_caller]
    pub fn backward(&self) {
        self.backward_with(Backward::default());
    }

    /// [`Tensor::backward`] with options.
    ///
    /// # Panics
    /// As [`Tensor::backward`], and [`TensorError::GradShapeMismatch`].
    #[track_caller]
    pub fn backward_with(&self, options: Backward<'_>) {
        let (edge, gradient) = self.start(options.gradient);
        let targets = options.inputs.map(|inputs| targets_of("backward", inputs));
        let mut walk = Walk::new(options, targets, false);
        walk.run(edge, gradient);
    }

    /// Gradients of this tensor with respect to `wrt`, accumulating nothing; `None` where a tensor
    /// was not used.
    ///
    /// # Panics
    /// As [`Tensor::backward_with`], and [`TensorError::GradWrtNotRequired`].
    #[track_caller]
    pub fn grad_of(&self, wrt: &[&Tensor], options: Backward<'_>) -> Vec<Option<Tensor>> {
        if let Some(constant) = wrt.iter().find(|tensor| !tensor.requires_grad()) {
            raise(TensorError::GradWrtNotRequired { tensor: constant.origin() });
        }
        let (edge, gradient) = self.start(options.gradient);
        let mut walk = Walk::new(options, Some(targets_of("grad", wrt)), true);
        walk.run(edge, gradient);
        walk.captured
    }

    /// The edge and gradient that a walk starts with.
    #[track_caller]
    fn start(&self, gradient: Option<&Tensor>) -> (Option<Edge>, Tensor) {
        if !self.requires_grad() {
            raise(TensorError::NoGraph { tensor: self.origin() });
        }
        let gradient = match gradient {
            Some(gradient) if gradient.dims() != self.dims() => {
                let (expected, found) = (self.dims().to_vec(), gradient.dims().to_vec());
                raise(TensorError::GradShapeMismatch { expected, found })
            }
            Some(gradient) => gradient.clone(),
            None if self.numel() != 1 => {
                raise(TensorError::NonScalarBackward { tensor: self.origin() })
            }
            None => Tensor::ones(self.dims()),
        };
        (ok(self.edge("backward")), gradient)
    }
}

/// Gradients of `of` with respect to `wrt`, accumulating nothing.
///
/// # Panics
/// As [`Tensor::grad_of`], and [`TensorError::UnusedInGraph`] if one was not used.
///
/// ```
/// use rlrun_tensor::{Backward, Tensor, grad};
/// let x = Tensor::from_slice(&[2.0], [1]).requires_grad_(true);
/// let y = (&x * &x * &x).sum();
/// let first = grad(&y, &[&x], Backward { create_graph: true, ..Backward::default() });
/// let second = grad(&first[0].sum(), &[&x], Backward::default());
/// assert_eq!(second[0].to_vec(), [12.0]);
/// ```
#[track_caller]
pub fn grad(of: &Tensor, wrt: &[&Tensor], options: Backward<'_>) -> Vec<Tensor> {
    let found = of.grad_of(wrt, options);
    let unused = |(grad, tensor): (Option<Tensor>, &&Tensor)| match grad {
        Some(grad) => grad,
        None => raise(TensorError::UnusedInGraph { tensor: tensor.origin() }),
    };
    found.into_iter().zip(wrt).map(unused).collect()
}

/// What a walk looks for.
enum Target {
    Node(u64),
    Leaf(Arc<Meta>),
    Nothing,
}

#[track_caller]
fn targets_of(op: &'static str, tensors: &[&Tensor]) -> Vec<Target> {
    let target = |tensor: &&Tensor| match ok(tensor.edge(op)) {
        Some(Edge::Node(node)) => Target::Node(node.id),
        Some(Edge::Leaf(meta)) => Target::Leaf(meta),
        None => Target::Nothing,
    };
    tensors.iter().map(target).collect()
}

/// One walk from a result to the leaves, the youngest node first.
struct Walk {
    retain_graph: bool,
    create_graph: bool,
    targets: Option<Vec<Target>>,
    /// Whether gradients are handed out instead of accumulated.
    capture: bool,
    captured: Vec<Option<Tensor>>,
    /// Nodes whose gradient is not complete yet, by age.
    waiting: Vec<(NodeRef, Tensor)>,
    leaves: Vec<(Arc<Meta>, Tensor)>,
}

impl Walk {
    fn new(options: Backward<'_>, targets: Option<Vec<Target>>, capture: bool) -> Walk {
        let captured = targets.iter().flatten().map(|_| None).collect();
        Walk {
            retain_graph: options.retain_graph || options.create_graph,
            create_graph: options.create_graph,
            targets,
            capture,
            captured,
            waiting: Vec::new(),
            leaves: Vec::new(),
        }
    }

    #[track_caller]
    fn run(&mut self, edge: Option<Edge>, gradient: Tensor) {
        diagnostics::backward_began();
        let mode = mode::mode();
        let _recording = match (self.create_graph, mode.inference) {
            (true, None) => GradModeGuard::enable_grad(),
            _ => GradModeGuard::no_grad(),
        };
        let wanted = self
            .targets
            .as_ref()
            .zip(edge.as_ref())
            .map(|(targets, edge)| nodes_leading_to(edge, targets));
        if let Some(edge) = edge {
            self.arrive(&edge, gradient);
        }
        while let Some((node, gradient)) = self.waiting.pop() {
            if wanted.as_ref().is_some_and(|wanted| wanted.binary_search(&node.id).is_err()) {
                continue;
            }
            let step = catch_unwind(AssertUnwindSafe(|| self.pass(&node, gradient)));
            if let Err(payload) = step {
                self.finish_leaves_not_behind(&node);
                resume_unwind(payload);
            }
        }
        for (leaf, gradient) in std::mem::take(&mut self.leaves) {
            self.finish_leaf(&leaf, gradient);
        }
    }

    /// Hands the complete gradient of `node` on to its inputs.
    fn pass(&mut self, node: &NodeRef, gradient: Tensor) {
        let gradient = self.watch(node, gradient);
        let mut slot = node.backward.lock();
        let Some(backward) = slot.as_ref() else {
            raise(TensorError::BackwardThroughFreedGraph { op: node.op, at: node.at });
        };
        let grads = backward(&gradient, node);
        let spent = if !self.retain_graph && node.saves.load(Ordering::Relaxed) {
            slot.take()
        } else {
            None
        };
        drop(slot);
        drop(spent);
        for (edge, grad) in node.edges.iter().zip(grads) {
            if let (Some(edge), Some(grad)) = (edge, grad) {
                self.arrive(edge, grad);
            }
        }
    }

    /// Hooks, retained gradients and captured ones.
    fn watch(&mut self, node: &NodeRef, mut gradient: Tensor) -> Tensor {
        let watchers = node.watchers.lock();
        let hooks = watchers.hooks.clone();
        let retained: Vec<_> = watchers.retained.iter().filter_map(Weak::upgrade).collect();
        drop(watchers);
        for hook in hooks {
            gradient = hooked(&hook, gradient);
        }
        for meta in retained {
            let copy = if self.create_graph { gradient.clone() } else { gradient.copy() };
            self.accumulate(&meta, copy);
        }
        if let Some(at) = self.target(|target| matches!(target, Target::Node(id) if *id == node.id))
        {
            self.captured[at] = Some(gradient.clone());
        }
        gradient
    }

    fn target(&self, is: impl Fn(&Target) -> bool) -> Option<usize> {
        self.targets.as_ref()?.iter().position(is)
    }

    /// Adds a contribution to the gradient that waits at the end of `edge`.
    fn arrive(&mut self, edge: &Edge, grad: Tensor) {
        match edge {
            Edge::Leaf(meta) => {
                match self.leaves.iter_mut().find(|(leaf, _)| Arc::ptr_eq(leaf, meta)) {
                    Some((_, sum)) => *sum = sum_of(sum, grad),
                    None => self.leaves.push((meta.clone(), grad)),
                }
            }
            Edge::Node(node) => {
                let place = self.waiting.binary_search_by_key(&node.id, |(node, _)| node.id);
                match place {
                    Ok(at) => self.waiting[at].1 = sum_of(&self.waiting[at].1, grad),
                    Err(at) => self.waiting.insert(at, (node.clone(), grad)),
                }
            }
        }
    }

    /// A leaf whose gradient is complete: hooks see it, then it is handed out or accumulated.
    fn finish_leaf(&mut self, leaf: &Arc<Meta>, mut gradient: Tensor) {
        let is_leaf =
            |target: &Target| matches!(target, Target::Leaf(meta) if Arc::ptr_eq(meta, leaf));
        let target = self.target(is_leaf);
        if self.targets.is_some() && target.is_none() {
            return;
        }
        let hooks = leaf.lock().hooks.clone();
        for hook in hooks {
            gradient = hooked(&hook, gradient);
        }
        if self.capture {
            if let Some(at) = target {
                self.captured[at] = Some(gradient);
            }
            return;
        }
        self.accumulate(leaf, gradient);
        let state = leaf.lock();
        let (hooks, grad) = (state.post_hooks.clone(), state.grad.clone());
        drop(state);
        for (hook, grad) in hooks.iter().zip(std::iter::repeat(grad).flatten()) {
            hook(&grad);
        }
    }

    /// Adds to `.grad`: in place, unless the walk is recorded.
    fn accumulate(&self, meta: &Arc<Meta>, gradient: Tensor) {
        let mut state = meta.lock();
        let Some(before) = state.grad.clone() else {
            // Under the lock, so that of two walks at once the second adds to the first.
            let own = self.create_graph || gradient.is_unshared();
            state.grad = Some(if own { gradient } else { gradient.copy() });
            return;
        };
        drop(state);
        if self.create_graph {
            let sum = before.add(&gradient);
            meta.lock().grad = Some(sum);
        } else {
            before.add_(&gradient);
        }
    }

    /// After a node failed: leaves that nothing unfinished leads to are complete.
    fn finish_leaves_not_behind(&mut self, failed: &NodeRef) {
        let mut behind: Vec<Edge> = vec![Edge::Node(failed.clone())];
        behind.extend(self.waiting.drain(..).map(|(node, _)| Edge::Node(node)));
        let mut seen = Vec::new();
        let mut unfinished: Vec<Arc<Meta>> = Vec::new();
        while let Some(edge) = behind.pop() {
            match edge {
                Edge::Leaf(meta) => unfinished.push(meta),
                Edge::Node(node) => {
                    if let Err(at) = seen.binary_search(&node.id) {
                        seen.insert(at, node.id);
                        behind.extend(node.edges.iter().flatten().cloned());
                    }
                }
            }
        }
        for (leaf, gradient) in std::mem::take(&mut self.leaves) {
            if !unfinished.iter().any(|other| Arc::ptr_eq(other, &leaf)) {
                self.finish_leaf(&leaf, gradient);
            }
        }
    }
}

/// What a hook makes of a gradient.
fn hooked(hook: &Hook, gradient: Tensor) -> Tensor {
    match hook(&gradient) {
        Some(other) if other.dims() != gradient.dims() => {
            let (expected, found) = (gradient.dims().to_vec(), other.dims().to_vec());
            raise(TensorError::GradShapeMismatch { expected, found })
        }
        Some(other) => other,
        None => gradient,
    }
}

/// The sum of two contributions, into the memory of the first if nobody else can see it.
fn sum_of(first: &Tensor, second: Tensor) -> Tensor {
    let free = second.is_unshared() && !second.is_inference() && second.layout == first.layout;
    if free && !mode::recording() {
        second.add_(first);
        return second;
    }
    first.add(&second)
}

/// The ids of the nodes from which a target can be reached, sorted.
fn nodes_leading_to(start: &Edge, targets: &[Target]) -> Vec<u64> {
    let mut order: Vec<NodeRef> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut stack = vec![start.clone()];
    while let Some(edge) = stack.pop() {
        if let Edge::Node(node) = edge
            && seen.insert(node.id)
        {
            stack.extend(node.edges.iter().flatten().cloned());
            order.push(node);
        }
    }
    order.sort_by_key(|node| node.id);
    let mut wanted: Vec<u64> = Vec::new();
    for node in order {
        let leads = |edge: &Edge| match edge {
            Edge::Node(input) => wanted.binary_search(&input.id).is_ok(),
            Edge::Leaf(meta) => targets
                .iter()
                .any(|target| matches!(target, Target::Leaf(leaf) if Arc::ptr_eq(leaf, meta))),
        };
        let is_target = targets.iter().any(|t| matches!(t, Target::Node(id) if *id == node.id));
        if is_target || node.edges.iter().flatten().any(leads) {
            wanted.push(node.id);
        }
    }
    wanted
}
