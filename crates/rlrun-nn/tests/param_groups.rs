//! Optimizers with groups of parameters: each follows its own settings.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use rlrun_core::StateError;
use rlrun_nn::optim::{
    Adagrad, AdagradConfig, Adam, AdamConfig, Optimizer, PerParameter, RmsProp, RmsPropConfig,
    Rule, Sgd, SgdConfig,
};
use rlrun_tensor::{Parameter, Tensor};

fn parameter(numbers: &[f32]) -> Parameter {
    Parameter::new(Tensor::from_slice(numbers, [numbers.len()]))
}

fn set_gradients(parameters: &[Parameter], round: usize) {
    for (index, parameter) in parameters.iter().enumerate() {
        let gradient = |i: usize| ((1 + i + 3 * index + 7 * round) as f32).sin();
        let numbers: Vec<f32> = (0..parameter.numel()).map(gradient).collect();
        parameter.set_grad(Some(&Tensor::from_slice(&numbers, parameter.dims())));
    }
}

/// Two groups move as two optimizers do, to the bit, before and after their state was saved.
fn follows_two_optimizers<R: Rule + Copy>(first: R, second: R) {
    let make = || [parameter(&[0.5, -1.0, 2.0]), parameter(&[1.5, 0.25]), parameter(&[-0.75])];
    let (joined, apart) = (make(), make());
    let grouped = || {
        let mut optimizer = PerParameter::new(joined[..2].to_vec(), first);
        optimizer.add_param_group(joined[2..].to_vec(), second);
        optimizer
    };
    let mut both = grouped();
    let mut one = PerParameter::new(apart[..2].to_vec(), first);
    let mut other = PerParameter::new(apart[2..].to_vec(), second);
    for round in 0..6 {
        if round == 3 {
            let saved = both.state();
            both = grouped();
            both.load_state(&saved).unwrap();
            assert_eq!(both.state(), saved);
            both.set_group_learning_rate(1, 0.03);
            other.set_learning_rate(0.03);
        }
        set_gradients(&joined, round);
        set_gradients(&apart, round);
        both.step();
        one.step();
        other.step();
        for (a, b) in joined.iter().zip(&apart) {
            assert_eq!(a.to_vec(), b.to_vec());
        }
    }
    assert_eq!(both.parameters().len(), 3);
    both.zero_grad();
    assert!(joined.iter().all(|parameter| parameter.grad().is_none()));
}

#[test]
fn groups_move_as_optimizers_of_their_own() {
    let sgd = SgdConfig { learning_rate: 0.1, ..SgdConfig::default() };
    follows_two_optimizers(sgd, SgdConfig { momentum: 0.9, weight_decay: 0.1, ..sgd });
    let adam = AdamConfig { learning_rate: 0.1, ..AdamConfig::default() };
    follows_two_optimizers(adam, AdamConfig { amsgrad: true, betas: (0.5, 0.9), ..adam });
    follows_two_optimizers(AdamConfig::adamw(), adam);
    let rms = RmsPropConfig::default();
    follows_two_optimizers(rms, RmsPropConfig { centered: true, momentum: 0.5, ..rms });
    let adagrad = AdagradConfig::default();
    follows_two_optimizers(adagrad, AdagradConfig { lr_decay: 0.1, weight_decay: 0.2, ..adagrad });
}

#[test]
fn learning_rates_are_set_for_one_group_or_for_all() {
    let mut boxed: Vec<Box<dyn Optimizer>> = vec![
        Box::new(two(Sgd::new, SgdConfig::default())),
        Box::new(two(Adam::new, AdamConfig::default())),
        Box::new(two(RmsProp::new, RmsPropConfig::default())),
        Box::new(two(Adagrad::new, AdagradConfig::default())),
    ];
    for optimizer in &mut boxed {
        assert_eq!(optimizer.group_count(), 2);
        optimizer.set_group_learning_rate(1, 0.5);
        assert_eq!(optimizer.group_learning_rate(1), 0.5);
        assert_ne!(optimizer.learning_rate(), 0.5);
        assert_eq!(optimizer.learning_rate(), optimizer.group_learning_rate(0));
        optimizer.set_learning_rate(0.25);
        assert_eq!([0, 1].map(|group| optimizer.group_learning_rate(group)), [0.25; 2]);
        let text = |f: &mut dyn FnMut()| {
            let panic = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
            panic.downcast_ref::<String>().unwrap().clone()
        };
        let missing = "no group 2 of parameters: the optimizer has 2, from 0 on";
        assert_eq!(text(&mut || assert!(optimizer.group_learning_rate(2) >= 0.0)), missing);
        assert_eq!(text(&mut || optimizer.set_group_learning_rate(2, 0.1)), missing);
        assert!(text(&mut || optimizer.set_group_learning_rate(0, f64::NAN)).contains("`NaN`"));
    }
}

fn two<R: Rule + Copy>(
    new: fn(Vec<Parameter>, R) -> PerParameter<R>,
    config: R,
) -> PerParameter<R> {
    let mut optimizer = new(vec![parameter(&[1.0])], config);
    optimizer.add_param_group(vec![parameter(&[2.0, 3.0]), parameter(&[4.0])], config);
    optimizer
}

#[test]
fn groups_can_be_looked_at() {
    let optimizer = two(Adam::new, AdamConfig::adamw());
    let groups = optimizer.param_groups();
    assert_eq!(groups.iter().map(|group| group.parameters.len()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((groups[1].config.weight_decay, groups[1].learning_rate), (0.01, 1e-3));
}

#[test]
fn a_parameter_in_two_groups_is_refused() {
    let shared = parameter(&[1.0, 2.0]);
    let mut optimizer = two(Sgd::new, SgdConfig::default());
    optimizer.add_param_group(vec![shared.clone()], SgdConfig::default());
    let mut again = || {
        let list = vec![parameter(&[0.0]), shared.clone()];
        optimizer.add_param_group(list, SgdConfig::default());
    };
    let panic = catch_unwind(AssertUnwindSafe(&mut again)).unwrap_err();
    assert_eq!(
        panic.downcast_ref::<String>().unwrap(),
        "parameter 1 [2] of group 3 is in group 2 already: a parameter belongs to one group"
    );
    // Nothing was added.
    assert_eq!((optimizer.group_count(), optimizer.parameters().len()), (3, 4));
}

#[test]
fn a_state_of_other_groups_is_refused_and_changes_nothing() {
    let config = SgdConfig { momentum: 0.9, ..SgdConfig::default() };
    let mut grouped = two(Sgd::new, config);
    let before = grouped.state();
    let one = Sgd::new(vec![parameter(&[1.0]), parameter(&[2.0, 3.0]), parameter(&[4.0])], config);
    let error = grouped.load_state(&one.state()).unwrap_err();
    assert!(matches!(error, StateError::Shape { path, .. } if path == "learning_rate"));
    let mut other = Sgd::new(vec![parameter(&[1.0]), parameter(&[2.0, 3.0])], config);
    other.add_param_group(vec![parameter(&[4.0])], config);
    let error = grouped.load_state(&other.state()).unwrap_err().to_string();
    assert!(error.contains("groups of [2, 1] parameters, expected [1, 2]"), "{error}");
    assert_eq!(grouped.state(), before);
    let mut one = one;
    assert!(one.load_state(&before).is_err());
    // One group is saved as before there were groups.
    assert!(!one.state().0.contains_key("param_groups"));
}
