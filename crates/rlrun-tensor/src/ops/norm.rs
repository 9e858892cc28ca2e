//! Layer normalisation (Ba, Kiros & Hinton 2016).

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok};
use crate::layout::Shape;
use crate::mode;
use crate::tensor::Tensor;

/// Checks that `shape` ends the shape of `x` and is that of weight and bias.
fn check(
    x: &Tensor,
    shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<(), TensorError> {
    let op = "layer_norm";
    if shape.is_empty() || !x.dims().ends_with(shape) {
        let detail = format!("{:?} does not end in the normalised shape {shape:?}", x.dims());
        return Err(TensorError::ShapeMismatch { op, detail });
    }
    for tensor in [weight, bias].into_iter().flatten() {
        tensor.expect_f32(op)?;
        if tensor.dims() != shape {
            let detail = format!("expected a weight or bias {shape:?}, got {:?}", tensor.dims());
            return Err(TensorError::ShapeMismatch { op, detail });
        }
    }
    x.expect_f32(op)
}

impl Tensor {
    /// `(x - mean) / √(var + eps) · weight + bias` over the last dimensions, whose extents are
    /// `shape`; the variance is the one without Bessel's correction.
    ///
    /// # Panics
    /// If the shapes do not fit or a tensor is not `f32`.
    #[track_caller]
    pub fn layer_norm(
        &self,
        shape: &[usize],
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Tensor {
        ok(check(self, shape, weight, bias));
        let normalised = self.normalise(shape.iter().product(), eps);
        let scaled = weight.map_or_else(|| normalised.clone(), |weight| &normalised * weight);
        bias.map_or_else(|| scaled.clone(), |bias| &scaled + bias)
    }

    /// Rows of `width` elements with mean 0 and variance 1.
    #[track_caller]
    fn normalise(&self, width: usize, eps: f32) -> Tensor {
        let numbers = self.read();
        let value = Tensor::build(self.dims(), |out| {
            let rows = numbers.chunks_exact(width.max(1)).zip(out.chunks_exact_mut(width.max(1)));
            for (row, out) in rows {
                let (mean, scale) = moments(row, eps);
                for (out, &x) in out.iter_mut().zip(row) {
                    *out = ((f64::from(x) - mean) * scale) as f32;
                }
            }
        });
        drop(numbers);
        let whole = self.layout.shape;
        let rows = Shape::of(&[self.numel() / width.max(1), width]);
        value.record("layer_norm", [self], |saver| {
            let x = saver.input(self);
            move |grad: &Tensor, node: &NodeRef| {
                let x = x.get(node);
                let value = slope(&x, grad, width, eps);
                if !mode::recording() {
                    return [Some(value)];
                }
                let (x, grad) = (x.reshape(&rows[..]), grad.reshape(&rows[..]));
                let composed = composed_slope(&x, &grad, eps).reshape(&whole[..]);
                [Some(value.with_history_of(&composed))]
            }
        })
    }
}

/// The mean of a row and 1/√(var + eps).
fn moments(row: &[f32], eps: f32) -> (f64, f64) {
    let width = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width;
    let squares: f64 = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    (mean, 1.0 / (squares / width + f64::from(eps)).sqrt())
}

/// dx = r (g - mean(g) - x̂ · mean(g x̂)) of rows, with r = 1/√(var + eps) and x̂ = r (x - mean(x));
/// in f64, because the differences cancel and r is large.
fn slope(x: &Tensor, grad: &Tensor, width: usize, eps: f32) -> Tensor {
    let (numbers, grad) = (x.read(), grad.read());
    Tensor::build(x.dims(), |out| {
        let rows = numbers.chunks_exact(width.max(1)).zip(grad.chunks_exact(width.max(1)));
        for ((x, grad), out) in rows.zip(out.chunks_exact_mut(width.max(1))) {
            let (mean, scale) = moments(x, eps);
            let pairs = || {
                let normalised = x.iter().map(|&x| (f64::from(x) - mean) * scale);
                normalised.zip(grad.iter().map(|&grad| f64::from(grad)))
            };
            let of_grad = pairs().map(|(_, grad)| grad).sum::<f64>() / width as f64;
            let along = pairs().map(|(x, grad)| x * grad).sum::<f64>() / width as f64;
            for (out, (x, grad)) in out.iter_mut().zip(pairs()) {
                *out = ((grad - of_grad - x * along) * scale) as f32;
            }
        }
    })
}

/// The same in tensor operations, which have a history.
fn composed_slope(x: &Tensor, grad: &Tensor, eps: f32) -> Tensor {
    let centred = x - x.mean_dim(1, true);
    let scale = ((&centred * &centred).mean_dim(1, true) + eps).rsqrt();
    let normalised = centred * &scale;
    let along = (grad * &normalised).mean_dim(1, true);
    (grad - grad.mean_dim(1, true) - normalised * along) * scale
}
