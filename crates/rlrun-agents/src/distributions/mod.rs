//! Distributions over actions, one per row of a batch.

mod actions;
mod beta;
mod normal;

use rand::RngExt;
use rlrun_core::Rng;
use rlrun_env::Actions;
use rlrun_tensor::Tensor;

use self::Distribution::{Bernoulli, Beta, Categorical, CategoricalProbs, DiagGaussian};
use actions::{sample_categorical, write_flags, write_vectors};

pub use actions::action_tensor;
pub(crate) use actions::{argmax, write_choices};
pub use normal::TanhNormal;

/// A distribution over actions for each of `B` rows. The components of a vector are independent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Distribution {
    /// One of `n` choices with probabilities softmax(logits).
    Categorical {
        /// Unnormalised log-probabilities, `[B, n]`; -∞ masks a choice.
        logits: Tensor,
    },
    /// One of `n` choices with probabilities probs / Σ probs.
    CategoricalProbs {
        /// Not negative, `[B, n]`.
        probs: Tensor,
    },
    /// Independent normals.
    DiagGaussian {
        /// μ, `[B, dim]`.
        mean: Tensor,
        /// σ, `[B, dim]` or the same for every row, `[dim]`.
        std: Tensor,
    },
    /// Flags, each 1 with probability sigmoid(logit): for `MultiBinary` spaces.
    Bernoulli {
        /// Log-odds, `[B, dim]`.
        logits: Tensor,
    },
    /// Numbers in (0, 1) with density x^(α-1) (1-x)^(β-1) / B(α, β): for bounded boxes.
    Beta {
        /// α > 0, `[B, dim]`.
        alpha: Tensor,
        /// β > 0, `[B, dim]`.
        beta: Tensor,
    },
}

impl Distribution {
    /// Draws one action per row into `actions`.
    ///
    /// # Panics
    /// If a parameter of a beta distribution is not positive.
    pub fn sample(&self, rng: &mut Rng, actions: &mut Actions) {
        let choose = |row: &[f32]| sample_categorical(row, rng.random());
        match self {
            Categorical { logits } => write_choices(logits, choose, actions),
            CategoricalProbs { probs } => write_choices(&probs.log(), choose, actions),
            DiagGaussian { mean, std } => normal::sample(mean, std, rng, actions),
            Bernoulli { logits } => {
                write_flags(&logits.sigmoid(), actions, |p| rng.random::<f32>() < p);
            }
            Beta { alpha, beta } => beta::sample(alpha, beta, rng, actions),
        }
    }

    /// Writes the most likely action of each row into `actions`. A beta distribution without one
    /// peak gives its end, or its mean where both ends or none stand out.
    pub fn mode(&self, actions: &mut Actions) {
        match self {
            Categorical { logits } => write_choices(logits, argmax, actions),
            CategoricalProbs { probs } => write_choices(probs, argmax, actions),
            DiagGaussian { mean, .. } => write_vectors(mean, actions, |_, mean| mean),
            Bernoulli { logits } => write_flags(logits, actions, |logit| logit > 0.0),
            Beta { alpha, beta } => beta::mode(alpha, beta, actions),
        }
    }

    /// log π(a) of one action per row, `[B]`. `actions` are choices `[B]`, or vectors or flags
    /// `[B, dim]`, as [`action_tensor`] makes them.
    pub fn log_prob(&self, actions: &Tensor) -> Tensor {
        match self {
            Categorical { logits } => logits.categorical_log_prob(actions),
            CategoricalProbs { .. } => {
                self.choices().1.gather(-1, &actions.unsqueeze(-1)).squeeze_dim(-1)
            }
            DiagGaussian { mean, std } => {
                normal::log_density(mean, std, actions).sum_dim(-1, false)
            }
            // log sigmoid(x) of a set flag, log sigmoid(-x) of one that is not.
            Bernoulli { logits } => -(logits * (1.0 - actions * 2.0)).softplus().sum_dim(-1, false),
            Beta { alpha, beta } => beta::log_density(alpha, beta, actions).sum_dim(-1, false),
        }
    }

