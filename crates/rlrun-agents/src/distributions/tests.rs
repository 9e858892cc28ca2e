//! The formulas, by hand.

use std::f32::consts::PI;

use rlrun_core::{Purpose, Rng, Streams, rng_stream};

use super::*;

fn streams(seed: u64) -> Streams {
    Streams::new(seed, Purpose::Exploration, 4000)
}

fn assert_close(found: &Tensor, expected: &[f32]) {
    let found = found.to_vec();
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}");
}

#[test]
fn categorical_follows_its_formulas() {
    let logits = Tensor::from_slice(&[0.0, 3.0_f32.ln(), 1.0, 1.0], [2, 2]);
    let policy = Distribution::Categorical { logits };
    // Row 0 has probabilities 1/4 and 3/4, row 1 has 1/2 twice.
    let actions = action_tensor(&Actions::Discrete(vec![1, 0]));
    assert_close(&policy.log_prob(&actions), &[0.75_f32.ln(), 0.5_f32.ln()]);
    let entropy = -(0.25 * 0.25_f32.ln() + 0.75 * 0.75_f32.ln());
    assert_close(&policy.entropy(), &[entropy, 2.0_f32.ln()]);
    let mut mode = Actions::Discrete(Vec::new());
    policy.mode(&mut mode).unwrap();
    assert_eq!(mode, Actions::Discrete(vec![1, 0]));
}

#[test]
fn diag_gaussian_follows_its_formulas() {
    let mean = Tensor::from_slice(&[0.0, 1.0], [1, 2]);
    let std = Tensor::from_slice(&[1.0, 2.0], [2]);
    let policy = Distribution::DiagGaussian { mean, std };
    // Deviations 1 and 2: one σ off in each component.
    let actions = Actions::Continuous { values: vec![1.0, 3.0], dim: 2 };
    let normal = 0.5 * (2.0 * PI).ln();
    let expected = -0.5 - normal - 0.5 - normal - 2.0_f32.ln();
    assert_close(&policy.log_prob(&action_tensor(&actions)), &[expected]);
    assert_close(&policy.entropy(), &[1.0 + 2.0 * normal + 2.0_f32.ln()]);
    let mut mode = Actions::Discrete(vec![9]);
    policy.mode(&mut mode).unwrap();
    assert_eq!(mode, Actions::Continuous { values: vec![0.0, 1.0], dim: 2 });
}

#[test]
fn draws_have_the_frequencies_of_the_distribution() {
    let mut streams = streams(1);
    let logits = Tensor::from_slice(&[0.0, 3.0_f32.ln()].repeat(4000), [4000, 2]);
    let mut actions = Actions::Discrete(Vec::new());
    Distribution::Categorical { logits }.sample(streams.lanes(), &mut actions).unwrap();
    let Actions::Discrete(choices) = &actions else { panic!("{actions:?}") };
    let share = choices.iter().sum::<usize>() as f64 / 4000.0;
    assert!((share - 0.75).abs() < 0.03, "share {share}");

    let mean = Tensor::full([4000, 1], 5.0);
    let std = Tensor::full([1], 0.5);
    Distribution::DiagGaussian { mean, std }.sample(streams.lanes(), &mut actions).unwrap();
    let Actions::Continuous { values, dim: 1 } = &actions else { panic!("{actions:?}") };
    let mean = values.iter().sum::<f32>() / 4000.0;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 4000.0;
    assert!((mean - 5.0).abs() < 0.03 && (variance - 0.25).abs() < 0.03, "{mean} {variance}");
}

#[test]
fn probabilities_are_normalised_and_may_be_zero() {
    let probs = Tensor::from_slice(&[1.0, 0.0, 3.0].repeat(4000), [4000, 3]);
    let policy = Distribution::CategoricalProbs { probs: probs.narrow(0, 0, 1) };
    let choice = action_tensor(&Actions::Discrete(vec![2]));
    assert_close(&policy.log_prob(&choice), &[0.75_f32.ln()]);
    let entropy = -(0.25 * 0.25_f32.ln() + 0.75 * 0.75_f32.ln());
    assert_close(&policy.entropy(), &[entropy]);

    let policy = Distribution::CategoricalProbs { probs };
    let mut actions = Actions::Discrete(Vec::new());
    policy.sample(streams(2).lanes(), &mut actions).unwrap();
    let Actions::Discrete(choices) = &actions else { panic!("{actions:?}") };
    let count = |choice| choices.iter().filter(|&&c| c == choice).count() as f64;
    assert!(count(1) == 0.0 && (count(2) / 4000.0 - 0.75).abs() < 0.03, "{}", count(2));
}

