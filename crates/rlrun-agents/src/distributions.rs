//! Distributions over actions, one per row of a batch.

use std::f32::consts::PI;

use rand::RngExt;
use rand_distr::{Distribution as _, StandardNormal};
use rlrun_core::Rng;
use rlrun_env::Actions;
use rlrun_tensor::Tensor;

/// A distribution over actions for each of `B` rows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Distribution {
    /// One of `n` choices with probabilities softmax(logits).
    Categorical {
        /// Unnormalised log-probabilities, `[B, n]`.
        logits: Tensor,
    },
    /// Independent normals.
    DiagGaussian {
        /// μ, `[B, dim]`.
        mean: Tensor,
        /// log σ, the same for every row, `[dim]`.
        log_std: Tensor,
    },
}

impl Distribution {
    /// Draws one action per row into `actions`.
    pub fn sample(&self, rng: &mut Rng, actions: &mut Actions) {
        match self {
            Distribution::Categorical { logits } => {
                let choose = |row: &[f32]| sample_categorical(row, rng.random());
                write_choices(logits, choose, actions);
            }
            Distribution::DiagGaussian { mean, log_std } => {
                let log_std = log_std.to_scratch();
                write_vectors(mean, actions, |i, mean| {
                    let noise: f32 = StandardNormal.sample(rng);
                    mean + log_std[i].exp() * noise
                });
            }
        }
    }

    /// Writes the most likely action of each row into `actions`.
    pub fn mode(&self, actions: &mut Actions) {
        match self {
            Distribution::Categorical { logits } => write_choices(logits, argmax, actions),
            Distribution::DiagGaussian { mean, .. } => {
                write_vectors(mean, actions, |_, mean| mean);
            }
        }
    }

    /// log π(a) of one action per row, `[B]`. `actions` are choices `[B]` or vectors `[B, dim]`, as
    /// [`action_tensor`] makes them.
    pub fn log_prob(&self, actions: &Tensor) -> Tensor {
        match self {
            Distribution::Categorical { logits } => {
                let log_probs = logits.log_softmax(-1);
                log_probs.gather(-1, &actions.unsqueeze(-1)).squeeze_dim(-1)
            }
            Distribution::DiagGaussian { mean, log_std } => {
                // Σᵢ -(aᵢ - μᵢ)² / 2σᵢ² - log σᵢ - log √2π
                let scaled = (actions - mean) * (-log_std).exp();
                let log_density = scaled.square() * -0.5 - log_std - 0.5 * (2.0 * PI).ln();
                log_density.sum_dim(-1, false)
            }
        }
    }

    /// -Σ π log π, `[B]`; of the density for a normal.
    pub fn entropy(&self) -> Tensor {
        match self {
            Distribution::Categorical { logits } => {
                let log_probs = logits.log_softmax(-1);
                -(log_probs.exp() * log_probs).sum_dim(-1, false)
            }
            Distribution::DiagGaussian { mean, log_std } => {
                // Σᵢ ½ + ½ log 2π + log σᵢ
                let entropy = log_std + (0.5 + 0.5 * (2.0 * PI).ln());
                entropy.sum_dim(-1, false).expand([mean.dims()[0]])
            }
        }
    }
}

/// Actions as [`Distribution::log_prob`] takes them: choices `[B]`, or vectors `[B, dim]`.
///
/// # Panics
/// If the actions are of a kind that no distribution draws.
pub fn action_tensor(actions: &Actions) -> Tensor {
    match actions {
        Actions::Discrete(choices) => {
            let choices: Vec<i64> = choices.iter().map(|&choice| choice as i64).collect();
            Tensor::from_i64(&choices, [choices.len()])
        }
        Actions::Continuous { values, dim } => {
            Tensor::from_slice(values, [values.len() / dim, *dim])
        }
        other => panic!("no distribution draws {other:?}"),
    }
}

/// Writes `choose(row)` of each row of `scores` `[B, n]` into `actions`.
pub(crate) fn write_choices(
    scores: &Tensor,
    mut choose: impl FnMut(&[f32]) -> usize,
    actions: &mut Actions,
) {
    let mut choices = match std::mem::replace(actions, Actions::Discrete(Vec::new())) {
        Actions::Discrete(choices) => choices,
        _ => Vec::new(),
    };
    choices.clear();
    choices.extend(scores.to_scratch().chunks_exact(scores.dims()[1]).map(&mut choose));
    *actions = Actions::Discrete(choices);
}

