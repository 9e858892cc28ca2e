//! What every algorithm's descent holds: whose gradients it takes, what stops it, what it counts.

#![allow(clippy::unwrap_used)]

use rlrun_agents::{AgentError, Learner};
use rlrun_nn::Module;
use rlrun_nn::optim::{Adam, AdamConfig};
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
