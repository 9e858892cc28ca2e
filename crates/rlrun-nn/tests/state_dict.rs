//! A network trained elsewhere: the `state_dict` that PyTorch saved loads, and gives its outputs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use rlrun_core::{Purpose, State, rng_stream};
use rlrun_nn::{
    Activation, Conv2d, Conv2dConfig, Dropout, Embedding, GruCell, Init, Layer, LayerNorm, Linear,
    LstmCell, Module, Sequential,
};
use rlrun_tensor::Tensor;

/// The network of `fixtures/network.py`.
#[derive(Module)]
struct Network {
    conv: Conv2d,
    embedding: Embedding,
    lstm: LstmCell,
    gru: GruCell,
    head: Sequential,
}

impl Network {
    fn new() -> Network {
        let rng = &mut rng_stream(1, Purpose::Weights, 0);
        let init = Init::KaimingUniform;
        let config = Conv2dConfig { stride: 2, padding: 1, ..Conv2dConfig::new(2, 3, 3) };
        Network {
            conv: Conv2d::new(config, init, rng),
            embedding: Embedding::new(5, 2, rng),
            lstm: LstmCell::new(20, 4, rng),
            gru: GruCell::new(4, 4, rng),
            head: Sequential::new(vec![
                Box::new(Linear::new(4, 6, init, rng)),
                Box::new(LayerNorm::new(&[6])),
                Box::new(Activation::Tanh),
                Box::new(Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0))),
                Box::new(Linear::new(6, 2, init, rng)),
            ]),
        }
    }

    fn forward(&self, image: &Tensor, token: &Tensor, h: &Tensor, c: &Tensor) -> Tensor {
        let features = self.conv.forward(image).relu().reshape([2, 18]);
        let input = Tensor::cat(&[&features, &self.embedding.forward(token)], 1);
        let (h, c) = self.lstm.forward(&input, h, c);
        self.head.forward(&self.gru.forward(&h, &c))
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_state_dict_of_pytorch_gives_the_output_of_pytorch() {
    let example: BTreeMap<String, Vec<f32>> =
        serde_json::from_slice(&fixture("network.json")).unwrap();
    let tensor = |name: &str, shape: &[usize]| Tensor::from_slice(&example[name], shape);
    let network = Network::new();
    let state_dict = State::from_safetensors(&fixture("network.safetensors")).unwrap();
    network.load_state(&state_dict).unwrap();
    assert_eq!(network.state(), state_dict);

    let token: Vec<i64> = example["token"].iter().map(|&token| token as i64).collect();
    let output = network.forward(
        &tensor("image", &[2, 2, 5, 4]),
        &Tensor::from_i64(&token, [2]),
        &tensor("h", &[2, 4]),
        &tensor("c", &[2, 4]),
    );
    assert_eq!(output.dims(), [2, 2]);
    for (found, expected) in output.to_vec().into_iter().zip(&example["output"]) {
        let error = (found - expected).abs();
        assert!(error <= 1e-6 + 1e-5 * expected.abs(), "{found}, recorded {expected}");
    }
}
