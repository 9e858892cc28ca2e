//! Adam (Kingma & Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

use rlrun_core::{State, StateError};
use rlrun_tensor::Parameter;
use rlrun_tensor::kernels::{self, AdamStep};

use super::{Optimizer, read_learning_rate};

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
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
}

/// What Adam remembers of one parameter.
#[derive(Debug)]
struct Moments {
    step: u64,
    exp_avg: Vec<f32>,
    exp_avg_sq: Vec<f32>,
    /// Empty unless `amsgrad`.
    max_exp_avg_sq: Vec<f32>,
}

impl Adam {
    /// An optimizer of `parameters`.
    pub fn new(parameters: Vec<Parameter>, config: AdamConfig) -> Adam {
        let moments = |parameter: &Parameter| {
            let zeros = || vec![0.0; parameter.numel()];
            let max_exp_avg_sq = if config.amsgrad { zeros() } else { Vec::new() };
            Moments { step: 0, exp_avg: zeros(), exp_avg_sq: zeros(), max_exp_avg_sq }
        };
        Adam { moments: parameters.iter().map(moments).collect(), config, parameters }
    }
}

impl Moments {
    /// m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², θ ← θ - α m̂ / (√v̂ + ε) with m̂ = m / (1-β₁ᵗ) and
    /// v̂ = v / (1-β₂ᵗ).
    fn update(&mut self, parameter: &mut [f32], grad: &[f32], config: &AdamConfig) {
        self.step += 1;
        let AdamConfig { learning_rate, weight_decay, .. } = *config;
        let mut step = AdamStep::new(learning_rate, config.betas, config.eps, self.step);
        if config.decoupled_weight_decay {
            step.decay = (1.0 - learning_rate * weight_decay) as f32;
        } else {
            step.weight_decay = weight_decay as f32;
        }
        if config.amsgrad || config.maximize {
            self.update_variant(parameter, grad, config, &step);
        } else {
            kernels::adam(parameter, grad, &mut self.exp_avg, &mut self.exp_avg_sq, &step);
        }
    }

    /// The step with `amsgrad` and `maximize`.
    fn update_variant(
        &mut self,
        parameter: &mut [f32],
        grad: &[f32],
        config: &AdamConfig,
        step: &AdamStep,
    ) {
        let sign = if config.maximize { -1.0 } else { 1.0 };
        for (i, (theta, grad)) in parameter.iter_mut().zip(grad).enumerate() {
            let (m, v) = (&mut self.exp_avg[i], &mut self.exp_avg_sq[i]);
            let grad = sign * grad + step.weight_decay * *theta;
            *m += (1.0 - step.beta1) * (grad - *m);
            *v = step.beta2 * *v + (1.0 - step.beta2) * grad * grad;
            let mut second = *v;
            if let Some(max) = self.max_exp_avg_sq.get_mut(i) {
                *max = max.max(second);
                second = *max;
            }
            let denominator = second.sqrt() * step.inv_sqrt_bias_correction2 + step.eps;
            *theta = step.decay * *theta - step.step_size * (*m / denominator);
        }
    }
}

impl Optimizer for Adam {
    fn step(&mut self) {
        for (parameter, moments) in self.parameters.iter().zip(&mut self.moments) {
            parameter.update(|theta, grad| moments.update(theta, grad, &self.config));
        }
    }

    fn zero_grad(&mut self) {
        self.parameters.iter().for_each(Parameter::zero_grad);
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }

    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_f64("learning_rate", [self.config.learning_rate]);
        for (index, moments) in self.moments.iter().enumerate() {
            let count = [moments.exp_avg.len()];
            state.insert_u64(format!("{index}.step"), [moments.step]);
            state.insert_f32(format!("{index}.exp_avg"), &count, &moments.exp_avg);
            state.insert_f32(format!("{index}.exp_avg_sq"), &count, &moments.exp_avg_sq);
            if self.config.amsgrad {
                let max = &moments.max_exp_avg_sq;
                state.insert_f32(format!("{index}.max_exp_avg_sq"), &count, max);
            }
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.config.learning_rate = read_learning_rate(state)?;
        for (index, moments) in self.moments.iter_mut().enumerate() {
            moments.step = state.counter(&format!("{index}.step"))?;
            state.copy_f32(&format!("{index}.exp_avg"), &mut moments.exp_avg)?;
            state.copy_f32(&format!("{index}.exp_avg_sq"), &mut moments.exp_avg_sq)?;
            if self.config.amsgrad {
                let path = format!("{index}.max_exp_avg_sq");
                state.copy_f32(&path, &mut moments.max_exp_avg_sq)?;
            }
        }
        Ok(())
    }
}
