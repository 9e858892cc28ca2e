//! Recorded operations: nodes, their edges, and what they keep for backward.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::arrived::Part;
use crate::call;
use crate::diagnostics;
use crate::error::{Site, TensorError, ok, raise};
use crate::meta::{Hook, Meta};
use crate::mode;
use crate::tensor::Tensor;
use crate::view::{Steps, ViewStep, take_steps};

/// Gradients of an operation's inputs, `None` where none is needed.
pub(crate) type Grads = SmallVec<[Option<Tensor>; 3]>;

type BackwardFn = Box<dyn Fn(&Tensor, &NodeRef) -> Grads + Send + Sync>;

/// What makes gradients of the inputs from the gradient of the result.
pub(super) enum Rule {
    Computed(BackwardFn),
    /// The gradient is that of a part of the only input.
    Part(Arc<Part>),
}

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
    pub(super) id: u64,
    pub(super) op: &'static str,
    pub(super) at: Site,
    pub(super) edges: Edges,
    /// Whether something is kept for backward, and therefore freed by it.
    pub(super) saves: AtomicBool,
    pub(super) rule: Mutex<Option<Rule>>,
    /// Inputs among the first 64 whose gradients the walk that runs this node does not want.
    unwanted: AtomicU64,
    pub(super) watchers: Mutex<Watchers>,
}

#[derive(Default)]
pub(super) struct Watchers {
    pub(super) hooks: Vec<Hook>,
    pub(super) retained: Vec<Weak<Meta>>,
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
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

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
        let unwanted = self.unwanted.load(Ordering::Relaxed);
        self.edges[index].is_some() && (index >= 64 || unwanted >> index & 1 == 0)
    }

    /// Runs `rule` while only some inputs' gradients are wanted; the caller holds the rule.
    pub(super) fn with_wanted<R>(
        &self,
        want: impl Fn(&Edge) -> bool,
        rule: impl FnOnce() -> R,
    ) -> R {
        let first = self.edges.iter().take(64).enumerate();
        let skip = |edge: &Option<Edge>| edge.as_ref().is_some_and(|edge| !want(edge));
        let unwanted = first.map(|(at, edge)| u64::from(skip(edge)) << at).sum();
        self.unwanted.store(unwanted, Ordering::Relaxed);
        let _all_again = WantAll(&self.unwanted);
        rule()
    }
}

/// Wants every gradient again when it is dropped.
struct WantAll<'a>(&'a AtomicU64);

impl Drop for WantAll<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
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
    /// With the history it had, which `detach_` cuts without a write.
    Input(Option<NodeRef>),
    Result,
    /// The part of a root that was written through a view.
    Part {
        root: Tensor,
        steps: Steps,
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
            if let Kept::Input(_) = self.kept {
                ok(self.tensor.grad_fn(node.op));
            }
            raise(TensorError::SavedTensorModified {
                op: node.op,
                saved_at: node.at,
                saved: self.version,
                found,
                write: self.tensor.storage.read().last_write,
            });
        }
        match &self.kept {
            Kept::Input(Some(history))
                if mode::recording() && !self.tensor.has_history(history) =>
            {
                self.tensor.detach().with_meta(Meta::of_result(history.clone()))
            }
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
    /// Why the operation cannot be recorded: raised after the rule, which does not know its caller.
    refused: Option<TensorError>,
}

impl Saver<'_> {
    /// Whether the gradient of input `index` is wanted.
    pub(crate) fn needs(&self, index: usize) -> bool {
        self.edges[index].is_some()
    }

    /// Keeps an input.
    pub(crate) fn input(&mut self, tensor: &Tensor) -> Saved {
        self.saves = true;
        if tensor.is_inference() {
            let tensor = tensor.origin();
            self.refused = Some(TensorError::SaveInferenceForBackward { op: self.op, tensor });
        }
        let history = tensor.meta().and_then(|meta| meta.lock().grad_fn.clone());
        Saved::new(tensor.clone(), tensor.counter().version(), Kept::Input(history))
    }

    /// Keeps an input if `when`.
    pub(crate) fn input_if(&mut self, when: bool, tensor: &Tensor) -> Option<Saved> {
        when.then(|| self.input(tensor))
    }

    /// Keeps the result.
    pub(crate) fn result(&mut self, tensor: &Tensor) -> Saved {
        self.saves = true;
        Saved::new(tensor.detach(), tensor.counter().version(), Kept::Result)
    }

    /// Keeps what `target` will be after the write that is about to happen.
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
        self.with_history(node)
    }

    /// Records that `self` is a part of `input`.
    #[track_caller]
    pub(crate) fn record_part(self, op: &'static str, input: &Tensor, step: ViewStep) -> Tensor {
        if !Tensor::any_requires_grad(&[input]) {
            return self;
        }
        let part = Arc::new(Part { step, shape: input.layout.shape });
        self.with_history(node_of(op, edges(op, &[input]), false, Rule::Part(part)))
    }

    fn with_history(self, node: NodeRef) -> Tensor {
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
    let mut edges = Edges::new();
    for input in inputs {
        edges.push(ok(input.edge(op)));
    }
    edges
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
    let mut saver = Saver { op, edges: &edges, saves: false, refused: None };
    let rule = Rule::Computed(Box::new(rule(&mut saver)));
    if let Some(error) = saver.refused {
        raise(error);
    }
    let saves = saver.saves;
    node_of(op, edges, saves, rule)
}

#[track_caller]
fn node_of(op: &'static str, edges: Edges, saves: bool, rule: Rule) -> NodeRef {
    let node = Arc::new(Node {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        op,
        at: call::site(),
        edges,
        saves: AtomicBool::new(saves),
        rule: Mutex::new(Some(rule)),
        unwanted: AtomicU64::new(0),
        watchers: Mutex::default(),
    });
    diagnostics::node_made(&node);
    NodeRef(Some(node))
}
