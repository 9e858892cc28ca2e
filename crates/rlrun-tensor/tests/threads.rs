//! Soundness under threads: aliasing writes, crossed writes, overlapping copies, views that outlive
//! their roots, shared graphs, and long histories.

use std::sync::Barrier;
use std::thread;

use rlrun_tensor::{Backward, Tensor, graph_stats, no_grad};

const ROUNDS: usize = 2_000;

/// Runs both at once, on a thread each.
fn together(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    let barrier = Barrier::new(2);
    let start = |f: Box<dyn FnOnce() + Send + '_>| {
        barrier.wait();
        f();
    };
    thread::scope(|scope| {
        scope.spawn(|| start(Box::new(a)));
        scope.spawn(|| start(Box::new(b)));
    });
}

#[test]
fn writes_through_aliases_lose_no_update_and_count_every_version() {
    let x = Tensor::zeros([64]);
    let (first, last) = (x.narrow(0, 0, 48), x.narrow(0, 16, 48));
    together(
        || (0..ROUNDS).for_each(|_| first.add_scalar_(1.0)),
        || (0..ROUNDS).for_each(|_| last.add_scalar_(1.0)),
    );
    let n = ROUNDS as f32;
    let values = x.to_vec();
    assert!(values[..16].iter().chain(&values[48..]).all(|&value| value == n));
    assert!(values[16..48].iter().all(|&value| value == 2.0 * n));
    assert_eq!(x.version() as usize, 2 * ROUNDS);
}

#[test]
fn crossed_writes_do_not_wait_for_each_other() {
    let (a, b) = (Tensor::ones([128]), Tensor::ones([128]));
    together(
        || (0..ROUNDS).for_each(|_| a.lerp_(&b, 0.5)),
        || (0..ROUNDS).for_each(|_| b.lerp_(&a, 0.5)),
    );
    assert_eq!((a.to_vec(), b.to_vec()), (vec![1.0; 128], vec![1.0; 128]));
    assert_eq!((a.version() as usize, b.version() as usize), (ROUNDS, ROUNDS));
}

#[test]
fn an_overlapping_copy_reads_the_old_values() {
    let x = Tensor::from_vec((0..8u8).map(f32::from).collect(), [8]);
    x.narrow(0, 1, 7).copy_(&x.narrow(0, 0, 7));
    assert_eq!(x.to_vec(), [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    x.copy_(&x.flip(&[0]));
    assert_eq!(x.to_vec(), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0]);
    let square = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
    square.copy_(&square.transpose(0, 1));
    assert_eq!(square.to_vec(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn a_view_keeps_the_memory_of_a_root_that_another_thread_drops() {
    for _ in 0..100 {
        let root = Tensor::ones([1_000]);
        let view = root.narrow(0, 500, 10);
        together(
            move || drop(root),
            || {
                let made: Vec<Tensor> = (0..20).map(|_| Tensor::full([1_000], 7.0)).collect();
                assert_eq!(view.sum().item(), 10.0);
                drop(made);
            },
        );
        view.add_scalar_(1.0);
        assert_eq!(view.to_vec(), [2.0; 10]);
    }
}

#[test]
fn threads_walk_one_graph_at_once() {
    let w = Tensor::ones([16]).requires_grad_(true);
    let shared = (&w * 3.0).exp();
    let losses: Vec<Tensor> = (0..4).map(|_| (&shared * &shared).sum()).collect();
    thread::scope(|scope| {
        for loss in &losses {
            scope.spawn(|| {
                let options = Backward { retain_graph: true, ..Backward::default() };
                (0..50).for_each(|_| loss.backward_with(options));
            });
        }
    });
    // d/dw Σ e^(6w) = 6 e^(6w), two hundred times.
    let expected = 200.0 * 6.0 * 6.0_f64.exp();
    for grad in w.grad().expect("a gradient").to_vec() {
        assert!((f64::from(grad) / expected - 1.0).abs() < 1e-4, "{grad}, expected {expected}");
    }
}

#[test]
fn a_history_of_200_000_operations_is_walked_and_dropped() {
    let before = graph_stats().nodes;
    let w = Tensor::ones([1]).requires_grad_(true);
    let chain = || (0..200_000).fold(w.clone(), |x, _| x + 0.0);
    let walked = chain();
    walked.backward();
    assert_eq!(w.grad().map(|grad| grad.item()), Some(1.0));
    let in_place = &w * 1.0;
    (0..200_000).for_each(|_| in_place.add_scalar_(0.0));
    drop((walked, in_place, chain()));
    let left = graph_stats().nodes.saturating_sub(before);
    assert!(left < 100_000, "{left} nodes are still alive");
}

#[test]
fn reading_while_another_thread_writes_sees_whole_writes() {
    let x = Tensor::zeros([256]);
    together(
        || no_grad(|| (1..=ROUNDS).for_each(|value| x.fill_(value as f32))),
        || {
            for _ in 0..ROUNDS {
                let seen = x.to_vec();
                assert!(seen.iter().all(|&value| value == seen[0]), "a torn read: {seen:?}");
            }
        },
    );
}
