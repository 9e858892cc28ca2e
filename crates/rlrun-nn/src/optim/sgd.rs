//! Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983 as in Sutskever et al. 2013).

use super::{PerParameter, Rule, Step};

/// Settings of [`Sgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// Step size.
    pub learning_rate: f64,
    /// μ, the share of the last step that is kept.
    pub momentum: f64,
    /// The share of a new gradient that does not enter the momentum.
    pub dampening: f64,
    /// λ, adds λθ to the gradient.
    pub weight_decay: f64,
    /// Whether to look ahead along the momentum.
    pub nesterov: bool,
    /// Whether to climb instead of descend.
    pub maximize: bool,
}

impl Default for SgdConfig {
    fn default() -> SgdConfig {
        SgdConfig {
            learning_rate: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
        }
    }
}

/// Gradient descent: θ ← θ - α b with b ← μ b + (1 - dampening) g.
pub type Sgd = PerParameter<SgdConfig>;

impl Rule for SgdConfig {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn moments(&self) -> Vec<(&'static str, f32)> {
        if self.momentum == 0.0 { Vec::new() } else { vec![("momentum_buffer", 0.0)] }
    }

    fn update(&self, step: Step, theta: &mut [f32], grad: &[f32], moments: &mut [Vec<f32>]) {
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let (rate, decay) = (step.learning_rate as f32, self.weight_decay as f32);
        let momentum = self.momentum as f32;
        // The first gradient enters undampened.
        let add = if step.t == 1 { 1.0 } else { (1.0 - self.dampening) as f32 };
        let mut buffer = moments.first_mut();
        for (i, (theta, grad)) in theta.iter_mut().zip(grad).enumerate() {
            let mut direction = sign * grad + decay * *theta;
            if let Some(buffer) = &mut buffer {
                buffer[i] = momentum * buffer[i] + add * direction;
                direction =
                    if self.nesterov { direction + momentum * buffer[i] } else { buffer[i] };
            }
            *theta -= rate * direction;
        }
    }
}
