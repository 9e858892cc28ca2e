//! Limits on gradients, as `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`.

use rlrun_tensor::{Parameter, Tensor};

/// How the length of all gradients together is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Norm {
    /// √Σg².
    L2,
    /// max |g|.
    Infinity,
}

/// Scales all gradients by min(1, `max_norm` / (norm + 1e-6)) and returns the norm before, over
/// all gradients as if they were one vector. Parameters without a gradient count as zero.
pub fn clip_grad_norm(parameters: &[Parameter], max_norm: f32, norm: Norm) -> f32 {
    let grads = || parameters.iter().filter_map(|parameter| parameter.grad());
    let total = match norm {
        Norm::L2 => grads().map(|grad| f64::from(grad.sum_of_squares())).sum::<f64>().sqrt(),
        Norm::Infinity => grads().map(|grad| largest(&grad)).fold(0.0, maximum),
    } as f32;
    let scale = max_norm / (total + 1e-6);
    if scale < 1.0 || scale.is_nan() {
        grads().for_each(|grad| grad.mul_scalar_(scale));
    }
    total
}

/// Clamps each component of each gradient to ±`max_value`.
pub fn clip_grad_value(parameters: &[Parameter], max_value: f32) {
    for grad in parameters.iter().filter_map(|p| p.grad()) {
        grad.copy_(&grad.clamp(-max_value, max_value));
    }
}

fn largest(grad: &Tensor) -> f64 {
    grad.to_vec().into_iter().map(|g| f64::from(g.abs())).fold(0.0, maximum)
}

/// The larger number; NaN if one of them is.
fn maximum(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}
