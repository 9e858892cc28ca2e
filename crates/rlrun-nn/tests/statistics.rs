//! Layers that keep statistics: sb3-contrib's recorded batch renormalisation, and what is saved.

#![allow(clippy::unwrap_used)]

use rlrun_core::{Purpose, State, StateError, Value, rng_stream};
use rlrun_nn::{
    Activation, BatchNorm, BatchRenorm, BatchRenormConfig, Flatten, Identity, Init, Layer, Linear,
    Module, Pool2d, Sequential,
};
use rlrun_tensor::{Parameter, Tensor};

/// Rows of `sb3_contrib.common.torch_layers.BatchRenorm1d`: forward, gradients, statistics after.
#[test]
fn batch_renorm_follows_the_recorded_rows() {
    let text = include_str!("fixtures/batch_renorm.jsonl");
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    for row in rows {
        let (input, out) = (&row["in"], &row["out"]);
        let number = |key: &str| input[key].as_f64().unwrap() as f32;
        let config = BatchRenormConfig {
            eps: number("eps"),
            momentum: number("momentum"),
            warmup_steps: input["warmup_steps"].as_u64().unwrap(),
            r_max: number("rmax"),
            d_max: number("dmax"),
        };
        let x = Parameter::new(tensor(&input["x"]));
        let layer = BatchRenorm::new(x.dims()[1], config);
        layer.load_state(&state(&input["state"])).unwrap();
        layer.set_training(input["train"].as_bool().unwrap());
        let y = layer.forward(&x);
        (&y * tensor(&input["upstream"])).sum().backward();
        let id = &row["id"];
        assert_close(&y.to_vec(), &out["y"], id);
        assert_close(&x.grad().unwrap().to_vec(), &out["grad_x"], id);
        assert_close(&layer.scale.grad().unwrap().to_vec(), &out["grad_scale"], id);
        assert_close(&layer.bias.grad().unwrap().to_vec(), &out["grad_bias"], id);
        let after = layer.state();
        assert_close(after.f32("ra_mean").unwrap().1, &out["state"]["ra_mean"], id);
        assert_close(after.f32("ra_var").unwrap().1, &out["state"]["ra_var"], id);
        let steps = out["state"]["steps"]["data"][0].as_u64().unwrap();
        assert_eq!(after.counter("steps"), Ok(steps), "{id}");
    }
}

fn state(entries: &serde_json::Value) -> State {
    let mut state = State::new();
    for (name, entry) in entries.as_object().unwrap() {
        if name == "steps" {
            state.insert_u64(name, [entry["data"][0].as_u64().unwrap()]);
        } else {
            let entry = tensor(entry);
            state.insert_f32(name, entry.dims(), &entry.to_vec());
        }
    }
    state
}