#[test]
fn a_divergence_is_infinite_where_the_other_excludes_a_choice() {
    let mask = f32::NEG_INFINITY;
    let categorical = |logits: &[f32]| Categorical { logits: Tensor::from_slice(logits, [1, 2]) };
    let (both, first) = (categorical(&[0.0, 0.0]), categorical(&[0.0, mask]));
    assert_close(&first.kl_divergence(&both), &[2.0_f32.ln()]);
    assert_eq!(both.kl_divergence(&first).to_vec(), [f32::INFINITY]);
}

#[test]
fn flags_are_set_as_often_as_their_odds_say() {
    let logits = Tensor::from_slice(&[3.0_f32.ln(), -100.0].repeat(4000), [4000, 2]);
    let policy = Distribution::Bernoulli { logits };
    let mut actions = Actions::Discrete(Vec::new());
    policy.sample(streams(3).lanes(), &mut actions).unwrap();
    let Actions::MultiDiscrete { values, dim: 2 } = &actions else { panic!("{actions:?}") };
    let share = |flag| values.iter().skip(flag).step_by(2).sum::<usize>() as f64 / 4000.0;
    assert!((share(0) - 0.75).abs() < 0.03 && share(1) == 0.0, "{} {}", share(0), share(1));
    // Both flags of a row count: ¾ or ¼ for the first, 1 for the second.
    let expected = |row: &[usize]| if row[0] == 1 { 0.75_f32.ln() } else { 0.25_f32.ln() };
    let expected: Vec<f32> = values.chunks(2).map(expected).collect();
    assert_close(&policy.log_prob(&action_tensor(&actions)), &expected);
    policy.mode(&mut actions).unwrap();
    assert_eq!(actions, Actions::MultiDiscrete { values: [1, 0].repeat(4000), dim: 2 });
}

#[test]
fn beta_draws_have_the_mean_and_modes_are_peaks() {
    let numbers = |x: &[f32]| Tensor::from_slice(&x.repeat(4000), [4000, x.len()]);
    let policy = Distribution::Beta { alpha: numbers(&[2.0, 0.5]), beta: numbers(&[6.0, 1.5]) };
    let mut actions = Actions::Discrete(Vec::new());
    policy.sample(streams(4).lanes(), &mut actions).unwrap();
    let Actions::Continuous { values, dim: 2 } = &actions else { panic!("{actions:?}") };
    let mean = |at| values.iter().skip(at).step_by(2).sum::<f32>() / 4000.0;
    assert!((mean(0) - 0.25).abs() < 0.02 && (mean(1) - 0.25).abs() < 0.02, "{}", mean(0));
    assert!(policy.log_prob(&action_tensor(&actions)).to_vec().iter().all(|x| x.is_finite()));

    let row = |x: &[f32]| Tensor::from_slice(x, [1, 4]);
    let (alpha, beta) = (row(&[2.0, 0.5, 2.0, 1.0]), row(&[4.0, 2.0, 1.0, 1.0]));
    Distribution::Beta { alpha, beta }.mode(&mut actions).unwrap();
    let expected = Actions::Continuous { values: vec![0.25, 0.0, 1.0, 0.5], dim: 4 };
    assert_eq!(actions, expected);
}

#[test]
fn squashed_normals_have_the_density_of_their_actions() {
    let mean = Tensor::from_slice(&[0.3], [1, 1]);
    let policy = TanhNormal { mean, log_std: Tensor::from_slice(&[0.8_f32.ln()], [1, 1]) };
    // The density of tanh u, integrated over its interval by the trapezoid rule, is 1.
    let step = 1e-3_f32;
    let inside: Vec<f32> = (1..2000).map(|i| -1.0 + i as f32 * step).collect();
    let u = Tensor::from_vec(inside.iter().map(|a| a.atanh()).collect(), [1999, 1]);
    let total: f32 = policy.log_prob(&u).to_vec().iter().map(|log| log.exp() * step).sum();
    assert!((total - 1.0).abs() < 1e-3, "{total}");

    let mut actions = Actions::Discrete(Vec::new());
    policy.mode(&mut actions).unwrap();
    assert_close(&action_tensor(&actions), &[0.291_312_6]);
    policy.sample(streams(5).lanes(), &mut actions).unwrap();
    let Actions::Continuous { values, .. } = &actions else { panic!("{actions:?}") };
    assert!(values[0].abs() < 1.0);
}

