//! Training is on within the scope of a loss and nowhere else, and a step notices where it was not.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rlrun_core::{Purpose, rng_stream};
use rlrun_nn::optim::{Optimizer, Sgd, SgdConfig};
use rlrun_nn::{
    BatchNorm, BatchRenorm, BatchRenormConfig, Dropout, Init, Layer, LayerNorm, Linear, Module,
    ModuleViolation, Sequential, StatefulLayers, Training, check_module,
};
use rlrun_tensor::{Parameter, Tensor, inference_mode, no_grad};

/// A network of one's own that holds each of the layers.
#[derive(Module)]
struct Network {
    linear: Linear,
    body: Vec<Box<dyn Layer>>,
    dropout: Dropout,
}

impl Network {
    fn new(p: f32) -> Network {
        let rng = &mut rng_stream(1, Purpose::Weights, 0);
        let norm = BatchRenorm::new(3, BatchRenormConfig::default());
        Network {
            linear: Linear::new(2, 3, Init::KaimingUniform, rng),
            body: vec![Box::new(BatchNorm::new(3)), Box::new(norm)],
            dropout: Dropout::new(p, rng_stream(1, Purpose::Layers, 0)),
        }
    }

    fn training(&self) -> Vec<bool> {
        let mut on = Vec::new();
        self.visit_stateful("", &mut |_, layer| on.push(layer.training().is_on()));
        on
    }
}

impl Layer for Network {
    fn forward(&self, input: &Tensor) -> Tensor {
        let features = self.linear.forward(input);
        let body = self.body.iter();
        self.dropout.forward(&body.fold(features, |features, layer| layer.forward(&features)))
    }
}

fn input() -> Tensor {
    Tensor::from_slice(&[0.5, -1.0, 2.0, 0.3, -0.7, 1.1, 0.9, -2.0], [4, 2])
}

fn loss(network: &Network) -> Tensor {
    network.forward(&input()).square().sum()
}

fn message(f: impl FnOnce()) -> String {
    *catch_unwind(AssertUnwindSafe(f)).unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn training_is_on_within_the_scope_and_nowhere_else() {
    let network = Network::new(0.5);
    let off = [false; 3];
    assert_eq!(network.training(), off);
    network.train(|| {
        assert_eq!(network.training(), [true; 3]);
        network.train(|| assert_eq!(network.training(), [true; 3]));
        assert_eq!(network.training(), [true; 3], "the outer scope is still open");
    });
    assert_eq!(network.training(), off);
    let text = message(|| network.train(|| panic!("{}", "in the loss")));
    assert_eq!((text.as_str(), network.training()), ("in the loss", off.to_vec()));
    // What was switched by hand stays as it was.
    network.set_training(true);
    network.train(|| ());
    assert_eq!(network.training(), [true; 3]);
    network.set_training(false);
    assert_eq!(network.training(), off);
}

#[test]
fn a_scope_trains_its_own_network_only() {
    let (online, target) = (Network::new(0.5), Network::new(0.5));
    let before = [target.state(), target.random_state()];
    let [own, random] = [online.state(), online.random_state()];
    online.train(|| loss(&online) + inference_mode(|| loss(&target)).item() as f32);
    assert_eq!([target.state(), target.random_state()], before);
    assert_ne!(online.state(), own);
    assert_ne!(online.random_state(), random);
}

#[test]
fn a_step_on_a_loss_that_only_evaluated_is_refused_with_the_layers_path() {
    let network = Network::new(0.5);
    let before = network.state();
    let mut optimizer = Sgd::new(network.parameters(), SgdConfig::default());
    loss(&network).backward();
    let text = message(|| optimizer.step());
    assert!(text.starts_with("the layer `body.0` did not train for the loss"), "{text}");
    assert!(text.contains("within `train(|| ..)`") && text.contains("freeze()"), "{text}");
    assert_eq!(network.state(), before);

    network.train(|| loss(&network)).backward();
    optimizer.step();
    assert_ne!(network.state(), before);
    // What one step saw does not count for the next.
    loss(&network).backward();
    assert!(message(|| optimizer.step()).contains("`body.0`"));
}

#[test]
fn groups_of_parameters_know_the_layers_of_their_network() {
    let network = Network::new(0.5);
    let group = |end: &'static str| network.parameters_where(&move |path, _| path.ends_with(end));
    let plain: Vec<Parameter> = group("weight").into();
    assert_eq!((plain.len(), group("bias").len()), (2, 3));
    let mut optimizer = Sgd::new(plain, SgdConfig::default());
    loss(&network).backward();
    optimizer.step(); // A plain list knows of no layers.
    optimizer.add_param_group(group("bias"), SgdConfig::default());
    optimizer.add_param_group(group("scale"), SgdConfig::default());
    assert!(message(|| optimizer.step()).contains("`body.0`"));
    network.train(|| loss(&network)).backward();
    optimizer.step();
}

#[test]
fn each_layer_that_did_not_train_is_noticed() {
    for (path, frozen) in
        [("body.0", vec![]), ("body.1", vec!["body.0"]), ("dropout", vec!["body.0", "body.1"])]
    {
        let network = Network::new(0.5);
        network.visit_stateful("", &mut |path, layer| {
            if frozen.contains(&path) {
                layer.training().freeze();
            }
        });
        loss(&network);
        let error = network.parameters().layers().check_trained().unwrap_err();
        assert_eq!(error.path, path);
    }
}

#[test]
fn evaluating_beside_the_loss_is_no_fault() {
    let network = Network::new(0.5);
    let mut optimizer = Sgd::new(network.parameters(), SgdConfig::default());
    // A pass that records nothing, before and instead of a loss, says nothing of one.
    no_grad(|| loss(&network));
    inference_mode(|| loss(&network));
    optimizer.step();
    // A recorded one beside that which trains, such as a validation loss.
    loss(&network);
    network.train(|| loss(&network)).backward();
    loss(&network);
    optimizer.step();
    // Passes that train without recording are not those of a loss.
    network.train(|| no_grad(|| loss(&network)));
    loss(&network).backward();
    assert!(message(|| optimizer.step()).contains("`body.0`"));
}

#[test]
fn a_frozen_layer_evaluates_and_is_no_fault() {
    let network = Network::new(0.5);
    network.visit_stateful("", &mut |_, layer| layer.training().freeze());
    let (state, random) = (network.state(), network.random_state());
    let mut optimizer = Sgd::new(network.parameters(), SgdConfig::default());
    let evaluated = loss(&network);
    let trained = network.train(|| loss(&network));
    assert_eq!(trained.item(), evaluated.item());
    assert_eq!((network.state(), network.random_state()), (state.clone(), random));
    trained.backward();
    optimizer.step();
    let statistics = network.state();
    assert_eq!(statistics.f32("body.0.running_mean"), state.f32("body.0.running_mean"));
    assert_ne!(statistics.f32("linear.weight"), state.f32("linear.weight"));
    network.visit_stateful("", &mut |_, layer| layer.training().unfreeze());
    network.train(|| assert_eq!(network.training(), [true; 3]));
}

#[test]
fn dropout_of_nothing_has_nothing_to_train() {
    let dropout = |p| Dropout::new(p, rng_stream(1, Purpose::Layers, 0));
    for (p, is_fault) in [(0.0, false), (0.1, true), (1.0, true)] {
        let network = (Parameter::new(Tensor::ones([2])), dropout(p));
        network.1.forward(&network.0).sum().backward();
        let check = network.parameters().layers().check_trained();
        assert_eq!(check.is_err(), is_fault, "p = {p}");
    }
}

#[test]
fn a_layer_that_is_used_twice_is_one_layer() {
    let shared = Arc::new(Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0)));
    let network = (shared.clone(), shared.clone());
    network.train(|| assert!(shared.training().is_on()));
    assert!(!shared.training().is_on());
    assert_eq!(format!("{:?}", StatefulLayers::of(&network)), "[\"0\"]");
}

