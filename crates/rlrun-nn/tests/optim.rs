//! What holds for every optimizer, and SB3's kind of RMSprop against its recorded steps.

#![allow(clippy::unwrap_used)]

use std::panic::catch_unwind;

use rlrun_core::{StateError, Value};
use rlrun_nn::Module;
use rlrun_nn::optim::{
    Adagrad, AdagradConfig, Adam, AdamConfig, Norm, Optimizer, RmsProp, RmsPropConfig, Sgd,
    SgdConfig, clip_grad_norm, clip_grad_value,
};
use rlrun_tensor::{Parameter, Tensor};

/// One of each kind, with every moment it can have.
fn each(parameters: &[Parameter], learning_rate: f64) -> Vec<Box<dyn Optimizer>> {
    let list = || parameters.to_vec();
    let sgd = SgdConfig { learning_rate, momentum: 0.9, ..SgdConfig::default() };
    let rms = RmsPropConfig { learning_rate, momentum: 0.9, centered: true, ..Default::default() };
    let tf = RmsPropConfig { learning_rate, tf_like: true, ..RmsPropConfig::default() };
    let amsgrad = AdamConfig { learning_rate, amsgrad: true, ..AdamConfig::default() };
    vec![
        Box::new(Sgd::new(list(), sgd)),
        Box::new(RmsProp::new(list(), rms)),
        Box::new(RmsProp::new(list(), tf)),
        Box::new(Adam::new(list(), amsgrad)),
        Box::new(Adam::new(list(), AdamConfig { learning_rate, ..AdamConfig::adamw() })),
        Box::new(Adagrad::new(list(), AdagradConfig { learning_rate, ..Default::default() })),
    ]
}

fn parameter(numbers: &[f32]) -> Parameter {
    Parameter::new(Tensor::from_slice(numbers, [numbers.len()]))
}

/// Two layers that multiply by the same weight.
struct Tied {
    encoder: Parameter,
    decoder: Parameter,
}

impl Tied {
    fn new() -> Tied {
        let shared = parameter(&[3.0, -4.0]);
        Tied { encoder: shared.clone(), decoder: shared }
    }
}

impl Module for Tied {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        visit("encoder.weight", &self.encoder);
        visit("decoder.weight", &self.decoder);
    }
}

#[test]
fn a_shared_parameter_is_listed_saved_and_loaded_once() {
    let tied = Tied::new();
    assert_eq!(tied.parameters().len(), 1);
    let mut state = tied.state();
    assert_eq!(state.0.keys().collect::<Vec<_>>(), ["encoder.weight"]);
    state.insert_f32("encoder.weight", &[2], &[1.0, 2.0]);
    tied.load_state(&state).unwrap();
    assert_eq!(tied.decoder.to_vec(), [1.0, 2.0]);
    state.insert_f32("decoder.weight", &[2], &[1.0, 2.0]);
    let error = tied.load_state(&state).unwrap_err();
    assert!(matches!(error, StateError::Invalid { path, .. } if path == "decoder.weight"));
}

#[test]
fn a_shared_parameter_counts_once_in_the_norm() {
    let shared = parameter(&[0.0, 0.0]);
    let twice = [shared.clone(), shared.clone()];
    for (norm, expected) in [(Norm::L2, 5.0), (Norm::L1, 7.0), (Norm::Infinity, 4.0)] {
        shared.set_grad(Some(&Tensor::from_slice(&[3.0, -4.0], [2])));
        assert_eq!(clip_grad_norm(&twice, expected / 2.0, norm), expected);
        for (found, whole) in shared.grad().unwrap().to_vec().into_iter().zip([3.0, -4.0]) {
            assert!((found - whole / 2.0).abs() < 1e-5, "{norm:?}: {found}");
        }
    }
    clip_grad_value(&twice, 1.0);
    assert_eq!(shared.grad().unwrap().to_vec(), [1.0, -1.0]);
}

#[test]
fn a_shared_parameter_is_stepped_once_by_every_optimizer() {
    let run = |copies: usize, kind: usize| {
        let shared = parameter(&[0.5, -0.5]);
        let mut optimizer = each(&vec![shared.clone(); copies], 0.1).swap_remove(kind);
        assert_eq!(optimizer.parameters().len(), 1);
        for _ in 0..3 {
            shared.set_grad(Some(&Tensor::from_slice(&[3.0, -4.0], [2])));
            optimizer.step();
        }
        (shared.to_vec(), optimizer.state())
    };
    for kind in 0..each(&[], 0.1).len() {
        assert_eq!(run(2, kind), run(1, kind));
    }
}

