//! Warnings about graphs that are kept or built for nothing.

use std::fmt;

use crate::diagnostics::{self, Recorded, graph_stats, mode_counts};

/// Updates in a row in which the graph has to grow before [`GraphWarning::Growing`].
const UPDATES: u32 = 20;
/// Recorded steps in a row without a backward before [`GraphWarning::NoBackward`].
const STEPS: u32 = 1000;

/// What a [`GraphWatch`] found. The text begins with a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphWarning {
    /// The graph grew in each of the last updates: something keeps history from one to the next.
    Growing {
        /// Updates in a row.
        updates: u32,
        /// Nodes alive before the first of them.
        from: usize,
        /// Nodes alive now.
        to: usize,
        /// The oldest node made in the last update that is still alive.
        oldest: Option<Recorded>,
    },
    /// History was recorded in many steps and no backward walked through it.
    NoBackward {
        /// Steps in a row.
        steps: u32,
        /// The operation that was recorded last.
        last: Option<Recorded>,
    },
}

impl fmt::Display for GraphWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            GraphWarning::Growing { updates, from, to, oldest } => {
                write!(
                    f,
                    "W-GRAPH-01: the autograd graph grew in each of the last {updates} updates \
                     ({from} -> {to} nodes)"
                )?;
                if let Some((op, at)) = oldest {
                    write!(f, "; the last one left `{op}` made at `{at}`")?;
                }
                write!(f, "; a loss summed as a tensor does this: sum numbers, with `item()`")
            }
            GraphWarning::NoBackward { steps, last } => {
                write!(f, "W-GRAPH-02: {steps} steps recorded history and none ran backward")?;
                if let Some((op, at)) = last {
                    write!(f, ", the last `{op}` at `{at}`")?;
                }
                write!(f, "; wrap what only acts in `inference_mode`")
            }
        }
    }
}

/// Watches the graph from step to step of a training loop. A check reads a few counters; nodes are
/// looked at one by one only in the update before a warning.
#[derive(Debug, Default)]
pub struct GraphWatch {
    nodes_before: usize,
    first_nodes: usize,
    grown: u32,
    recorded_before: u64,
    backwards_before: u64,
    recorded_steps: u32,
}

impl GraphWatch {
    /// A watch that compares with the graph of this moment.
    pub fn new() -> GraphWatch {
        GraphWatch {
            nodes_before: graph_stats().nodes,
            recorded_before: mode_counts().nodes,
            backwards_before: diagnostics::backwards(),
            ..GraphWatch::default()
        }
    }

    /// To be called after each step; `updated` says whether the agent learnt in it. Warns once
    /// for each time the graph begins to grow and each time steps begin to record for nothing.
    pub fn after_step(&mut self, updated: bool) -> Option<GraphWarning> {
        let no_backward = self.check_backward();
        let growing = if updated { self.check_growth() } else { None };
        growing.or(no_backward)
    }

    fn check_growth(&mut self) -> Option<GraphWarning> {
        let nodes = graph_stats().nodes;
        if nodes <= self.nodes_before {
            self.grown = 0;
        } else {
            if self.grown == 0 {
                self.first_nodes = self.nodes_before;
            }
            self.grown = self.grown.saturating_add(1);
        }
        self.nodes_before = nodes;
        let oldest = diagnostics::oldest_collected();
        if self.grown + 1 == UPDATES {
            diagnostics::collect_nodes();
        }
        let warning =
            GraphWarning::Growing { updates: UPDATES, from: self.first_nodes, to: nodes, oldest };
        (self.grown == UPDATES).then_some(warning)
    }

    fn check_backward(&mut self) -> Option<GraphWarning> {
        let (recorded, backwards) = (mode_counts().nodes, diagnostics::backwards());
        if backwards != self.backwards_before {
            self.recorded_steps = 0;
        } else if recorded != self.recorded_before {
            self.recorded_steps = self.recorded_steps.saturating_add(1);
        }
        let begins = recorded != self.recorded_before && self.recorded_steps == STEPS;
        (self.recorded_before, self.backwards_before) = (recorded, backwards);
        let last = diagnostics::last_recorded();
        begins.then_some(GraphWarning::NoBackward { steps: STEPS, last })
    }
}