    /// -Σ π log π, `[B]`; of the density for normals and beta distributions.
    pub fn entropy(&self) -> Tensor {
        match self {
            Categorical { logits } => logits.categorical_entropy(),
            CategoricalProbs { .. } => {
                let (probs, log_probs) = self.choices();
                // 0 · f32::MIN = 0 is the limit of π log π that 0 · -∞ = NaN misses.
                -(probs * log_probs.clamp_min(f32::MIN)).sum_dim(-1, false)
            }
            DiagGaussian { mean, std } => {
                let rows = &mean.dims()[..mean.ndim() - 1];
                normal::entropy(std).sum_dim(-1, false).expand(rows)
            }
            Bernoulli { logits } => {
                // The same for x and -x; |x| keeps the digits where a flag is nearly certain.
                let certainty = logits.abs();
                let unlikely = -&certainty;
                (unlikely.softplus() + certainty * unlikely.sigmoid()).sum_dim(-1, false)
            }
            Beta { alpha, beta } => beta::entropy(alpha, beta).sum_dim(-1, false),
        }
    }

    /// KL(self ‖ other) = Σ π (log π - log π'), `[B]`; infinite where `other` excludes what `self`
    /// does not. As in PyTorch, the gradient of a masked choice is NaN.
    ///
    /// # Panics
    /// If the distributions are of different kinds.
    pub fn kl_divergence(&self, other: &Distribution) -> Tensor {
        let divergence = match (self, other) {
            (DiagGaussian { mean, std }, DiagGaussian { mean: m, std: s }) => {
                normal::kl_divergence((mean, std), (m, s))
            }
            (Bernoulli { logits: p }, Bernoulli { logits: q }) => {
                let (set, other_set) = (p.sigmoid(), q.sigmoid());
                let of_set = (-q).softplus() - (-p).softplus();
                let of_unset = q.softplus() - p.softplus();
                kl_terms(&set, of_set, &other_set)
                    + kl_terms(&(1.0 - &set), of_unset, &(1.0 - other_set))
            }
            (Beta { alpha, beta }, Beta { alpha: a, beta: b }) => {
                beta::kl_divergence((alpha, beta), (a, b))
            }
            _ => {
                let (probs, log_probs) = self.choices();
                let (other_probs, other_log_probs) = other.choices();
                kl_terms(&probs, log_probs - other_log_probs, &other_probs)
            }
        };
        divergence.sum_dim(-1, false)
    }

    /// π and log π of every choice, `[B, n]`.
    fn choices(&self) -> (Tensor, Tensor) {
        match self {
            Categorical { logits } => {
                let log_probs = logits.log_softmax(-1);
                (log_probs.exp(), log_probs)
            }
            CategoricalProbs { probs } => {
                let probs = probs / probs.sum_dim(-1, true);
                // PyTorch's bounds, which keep the logarithm finite.
                let log_probs = probs.clamp(f32::EPSILON, 1.0 - f32::EPSILON).log();
                (probs, log_probs)
            }
            other => panic!("no divergence between different kinds of distributions: {other:?}"),
        }
    }
}

