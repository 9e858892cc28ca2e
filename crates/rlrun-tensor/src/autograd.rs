//! Recorded history and the walk back through it.
//!
//! A [`Node`] is one recorded operation: edges to where its inputs came from, and the rule that
//! turns the gradient of its result into gradients of its inputs. Rules are written in tensor
//! operations beside their forward: run without recording they cost what the kernels cost, run in
//! grad mode (`create_graph`) they give second-order gradients.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::diagnostics;
use crate::error::{Site, TensorError, ok, raise};
use crate::meta::{Hook, Meta};
use crate::mode::{self, GradModeGuard};
use crate::tensor::Tensor;
use crate::view::{ViewStep, take_steps};

/// Gradients of an operation's inputs, `None` where none is needed.
pub(crate) type Grads = SmallVec<[Option<Tensor>; 3]>;

type BackwardFn = Box<dyn Fn(&Tensor, &NodeRef) -> Grads + Send + Sync>;

/// Where the gradient of an input goes.
#[derive(Clone)]
pub(crate) enum Edge {
    Node(NodeRef),
    Leaf(Arc<Meta>),
}

type Edges = SmallVec<[Option<Edge>; 3]>;

/// One recorded operation.
pub(crate) struct Node {
    /// Grows with time: a node comes after everything it depends on.
    id: u64,
    op: &'static str,
    at: Site,
    edges: Edges,
    /// Whether something is kept for backward, and therefore freed by it.
    saves: AtomicBool,
    backward: Mutex<Option<BackwardFn>>,
    watchers: Mutex<Watchers>,
}

#[derive(Default)]
struct Watchers {
    hooks: Vec<Hook>,
    retained: Vec<Weak<Meta>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Drop for Node {
    fn drop(&mut self) {
        diagnostics::node_dropped();
    }
}

/// A shared node. Long histories are dropped one node after the other, not one inside the other.
#[derive(Clone)]
pub(crate) struct NodeRef(Option<Arc<Node>>);

thread_local! {
    static DROPPING: RefCell<Option<Vec<Arc<Node>>>> = const { RefCell::new(None) };
}

impl Drop for NodeRef {
    fn drop(&mut self) {
        let Some(node) = self.0.take() else { return };
        if Arc::strong_count(&node) > 1 {
            return;
        }
        let mut current = Some(node);
        let queued = DROPPING.try_with(|queue| match &mut *queue.borrow_mut() {
            Some(queue) => queue.extend(current.take()),
            queue => *queue = Some(Vec::new()),
        });
        if queued.is_err() || current.is_none() {
            return;
        }
        while let Some(node) = current {
            drop(node);
            current = DROPPING.with_borrow_mut(|queue| queue.as_mut().and_then(Vec::pop));
        }
        DROPPING.set(None);
    }
}

impl std::ops::Deref for NodeRef {
    type Target = Node;
    fn deref(&self) -> &Node {
        match &self.0 {
            Some(node) => node,
            None => unreachable!("a node is taken out only when it is dropped"),
        }
    }
}

impl Node {
    /// The operation and where it was called, for messages.
    pub(crate) fn recorded(&self) -> (&'static str, Site) {
        (self.op, self.at)
    }

    pub(crate) fn add_hook(&self, hook: Hook) {
        self.watchers.lock().hooks.push(hook);
    }

    pub(crate) fn retain_for(&self, meta: &Arc<Meta>) {
        let retained = &mut self.watchers.lock().retained;
        if !retained.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(meta))) {
            retained.push(Arc::downgrade(meta));
        }
    }

    pub(crate) fn release_for(&self, meta: &Arc<Meta>) {
        let retained = &mut self.watchers.lock().retained;
        retained.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(meta)));
    }

    /// Whether the gradient of input `index` is wanted.
    pub(crate) fn needs(&self, index: usize) -> bool {
        self.edges[index].is_some()
    }
}

/// A tensor kept for backward, with the version it had.
pub(crate) struct Saved {
    tensor: Tensor,
    version: u32,
    kept: Kept,
}

/// What a saved tensor is to the operation that saved it.
enum Kept {
    Input,
    Result,
    /// The part of a root that was written through a view.
    Part {
        root: Tensor,
        steps: SmallVec<[ViewStep; 1]>,
    },
}

impl Saved {
    fn new(tensor: Tensor, version: u32, kept: Kept) -> Saved {
        diagnostics::saved(tensor.numel() * size_of::<f32>());
        Saved { tensor, version, kept }
    }

