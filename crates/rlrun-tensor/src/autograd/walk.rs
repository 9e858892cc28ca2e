//! The walk back through the graph, the youngest node first.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rustc_hash::{FxHashMap, FxHashSet};

use super::arrived::{Arrived, Part};
use super::backward::Backward;
use super::node::{Edge, Grads, NodeRef, Rule};
use crate::call::CallGuard;
use crate::diagnostics;
use crate::error::{TensorError, raise};
use crate::meta::{Hook, Meta};
use crate::mode::{self, GradModeGuard};
use crate::tensor::Tensor;

/// Where a gradient arrives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Node(u64),
    Leaf(*const Meta),
}

impl Place {
    fn of(edge: &Edge) -> Place {
        match edge {
            Edge::Node(node) => Place::Node(node.id),
            Edge::Leaf(meta) => Place::Leaf(Arc::as_ptr(meta)),
        }
    }
}

/// What a walk looks for, and which nodes lead there.
pub(super) struct Targets {
    /// Whether gradients are handed out instead of accumulated.
    capture: bool,
    /// For each place, which of the asked gradients arrive there.
    wanted: FxHashMap<Place, Vec<usize>>,
    asked: usize,
    /// Nodes that must run. A captured node itself need not.
    leading: FxHashSet<u64>,
}

impl Targets {
    /// Gradients that are handed out.
    pub(super) fn captured(start: &Edge, edges: &[Option<Edge>]) -> Targets {
        Targets::new(start, edges, true)
    }

    /// Gradients that are accumulated; the nodes of results among them run, and are freed.
    pub(super) fn accumulated(start: &Edge, edges: &[Option<Edge>]) -> Targets {
        Targets::new(start, edges, false)
    }

    fn new(start: &Edge, edges: &[Option<Edge>], capture: bool) -> Targets {
        let mut wanted: FxHashMap<Place, Vec<usize>> = FxHashMap::default();
        for (at, edge) in edges.iter().enumerate() {
            if let Some(edge) = edge {
                wanted.entry(Place::of(edge)).or_default().push(at);
            }
        }
        let mut targets =
            Targets { capture, wanted, asked: edges.len(), leading: FxHashSet::default() };
        for node in nodes_behind(std::slice::from_ref(start)) {
            let itself = !capture && targets.wanted.contains_key(&Place::Node(node.id));
            if itself || node.edges.iter().flatten().any(|edge| targets.want(edge)) {
                targets.leading.insert(node.id);
            }
        }
        targets
    }

    /// Whether a gradient must arrive at the end of `edge`.
    fn want(&self, edge: &Edge) -> bool {
        let place = Place::of(edge);
        let passes = matches!(place, Place::Node(id) if self.leading.contains(&id));
        passes || self.wanted.contains_key(&place)
    }
}

/// Every node that can be reached, the oldest first.
fn nodes_behind(edges: &[Edge]) -> Vec<NodeRef> {
    let (mut nodes, mut seen) = (Vec::new(), FxHashSet::default());
    let mut stack = edges.to_vec();
    while let Some(edge) = stack.pop() {
        if let Edge::Node(node) = edge
            && seen.insert(node.id)
        {
            stack.extend(node.edges.iter().flatten().cloned());
            nodes.push(node);
        }
    }
    nodes.sort_by_key(|node| node.id);
    nodes
}

/// One walk from a result to the leaves.
pub(super) struct Walk {
    retain_graph: bool,
    create_graph: bool,
    targets: Option<Targets>,
    captured: Vec<Option<Tensor>>,
    /// Nodes whose gradient is not complete yet, by age.
    waiting: BTreeMap<u64, (NodeRef, Arrived)>,
    leaves: Vec<(Arc<Meta>, Arrived)>,
    /// Where each leaf is in `leaves`, once there are many.
    leaf_places: FxHashMap<*const Meta, usize>,
}

impl Walk {
    pub(super) fn new(options: Backward<'_>, targets: Option<Targets>) -> Walk {
        let asked = targets.as_ref().map_or(0, |targets| targets.asked);
        Walk {
            retain_graph: options.retain_graph || options.create_graph,
            create_graph: options.create_graph,
            captured: vec![None; asked],
            targets,
            waiting: BTreeMap::new(),
            leaves: Vec::new(),
            leaf_places: FxHashMap::default(),
        }
    }

