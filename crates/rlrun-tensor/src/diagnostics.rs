//! What the library has made: counts per thread, and the graph that is alive.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::autograd::Node;
use crate::error::Site;
use crate::mode;

/// What one thread has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeCounts {
    /// Graph nodes: operations whose history was recorded.
    pub nodes: u64,
    /// Tensors made in grad mode, views included.
    pub grad_tensors: u64,
    /// Tensors made in `no_grad`, views included.
    pub no_grad_tensors: u64,
    /// Tensors made in inference mode, views included.
    pub inference_tensors: u64,
}

impl std::ops::Sub for ModeCounts {
    type Output = ModeCounts;
    fn sub(self, earlier: ModeCounts) -> ModeCounts {
        ModeCounts {
            nodes: self.nodes - earlier.nodes,
            grad_tensors: self.grad_tensors - earlier.grad_tensors,
            no_grad_tensors: self.no_grad_tensors - earlier.no_grad_tensors,
            inference_tensors: self.inference_tensors - earlier.inference_tensors,
        }
    }
}

impl std::ops::AddAssign for ModeCounts {
    fn add_assign(&mut self, more: ModeCounts) {
        self.nodes += more.nodes;
        self.grad_tensors += more.grad_tensors;
        self.no_grad_tensors += more.no_grad_tensors;
        self.inference_tensors += more.inference_tensors;
    }
}

/// A recorded operation and where it was called.
pub(crate) type Recorded = (&'static str, Site);

/// Counters of one thread; each is touched alone, so that counting costs one addition.
struct Counters {
    nodes: Cell<u64>,
    grad_tensors: Cell<u64>,
    no_grad_tensors: Cell<u64>,
    inference_tensors: Cell<u64>,
    backwards: Cell<u64>,
    last_recorded: Cell<Option<Recorded>>,
    /// The most saved bytes seen alive since [`restart_peak`].
    peak: Cell<usize>,
}

thread_local! {
    static COUNTERS: Counters = const {
        Counters {
            nodes: Cell::new(0),
            grad_tensors: Cell::new(0),
            no_grad_tensors: Cell::new(0),
            inference_tensors: Cell::new(0),
            backwards: Cell::new(0),
            last_recorded: Cell::new(None),
            peak: Cell::new(0),
        }
    };
    /// Nodes made while they are collected, oldest first.
    static COLLECTED: RefCell<Option<Vec<Weak<Node>>>> = const { RefCell::new(None) };
}

static LIVE_NODES: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What this thread has made since it started.
pub fn mode_counts() -> ModeCounts {
    COUNTERS.with(|counters| ModeCounts {
        nodes: counters.nodes.get(),
        grad_tensors: counters.grad_tensors.get(),
        no_grad_tensors: counters.no_grad_tensors.get(),
        inference_tensors: counters.inference_tensors.get(),
    })
}

/// The graph that is alive now, on all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphStats {
    /// Nodes that something still holds.
    pub nodes: usize,
    /// Bytes of the elements that these nodes saved for backward. What several nodes saved counts
    /// for each of them.
    pub bytes: usize,
}

/// How much graph is alive now, on all threads.
///
/// ```rust,standalone_crate
/// use rlrun_tensor::{Tensor, graph_stats};
/// let w = Tensor::from_slice(&[2.0, 3.0], [2]).requires_grad_(true);
/// let loss = (&w * &w).sum();
/// assert_eq!((graph_stats().nodes, graph_stats().bytes), (2, 16));
/// drop(loss);
/// assert_eq!(graph_stats().nodes, 0);
/// ```
pub fn graph_stats() -> GraphStats {
    let (nodes, bytes) = (LIVE_NODES.load(Ordering::Relaxed), LIVE_BYTES.load(Ordering::Relaxed));
    GraphStats { nodes, bytes }
}

/// Runs `f` and checks that it recorded no history.
///
/// # Panics
/// If an operation inside `f` recorded history on this thread; the text names the last one.
///
/// ```
/// use rlrun_tensor::{Tensor, assert_no_graph, inference_mode};
/// let w = Tensor::ones([2]).requires_grad_(true);
/// assert_no_graph(|| inference_mode(|| &w * 2.0));
/// ```
#[track_caller]
pub fn assert_no_graph<R>(f: impl FnOnce() -> R) -> R {
    let before = mode_counts();
    let result = f();
    let nodes = (mode_counts() - before).nodes;
    if let Some((op, at)) = last_recorded().filter(|_| nodes > 0) {
        panic!("{nodes} operations recorded history where none should, the last `{op}` at `{at}`");
    }
    result
}

/// The operation that this thread recorded last.
pub(crate) fn last_recorded() -> Option<Recorded> {
    COUNTERS.with(|counters| counters.last_recorded.get())
}

/// Walks through a graph that this thread began.
pub(crate) fn backwards() -> u64 {
    COUNTERS.with(|counters| counters.backwards.get())
}

/// The most saved bytes seen alive by this thread since the last call; starts anew.
pub(crate) fn restart_peak() -> usize {
    let now = LIVE_BYTES.load(Ordering::Relaxed);
    COUNTERS.with(|counters| counters.peak.replace(now).max(now))
}

/// Keeps a weak reference to every node that this thread makes from now on.
pub(crate) fn collect_nodes() {
    COLLECTED.set(Some(Vec::new()));
}

/// Ends the collection; the oldest collected node that is still alive.
pub(crate) fn oldest_collected() -> Option<Recorded> {
    let nodes = COLLECTED.take()?;
    nodes.iter().find_map(|node| node.upgrade().map(|node| node.recorded()))
}

/// Counts a tensor or view.
pub(crate) fn count_tensor() {
    let mode = mode::mode();
    COUNTERS.with(|counters| {
        let made = match mode.inference {
            Some(_) => &counters.inference_tensors,
            None if mode.grad => &counters.grad_tensors,
            None => &counters.no_grad_tensors,
        };
        made.set(made.get() + 1);
    });
}

pub(crate) fn node_made(node: &Arc<Node>) {
    LIVE_NODES.fetch_add(1, Ordering::Relaxed);
    COUNTERS.with(|counters| {
        counters.nodes.set(counters.nodes.get() + 1);
        counters.last_recorded.set(Some(node.recorded()));
    });
    COLLECTED.with_borrow_mut(|collected| {
        if let Some(nodes) = collected {
            nodes.push(Arc::downgrade(node));
        }
    });
}

pub(crate) fn node_dropped() {
    LIVE_NODES.fetch_sub(1, Ordering::Relaxed);
}

pub(crate) fn saved(bytes: usize) {
    let alive = LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
    COUNTERS.with(|counters| counters.peak.set(counters.peak.get().max(alive)));
}

pub(crate) fn released(bytes: usize) {
    LIVE_BYTES.fetch_sub(bytes, Ordering::Relaxed);
}

pub(crate) fn backward_began() {
    COUNTERS.with(|counters| counters.backwards.set(counters.backwards.get() + 1));
}
