//! What the library has made: counts for tests, `assert_no_graph` and mode traces.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one thread has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeCounts {
    /// Graph nodes: operations whose history was recorded.
    pub nodes: u64,
    /// Normal tensors, views included.
    pub normal_tensors: u64,
    /// Inference tensors, views included.
    pub inference_tensors: u64,
}

impl std::ops::Sub for ModeCounts {
    type Output = ModeCounts;
    fn sub(self, earlier: ModeCounts) -> ModeCounts {
        ModeCounts {
            nodes: self.nodes - earlier.nodes,
            normal_tensors: self.normal_tensors - earlier.normal_tensors,
            inference_tensors: self.inference_tensors - earlier.inference_tensors,
        }
    }
}

thread_local! {
    static COUNTS: Cell<ModeCounts> = const {
        Cell::new(ModeCounts { nodes: 0, normal_tensors: 0, inference_tensors: 0 })
    };
    static PHASES: RefCell<Vec<PhaseCounts>> = const { RefCell::new(Vec::new()) };
    static PHASE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

static LIVE_NODES: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What this thread has made since it started.
pub fn mode_counts() -> ModeCounts {
    COUNTS.get()
}

/// The graph that is alive now, on all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphStats {
    /// Nodes that something still holds.
    pub nodes: usize,
    /// Bytes of the elements that these nodes saved for backward.
    pub bytes: usize,
}

/// How much graph is alive now, on all threads.
pub fn graph_stats() -> GraphStats {
    let (nodes, bytes) = (LIVE_NODES.load(Ordering::Relaxed), LIVE_BYTES.load(Ordering::Relaxed));
    GraphStats { nodes, bytes }
}

/// Runs `f` and checks that it recorded no history.
///
/// # Panics
/// If an operation inside `f` recorded history on this thread.
#[track_caller]
pub fn assert_no_graph<R>(f: impl FnOnce() -> R) -> R {
    let before = mode_counts();
    let result = f();
    let nodes = (mode_counts() - before).nodes;
    assert!(nodes == 0, "{nodes} operations recorded history where none was expected");
    result
}

/// What one named phase of a program made on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseCounts {
    /// The name given to [`phase`].
    pub name: &'static str,
    /// What was made in it, phases inside it not counted.
    pub made: ModeCounts,
    /// The most graph bytes seen alive at the end of the phase.
    pub peak_graph_bytes: usize,
}

/// Names the phase that the work inside belongs to, for [`phase_counts`].
pub fn phase<R>(name: &'static str, f: impl FnOnce() -> R) -> R {
    let outer = PHASE.replace(Some(name));
    let before = mode_counts();
    if let Some(outer) = outer {
        add_to_phase(outer, before, false);
    }
    MARK.set(before);
    let result = f();
    add_to_phase(name, mode_counts(), true);
    MARK.set(mode_counts());
    PHASE.set(outer);
    result
}

thread_local! {
    /// Counts when the current phase began or was resumed.
    static MARK: Cell<ModeCounts> = const {
        Cell::new(ModeCounts { nodes: 0, normal_tensors: 0, inference_tensors: 0 })
    };
}

fn add_to_phase(name: &'static str, now: ModeCounts, ended: bool) {
    let made = now - MARK.get();
    let bytes = if ended { graph_stats().bytes } else { 0 };
    PHASES.with_borrow_mut(|phases| {
        let found = phases.iter().position(|phase| phase.name == name);
        let at = found.unwrap_or_else(|| {
            phases.push(PhaseCounts { name, made: ModeCounts::default(), peak_graph_bytes: 0 });
            phases.len() - 1
        });
        let phase = &mut phases[at];
        phase.made.nodes += made.nodes;
        phase.made.normal_tensors += made.normal_tensors;
        phase.made.inference_tensors += made.inference_tensors;
        phase.peak_graph_bytes = phase.peak_graph_bytes.max(bytes);
    });
}

/// What each phase of this thread made so far, in the order in which they first ran.
pub fn phase_counts() -> Vec<PhaseCounts> {
    PHASES.with_borrow(Clone::clone)
}

pub(crate) fn count_tensor(inference: bool) {
    let mut counts = COUNTS.get();
    if inference {
        counts.inference_tensors += 1;
    } else {
        counts.normal_tensors += 1;
    }
    COUNTS.set(counts);
}

pub(crate) fn node_made() {
    let mut counts = COUNTS.get();
    counts.nodes += 1;
    COUNTS.set(counts);
    LIVE_NODES.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn node_dropped() {
    LIVE_NODES.fetch_sub(1, Ordering::Relaxed);
}

pub(crate) fn saved(bytes: usize) {
    LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
}

pub(crate) fn released(bytes: usize) {
    LIVE_BYTES.fetch_sub(bytes, Ordering::Relaxed);
}
