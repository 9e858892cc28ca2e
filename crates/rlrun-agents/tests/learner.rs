//! What every algorithm's descent holds: whose gradients it takes, what stops it, what it counts.

#![allow(clippy::unwrap_used)]

use rlrun_agents::{AgentError, Learner};
use rlrun_core::{Purpose, State, StateError, rng_stream};
use rlrun_nn::optim::{Adam, AdamConfig, Optimizer};
use rlrun_nn::{Dropout, Layer, Module};
use rlrun_tensor::{Parameter, Tensor};

/// Two scalars, `first` and `second`.
#[derive(Module)]
struct Pair(#[module(rename = "first")] Parameter, #[module(rename = "second")] Parameter);

fn pair(first: f32, second: f32) -> Pair {
    Pair(Parameter::new(Tensor::scalar(first)), Parameter::new(Tensor::scalar(second)))
}

fn learner(net: &Pair) -> Learner {
    Learner::new(net, |theta| Adam::new(theta, AdamConfig::default()), 1.0)
}

#[test]
fn an_infinite_gradient_of_a_finite_loss_is_named_and_moves_nothing() {
    // The slope of √x at 0.
    let net = pair(1.0, 0.0);
    let loss = &*net.0 + net.1.sqrt();
    assert_eq!(loss.item(), 1.0);
    let error = learner(&net).minimize(&loss, 0.1).unwrap_err();
    let AgentError::NonFinite { quantity, .. } = &error else { panic!("{error}") };
    assert_eq!(quantity, "the gradient of `second`");
    assert_eq!((net.0.item(), net.1.item()), (1.0, 0.0));
}

#[test]
fn gradients_reach_the_learners_own_parameters_only() {
    let (own, other) = (pair(1.0, 2.0), pair(3.0, 4.0));
    let loss = &*own.0 * &*other.0 + &*own.1 * &*other.1;
    assert_eq!(learner(&own).minimize(&loss, 0.1).unwrap(), 11.0);
    assert!(own.0.grad().is_some() && own.1.grad().is_some());
    assert!(other.0.grad().is_none() && other.1.grad().is_none());
}

#[test]
fn each_step_is_counted() {
    let net = pair(1.0, 2.0);
    let mut learner = learner(&net);
    for steps in 1..4 {
        learner.minimize(&(&*net.0 * &*net.1), 0.1).unwrap();
        assert_eq!(learner.n_updates(), steps);
    }
}

#[test]
fn a_loss_outside_of_the_training_scope_is_refused_with_the_layers_path() {
    let dropout = Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0));
    let net = (pair(1.0, 2.0), dropout);
    let mut learner = Learner::new(&net, |theta| Adam::new(theta, AdamConfig::default()), 1.0);
    let loss = || net.1.forward(&(&*net.0.0 * &*net.0.1));
    let error = learner.minimize(&loss(), 0.1).unwrap_err();
    let AgentError::Untrained(layer) = &error else { panic!("{error}") };
    assert_eq!(layer.path, "1");
    assert!(error.to_string().starts_with("the layer `1` did not train for the loss"), "{error}");
    assert_eq!((net.0.0.item(), learner.n_updates()), (1.0, 0));

    let trained = learner.train(|| {
        assert!(net.1.training().is_on());
        loss()
    });
    assert!(!net.1.training().is_on());
    learner.minimize(&trained, 0.1).unwrap();
    let error = learner.minimize(&loss(), 0.1).unwrap_err();
    assert!(matches!(error, AgentError::Untrained(_)), "each step has its own loss: {error}");
}

/// Descends without knowing of layers.
struct Plain(Vec<Parameter>);

impl Optimizer for Plain {
    fn step(&mut self) {}
    fn parameters(&self) -> &[Parameter] {
        &self.0
    }
    fn learning_rate(&self) -> f64 {
        0.0
    }
    fn set_learning_rate(&mut self, _: f64) {}
    fn state(&self) -> State {
        State::new()
    }
    fn load_state(&mut self, _: &State) -> Result<(), StateError> {
        Ok(())
    }
}

#[test]
fn an_optimizer_of_ones_own_need_not_know_of_layers() {
    let net = (pair(1.0, 2.0), Dropout::new(0.5, rng_stream(1, Purpose::Layers, 0)));
    let mut learner = Learner::new(&net, |theta| Plain(theta.into()), 1.0);
    let loss = || net.1.forward(&(&*net.0.0 * &*net.0.1));
    learner.minimize(&learner.train(loss), 0.1).unwrap();
    assert!(learner.minimize(&loss(), 0.1).is_err());
}
