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
    let grads: Vec<Tensor> = parameters.iter().filter_map(|p| p.grad()).collect();
    let lengths = grads.iter().map(|grad| length(grad, norm));
    let total = match norm {
        Norm::L2 => lengths.map(|length| length * length).sum::<f64>().sqrt() as f32,
        Norm::Infinity => lengths.fold(0.0, maximum) as f32,
    };
    let scale = max_norm / (total + 1e-6);
    if scale < 1.0 || scale.is_nan() {
        grads.iter().for_each(|grad| grad.mul_(&Tensor::scalar(scale)));
    }
    total
}

/// Clamps each component of each gradient to ±`max_value`.
pub fn clip_grad_value(parameters: &[Parameter], max_value: f32) {
    for grad in parameters.iter().filter_map(|p| p.grad()) {
        grad.copy_(&grad.clamp(-max_value, max_value));
    }
}

fn length(grad: &Tensor, norm: Norm) -> f64 {
    let numbers = grad.to_vec().into_iter().map(f64::from);
    match norm {
        Norm::L2 => numbers.map(|g| g * g).sum::<f64>().sqrt(),
        Norm::Infinity => numbers.map(f64::abs).fold(0.0, maximum),
    }
}

/// The larger number; NaN if one of them is.
fn maximum(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}