#[test]
fn a_reparametrised_draw_has_the_density_that_it_is_given() {
    let log_std = Tensor::from_slice(&[0.8_f32.ln(), 0.5_f32.ln()], [1, 2]);
    let policy = TanhNormal { mean: Tensor::from_slice(&[0.3, -1.0], [1, 2]), log_std };
    let mut rng = rng_stream(6, Purpose::Layers, 0);
    let draw = |epsilon, rng: &mut Rng| policy.rsample(&mut rng.clone(), epsilon);
    let (actions, log_prob) = draw(0.0, &mut rng);
    let u = Tensor::from_vec(actions.to_vec().iter().map(|a| a.atanh()).collect(), [1, 2]);
    assert_close(&log_prob, &policy.log_prob(&u).to_vec());
    // The form with ε is the same where tanh is not near ±1, and differs where it is.
    let (_, with_epsilon) = draw(1e-6, &mut rng);
    assert!((with_epsilon.item() - log_prob.item()).abs() < 1e-4);
    let far = TanhNormal { mean: Tensor::full([1, 1], 9.0), log_std: Tensor::full([1, 1], -5.0) };
    let [exact, rough] = [0.0, 1e-6].map(|epsilon| far.rsample(&mut rng.clone(), epsilon).1.item());
    assert!((exact - rough).abs() > 0.5, "{exact} {rough}");
}

#[test]
fn several_choices_are_independent_and_masks_forbid() {
    let logits = Tensor::from_slice(&[0.0, 3.0_f32.ln(), 0.0, 0.0, 2.0_f32.ln()], [1, 5]);
    let policy = MultiCategorical { logits, choices: vec![2, 3] };
    let actions = Actions::MultiDiscrete { values: vec![1, 2], dim: 2 };
    assert_close(&policy.log_prob(&action_tensor(&actions)), &[(0.75_f32 * 0.5).ln()]);
    let entropy = -(0.25 * 0.25_f32.ln() + 0.75 * 0.75_f32.ln()) + 1.5 * 2.0_f32.ln();
    assert_close(&policy.entropy(), &[entropy]);
    let mut mode = Actions::Discrete(Vec::new());
    policy.mode(&mut mode).unwrap();
    assert_eq!(mode, actions);
    assert_close(&policy.kl_divergence(&policy), &[0.0]);

    // Without the second of the first and the last of the second: 1 and 1/2.
    let masked = policy.masked(&[true, false, true, true, false]);
    let actions = action_tensor(&Actions::MultiDiscrete { values: vec![0, 1], dim: 2 });
    assert_close(&masked.log_prob(&actions), &[0.5_f32.ln()]);
    assert_close(&masked.entropy(), &[2.0_f32.ln()]);
    masked.mode(&mut mode).unwrap();
    assert_eq!(mode, Actions::MultiDiscrete { values: vec![0, 0], dim: 2 });

    let flags = Bernoulli { logits: Tensor::from_slice(&[5.0, -5.0, 0.0], [1, 3]) };
    let masked = flags.masked(&[true, false, false, true, true, true]);
    masked.mode(&mut mode).unwrap();
    assert_eq!(mode, Actions::MultiDiscrete { values: vec![0, 1, 0], dim: 3 });
    assert_close(&masked.entropy(), &[2.0_f32.ln()]);
}

#[test]
fn what_is_not_finite_is_refused_with_its_row() {
    let mut actions = Actions::Discrete(Vec::new());
    let logits = Tensor::from_slice(&[0.0, 1.0, f32::NAN, 0.0], [2, 2]);
    let message = Categorical { logits }.mode(&mut actions).unwrap_err().to_string();
    assert!(message.starts_with("what the policy computed for row 1 is `NaN`"), "{message}");
    let mean = Tensor::from_slice(&[f32::INFINITY], [1, 1]);
    let gaussian = DiagGaussian { mean, std: Tensor::full([1], 1.0) };
    assert!(gaussian.sample(streams(1).lanes(), &mut actions).is_err());
}

#[test]
fn a_reparametrised_normal_passes_its_gradient_to_mean_and_std() {
    let mean = Tensor::from_slice(&[0.5, -1.0, 2.0, 0.0], [2, 2]).requires_grad_(true);
    let std = Tensor::from_slice(&[0.1, 2.0], [2]).requires_grad_(true);
    let policy = DiagGaussian { mean: mean.clone(), std: std.clone() };
    let rng = rng_stream(8, Purpose::Layers, 0);
    let noise = Tensor::randn([2, 2], &mut rng.clone());
    let draw = policy.rsample(&mut rng.clone());
    assert_eq!(draw.to_vec(), (&mean + &std * &noise).to_vec());
    draw.sum().backward();
    assert_eq!(mean.grad().unwrap().to_vec(), [1.0; 4]);
    assert_eq!(std.grad().unwrap().to_vec(), noise.sum_dim(0, false).to_vec());
}