#[test]
fn random_streams_and_statistics_go_on_from_their_handles() {
    let (first, second) = (Network::new(0.5), Network::new(0.5));
    first.train(|| loss(&first));
    let (handles, others) = (StatefulLayers::of(&first), StatefulLayers::of(&second));
    others.load_state(&handles.state()).unwrap();
    others.load_buffers(&handles.buffers()).unwrap();
    let next = |network: &Network| network.train(|| network.forward(&input())).to_vec();
    assert_eq!(next(&first), next(&second));
}

/// Owns more than it lists.
struct Forgetful {
    linear: Linear,
    forgotten: Sequential,
    scale: Parameter,
}

impl Module for Forgetful {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        visit("linear", &self.linear);
        if self.scale.numel() == 3 {
            visit("forgotten", &self.forgotten);
            visit("scale", &self.scale);
        }
    }
}

fn forgetful(scale: usize) -> Forgetful {
    let rng = &mut rng_stream(1, Purpose::Weights, 0);
    // Neither of these belongs to the module.
    let _other = (LayerNorm::new(&[7]), Training::new());
    Forgetful {
        scale: Parameter::new(Tensor::ones([scale])),
        linear: Linear::new(4, 3, Init::KaimingUniform, rng),
        forgotten: Sequential::new(vec![
            Box::new(BatchNorm::new(5)),
            Box::new(Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0))),
        ]),
    }
}

#[test]
fn what_a_module_does_not_list_is_noticed() {
    let report = check_module(|| forgetful(2));
    assert_eq!((report.parameters, report.layers), (2, 0));
    let text = report.to_string();
    for expected in [
        "a parameter [2], made before all that are, is not listed",
        "a parameter [5], made after `linear.bias`, is not listed",
        "a layer that trains and evaluates, made at crates/rlrun-nn/tests/training.rs:",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    assert_eq!(report.violations.len(), 5, "{text}");

    let report = check_module(|| forgetful(3));
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.parameters, report.layers), (5, 2));
    assert!(check_module(|| Network::new(0.1)).is_ok());
}

/// Two fields under one name.
struct Hidden(Parameter, Parameter, Dropout, Dropout);

impl Module for Hidden {
    fn visit_fields(&self, visit: &mut dyn FnMut(&str, &dyn Module)) {
        visit("weight", &self.0);
        visit("weight", &self.1);
        visit("dropout", &self.2);
        visit("dropout", &self.3);
    }
}

#[test]
fn two_fields_under_one_name_are_noticed() {
    let dropout = || Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0));
    let weight = || Parameter::new(Tensor::ones([2]));
    let report = check_module(|| Hidden(weight(), weight(), dropout(), dropout()));
    let path = |path: &str| ModuleViolation::Path(path.to_owned());
    assert_eq!(report.violations, [path("weight"), path("dropout")]);
}

#[test]
fn a_check_within_a_check_takes_nothing_from_the_outer_one() {
    let report = check_module(|| {
        let module = forgetful(2);
        assert_eq!(check_module(|| forgetful(2)).violations.len(), 5);
        module
    });
    assert_eq!(report.violations.len(), 5, "{report}");
    assert!(catch_unwind(|| check_module(|| -> Linear { panic!("while building") })).is_err());
    assert!(check_module(|| forgetful(3)).is_ok());
}
