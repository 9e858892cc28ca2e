//! The order of sums: a row alone has the bits it has in a batch, sums over a batch have the same
//! bits on any number of threads, and long sums keep their digits.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rlrun_core::{Purpose, Rng, rng_stream};
use rlrun_tensor::kernels::with_threads;
use rlrun_tensor::{
    Activation, Backward, CellWeights, Parameter, Reduction, Tensor, grad, no_grad,
};

fn random(rng: &mut Rng, shape: &[usize]) -> Tensor {
    use rand::RngExt;
    let count = shape.iter().product();
    Tensor::from_vec((0..count).map(|_| rng.random_range(-2.0f32..2.0)).collect(), shape)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec().iter().map(|x| x.to_bits()).collect()
}

/// Rows `[b, width]` to results `[b, …]`.
type OfRows<'a> = (&'static str, Box<dyn Fn(&Tensor) -> Tensor + Send + Sync + 'a>);

/// Everything that a network or a policy computes from its rows.
fn of_rows<'a>(width: usize, outputs: usize, rng: &mut Rng) -> Vec<OfRows<'a>> {
    let weight = random(rng, &[outputs, width]);
    let by_columns = Parameter::column_major(&weight);
    let (bias, scale) = (random(rng, &[outputs]), random(rng, &[width]));
    let matrix = weight.transpose(0, 1).clone_contiguous();
    let cell = CellWeightsOf::new(width, outputs.min(40), rng);
    let kernels = random(rng, &[3, 1, 1, width.min(4)]);
    let activations = [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid];
    let mut all: Vec<OfRows<'a>> = Vec::new();
    for act in activations {
        let (weight, bias) = (by_columns.clone(), bias.clone());
        all.push(("linear", Box::new(move |x| x.linear_act(&weight, Some(&bias), act))));
    }
    all.push(("linear by rows", Box::new(move |x| x.linear(&weight, None))));
    all.push(("matmul", Box::new(move |x| x.matmul(&matrix))));
    all.push(("lstm", Box::new(move |x| cell.step(x))));
    all.push((
        "conv2d",
        Box::new(move |x| x.reshape([x.dims()[0], 1, 1, width]).conv2d(&kernels, None, 1, 0)),
    ));
    all.push(("layer_norm", Box::new(move |x| x.layer_norm(&[width], Some(&scale), None, 1e-5))));
    all.push(("softmax", Box::new(|x| x.softmax(-1))));
    all.push(("log_softmax", Box::new(|x| x.log_softmax(-1))));
    all.push(("logsumexp", Box::new(|x| x.logsumexp(-1, false))));
    all.push(("entropy", Box::new(|x| x.categorical_entropy())));
    all.push(("log_prob", Box::new(move |x| x.categorical_log_prob(&choices(x, width)))));
    all.push((
        "cross_entropy",
        Box::new(move |x| x.cross_entropy(&choices(x, width), Reduction::None)),
    ));
    all.push(("sum", Box::new(|x| x.sum_dim(-1, false))));
    all.push((
        "mean of both halves",
        Box::new(|x| {
            Tensor::cat(&[x, x], 1).reshape([x.dims()[0], 2, x.dims()[1]]).mean_dims(&[1, 2], false)
        }),
    ));
    all.push((
        "sum down",
        Box::new(|x| {
            let tall = x.unsqueeze(2).expand([x.dims()[0], x.dims()[1], 3]);
            tall.sum_dim(1, false)
        }),
    ));
    all.push(("var", Box::new(|x| x.var_dim(-1, false, false))));
    all.push(("cumsum", Box::new(|x| x.cumsum(-1))));
    all.push(("max", Box::new(|x| x.amax(-1, false))));
    all.push((
        "elementwise",
        Box::new(|x| {
            x.tanh() + x.exp().sqrt() * x.sigmoid() - x.softplus() / (x.gelu() + 3.0).log()
        }),
    ));
    all
}

/// A choice for each row that depends on the row alone.
fn choices(x: &Tensor, width: usize) -> Tensor {
    let rows = x.to_vec();
    let choice = |row: &[f32]| i64::from(row[0].to_bits() % width as u32);
    let chosen: Vec<i64> = rows.chunks(width).map(choice).collect();
    Tensor::from_i64(&chosen, [chosen.len()])
}

struct CellWeightsOf {
    tensors: [Tensor; 4],
    hidden: usize,
}

impl CellWeightsOf {
    fn new(width: usize, hidden: usize, rng: &mut Rng) -> CellWeightsOf {
        let shapes: [&[usize]; 4] =
            [&[4 * hidden, width], &[4 * hidden, hidden], &[4 * hidden], &[4 * hidden]];
        CellWeightsOf { tensors: shapes.map(|shape| random(rng, shape)), hidden }
    }

    fn step(&self, x: &Tensor) -> Tensor {
        let [w_ih, w_hh, b_ih, b_hh] = &self.tensors;
        let weights = CellWeights { w_ih, w_hh, b_ih, b_hh };
        let state = Tensor::full([x.dims()[0], self.hidden], 0.5);
        let (h, c) = x.lstm_cell(&state, &state, weights);
        Tensor::cat(&[&h, &c], 1)
    }
}