/// π · (log π - log π') with its limits: 0 where π = 0, else ∞ where π' = 0.
fn kl_terms(probs: &Tensor, log_ratio: Tensor, other_probs: &Tensor) -> Tensor {
    let is_zero = |probs: &Tensor| {
        let flags: Vec<bool> = probs.to_vec().into_iter().map(|p| p == 0.0).collect();
        Tensor::from_bool(&flags, probs.dims())
    };
    let terms = (probs * log_ratio).masked_fill(&is_zero(other_probs), f32::INFINITY);
    terms.masked_fill(&is_zero(probs), 0.0)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::PI;

    use rlrun_core::{Purpose, rng_stream};

    use super::*;

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
        policy.mode(&mut mode);
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
        let std = Tensor::full([1], 0.5);
        Distribution::DiagGaussian { mean, std }.sample(&mut rng, &mut actions);
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
        policy.sample(&mut rng_stream(2, Purpose::Exploration, 0), &mut actions);
        let Actions::Discrete(choices) = &actions else { panic!("{actions:?}") };
        let count = |choice| choices.iter().filter(|&&c| c == choice).count() as f64;
        assert!(count(1) == 0.0 && (count(2) / 4000.0 - 0.75).abs() < 0.03, "{}", count(2));
    }

    #[test]
    fn a_divergence_is_infinite_where_the_other_excludes_a_choice() {
        let mask = f32::NEG_INFINITY;
        let categorical =
            |logits: &[f32]| Categorical { logits: Tensor::from_slice(logits, [1, 2]) };
        let (both, first) = (categorical(&[0.0, 0.0]), categorical(&[0.0, mask]));
        assert_close(&first.kl_divergence(&both), &[2.0_f32.ln()]);
        assert_eq!(both.kl_divergence(&first).to_vec(), [f32::INFINITY]);
    }

    #[test]
    fn flags_are_set_as_often_as_their_odds_say() {
        let logits = Tensor::from_slice(&[3.0_f32.ln(), -100.0].repeat(4000), [4000, 2]);
        let policy = Distribution::Bernoulli { logits };
        let mut actions = Actions::Discrete(Vec::new());
        policy.sample(&mut rng_stream(3, Purpose::Exploration, 0), &mut actions);
        let Actions::MultiDiscrete { values, dim: 2 } = &actions else { panic!("{actions:?}") };
        let share = |flag| values.iter().skip(flag).step_by(2).sum::<usize>() as f64 / 4000.0;
        assert!((share(0) - 0.75).abs() < 0.03 && share(1) == 0.0, "{} {}", share(0), share(1));
        // Both flags of a row count: ¾ or ¼ for the first, 1 for the second.
        let expected = |row: &[usize]| if row[0] == 1 { 0.75_f32.ln() } else { 0.25_f32.ln() };
        let expected: Vec<f32> = values.chunks(2).map(expected).collect();
        assert_close(&policy.log_prob(&action_tensor(&actions)), &expected);
        policy.mode(&mut actions);
        assert_eq!(actions, Actions::MultiDiscrete { values: [1, 0].repeat(4000), dim: 2 });
    }

    #[test]
    fn beta_draws_have_the_mean_and_modes_are_peaks() {
        let numbers = |x: &[f32]| Tensor::from_slice(&x.repeat(4000), [4000, x.len()]);
        let policy = Distribution::Beta { alpha: numbers(&[2.0, 0.5]), beta: numbers(&[6.0, 1.5]) };
        let mut actions = Actions::Discrete(Vec::new());
        policy.sample(&mut rng_stream(4, Purpose::Exploration, 0), &mut actions);
        let Actions::Continuous { values, dim: 2 } = &actions else { panic!("{actions:?}") };
        let mean = |at| values.iter().skip(at).step_by(2).sum::<f32>() / 4000.0;
        assert!((mean(0) - 0.25).abs() < 0.02 && (mean(1) - 0.25).abs() < 0.02, "{}", mean(0));
        assert!(policy.log_prob(&action_tensor(&actions)).to_vec().iter().all(|x| x.is_finite()));

        let row = |x: &[f32]| Tensor::from_slice(x, [1, 4]);
        let (alpha, beta) = (row(&[2.0, 0.5, 2.0, 1.0]), row(&[4.0, 2.0, 1.0, 1.0]));
        Distribution::Beta { alpha, beta }.mode(&mut actions);
        let expected = Actions::Continuous { values: vec![0.25, 0.0, 1.0, 0.5], dim: 4 };
        assert_eq!(actions, expected);
    }

    #[test]
    fn squashed_normals_have_the_density_of_their_actions() {
        let mean = Tensor::from_slice(&[0.3], [1, 1]);
        let policy = TanhNormal { mean, std: Tensor::from_slice(&[0.8], [1]) };
        // The density of tanh u, integrated over its interval by the trapezoid rule, is 1.
        let step = 1e-3_f32;
        let inside: Vec<f32> = (1..2000).map(|i| -1.0 + i as f32 * step).collect();
        let u = Tensor::from_vec(inside.iter().map(|a| a.atanh()).collect(), [1999, 1]);
        let total: f32 = policy.log_prob(&u).to_vec().iter().map(|log| log.exp() * step).sum();
        assert!((total - 1.0).abs() < 1e-3, "{total}");

        let mut actions = Actions::Discrete(Vec::new());
        policy.mode(&mut actions);
        TanhNormal::squash(&mut actions);
        assert_close(&action_tensor(&actions), &[0.291_312_6]);
        policy.sample(&mut rng_stream(5, Purpose::Exploration, 0), &mut actions);
        assert!(policy.log_prob(&action_tensor(&actions)).item().is_finite());
    }
}
