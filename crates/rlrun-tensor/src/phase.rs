//! Named phases of a program and what was made in each: the data of a mode trace.

use std::cell::RefCell;

use crate::diagnostics::{self, ModeCounts, mode_counts};
use crate::error::Site;

/// What one named phase of a program made on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseCounts {
    /// The name given to [`phase`].
    pub name: &'static str,
    /// What was made in it, phases inside it not counted.
    pub made: ModeCounts,
    /// The most graph bytes alive at any moment of the phase, phases inside it not counted.
    pub peak_graph_bytes: usize,
    /// The operation that was recorded last in it, and where.
    pub last_recorded: Option<(&'static str, Site)>,
}

/// The phases of a thread.
struct Phases {
    seen: Vec<PhaseCounts>,
    current: Option<usize>,
    /// Counts when the current phase began or was resumed.
    mark: ModeCounts,
}

thread_local! {
    static PHASES: RefCell<Phases> = const {
        RefCell::new(Phases {
            seen: Vec::new(),
            current: None,
            mark: ModeCounts {
                nodes: 0,
                grad_tensors: 0,
                no_grad_tensors: 0,
                inference_tensors: 0,
            },
        })
    };
}

impl Phases {
    fn index_of(&mut self, name: &'static str) -> usize {
        let found = self.seen.iter().position(|phase| phase.name == name);
        found.unwrap_or_else(|| {
            let made = ModeCounts::default();
            self.seen.push(PhaseCounts { name, made, peak_graph_bytes: 0, last_recorded: None });
            self.seen.len() - 1
        })
    }

    /// Credits the current phase with what was made in it and goes on in another.
    fn switch(&mut self, to: Option<usize>) -> Option<usize> {
        let (now, peak) = (mode_counts(), diagnostics::restart_peak());
        if let Some(current) = self.current {
            let phase = &mut self.seen[current];
            let made = now - self.mark;
            phase.made += made;
            phase.peak_graph_bytes = phase.peak_graph_bytes.max(peak);
            if made.nodes > 0 {
                phase.last_recorded = diagnostics::last_recorded();
            }
        }
        self.mark = now;
        std::mem::replace(&mut self.current, to)
    }
}

/// Goes back to the outer phase, also when the inner one panics.
struct Outer(Option<usize>);

impl Drop for Outer {
    fn drop(&mut self) {
        PHASES.with_borrow_mut(|phases| phases.switch(self.0));
    }
}

/// Names the phase that the work inside belongs to, for [`phase_counts`].
///
/// ```
/// use rlrun_tensor::{Tensor, phase, phase_counts};
/// let w = Tensor::ones([2]).requires_grad_(true);
/// phase("loss", || (&w * &w).sum());
/// let loss = phase_counts()[0];
/// assert_eq!((loss.name, loss.made.nodes, loss.peak_graph_bytes), ("loss", 2, 16));
/// ```
pub fn phase<R>(name: &'static str, f: impl FnOnce() -> R) -> R {
    let _outer = PHASES.with_borrow_mut(|phases| {
        let inner = phases.index_of(name);
        Outer(phases.switch(Some(inner)))
    });
    f()
}

/// What each phase of this thread made so far, in the order in which they first ran.
pub fn phase_counts() -> Vec<PhaseCounts> {
    PHASES.with_borrow_mut(|phases| {
        let current = phases.current;
        phases.switch(current);
        phases.seen.clone()
    })
}
