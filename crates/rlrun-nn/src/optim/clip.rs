//! Limits on gradients, as `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`.

use rlrun_tensor::{Parameter, Tensor, no_grad};

use crate::distinct;

/// How the length of all gradients together is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Norm {
    /// Σ|g|.
    L1,
    /// √Σg².
    L2,
    /// max |g|.
    Infinity,
}

/// Scales all gradients by min(1, `max_norm` / (norm + 1e-6)) and returns the norm before, over
/// all gradients as if they were one vector. Parameters without a gradient count as zero, and one
/// that is listed twice counts once.
pub fn clip_grad_norm(parameters: &[Parameter], max_norm: f32, norm: Norm) -> f32 {
    let grads: Vec<Tensor> = distinct(parameters).iter().filter_map(|p| p.grad()).collect();
    let total = match norm {
        Norm::L1 => grads.iter().map(sum_of_magnitudes).fold(0.0, |a, b| a + b),
        Norm::L2 => grads.iter().map(squares).fold(0.0, |a, b| a + b).sqrt(),
        Norm::Infinity => grads.iter().map(largest).fold(0.0, maximum),
    } as f32;
    let scale = max_norm / (total + 1e-6);
    if scale < 1.0 || scale.is_nan() {
        grads.iter().for_each(|grad| grad.mul_scalar_(scale));
    }
    total
}

/// Clamps each component of each gradient to ±`max_value`.
pub fn clip_grad_value(parameters: &[Parameter], max_value: f32) {
    for grad in distinct(parameters).iter().filter_map(|p| p.grad()) {
        grad.copy_(&grad.clamp(-max_value, max_value));
    }
}

fn sum_of_magnitudes(grad: &Tensor) -> f64 {
    no_grad(|| grad.abs().sum()).item()
}

fn squares(grad: &Tensor) -> f64 {
    f64::from(grad.sum_of_squares())
}

fn largest(grad: &Tensor) -> f64 {
    grad.to_vec().into_iter().map(|g| f64::from(g.abs())).fold(0.0, maximum)
}

/// The larger number; NaN if one of them is.
fn maximum(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}
