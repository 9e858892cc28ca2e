//! Distributions over actions, one per row of a batch.

mod actions;
mod beta;
mod normal;
mod squashed;

use rand::RngExt;
use rlrun_core::Rng;
use rlrun_env::Actions;
use rlrun_tensor::Tensor;

use self::Distribution::{
    Bernoulli, Beta, Categorical, CategoricalProbs, DiagGaussian, MultiCategorical,
};
use actions::{sample_categorical, write_flags, write_several_choices, write_vectors};

use crate::AgentError;

pub use actions::action_tensor;
pub(crate) use actions::{argmax, write_choices};
pub use normal::TanhNormal;
pub use squashed::SquashedNormal;

/// A distribution over actions for each of `B` rows. The components of a vector are independent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Distribution {
    /// One of `n` choices with probabilities softmax(logits).
    Categorical {
        /// Unnormalised log-probabilities, `[B, n]`; -∞ masks a choice.
        logits: Tensor,
    },
    /// Several choices, the `k`-th one of `choices[k]`: for `MultiDiscrete` spaces.
    MultiCategorical {
        /// Unnormalised log-probabilities of all, side by side, `[B, Σ choices]`.
        logits: Tensor,
        /// How many numbers belong to each choice.
        choices: Vec<usize>,
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
    /// Draws one action per row into `actions`, each row from its own stream.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if a parameter of the distribution is NaN or infinite.
    ///
    /// # Panics
    /// If a parameter of a beta distribution is not positive.
    pub fn sample(&self, rngs: &mut [Rng], actions: &mut Actions) -> Result<(), AgentError> {
        let choose = |i: usize, row: &[f32]| sample_categorical(row, rngs[i].random());
        match self {
            Categorical { logits } => write_choices(logits, choose, actions),
            CategoricalProbs { probs } => write_choices(&probs.log(), choose, actions),
            MultiCategorical { logits, choices } => {
                write_several_choices(logits, choices, choose, actions)
            }
            DiagGaussian { mean, std } => normal::sample(mean, std, rngs, actions),
            Bernoulli { logits } => {
                write_flags(&logits.sigmoid(), actions, |i, p| rngs[i].random::<f32>() < p)
            }
            Beta { alpha, beta } => beta::sample(alpha, beta, rngs, actions),
        }
    }

    /// A draw μ + σ ε per row, `[B, dim]`, through which gradients reach μ and σ.
    ///
    /// # Panics
    /// If this is not a normal: the others are drawn by [`Distribution::sample`] only.
    #[track_caller]
    pub fn rsample(&self, rng: &mut Rng) -> Tensor {
        match self {
            DiagGaussian { mean, std } => normal::rsample(mean, std, rng),
            other => panic!("only a normal is drawn with a gradient, not {other:?}"),
        }
    }

    /// Writes the most likely action of each row into `actions`. A beta distribution without one
    /// peak gives its end, or its mean where both ends or none stand out.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if a parameter of the distribution is NaN or infinite.
    pub fn mode(&self, actions: &mut Actions) -> Result<(), AgentError> {
        let choose = |_: usize, row: &[f32]| argmax(row);
        match self {
            Categorical { logits } => write_choices(logits, choose, actions),
            CategoricalProbs { probs } => write_choices(probs, choose, actions),
            MultiCategorical { logits, choices } => {
                write_several_choices(logits, choices, choose, actions)
            }
            DiagGaussian { mean, .. } => write_vectors(mean, actions, |_, _, mean| mean),
            Bernoulli { logits } => write_flags(logits, actions, |_, logit| logit > 0.0),
            Beta { alpha, beta } => beta::mode(alpha, beta, actions),
        }
    }

    /// This distribution without the choices that `masks` forbids (`[B * n]`, empty: none), as
    /// MaskablePPO has it (Huang & Ontañón 2020, arXiv 2006.14171).
    ///
    /// # Panics
    /// If this is not a distribution over choices, or there is not one flag for each logit; flags of
    /// a `MultiBinary` space come in pairs, for 0 and for 1.
    pub fn masked(self, masks: &[bool]) -> Distribution {
        if masks.is_empty() {
            return self;
        }
        let forbid = |logits: &Tensor| {
            let forbidden: Vec<bool> = masks.iter().map(|legal| !legal).collect();
            logits.masked_fill(&Tensor::from_bool(&forbidden, logits.dims()), f32::NEG_INFINITY)
        };
        match self {
            Categorical { logits } => Categorical { logits: forbid(&logits) },
            MultiCategorical { logits, choices } => {
                MultiCategorical { logits: forbid(&logits), choices }
            }
            Bernoulli { logits } => {
                // A forbidden 1 has odds 0, a forbidden 0 has infinite ones.
                let flag = |forbidden: fn(&[bool]) -> bool| {
                    let flags: Vec<bool> = masks.chunks_exact(2).map(forbidden).collect();
                    Tensor::from_bool(&flags, logits.dims())
                };
                let certain = logits.masked_fill(&flag(|pair| !pair[1]), -CERTAIN);
                Bernoulli { logits: certain.masked_fill(&flag(|pair| !pair[0]), CERTAIN) }
            }
            other => panic!("only choices can be masked, not {other:?}"),
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
            MultiCategorical { logits, choices } => {
                let parts = logits.split_sizes(choices, -1).into_iter().enumerate();
                total(parts.map(|(k, logits)| logits.categorical_log_prob(&column(actions, k))))
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
            MultiCategorical { logits, choices } => {
                let parts = logits.split_sizes(choices, -1);
                total(parts.iter().map(Tensor::categorical_entropy))
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
            (
                MultiCategorical { logits, choices },
                MultiCategorical { logits: other_logits, .. },
            ) => {
                let parts = |logits: &Tensor| logits.split_sizes(choices, -1);
                let pairs = parts(logits).into_iter().zip(parts(other_logits));
                return total(pairs.map(|(logits, other)| {
                    Categorical { logits }.kl_divergence(&Categorical { logits: other })
                }));
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

/// The logit of a flag that is as good as certain; its log-probability is 0.
const CERTAIN: f32 = 1e8;

/// The sum of tensors of one shape.
fn total(parts: impl Iterator<Item = Tensor>) -> Tensor {
    parts.reduce(|sum, part| sum + part).unwrap_or_else(|| Tensor::scalar(0.0))
}

/// Choice `k` of each row of `actions` `[B, dim]`, `[B]`.
fn column(actions: &Tensor, k: usize) -> Tensor {
    let numbers = actions.to_scratch();
    let choices = numbers.chunks_exact(actions.dims()[1]).map(|row| row[k] as i64);
    let choices: Vec<i64> = choices.collect();
    Tensor::from_i64(&choices, [choices.len()])
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
mod tests;