    /// Walks; what was asked for is handed out in its order.
    #[track_caller]
    pub(super) fn run(mut self, start: &Edge, gradient: Tensor) -> Vec<Option<Tensor>> {
        diagnostics::backward_began();
        let _mode = match (self.create_graph, mode::mode().inference) {
            (true, None) => GradModeGuard::enable_grad(),
            _ => GradModeGuard::walk(),
        };
        // Hooks of the start run even if nothing behind it is wanted.
        self.arrive(start, None, gradient);
        while let Some((_, (node, arrived))) = self.waiting.pop_last() {
            let step = catch_unwind(AssertUnwindSafe(|| self.pass(&node, arrived.complete())));
            if let Err(payload) = step {
                self.finish_leaves_not_behind(node);
                resume_unwind(payload);
            }
        }
        for (leaf, arrived) in std::mem::take(&mut self.leaves) {
            self.finish_leaf(&leaf, arrived.complete());
        }
        self.captured
    }

    /// Hands the complete gradient of `node` on to its inputs.
    fn pass(&mut self, node: &NodeRef, gradient: Tensor) {
        let gradient = self.watch(node, gradient);
        let targets = self.targets.as_ref();
        if targets.is_some_and(|targets| !targets.leading.contains(&node.id)) {
            return;
        }
        let mut slot = node.rule.lock();
        let (part, grads) = match slot.as_ref() {
            None => raise(TensorError::BackwardThroughFreedGraph { op: node.op, at: node.at }),
            Some(Rule::Part(part)) => (Some(part.clone()), Grads::from_iter([Some(gradient)])),
            Some(Rule::Computed(backward)) => match targets {
                Some(targets) => {
                    let wanted = |edge: &Edge| targets.want(edge);
                    (None, node.with_wanted(wanted, || backward(&gradient, node)))
                }
                None => (None, backward(&gradient, node)),
            },
        };
        let spent = if !self.retain_graph && node.saves.load(Ordering::Relaxed) {
            slot.take()
        } else {
            None
        };
        drop(slot);
        drop(spent);
        for (edge, grad) in node.edges.iter().zip(grads) {
            if let (Some(edge), Some(grad)) = (edge, grad)
                && self.targets.as_ref().is_none_or(|targets| targets.want(edge))
            {
                self.arrive(edge, part.clone(), grad);
            }
        }
    }

    /// Hooks, retained gradients and captured ones. As in PyTorch, a gradient is captured before the
    /// hooks if its node runs as well, for a gradient behind it.
    fn watch(&mut self, node: &NodeRef, mut gradient: Tensor) -> Tensor {
        let place = Place::Node(node.id);
        let runs = self.targets.as_ref().is_some_and(|targets| targets.leading.contains(&node.id));
        if runs {
            self.capture(place, &gradient);
        }
        let watchers = node.watchers.lock();
        let hooks = watchers.hooks.clone();
        let retained: Vec<_> = watchers.retained.iter().filter_map(Weak::upgrade).collect();
        drop(watchers);
        for hook in hooks {
            gradient = hooked(&hook, gradient);
        }
        for meta in retained {
            // Not under the lock: sums may be recorded, and the gradient be the result itself.
            let before = meta.lock().grad.take();
            let sum =
                before.map_or_else(|| gradient.clone_contiguous(), |before| before.add(&gradient));
            meta.lock().grad = Some(sum);
        }
        if !runs {
            self.capture(place, &gradient);
        }
        gradient
    }

    /// Keeps a gradient for everyone who asked for it.
    fn capture(&mut self, place: Place, gradient: &Tensor) {
        let Some(targets) = self.targets.as_ref().filter(|targets| targets.capture) else { return };
        for &at in targets.wanted.get(&place).into_iter().flatten() {
            self.captured[at] = Some(gradient.clone());
        }
    }