/// On 1, 2 and 3 threads.
fn on_threads<R: Send + PartialEq + std::fmt::Debug>(f: impl Fn() -> R + Sync) -> R {
    let one = with_threads(1, &f).unwrap();
    for threads in [2, 3] {
        assert!(with_threads(threads, &f).unwrap() == one, "{threads} threads differ from one");
    }
    one
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_row_alone_has_the_bits_it_has_in_a_batch(
        seed in 0u64..1 << 32, batch in 1usize..48, width in 1usize..300, outputs in 1usize..300,
    ) {
        let rng = &mut rng_stream(seed, Purpose::Sampling, 0);
        let functions = of_rows(width, outputs, rng);
        let x = random(rng, &[batch, width]);
        on_threads(|| no_grad(|| {
            for (name, function) in &functions {
                let whole = function(&x);
                for i in 0..batch {
                    let row = x.narrow(0, i as isize, 1).clone_contiguous();
                    let (alone, within) = (function(&row), whole.narrow(0, i as isize, 1));
                    assert!(bits(&alone) == bits(&within),
                        "{name}: row {i} of {batch}, {width} to {outputs}");
                }
            }
        }));
    }

    #[test]
    fn sums_over_a_batch_have_the_same_bits_on_any_number_of_threads(
        seed in 0u64..1 << 32, rows in 1usize..3000, width in 1usize..200, outputs in 1usize..130,
    ) {
        let rng = &mut rng_stream(seed, Purpose::Sampling, 0);
        let x = random(rng, &[rows, width]);
        let y = random(rng, &[rows, outputs]);
        let weight = random(rng, &[outputs, width]);
        on_threads(|| {
            let input = Parameter::new(x.copy());
            let weight = Parameter::column_major(&weight);
            let bias = Parameter::new(Tensor::zeros([outputs]));
            let shift = Parameter::new(Tensor::zeros([width]));
            let hidden = (&*input + &*shift).linear_act(&weight, Some(&bias), Activation::Tanh);
            let error = hidden.linear(&Tensor::ones([1, outputs]), None) - y.mean_dim(1, true);
            let loss = error.square().mean() + hidden.log_softmax(1).mean() + hidden.var();
            loss.backward();
            let leaves = [&input, &weight, &bias, &shift];
            let mut sums: Vec<u32> = leaves.iter().flat_map(|p| bits(&p.grad().unwrap())).collect();
            for sum in [&loss, &x.sum_dim(0, false), &x.mean_dim(0, false), &x.var_dim(0, true, false)] {
                sums.extend(bits(sum));
            }
            sums.push(x.sum_of_squares().to_bits());
            sums
        });
    }
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-6, "{found}, expected {expected}");
}

#[test]
fn a_mean_over_a_million_rows_keeps_its_digits() {
    for width in [1, 3, 20] {
        let x = Tensor::full([1_000_000, width], 0.1);
        for mean in x.mean_dim(0, false).to_vec() {
            assert_near(mean.into(), 0.1);
        }
        assert_near(x.mean().item(), 0.1);
    }
}

#[test]
fn the_gradient_of_a_broadcast_over_a_million_rows_keeps_its_digits() {
    for width in [1, 3] {
        let bias = Parameter::new(Tensor::zeros([width]));
        (Tensor::zeros([1_000_000, width]) + &*bias).mul_scalar(0.1).sum().backward();
        for grad in bias.grad().unwrap().to_vec() {
            assert_near(grad.into(), 1e5);
        }
    }
}

#[test]
fn a_running_sum_of_ten_million_terms_keeps_its_digits() {
    let sums = Tensor::full([10_000_000], 0.1).cumsum(0);
    assert_near(sums.narrow(0, -1, 1).item(), 1e6);
}

#[test]
fn a_place_that_collects_a_million_gradients_keeps_its_digits() {
    let table = Parameter::new(Tensor::zeros([2, 1]));
    let index = Tensor::from_i64(&vec![1; 1_000_000], [1_000_000]);
    table.index_select(0, &index).mul_scalar(0.1).sum().backward();
    assert_near(table.grad().unwrap().to_vec()[1].into(), 1e5);
}

#[test]
fn a_product_of_a_million_terms_keeps_its_digits() {
    let (a, b) = (Tensor::full([1, 1_000_000], 0.1), Tensor::ones([1_000_000, 3]));
    for sum in a.matmul(&b).to_vec() {
        assert!((sum - 1e5).abs() < 1.0, "{sum}");
    }
}

#[test]
fn the_gradients_that_are_recorded_have_the_bits_of_those_that_are_not() {
    let rng = &mut rng_stream(3, Purpose::Sampling, 0);
    for [rows, width, outputs] in [[700, 5, 3], [33, 64, 2], [1100, 20, 40]] {
        let (x, weight) = (random(rng, &[rows, width]), random(rng, &[outputs, width]));
        let grads = |create_graph| {
            let input = Parameter::new(x.copy());
            let weight = Parameter::column_major(&weight);
            let bias = Parameter::new(Tensor::zeros([outputs]));
            let y = input.linear_act(&weight, Some(&bias), Activation::Relu);
            let leaves: [&Tensor; 3] = [&input, &weight, &bias];
            let loss = (&y * &y).sum();
            let options = Backward { create_graph, ..Backward::default() };
            grad(&loss, &leaves, options).iter().map(bits).collect::<Vec<_>>()
        };
        assert!(grads(true) == grads(false), "{rows} {width} {outputs}");
    }
}

#[test]
fn the_norm_of_no_numbers_is_positive_zero() {
    assert_eq!(Tensor::zeros([0]).norm().item().to_bits(), 0.0_f64.to_bits());
    let columns = Tensor::zeros([0, 2]).norm_dim(0, false);
    assert_eq!(bits(&columns), bits(&Tensor::zeros([2])));
}
