//! What a policy over choices needs of its logits, each in one pass: the log-probability of the
//! chosen one and the entropy.

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok};
use crate::kernels::{self, Unary};
use crate::mode;
use crate::pool::Scratch;
use crate::tensor::Tensor;

/// ln softmax of each row of logits, and how long a row is.
fn log_probs(logits: &Tensor) -> (Scratch, usize) {
    let (numbers, width) = (logits.read(), logits.dims()[logits.ndim() - 1]);
    let mut log_probs = Scratch::new(numbers.len());
    kernels::log_softmax(&numbers, width, &mut log_probs);
    (log_probs, width)
}

/// e^x of each number.
fn exp(x: &[f32]) -> Scratch {
    let mut out = Scratch::new(x.len());
    kernels::unary(Unary::Exp, x, &mut out);
    out
}

/// -Σ p ln p. 0 · `f32::MIN` = 0 is the limit of p ln p that 0 · -∞ = NaN misses.
fn entropy(probs: &[f32], log_probs: &[f32]) -> f32 {
    let terms = probs.iter().zip(log_probs).map(|(p, log)| p * log.max(f32::MIN));
    -terms.sum::<f32>()
}

impl Tensor {
    fn expect_rows(&self, op: &'static str) -> Result<(), TensorError> {
        self.expect_f32(op)?;
        if self.dims().last().is_some_and(|&width| width > 0) {
            return Ok(());
        }
        let detail = format!("expected logits [.., n] with n > 0, got {:?}", self.dims());
        Err(TensorError::ShapeMismatch { op, detail })
    }

    /// The chosen class of each row, checked.
    fn chosen(&self, op: &'static str, choices: &Tensor) -> Result<Vec<usize>, TensorError> {
        self.expect_rows(op)?;
        let (rows, width) = (&self.dims()[..self.ndim() - 1], self.dims()[self.ndim() - 1]);
        if choices.dims() != rows {
            let detail =
                format!("{:?} needs choices {rows:?}, got {:?}", self.dims(), choices.dims());
            return Err(TensorError::ShapeMismatch { op, detail });
        }
        let check = |index: i64| match usize::try_from(index) {
            Ok(choice) if choice < width => Ok(choice),
            _ => {
                let bound = format!("{width} choices");
                Err(TensorError::IndexOutOfRange { op, what: "choice", index, bound })
            }
        };
        choices.read_i64(op)?.into_iter().map(check).collect()
    }

    /// ln softmax(self)\[choice] of logits `[.., n]` and choices `[..]`, `i64`: `[..]`. The same
    /// as `log_softmax` and `gather`, in one pass.
    ///
    /// # Panics
    /// If the shapes do not fit or a choice is out of range.
    #[track_caller]
    pub fn categorical_log_prob(&self, choices: &Tensor) -> Tensor {
        let chosen = ok(self.chosen("categorical_log_prob", choices));
        let (log_probs, width) = log_probs(self);
        let value = Tensor::build(choices.dims(), |out| {
            for ((out, row), choice) in out.iter_mut().zip(log_probs.chunks(width)).zip(&chosen) {
                *out = row[*choice];
            }
        });
        value.record("categorical_log_prob", [self, choices], |saver| {
            let (logits, choices) = (saver.input(self), saver.input(choices));
            move |grad: &Tensor, node: &NodeRef| {
                let logits = logits.get(node);
                // Reading checks that the choices are still those of the forward pass.
                choices.get(node);
                let composed = mode::recording().then(|| {
                    let one_hot = Tensor::build(logits.dims(), |out| {
                        out.fill(0.0);
                        let rows = out.chunks_mut(width).zip(&chosen);
                        rows.for_each(|(row, choice)| row[*choice] = 1.0);
                    });
                    (one_hot - logits.log_softmax(-1).exp()) * grad.unsqueeze(-1)
                });
                // ∂ ln p_c / ∂ x_j = [j = c] - p_j
                let (grad, probs) = (grad.read(), exp(&log_probs));
                let slope = Tensor::build(logits.dims(), |out| {
                    let rows = out.chunks_mut(width).zip(probs.chunks(width));
                    for (((out, probs), grad), choice) in rows.zip(grad.iter()).zip(&chosen) {
                        for (out, p) in out.iter_mut().zip(probs) {
                            *out = -grad * p;
                        }
                        out[*choice] = grad * (1.0 - probs[*choice]);
                    }
                });
                [Some(recorded(slope, composed)), None]
            }
        })
    }

    /// -Σ p ln p with p = softmax(self), of logits `[.., n]`: `[..]`. A logit of -∞ counts as
    /// impossible.
    ///
    /// # Panics
    /// If this is not an `f32` tensor or has no logits.
    #[track_caller]
    pub fn categorical_entropy(&self) -> Tensor {
        ok(self.expect_rows("categorical_entropy"));
        let (log_probs, width) = log_probs(self);
        let probs = exp(&log_probs);
        let value = Tensor::build(&self.dims()[..self.ndim() - 1], |out| {
            let rows = probs.chunks(width).zip(log_probs.chunks(width));
            for (out, (probs, log_probs)) in out.iter_mut().zip(rows) {
                *out = entropy(probs, log_probs);
            }
        });
        value.record("categorical_entropy", [self], |saver| {
            let logits = saver.input(self);
            move |grad: &Tensor, node: &NodeRef| {
                let logits = logits.get(node);
                let composed = mode::recording().then(|| {
                    let log_probs = logits.log_softmax(-1).clamp_min(f32::MIN);
                    let probs = log_probs.exp();
                    let entropy = -(&probs * &log_probs).sum_dim(-1, true);
                    -(probs * (log_probs + entropy)) * grad.unsqueeze(-1)
                });
                // ∂ H / ∂ x_j = -p_j (ln p_j + H)
                let grad = grad.read();
                let slope = Tensor::build(logits.dims(), |out| {
                    let rows = probs.chunks(width).zip(log_probs.chunks(width));
                    for ((out, (p, log_p)), grad) in
                        out.chunks_mut(width).zip(rows).zip(grad.iter())
                    {
                        let entropy = entropy(p, log_p);
                        for ((out, p), log_p) in out.iter_mut().zip(p).zip(log_p) {
                            *out = -grad * p * (log_p.max(f32::MIN) + entropy);
                        }
                    }
                });
                [Some(recorded(slope, composed))]
            }
        })
    }
}

/// What one pass computed, with its history if that is recorded.
fn recorded(slope: Tensor, composed: Option<Tensor>) -> Tensor {
    match composed {
        Some(composed) => slope.with_history_of(&composed),
        None => slope,
    }
}
