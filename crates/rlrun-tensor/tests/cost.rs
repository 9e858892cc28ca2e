//! What grows with the graph grows no faster than it, and gradients that are added in place have the
//! bits of full ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use allocation_counter::measure;
use proptest::prelude::*;
use rlrun_tensor::{Backward, Tensor, grad, mode_counts, no_grad};

/// Bytes that `f` holds at most.
fn peak(f: impl FnOnce()) -> u64 {
    measure(f).bytes_max
}

#[test]
fn rows_of_a_tensor_go_back_without_a_full_tensor_each() {
    const ROWS: usize = 16_000;
    type Rows = fn(&Tensor) -> Vec<Tensor>;
    let kinds: [(&str, Rows); 4] = [
        ("unbind", |x| x.unbind(0)),
        ("split", |x| x.split(1, 0)),
        ("chunk", |x| x.chunk(ROWS, 0)),
        ("select", |x| (0..ROWS).map(|i| x.select(0, i as isize)).collect()),
    ];
    for (name, rows) in kinds {
        for create_graph in [false, true] {
            let x = Tensor::ones([ROWS, 8]).requires_grad_(true);
            let parts = rows(&x);
            let loss = parts[1..].iter().fold(parts[0].clone(), |sum, row| sum + row).sum();
            let options = Backward { create_graph, ..Backward::default() };
            let mut grads = Vec::new();
            let cost = measure(|| grads = grad(&loss, &[&x], options));
            // A full gradient has 512 KB: this allows 64 of them, not 16 000.
            assert!(
                cost.bytes_total < 32 << 20,
                "{name}, {create_graph}: {} bytes",
                cost.bytes_total
            );
            assert!(grads[0].to_vec().iter().all(|&x| x == 1.0), "{name}");
        }
    }
}

#[test]
fn rows_that_were_written_go_back_without_a_full_tensor_each() {
    const ROWS: usize = 16_000;
    let rows: Vec<_> = (0..ROWS).map(|_| Tensor::ones([8]).requires_grad_(true)).collect();
    let (whole, factor) = (Tensor::zeros([ROWS, 8]), Tensor::full([8], 3.0));
    for (i, row) in rows.iter().enumerate() {
        whole.select(0, i as isize).copy_(row);
        whole.select(0, i as isize).mul_(&factor);
    }
    let loss = whole.sum();
    let cost = measure(|| loss.backward());
    assert!(cost.bytes_total < 32 << 20, "{} bytes", cost.bytes_total);
    assert!(rows.iter().all(|row| row.grad().unwrap().to_vec() == [3.0; 8]));
}

/// Tensors that a walk makes for the gradients of `wrt` alone.
fn made_for(wrt: &[&Tensor], loss: &Tensor) -> u64 {
    let options = Backward { retain_graph: true, ..Backward::default() };
    let before = mode_counts();
    grad(loss, wrt, options);
    (mode_counts() - before).no_grad_tensors
}

#[test]
fn gradients_that_are_not_wanted_are_not_computed() {
    type Op = fn(&Tensor, &Tensor) -> Tensor;
    let ops: [(&str, Op); 9] = [
        ("mul", |x, y| x * y),
        ("div", |x, y| x / y),
        ("maximum", |x, y| x.maximum(y)),
        ("pow", |x, y| x.pow_tensor(y)),
        ("matmul", |x, y| x.matmul(y)),
        ("linear", |x, y| x.linear(y, None)),
        ("conv2d", |x, y| x.view([1, 4, 2, 2]).conv2d(&y.view([4, 4, 1, 1]), None, 1, 0)),
        ("mul_", |x, y| {
            let written = x * 1.0;
            written.mul_(y);
            written
        }),
        ("div_", |x, y| {
            let written = x * 1.0;
            written.div_(y);
            written
        }),
    ];
    for (name, op) in ops {
        let leaf = || Tensor::full([4, 4], 1.5).requires_grad_(true);
        let (x, y) = (leaf(), leaf());
        let loss = op(&x, &y).sum();
        let both = made_for(&[&x, &y], &loss);
        for wrt in [&x, &y] {
            let one = made_for(&[wrt], &loss);
            assert!(one < both, "{name}: {one} tensors for one gradient, {both} for two");
        }
    }
}

