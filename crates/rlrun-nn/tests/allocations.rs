//! What a forward pass in inference mode makes: one tensor per layer, and nothing on the heap.

use allocation_counter::measure;
use rlrun_core::{Purpose, rng_stream};
use rlrun_nn::{Activation, Init, Layer, Mlp};
use rlrun_tensor::{ModeCounts, Tensor, graph_stats, inference_mode, mode_counts, no_grad};

const BATCHES: [usize; 3] = [1, 8, 64];

fn nets() -> [Mlp; 2] {
    let mut rng = rng_stream(1, Purpose::Weights, 0);
    let init = Init::KaimingUniform;
    [(vec![4, 64, 64, 2], Activation::Tanh), (vec![17, 256, 256, 6], Activation::Relu)]
        .map(|(sizes, activation)| Mlp::new(&sizes, activation, init, init, &mut rng))
}

/// Heap allocations of a pass from numbers to numbers, after a first one.
fn allocations(net: &Mlp, inputs: usize, batch: usize) -> u64 {
    let numbers = vec![0.5; batch * inputs];
    let pass = || {
        let output = net.forward(&Tensor::from_slice(&numbers, [batch, inputs]));
        assert!(output.to_scratch().iter().all(|number| number.is_finite()));
    };
    pass();
    measure(pass).count_total
}

#[test]
fn after_the_first_a_pass_allocates_nothing_in_inference_mode_and_nothing_in_no_grad() {
    for (net, inputs) in nets().iter().zip([4, 17]) {
        for batch in BATCHES {
            assert_eq!(inference_mode(|| allocations(net, inputs, batch)), 0, "batch {batch}");
            assert_eq!(no_grad(|| allocations(net, inputs, batch)), 0, "batch {batch}");
        }
    }
    // The counter does count.
    let kept = measure(|| drop(std::hint::black_box(vec![1.0_f32; 3])));
    assert_eq!(kept.count_total, 1);
}

#[test]
fn a_pass_in_inference_mode_makes_one_tensor_per_layer_no_view_no_counter_and_no_node() {
    for (net, inputs) in nets().iter().zip([4, 17]) {
        for batch in BATCHES {
            let input = Tensor::ones([batch, inputs]);
            let (before, alive) = (mode_counts(), graph_stats());
            let output = inference_mode(|| net.forward(&input));
            let made = mode_counts() - before;
            assert_eq!(made, ModeCounts { inference_tensors: 3, ..ModeCounts::default() });
            assert_eq!(graph_stats(), alive);
            assert!(output.is_inference() && output.base().is_none() && !output.requires_grad());
        }
    }
}