    /// The tensor as it was saved by `node`.
    pub(crate) fn get(&self, node: &NodeRef) -> Tensor {
        let found = self.tensor.counter().version();
        if found != self.version {
            raise(TensorError::SavedTensorModified {
                op: node.op,
                saved_at: node.at,
                saved: self.version,
                found,
                write: self.tensor.storage.read().last_write,
            });
        }
        match &self.kept {
            Kept::Result if mode::recording() => {
                self.tensor.detach().with_meta(Meta::of_result(node.clone()))
            }
            Kept::Part { root, steps } if mode::recording() => {
                take_steps(&root.detach().with_meta(Meta::of_result(node.clone())), steps)
            }
            _ => self.tensor.clone(),
        }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        diagnostics::released(self.tensor.numel() * size_of::<f32>());
    }
}

/// Decides what an operation keeps for backward.
pub(crate) struct Saver<'a> {
    op: &'static str,
    edges: &'a Edges,
    saves: bool,
}

impl Saver<'_> {
    /// Whether the gradient of input `index` is wanted.
    pub(crate) fn needs(&self, index: usize) -> bool {
        self.edges[index].is_some()
    }

    /// Keeps an input.
    #[track_caller]
    pub(crate) fn input(&mut self, tensor: &Tensor) -> Saved {
        self.saves = true;
        if tensor.is_inference() {
            raise(TensorError::SaveInferenceForBackward { op: self.op, tensor: tensor.origin() });
        }
        Saved::new(tensor.clone(), tensor.counter().version(), Kept::Input)
    }

    /// Keeps an input if `when`.
    #[track_caller]
    pub(crate) fn input_if(&mut self, when: bool, tensor: &Tensor) -> Option<Saved> {
        when.then(|| self.input(tensor))
    }

    /// Keeps the result.
    #[track_caller]
    pub(crate) fn result(&mut self, tensor: &Tensor) -> Saved {
        self.saves = true;
        Saved::new(tensor.detach(), tensor.counter().version(), Kept::Result)
    }

    /// Keeps what `target` will be after the write that is about to happen.
    #[track_caller]
    pub(crate) fn result_of_write(&mut self, target: &Tensor) -> Saved {
        self.saves = true;
        let kept = match target.base_and_steps() {
            Some((root, steps)) => Kept::Part { root: root.detach(), steps },
            None => Kept::Result,
        };
        Saved::new(target.detach(), target.counter().version().wrapping_add(1), kept)
    }

    /// Counts as having kept something: a second backward is refused.
    pub(crate) fn frees(&mut self) {
        self.saves = true;
    }
}

impl Tensor {
    /// Records that `self` was computed from `inputs`, if history is recorded now and any of them
    /// requires grad. `rule` saves what it needs and returns the backward rule.
    #[track_caller]
    pub(crate) fn record<const N: usize, const M: usize, B>(
        self,
        op: &'static str,
        inputs: [&Tensor; N],
        rule: impl FnOnce(&mut Saver<'_>) -> B,
    ) -> Tensor
    where
        B: Fn(&Tensor, &NodeRef) -> [Option<Tensor>; M] + Send + Sync + 'static,
    {
        self.record_many(op, &inputs, |saver| {
            let backward = rule(saver);
            move |grad: &Tensor, node: &NodeRef| Grads::from_iter(backward(grad, node))
        })
    }

    /// The same for any number of inputs.
    #[track_caller]
    pub(crate) fn record_many<B>(
        self,
        op: &'static str,
        inputs: &[&Tensor],
        rule: impl FnOnce(&mut Saver<'_>) -> B,
    ) -> Tensor
    where
        B: Fn(&Tensor, &NodeRef) -> Grads + Send + Sync + 'static,
    {
        if !Tensor::any_requires_grad(inputs) {
            return self;
        }
        let node = new_node(op, edges(op, inputs), rule);
        match self.meta() {
            Some(meta) => meta.lock().grad_fn = Some(node),
            None => return self.with_meta(Meta::of_result(node)),
        }
        self
    }
}

/// Where gradients of `inputs` go.
#[track_caller]
pub(crate) fn edges(op: &'static str, inputs: &[&Tensor]) -> Edges {
    inputs.iter().map(|input| ok(input.edge(op))).collect()
}

/// A node with these edges.
#[track_caller]
pub(crate) fn new_node<B>(
    op: &'static str,
    edges: Edges,
    rule: impl FnOnce(&mut Saver<'_>) -> B,
) -> NodeRef
where
    B: Fn(&Tensor, &NodeRef) -> Grads + Send + Sync + 'static,
{
    let mut saver = Saver { op, edges: &edges, saves: false };
    let backward: BackwardFn = Box::new(rule(&mut saver));
    let saves = AtomicBool::new(saver.saves);
    let node = Arc::new(Node {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        op,
        at: Location::caller(),
        edges,
        saves,
        backward: Mutex::new(Some(backward)),
        watchers: Mutex::default(),
    });
    diagnostics::node_made(&node);
    NodeRef(Some(node))
}

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