#[test]
fn no_gradients_have_the_norm_0() {
    for norm in [Norm::L1, Norm::L2, Norm::Infinity] {
        let total = clip_grad_norm(&[parameter(&[1.0])], 1.0, norm);
        assert!(total == 0.0 && total.is_sign_positive(), "{norm:?}: {total}");
    }
}

#[test]
fn learning_rates_below_0_or_not_finite_are_refused() {
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        for kind in 0..each(&[], 0.1).len() {
            assert!(catch_unwind(|| each(&[], bad)).is_err());
            let mut optimizer = each(&[parameter(&[1.0])], 0.1).swap_remove(kind);
            let mut state = optimizer.state();
            state.insert_f64("learning_rate", [bad]);
            let error = optimizer.load_state(&state).unwrap_err().to_string();
            assert!(error.contains("expected a finite number from 0 on"), "{error}");
            assert_eq!(optimizer.learning_rate(), 0.1);
            let set = std::panic::AssertUnwindSafe(|| optimizer.set_learning_rate(bad));
            assert!(catch_unwind(set).is_err());
        }
    }
    let mut optimizer = each(&[], 0.0).swap_remove(0);
    optimizer.set_learning_rate(0.25);
    assert_eq!(optimizer.learning_rate(), 0.25);
}

#[test]
fn a_state_of_more_parameters_or_moments_is_refused_and_changes_nothing() {
    let (a, b) = (parameter(&[1.0]), parameter(&[2.0]));
    for kind in 0..each(&[], 0.1).len() {
        let two = each(&[a.clone(), b.clone()], 0.1).swap_remove(kind);
        let mut one = each(std::slice::from_ref(&a), 0.2).swap_remove(kind);
        let before = one.state();
        let error = one.load_state(&two.state()).unwrap_err();
        assert!(
            matches!(&error, StateError::Invalid { path, .. } if path == "1.step"
            || path.starts_with("1.")),
            "{error}"
        );
        assert_eq!(one.state(), before);
    }
    let amsgrad = AdamConfig { amsgrad: true, ..AdamConfig::default() };
    let with_maxima = Adam::new(vec![a.clone()], amsgrad).state();
    let error = Adam::new(vec![a], AdamConfig::default()).load_state(&with_maxima).unwrap_err();
    assert!(matches!(error, StateError::Invalid { path, .. } if path == "0.max_exp_avg_sq"));
}

/// Steps of `stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike`.
#[test]
fn rmsprop_like_tensorflow_follows_the_recorded_steps() {
    let text = include_str!("fixtures/rmsprop_tf_like.jsonl");
    for row in text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let input = &row["in"];
        let number = |key: &str, default: f64| input[key].as_f64().unwrap_or(default);
        let config = RmsPropConfig {
            learning_rate: number("lr", f64::NAN),
            alpha: number("alpha", 0.99),
            eps: number("eps", 1e-8),
            weight_decay: number("weight_decay", 0.0),
            momentum: number("momentum", 0.0),
            centered: input["centered"].as_bool().unwrap_or(false),
            maximize: false,
            tf_like: true,
        };
        let theta = Parameter::new(tensor(&input["param"]));
        let mut optimizer = RmsProp::new(vec![theta.clone()], config);
        let steps = input["grads"].as_array().unwrap().iter();
        for (grad, expected) in steps.zip(row["out"]["params"].as_array().unwrap()) {
            theta.set_grad(Some(&tensor(grad)));
            optimizer.step();
            assert_close(&theta.to_vec(), &tensor(expected).to_vec(), &row["id"]);
        }
        let state = optimizer.state();
        for (name, expected) in row["out"]["state"].as_object().unwrap() {
            match &state.0[&format!("0.{name}")] {
                Value::F32 { data, .. } => {
                    assert_close(data, &tensor(expected).to_vec(), &row["id"]);
                }
                other => assert_eq!(other, &Value::U64(vec![expected.as_u64().unwrap()])),
            }
        }
    }
}

fn tensor(value: &serde_json::Value) -> Tensor {
    let numbers = |key: &str| value[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
    let data: Vec<f32> = numbers("data").map(|x| x as f32).collect();
    Tensor::from_vec(data, numbers("shape").map(|x| x as usize).collect::<Vec<_>>())
}

fn assert_close(found: &[f32], expected: &[f32], id: &serde_json::Value) {
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-6 + 1e-5 * b.abs(), "{id}: {a}, recorded {b}");
    }
}