#[test]
fn a_view_of_a_view_holds_no_list_of_the_steps_before_it() {
    let kept = |n: usize| {
        peak(|| {
            let mut views = vec![Tensor::ones([4, 2]).requires_grad_(true) * 2.0];
            for i in 0..n {
                views.push(views[i].transpose(0, 1));
            }
        })
    };
    let [some, more] = [4_000, 16_000].map(kept);
    assert!(some < 4_000 * 2_048, "{some} bytes");
    assert!(more < some * 5, "{more} bytes after {some}");
}

#[test]
fn views_of_views_of_any_depth_are_written_through_and_dropped() {
    let x = Tensor::zeros([2, 2]).requires_grad_(true) * 1.0;
    let mut view = x.transpose(0, 1);
    for _ in 0..100_000 {
        view = view.transpose(0, 1);
    }
    no_grad(|| view.fill_(3.0));
    assert_eq!(x.to_vec(), [3.0; 4]);
    drop(view);
    let mut view = x.narrow(0, 0, 2);
    for _ in 0..100 {
        view = view.transpose(0, 1);
    }
    view.select(0, 1).mul_scalar_(2.0);
    assert_eq!(view.sum().item(), 18.0);
}

/// A contribution to the gradient of a `[4, 3]` tensor: all of it, or some indices of a dimension.
#[derive(Clone, Debug)]
enum Use {
    Whole,
    Narrow(usize, usize, usize),
    Select(usize, usize),
}

fn uses() -> impl Strategy<Value = Vec<(Use, Vec<f32>)>> {
    let narrow = (0..2usize, 0..3usize, 0..3usize)
        .prop_map(|(dim, start, len)| Use::Narrow(dim, start, len.min([4, 3][dim] - start)));
    let select = (0..2usize, 0..3usize).prop_map(|(dim, index)| Use::Select(dim, index));
    let one = prop_oneof![1 => Just(Use::Whole), 3 => narrow, 3 => select];
    let value = prop_oneof![3 => Just(-0.0f32), 1 => Just(0.0f32), 2 => -1.0f32..1.0];
    prop::collection::vec((one, prop::collection::vec(value, 12)), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn gradients_of_parts_have_the_bits_of_full_ones(uses in uses()) {
        for create_graph in [false, true] {
            let x = Tensor::ones([4, 3]).requires_grad_(true);
            let mut loss = Tensor::scalar(0.0);
            let mut full = Vec::new();
            for (part, weights) in &uses {
                let whole = Tensor::zeros([4, 3]);
                let take = |x: &Tensor| match *part {
                    Use::Whole => x.clone(),
                    Use::Narrow(dim, start, len) => x.narrow(dim as isize, start as isize, len),
                    Use::Select(dim, index) => x.select(dim as isize, index as isize),
                };
                let seen = take(&x);
                let weights = Tensor::from_slice(&weights[..seen.numel()], seen.dims());
                take(&whole).copy_(&weights);
                full.push(whole);
                loss = (seen * weights).sum() + loss;
            }
            // The youngest use arrives first.
            let sum = full.into_iter().rev().reduce(|sum, grad| sum + grad).unwrap();
            let options = Backward { create_graph, ..Backward::default() };
            let found = &grad(&loss, &[&x], options)[0];
            let bits = |x: &Tensor| x.to_vec().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(found), bits(&sum), "create_graph {}", create_graph);
        }
    }
}

#[test]
fn second_gradients_pass_through_parts() {
    let x = Tensor::from_slice(&[1.0, 2.0, 3.0], [3]).requires_grad_(true);
    let parts = [x.select(0, 0), x.select(0, 1), x.narrow(0, 1, 2).sum()];
    let loss = parts.iter().map(|x| x * x * x).reduce(|a, b| a + b).unwrap();
    let options = Backward { create_graph: true, ..Backward::default() };
    let first = &grad(&loss, &[&x], options)[0];
    // 3x₀², 3x₁² + 3(x₁ + x₂)², 3(x₁ + x₂)²
    assert_eq!(first.to_vec(), [3.0, 87.0, 75.0]);
    let second = grad(&first.sum(), &[&x], Backward::default());
    assert_eq!(second[0].to_vec(), [6.0, 72.0, 60.0]);
}
