//! Adam (Kingma & Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

use rlrun_tensor::kernels::{self, AdamStep};

use super::{PerParameter, Rule, Step};

/// Settings of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Step size α.
    pub learning_rate: f64,
    /// Decay rates β₁ and β₂ of the two moments.
    pub betas: (f64, f64),
    /// ε, added to the root of the second moment.
    pub eps: f64,
    /// λ, pulls the parameters towards zero.
    pub weight_decay: f64,
    /// Whether the decay acts on the parameter itself (AdamW) rather than through the gradient.
    pub decoupled_weight_decay: bool,
    /// Whether to divide by the largest second moment so far (Reddi et al. 2018).
    pub amsgrad: bool,
    /// Whether to climb instead of descend.
    pub maximize: bool,
}

impl Default for AdamConfig {
    fn default() -> AdamConfig {
        AdamConfig {
            learning_rate: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled_weight_decay: false,
            amsgrad: false,
            maximize: false,
        }
    }
}

impl AdamConfig {
    /// PyTorch's defaults for AdamW: decoupled decay of 0.01.
    pub fn adamw() -> AdamConfig {
        AdamConfig { weight_decay: 0.01, decoupled_weight_decay: true, ..AdamConfig::default() }
    }
}

/// Adam: steps along the mean gradient over its root mean square.
pub type Adam = PerParameter<AdamConfig>;

impl Rule for AdamConfig {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn moments(&self) -> Vec<(&'static str, f32)> {
        let mut moments = vec![("exp_avg", 0.0), ("exp_avg_sq", 0.0)];
        if self.amsgrad {
            moments.push(("max_exp_avg_sq", 0.0));
        }
        moments
    }

    /// m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², θ ← θ - α m̂ / (√v̂ + ε) with m̂ = m / (1-β₁ᵗ) and
    /// v̂ = v / (1-β₂ᵗ).
    fn update(&self, step: Step, theta: &mut [f32], grad: &[f32], moments: &mut [Vec<f32>]) {
        let Step { t, learning_rate } = step;
        let mut step = AdamStep::new(learning_rate, self.betas, self.eps, t);
        if self.decoupled_weight_decay {
            step.decay = (1.0 - learning_rate * self.weight_decay) as f32;
        } else {
            step.weight_decay = self.weight_decay as f32;
        }
        match moments {
            [m, v] if !self.maximize => kernels::adam(theta, grad, m, v, &step),
            [m, v, largest @ ..] => {
                let largest = largest.first_mut().map(Vec::as_mut_slice);
                self.update_variant(&step, theta, grad, [m, v], largest);
            }
            _ => {}
        }
    }
}

impl AdamConfig {
    /// The step with `amsgrad` and `maximize`.
    fn update_variant(
        &self,
        step: &AdamStep,
        theta: &mut [f32],
        grad: &[f32],
        [m, v]: [&mut [f32]; 2],
        mut largest: Option<&mut [f32]>,
    ) {
        let sign = if self.maximize { -1.0 } else { 1.0 };
        for (i, (theta, grad)) in theta.iter_mut().zip(grad).enumerate() {
            let (m, v) = (&mut m[i], &mut v[i]);
            let grad = sign * grad + step.weight_decay * *theta;
            *m += step.gain1 * (grad - *m);
            *v = step.beta2 * *v + step.gain2 * grad * grad;
            let mut second = *v;
            if let Some(largest) = &mut largest {
                largest[i] = largest[i].max(second);
                second = largest[i];
            }
            let denominator = second.sqrt() * step.inv_sqrt_bias_correction2 + step.eps;
            *theta = step.decay * *theta - step.step_size * (*m / denominator);
        }
    }
}
