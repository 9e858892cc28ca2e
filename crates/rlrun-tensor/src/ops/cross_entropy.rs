//! Losses of classifications: the negative log-likelihood, cross entropy, and its binary form.

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok, raise};
use crate::tensor::Tensor;

use super::loss::Reduction;

/// Which class each row belongs to; `None` for a row that does not count.
type Classes = Vec<Option<usize>>;

/// Checks log-probabilities `[n, classes]` or `[classes]` against targets `[n]` or `[]`.
fn classes_of(
    op: &'static str,
    scores: &Tensor,
    target: &Tensor,
    ignored: Option<i64>,
) -> Result<Classes, TensorError> {
    scores.expect_f32(op)?;
    let (rows, classes) = match scores.dims() {
        [rows @ .., classes] if rows.len() < 2 => (rows, *classes),
        other => {
            let detail = format!("expected [n, classes] or [classes], got {other:?}");
            return Err(TensorError::ShapeMismatch { op, detail });
        }
    };
    if rows != target.dims() {
        let detail = format!("{:?} needs targets {rows:?}, got {:?}", scores.dims(), target.dims());
        return Err(TensorError::ShapeMismatch { op, detail });
    }
    let class = |index: i64| match usize::try_from(index) {
        _ if ignored == Some(index) => Ok(None),
        Ok(class) if class < classes => Ok(Some(class)),
        _ => {
            let bound = format!("{classes} classes");
            Err(TensorError::IndexOutOfRange { op, what: "class", index, bound })
        }
    };
    target.read_i64(op)?.into_iter().map(class).collect()
}

impl Tensor {
    /// `-self[i][target[i]]` of log-probabilities `[n, classes]` (or `[classes]`) and classes `[n]`
    /// (or `[]`), `i64`.
    ///
    /// # Panics
    /// If the shapes do not fit or a class is out of range.
    #[track_caller]
    pub fn nll_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.nll_loss_ignoring(target, None, reduction)
    }

    /// [`Tensor::nll_loss`] in which rows of the class `ignored` do not count, neither in the sum
    /// nor in the number that the mean divides by.
    ///
    /// # Panics
    /// As [`Tensor::nll_loss`].
    #[track_caller]
    pub fn nll_loss_ignoring(
        &self,
        target: &Tensor,
        ignored: Option<i64>,
        reduction: Reduction,
    ) -> Tensor {
        let rows = ok(classes_of("nll_loss", self, target, ignored));
        let counted = rows.iter().flatten().count();
        let weight = if reduction == Reduction::Mean { -1.0 / counted as f32 } else { -1.0 };
        let value = self.losses_of_rows(&rows, target.dims());
        let value = match reduction {
            Reduction::None => value,
            Reduction::Sum => value.sum(),
            Reduction::Mean => value.sum() / counted as f32,
        };
        let shape = self.layout.shape;
        value.record("nll_loss", [self, target], |saver| {
            let target = saver.input(target);
            move |grad: &Tensor, node: &NodeRef| {
                // Reading checks that the classes are still those of the forward pass.
                target.get(node);
                let slope = one_hot_rows(&rows, &shape, weight);
                let grad = if grad.ndim() == 1 { grad.unsqueeze(1) } else { grad.clone() };
                [Some(slope * grad), None]
            }
        })
    }

    /// The loss of each row, without history.
    #[track_caller]
    fn losses_of_rows(&self, rows: &Classes, shape: &[usize]) -> Tensor {
        let (numbers, classes) = (self.read(), self.dims().last().copied().unwrap_or(1));
        Tensor::build(shape, |out| {
            for (row, (out, class)) in out.iter_mut().zip(rows).enumerate() {
                *out = class.map_or(0.0, |class| -numbers[row * classes + class]);
            }
        })
    }

    /// `-ln softmax(self)[target]` of logits `[n, classes]` (or `[classes]`) and classes `[n]` (or
    /// `[]`), `i64`.
    ///
    /// # Panics
    /// As [`Tensor::nll_loss`].
    #[track_caller]
    pub fn cross_entropy(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        self.cross_entropy_ignoring(target, None, reduction)
    }

    /// [`Tensor::cross_entropy`] in which rows of the class `ignored` do not count.
    ///
    /// # Panics
    /// As [`Tensor::nll_loss`].
    #[track_caller]
    pub fn cross_entropy_ignoring(
        &self,
        target: &Tensor,
        ignored: Option<i64>,
        reduction: Reduction,
    ) -> Tensor {
        ok(classes_of("cross_entropy", self, target, ignored));
        self.log_softmax(-1).nll_loss_ignoring(target, ignored, reduction)
    }

    /// `-(t ln σ(x) + (1 - t) ln(1 - σ(x))) = ln(1 + eˣ) - t·x` of logits x and targets t, without
    /// overflow.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn binary_cross_entropy_with_logits(
        &self,
        target: &Tensor,
        reduction: Reduction,
    ) -> Tensor {
        if self.dims() != target.dims() {
            let detail = format!("input {:?} and target {:?} differ", self.dims(), target.dims());
            let op = "binary_cross_entropy_with_logits";
            raise(TensorError::ShapeMismatch { op, detail });
        }
        reduction.apply(self.softplus() - self * target)
    }
}

/// `weight` at the class of each row, 0 elsewhere.
fn one_hot_rows(rows: &Classes, shape: &[usize], weight: f32) -> Tensor {
    let classes = shape.last().copied().unwrap_or(1);
    Tensor::build(shape, |out| {
        out.fill(0.0);
        for (class, row) in rows.iter().zip(out.chunks_exact_mut(classes.max(1))) {
            if let Some(class) = class {
                row[*class] = weight;
            }
        }
    })
}