fn tensor(value: &serde_json::Value) -> Tensor {
    let numbers = |key: &str| value[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
    let data: Vec<f32> = numbers("data").map(|x| x as f32).collect();
    Tensor::from_vec(data, numbers("shape").map(|x| x as usize).collect::<Vec<_>>())
}

#[track_caller]
fn assert_close(found: &[f32], expected: &serde_json::Value, id: &serde_json::Value) {
    for (a, b) in found.iter().zip(tensor(expected).to_vec()) {
        assert!((a - b).abs() <= 1e-6 + 1e-5 * b.abs(), "{id}: {a}, recorded {b}");
    }
}

fn network(seed: u64) -> Sequential {
    let rng = &mut rng_stream(seed, Purpose::Weights, 0);
    Sequential::new(vec![
        Box::new(Flatten),
        Box::new(Linear::new(4, 3, Init::KaimingUniform, rng)),
        Box::new(BatchNorm::new(3)),
        Box::new(Activation::Silu),
        Box::new(BatchRenorm::new(3, BatchRenormConfig::default())),
        Box::new(Identity),
    ])
}

#[test]
fn a_network_is_saved_and_loaded_with_its_statistics() {
    let (first, second) = (network(1), network(2));
    let batch = Tensor::from_vec((0..24).map(|i| (i as f32).sin()).collect(), [6, 2, 2]);
    first.set_training(true);
    first.forward(&batch);
    first.set_training(false);
    let state = first.state();
    for path in ["2.running_mean", "2.running_var", "2.num_batches_tracked", "4.ra_mean", "4.steps"]
    {
        assert!(state.0.contains_key(path), "{path} is not saved");
    }
    second.load_state(&State::from_safetensors(&state.to_safetensors().unwrap()).unwrap()).unwrap();
    assert_eq!(second.state(), state);
    assert_eq!(second.forward(&batch).to_vec(), first.forward(&batch).to_vec());
}

#[test]
fn a_state_without_statistics_changes_nothing() {
    let network = network(1);
    let before = network.state();
    let mut state = network.state();
    state.insert_f32("1.bias", &[3], &[9.0; 3]);
    state.0.remove("2.running_var");
    assert_eq!(
        network.load_state(&state),
        Err(StateError::Missing { path: "2.running_var".to_owned() })
    );
    state.insert_f32("2.running_var", &[2], &[1.0; 2]);
    assert!(matches!(network.load_state(&state), Err(StateError::Shape { .. })));
    state.insert("2.running_var", Value::U64(vec![1]));
    assert!(matches!(network.load_state(&state), Err(StateError::Kind { .. })));
    assert_eq!(network.state(), before);
}

#[test]
fn gradients_flow_through_the_statistics_of_the_batch() {
    let layer = BatchNorm::new(2);
    layer.set_training(true);
    let numbers = [0.3, -1.0, 2.0, 0.7, -0.4, 1.9];
    let loss = |numbers: &[f32]| {
        let x = Parameter::new(Tensor::from_slice(numbers, [3, 2]));
        let weights = Tensor::from_slice(&[1.0, -2.0, 0.5, 3.0, -1.0, 0.2], [3, 2]);
        ((layer.forward(&x) * weights).sum(), x)
    };
    let (total, x) = loss(&numbers);
    total.backward();
    for (k, slope) in x.grad().unwrap().to_vec().into_iter().enumerate() {
        let at = |step: f32| {
            let mut moved = numbers;
            moved[k] += step;
            loss(&moved).0.item()
        };
        let expected = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((f64::from(slope) - expected).abs() < 2e-3, "{k}: {slope}, slope {expected}");
    }
}

#[test]
fn images_are_pooled_and_flattened() {
    let image = Tensor::from_vec((0..16_u8).map(f32::from).collect(), [1, 1, 4, 4]);
    let of = |pool: Pool2d| {
        Sequential::new(vec![Box::new(pool), Box::new(Flatten)]).forward(&image).to_vec()
    };
    let (kernel_size, stride, padding) = (2, 2, 0);
    assert_eq!(of(Pool2d::Max { kernel_size, stride, padding }), [5.0, 7.0, 13.0, 15.0]);
    assert_eq!(of(Pool2d::Avg { kernel_size, stride, padding }), [2.5, 4.5, 10.5, 12.5]);
}

#[test]
fn every_activation_is_the_same_in_a_layer_and_after_it() {
    let rng = &mut rng_stream(3, Purpose::Weights, 0);
    let layer = Linear::new(3, 5, Init::KaimingUniform, rng);
    let x = Tensor::from_slice(&[0.5, -2.0, 1.0, 3.0, 0.0, -1.0], [2, 3]);
    for name in [
        "tanh",
        "relu",
        "sigmoid",
        "elu",
        "leaky_relu",
        "silu",
        "gelu",
        "gelu_tanh",
        "softplus",
        "identity",
    ] {
        let activation: Activation = serde_json::from_value(name.into()).unwrap();
        let fused = layer.forward_act(&x, activation).to_vec();
        assert_eq!(fused, activation.forward(&layer.forward(&x)).to_vec(), "{name}");
    }
}