    /// Where a leaf is in `leaves`: a few are scanned, many are looked up.
    fn leaf_place(&mut self, leaf: &Arc<Meta>) -> Option<usize> {
        const FEW: usize = 32;
        if self.leaves.len() <= FEW {
            return self.leaves.iter().position(|(other, _)| Arc::ptr_eq(other, leaf));
        }
        for (at, (other, _)) in self.leaves.iter().enumerate().skip(self.leaf_places.len()) {
            self.leaf_places.insert(Arc::as_ptr(other), at);
        }
        self.leaf_places.get(&Arc::as_ptr(leaf)).copied()
    }

    /// Adds a contribution, of all of the gradient or of a part of it, to what waits at the end of
    /// `edge`.
    fn arrive(&mut self, edge: &Edge, part: Option<Arc<Part>>, grad: Tensor) {
        match edge {
            Edge::Leaf(meta) => match self.leaf_place(meta) {
                Some(at) => self.leaves[at].1.add(part, grad),
                None => self.leaves.push((meta.clone(), Arrived::first(part, grad))),
            },
            Edge::Node(node) => match self.waiting.get_mut(&node.id) {
                Some((_, arrived)) => arrived.add(part, grad),
                None => {
                    let first = Arrived::first(part, grad);
                    self.waiting.insert(node.id, (node.clone(), first));
                }
            },
        }
    }

    /// A leaf whose gradient is complete: hooks see it, then it is handed out or accumulated.
    fn finish_leaf(&mut self, leaf: &Arc<Meta>, mut gradient: Tensor) {
        let hooks = leaf.lock().hooks.clone();
        for hook in hooks {
            gradient = hooked(&hook, gradient);
        }
        let place = Place::Leaf(Arc::as_ptr(leaf));
        if let Some(targets) = &self.targets
            && (targets.capture || !targets.wanted.contains_key(&place))
        {
            return self.capture(place, &gradient);
        }
        if !leaf.lock().requires_grad {
            // Frozen since the graph was recorded.
            return;
        }
        self.accumulate(leaf, gradient);
        let state = leaf.lock();
        let (hooks, grad) = (state.post_hooks.clone(), state.grad.clone());
        drop(state);
        let _users = (GradModeGuard::hook(), CallGuard::users());
        for (hook, grad) in hooks.iter().zip(std::iter::repeat(grad).flatten()) {
            hook(&grad);
        }
    }

    /// Adds to `.grad`: in place, unless the walk is recorded.
    fn accumulate(&self, meta: &Arc<Meta>, gradient: Tensor) {
        // A gradient that anybody else can see is copied: what is written to the one stays there. Not
        // under the lock, since a copy may be recorded and the gradient be the leaf itself.
        let is_first = meta.lock().grad.is_none();
        let gradient = match gradient.is_unshared() && gradient.layout.is_dense() {
            _ if is_first && self.create_graph => gradient.clone_contiguous(),
            false if is_first => gradient.copy(),
            _ => gradient,
        };
        let mut state = meta.lock();
        let Some(before) = state.grad.clone() else {
            // Under the lock, so that of two walks at once the second adds to the first.
            state.grad = Some(gradient);
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
    fn finish_leaves_not_behind(&mut self, failed: NodeRef) {
        let mut unfinished = vec![Edge::Node(failed)];
        let waiting = std::mem::take(&mut self.waiting).into_values();
        unfinished.extend(waiting.map(|(node, _)| Edge::Node(node)));
        let nodes = nodes_behind(&unfinished);
        let edges = nodes.iter().flat_map(|node| node.edges.iter().flatten());
        let behind: FxHashSet<Place> = edges.map(Place::of).collect();
        for (leaf, arrived) in std::mem::take(&mut self.leaves) {
            if !behind.contains(&Place::Leaf(Arc::as_ptr(&leaf))) {
                self.finish_leaf(&leaf, arrived.complete());
            }
        }
    }
}

/// What a hook makes of a gradient.
fn hooked(hook: &Hook, gradient: Tensor) -> Tensor {
    let _users = (GradModeGuard::hook(), CallGuard::users());
    match hook(&gradient) {
        Some(other) if other.dims() != gradient.dims() => {
            let (expected, found) = (gradient.dims().to_vec(), other.dims().to_vec());
            raise(TensorError::GradShapeMismatch { expected, found })
        }
        Some(other) => other,
        None => gradient,
    }
}