/// Writes `value(i, m)` of each number `m` of `mean` `[B, dim]`, `i` its column, into `actions`.
fn write_vectors(mean: &Tensor, actions: &mut Actions, mut value: impl FnMut(usize, f32) -> f32) {
    let mut values = match std::mem::replace(actions, Actions::Discrete(Vec::new())) {
        Actions::Continuous { values, .. } => values,
        _ => Vec::new(),
    };
    let dim = mean.dims()[1];
    values.resize(mean.numel(), 0.0);
    mean.copy_to_slice(&mut values);
    values.iter_mut().enumerate().for_each(|(i, x)| *x = value(i % dim, *x));
    *actions = Actions::Continuous { values, dim };
}

/// The index of the largest number, the first of equals.
pub(crate) fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The choice at which the cumulative softmax of `logits` passes `uniform` in [0, 1).
fn sample_categorical(logits: &[f32], uniform: f32) -> usize {
    let max = logits[argmax(logits)];
    let weight = |logit: &f32| (logit - max).exp();
    let mut rest = uniform * logits.iter().map(weight).sum::<f32>();
    for (choice, logit) in logits.iter().enumerate() {
        rest -= weight(logit);
        if rest < 0.0 {
            return choice;
        }
    }
    // Rounding may leave a rest; the most likely choice never has probability zero.
    argmax(logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlrun_core::{Purpose, rng_stream};

    fn assert_close(found: &Tensor, expected: &[f32]) {
        let found = found.to_vec();
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}");
    }

    #[test]
    fn a_choice_is_where_the_cumulative_probability_passes_the_draw() {
        // Probabilities 1/4, 1/2, 1/4.
        let logits = [0.0, 2.0_f32.ln(), 0.0];
        let choices = [0.0, 0.24, 0.26, 0.74, 0.76, 0.999_999_9];
        assert_eq!(choices.map(|u| sample_categorical(&logits, u)), [0, 0, 1, 1, 2, 2]);
        // A choice of probability zero is never taken.
        let certain = [f32::NEG_INFINITY, 5.0, f32::NEG_INFINITY];
        assert_eq!([0.0, 0.5, 0.999_999_9].map(|u| sample_categorical(&certain, u)), [1; 3]);
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
        policy.mode(&mut mode);
        assert_eq!(mode, Actions::Discrete(vec![1, 0]));
    }

    #[test]
    fn diag_gaussian_follows_its_formulas() {
        let mean = Tensor::from_slice(&[0.0, 1.0], [1, 2]);
        let log_std = Tensor::from_slice(&[0.0, 2.0_f32.ln()], [2]);
        let policy = Distribution::DiagGaussian { mean, log_std };
        // Deviations 1 and 2: one σ off in each component.
        let actions = Actions::Continuous { values: vec![1.0, 3.0], dim: 2 };
        let normal = 0.5 * (2.0 * PI).ln();
        let expected = -0.5 - normal - 0.5 - normal - 2.0_f32.ln();
        assert_close(&policy.log_prob(&action_tensor(&actions)), &[expected]);
        assert_close(&policy.entropy(), &[1.0 + 2.0 * normal + 2.0_f32.ln()]);
        let mut mode = Actions::Discrete(vec![9]);
        policy.mode(&mut mode);
        assert_eq!(mode, Actions::Continuous { values: vec![0.0, 1.0], dim: 2 });
    }

    #[test]
    fn draws_have_the_frequencies_of_the_distribution() {
        let mut rng = rng_stream(1, Purpose::Exploration, 0);
        let logits = Tensor::from_slice(&[0.0, 3.0_f32.ln()].repeat(4000), [4000, 2]);
        let mut actions = Actions::Discrete(Vec::new());
        Distribution::Categorical { logits }.sample(&mut rng, &mut actions);
        let Actions::Discrete(choices) = &actions else { panic!("{actions:?}") };
        let share = choices.iter().sum::<usize>() as f64 / 4000.0;
        assert!((share - 0.75).abs() < 0.03, "share {share}");

        let mean = Tensor::full([4000, 1], 5.0);
        let log_std = Tensor::full([1], 0.5_f32.ln());
        Distribution::DiagGaussian { mean, log_std }.sample(&mut rng, &mut actions);
        let Actions::Continuous { values, dim: 1 } = &actions else { panic!("{actions:?}") };
        let mean = values.iter().sum::<f32>() / 4000.0;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 4000.0;
        assert!((mean - 5.0).abs() < 0.03 && (variance - 0.25).abs() < 0.03, "{mean} {variance}");
    }
}
