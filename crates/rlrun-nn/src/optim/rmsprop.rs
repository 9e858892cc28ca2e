//! RMSprop (Hinton 2012, lecture 6e; centered: Graves 2013, arXiv 1308.0850).

use rlrun_tensor::kernels::{self, RmsPropStep};

use super::{PerParameter, Rule, Step};

/// Settings of [`RmsProp`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropConfig {
    /// Step size.
    pub learning_rate: f64,
    /// α, decay rate of the mean square.
    pub alpha: f64,
    /// ε, added to the root of the mean square.
    pub eps: f64,
    /// λ, adds λθ to the gradient.
    pub weight_decay: f64,
    /// μ, the share of the last step that is kept.
    pub momentum: f64,
    /// Whether to divide by the standard deviation instead of the root mean square.
    pub centered: bool,
    /// Whether to climb instead of descend.
    pub maximize: bool,
    /// TensorFlow's kind: ε is added inside the root, and the mean square starts from 1.
    pub tf_like: bool,
}

impl Default for RmsPropConfig {
    fn default() -> RmsPropConfig {
        RmsPropConfig {
            learning_rate: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
            tf_like: false,
        }
    }
}

/// RMSprop: steps along the gradient over its root mean square.
pub type RmsProp = PerParameter<RmsPropConfig>;

impl Rule for RmsPropConfig {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn moments(&self) -> Vec<(&'static str, f32)> {
        let mut moments = vec![("square_avg", if self.tf_like { 1.0 } else { 0.0 })];
        if self.centered {
            moments.push(("grad_avg", 0.0));
        }
        if self.momentum > 0.0 {
            moments.push(("momentum_buffer", 0.0));
        }
        moments
    }

    /// v ← αv + (1-α)g², θ ← θ - lr g / (√v + ε), or / √(v + ε).
    fn update(&self, step: Step, theta: &mut [f32], grad: &[f32], moments: &mut [Vec<f32>]) {
        let rate = step.learning_rate as f32;
        if let ([square_avg], false) = (&mut *moments, self.maximize) {
            let step = RmsPropStep {
                rate,
                alpha: self.alpha as f32,
                gain: (1.0 - self.alpha) as f32,
                eps: self.eps as f32,
                eps_in_root: self.tf_like,
                weight_decay: self.weight_decay as f32,
            };
            return kernels::rms_prop(theta, grad, square_avg, &step);
        }
        self.update_variant(rate, theta, grad, moments);
    }
}

impl RmsPropConfig {
    /// The step with `centered`, `momentum` and `maximize`.
    fn update_variant(&self, rate: f32, theta: &mut [f32], grad: &[f32], moments: &mut [Vec<f32>]) {
        let Some((square_avg, others)) = moments.split_first_mut() else { return };
        let (mut grad_avg, mut momentum) = match others {
            [grad_avg, momentum] => (Some(grad_avg), Some(momentum)),
            [grad_avg] if self.centered => (Some(grad_avg), None),
            [momentum] => (None, Some(momentum)),
            _ => (None, None),
        };
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let (alpha, gain) = (self.alpha as f32, (1.0 - self.alpha) as f32);
        for (i, (theta, grad)) in theta.iter_mut().zip(grad).enumerate() {
            let grad = sign * grad + self.weight_decay as f32 * *theta;
            square_avg[i] = alpha * square_avg[i] + gain * grad * grad;
            let mut variance = square_avg[i];
            if let Some(mean) = &mut grad_avg {
                mean[i] += gain * (grad - mean[i]);
                variance -= mean[i] * mean[i];
            }
            let mut direction = grad / self.root(variance);
            if let Some(b) = &mut momentum {
                b[i] = self.momentum as f32 * b[i] + direction;
                direction = b[i];
            }
            *theta -= rate * direction;
        }
    }

    fn root(&self, variance: f32) -> f32 {
        let eps = self.eps as f32;
        if self.tf_like { (variance + eps).sqrt() } else { variance.sqrt() + eps }
    }
}
