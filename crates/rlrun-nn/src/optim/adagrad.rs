//! Adagrad (Duchi, Hazan & Singer 2011).

use super::{PerParameter, Rule, Step};

/// Settings of [`Adagrad`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdagradConfig {
    /// Step size.
    pub learning_rate: f64,
    /// η, the step size falls as 1 / (1 + η (t - 1)).
    pub lr_decay: f64,
    /// λ, adds λθ to the gradient.
    pub weight_decay: f64,
    /// Start of the sum of squares.
    pub initial_accumulator_value: f32,
    /// ε, added to the root of the sum of squares.
    pub eps: f64,
    /// Whether to climb instead of descend.
    pub maximize: bool,
}

impl Default for AdagradConfig {
    fn default() -> AdagradConfig {
        AdagradConfig {
            learning_rate: 1e-2,
            lr_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            eps: 1e-10,
            maximize: false,
        }
    }
}

/// Adagrad: steps along the gradient over the root of the sum of its squares.
pub type Adagrad = PerParameter<AdagradConfig>;

impl Rule for AdagradConfig {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn moments(&self) -> Vec<(&'static str, f32)> {
        vec![("sum", self.initial_accumulator_value)]
    }

    /// s ← s + g², θ ← θ - lr g / (√s + ε).
    fn update(&self, step: Step, theta: &mut [f32], grad: &[f32], moments: &mut [Vec<f32>]) {
        let [sums] = moments else { return };
        let past = (step.t - 1) as f64;
        let rate = (step.learning_rate / (1.0 + past * self.lr_decay)) as f32;
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let decay = self.weight_decay as f32;
        for ((theta, grad), sum) in theta.iter_mut().zip(grad).zip(sums) {
            let grad = sign * grad + decay * *theta;
            *sum += grad * grad;
            *theta -= rate * (grad / (sum.sqrt() + self.eps as f32));
        }
    }
}
