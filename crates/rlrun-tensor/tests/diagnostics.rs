//! What is counted and warned of: live graphs, phases, tensors by mode, growing graphs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rlrun_tensor::{
    GraphStats, GraphWarning, GraphWatch, Tensor, TensorError, assert_no_graph, catch, graph_stats,
    inference_mode, mode_counts, no_grad, phase, phase_counts,
};

/// Live graphs are counted over all threads: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn leaf(numbers: &[f32]) -> Tensor {
    Tensor::from_slice(numbers, [numbers.len()]).requires_grad_(true)
}

const EMPTY: GraphStats = GraphStats { nodes: 0, bytes: 0 };

#[test]
fn a_live_graph_is_counted_in_nodes_and_saved_bytes() {
    let _alone = alone();
    let w = leaf(&[1.0, 2.0, 3.0]);
    // exp saves its result, mul both operands, sum nothing.
    let loss = (w.exp() * &w).sum();
    assert_eq!(graph_stats(), GraphStats { nodes: 3, bytes: 3 * 3 * 4 });
    let other = &loss * 2.0;
    assert_eq!(graph_stats().nodes, 4);
    loss.backward();
    // Backward frees what was saved; the nodes live as long as the results.
    assert_eq!(graph_stats(), GraphStats { nodes: 4, bytes: 0 });
    drop((loss, other));
    assert_eq!(graph_stats(), EMPTY);
    assert!(w.grad().is_some());
}

#[test]
fn a_graph_that_fails_while_it_is_built_or_walked_leaves_nothing() {
    let _alone = alone();
    let w = leaf(&[1.0, 2.0]);
    let constant = inference_mode(|| Tensor::ones([2]));
    let refused = catch(|| w.exp() * &constant).unwrap_err();
    assert!(matches!(refused, TensorError::SaveInferenceForBackward { .. }));
    assert_eq!(graph_stats(), EMPTY);

    let y = w.exp();
    let loss = (&y * &y).sum();
    no_grad(|| y.mul_(&Tensor::ones([2])));
    assert!(catch(|| loss.backward()).is_err());
    drop((y, loss));
    assert_eq!(graph_stats(), EMPTY);
}

#[test]
fn a_graph_dropped_on_another_thread_is_no_longer_counted() {
    let _alone = alone();
    let w = leaf(&[1.0; 8]);
    let mut loss = (&w * &w).sum();
    for _ in 0..1000 {
        loss = &loss + (&w * &w).sum();
    }
    assert_eq!(graph_stats(), GraphStats { nodes: 3 * 1000 + 2, bytes: 1001 * 2 * 8 * 4 });
    thread::spawn(move || drop(loss)).join().unwrap();
    assert_eq!(graph_stats(), EMPTY);
    let made_there = thread::spawn(move || (&w * &w).sum()).join().unwrap();
    assert_eq!(graph_stats().nodes, 2);
    drop(made_there);
    assert_eq!(graph_stats(), EMPTY);
}

#[test]
fn tensors_are_counted_by_the_mode_they_are_made_in() {
    let before = mode_counts();
    let x = Tensor::ones([2, 2]);
    let row = x.select(0, 0);
    no_grad(|| &x + 1.0);
    inference_mode(|| row.exp() + x.select(0, 1));
    let made = mode_counts() - before;
    assert_eq!((made.grad_tensors, made.no_grad_tensors, made.inference_tensors), (2, 1, 3));
    assert_eq!(made.nodes, 0);
}

#[test]
fn a_phase_has_its_own_counts_and_its_true_peak() {
    let _alone = alone();
    thread::spawn(|| {
        let w = leaf(&[1.0; 16]);
        phase("outer", || {
            phase("inner", || drop((&w * &w).sum()));
            no_grad(|| &w + 1.0);
            let small = w.exp();
            drop(small);
        });
        let [outer, inner] = phase_counts()[..] else { panic!("two phases ran") };
        assert_eq!((outer.name, outer.made.nodes, outer.made.no_grad_tensors), ("outer", 1, 1));
        assert_eq!(outer.peak_graph_bytes, 16 * 4);
        // The graph of the inner phase was gone at its end.
        assert_eq!(
            (inner.name, inner.made.nodes, inner.peak_graph_bytes),
            ("inner", 2, 2 * 16 * 4)
        );
        let (op, at) = inner.last_recorded.unwrap();
        assert!(op == "sum" && at.file().ends_with("diagnostics.rs"));
    })
    .join()
    .unwrap();
}

#[test]
fn a_phase_that_panics_ends() {
    thread::spawn(|| {
        let failed = catch_unwind(AssertUnwindSafe(|| phase("broken", || panic!("on purpose"))));
        assert!(failed.is_err());
        let _outside_of_any_phase = Tensor::ones([2]);
        phase("next", || Tensor::ones([2]));
        let made: Vec<_> = phase_counts().iter().map(|phase| phase.made.grad_tensors).collect();
        assert_eq!(made, [0, 1]);
    })
    .join()
    .unwrap();
}

#[test]
fn assert_no_graph_names_what_was_recorded() {
    let w = leaf(&[1.0]);
    assert_eq!(assert_no_graph(|| no_grad(|| &w * 2.0)).to_vec(), [2.0]);
    let panic = catch_unwind(AssertUnwindSafe(|| assert_no_graph(|| &w * 2.0))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.starts_with("1 operations recorded history") && text.contains("`mul` at"),
        "{text}"
    );
}

/// Runs `updates` steps of `update` under a watch and returns what it warned of, with the step.
fn watched(updates: usize, mut update: impl FnMut()) -> Vec<(usize, GraphWarning)> {
    let mut watch = GraphWatch::new();
    let mut step = |index| {
        update();
        watch.after_step(true).map(|warning| (index, warning))
    };
    (1..=updates).filter_map(&mut step).collect()
}

#[test]
fn a_loss_summed_as_a_tensor_warns_once_and_names_what_is_kept() {
    let _alone = alone();
    let w = leaf(&[1.0, 2.0]);
    let mut total = Tensor::scalar(0.0);
    let warnings = watched(50, || {
        let loss = (&w * &w).sum();
        loss.backward_with(rlrun_tensor::Backward { retain_graph: true, ..Default::default() });
        total = &total + &loss;
    });
    let [(20, warning)] = &warnings[..] else { panic!("{warnings:?}") };
    let text = warning.to_string();
    assert!(text.starts_with("W-GRAPH-01: the autograd graph grew in each of the last 20 updates"));
    assert!(text.contains("(0 -> 60 nodes); the last one left `mul` made at"), "{text}");
    assert!(text.contains("diagnostics.rs"), "{text}");
}

#[test]
fn a_loop_that_frees_its_graph_is_not_warned_of() {
    let _alone = alone();
    let w = leaf(&[1.0, 2.0]);
    let mut last = None;
    let warnings = watched(2100, || {
        let loss = (&w * &w).sum();
        loss.backward();
        last = Some(loss);
    });
    assert_eq!(warnings, []);
}

#[test]
fn recording_for_nothing_is_warned_of_once() {
    let _alone = alone();
    let w = leaf(&[1.0, 2.0]);
    let warnings = watched(2500, || drop(&w * 2.0));
    let [(1000, warning)] = &warnings[..] else { panic!("{warnings:?}") };
    let text = warning.to_string();
    assert!(text.starts_with("W-GRAPH-02: 1000 steps recorded history and none ran backward"));
    assert!(text.contains("the last `mul` at"), "{text}");
}
