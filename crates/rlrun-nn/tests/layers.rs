//! What holds for every layer: gradients reach all parameters, and a state comes back.

#![allow(clippy::unwrap_used)]

use rlrun_core::{Purpose, Rng, State, rng_stream};
use rlrun_nn::{
    Activation, Conv2d, Conv2dConfig, Dropout, Embedding, GruCell, Init, Layer, LayerNorm, Linear,
    LstmCell, Mlp, Module, Sequential, init,
};
use rlrun_tensor::{Tensor, no_grad};

/// One module of each kind and its output on a fixed input; the weights depend on `seed`.
fn with_each_module(seed: u64, mut check: impl FnMut(&str, &dyn Module, &dyn Fn() -> Tensor)) {
    let rng = &mut rng_stream(seed, Purpose::Weights, 0);
    let init = Init::KaimingUniform;
    let x = numbers(&[2, 3], 1);
    let (h, c) = (numbers(&[2, 4], 2), numbers(&[2, 4], 3));

    let layers: [(&str, Box<dyn Layer>, Tensor); 6] = [
        ("Linear", Box::new(Linear::new(3, 2, init, rng)), x.clone()),
        ("Mlp", Box::new(Mlp::new(&[3, 4, 2], Activation::Tanh, init, init, rng)), x.clone()),
        ("LayerNorm", Box::new(layer_norm(rng)), x.clone()),
        ("Conv2d", Box::new(conv2d(rng)), numbers(&[2, 2, 4, 3], 4)),
        ("Embedding", Box::new(Embedding::new(3, 2, rng)), Tensor::from_i64(&[2, 0, 1, 2], [2, 2])),
        ("Sequential", Box::new(sequential(rng)), x.clone()),
    ];
    for (name, layer, input) in &layers {
        check(name, layer.as_ref(), &|| layer.forward(input));
    }
    let lstm = LstmCell::new(3, 4, rng);
    check("LstmCell", &lstm, &|| {
        let (h, c) = lstm.forward(&x, &h, &c);
        Tensor::cat(&[&h, &c], 1)
    });
    let gru = GruCell::new(3, 4, rng);
    check("GruCell", &gru, &|| gru.forward(&x, &h));
}

/// Its parameters start as ones and zeros, whatever the seed; here they are random.
fn layer_norm(rng: &mut Rng) -> LayerNorm {
    let layer = LayerNorm::new(&[3]);
    let mut state = State::new();
    state.insert_f32("weight", &[3], &init::normal(3, rng));
    state.insert_f32("bias", &[3], &init::normal(3, rng));
    layer.load_state(&state).unwrap();
    layer
}

fn conv2d(rng: &mut Rng) -> Conv2d {
    let config = Conv2dConfig { padding: 1, stride: 2, ..Conv2dConfig::new(2, 3, 2) };
    Conv2d::new(config, Init::KaimingUniform, rng)
}

fn sequential(rng: &mut Rng) -> Sequential {
    Sequential::new(vec![
        Box::new(Linear::new(3, 4, Init::KaimingUniform, rng)),
        Box::new(LayerNorm::new(&[4])),
        Box::new(Activation::Tanh),
        Box::new(Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0))),
        Box::new(Linear::new(4, 2, Init::KaimingUniform, rng)),
    ])
}

fn numbers(shape: &[usize], index: u64) -> Tensor {
    let count = shape.iter().product();
    Tensor::from_vec(init::normal(count, &mut rng_stream(7, Purpose::Sampling, index)), shape)
}

/// A sum of the outputs with different weights, so that no two outputs can stand for each other.
fn loss(output: &Tensor) -> Tensor {
    (output * numbers(output.dims(), 9)).sum()
}

#[test]
fn gradients_of_all_parameters_are_the_slopes_of_the_loss() {
    with_each_module(1, |name, module, forward| {
        loss(&forward()).backward();
        for (at, parameter) in module.parameters().iter().enumerate() {
            let grad = parameter.grad().unwrap_or_else(|| panic!("{name} {at} has no gradient"));
            let values = parameter.to_vec();
            for (k, slope) in grad.to_vec().into_iter().enumerate() {
                let at_step = |step: f32| {
                    let mut moved = values.clone();
                    moved[k] += step;
                    let moved = Tensor::from_slice(&moved, parameter.dims());
                    no_grad(|| {
                        parameter.copy_(&moved);
                        loss(&forward()).item()
                    })
                };
                let expected = (at_step(1e-2) - at_step(-1e-2)) / 2e-2;
                let error = (f64::from(slope) - expected).abs();
                assert!(error < 2e-3, "{name} {at}[{k}]: gradient {slope}, slope {expected}");
            }
            no_grad(|| parameter.copy_(&Tensor::from_slice(&values, parameter.dims())));
        }
    });
}

#[test]
fn a_loaded_state_gives_the_same_state_and_output() {
    let mut saved = Vec::new();
    with_each_module(1, |_, module, forward| saved.push((module.state(), forward().to_vec())));
    let mut saved = saved.into_iter();
    with_each_module(2, |name, module, forward| {
        let (state, output) = saved.next().unwrap();
        assert_ne!(module.state(), state, "{name}");
        assert_ne!(forward().to_vec(), output, "{name}");
        module.load_state(&state).unwrap();
        assert_eq!(module.state(), state, "{name}");
        assert_eq!(forward().to_vec(), output, "{name}");
    });
}
