//! RMSprop (Hinton 2012, lecture 6e; centered: Graves 2013, arXiv 1308.0850).

use rlrun_core::{State, StateError};
use rlrun_tensor::Parameter;

use super::{Optimizer, read_learning_rate};

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
        }
    }
}

/// RMSprop: steps along the gradient over its root mean square.
#[derive(Debug)]
pub struct RmsProp {
    config: RmsPropConfig,
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
}

/// What RMSprop remembers of one parameter; the last two are empty unless used.
#[derive(Debug)]
struct Moments {
    square_avg: Vec<f32>,
    grad_avg: Vec<f32>,
    momentum_buffer: Vec<f32>,
}

impl RmsProp {
    /// An optimizer of `parameters`.
    pub fn new(parameters: Vec<Parameter>, config: RmsPropConfig) -> RmsProp {
        let moments = |parameter: &Parameter| {
            let zeros_if = |used| if used { vec![0.0; parameter.numel()] } else { Vec::new() };
            Moments {
                square_avg: zeros_if(true),
                grad_avg: zeros_if(config.centered),
                momentum_buffer: zeros_if(config.momentum > 0.0),
            }
        };
        RmsProp { moments: parameters.iter().map(moments).collect(), config, parameters }
    }
}

impl Moments {
    /// v ← αv + (1-α)g², θ ← θ - lr g / (√v + ε).
    fn update(&mut self, parameter: &mut [f32], grad: &[f32], config: &RmsPropConfig) {
        let sign = if config.maximize { -1.0 } else { 1.0 };
        let (alpha, weight) = (config.alpha as f32, (1.0 - config.alpha) as f32);
        let (rate, decay) = (config.learning_rate as f32, config.weight_decay as f32);
        for (i, (theta, grad)) in parameter.iter_mut().zip(grad).enumerate() {
            let grad = sign * grad + decay * *theta;
            let square = &mut self.square_avg[i];
            *square = alpha * *square + weight * grad * grad;
            let mut variance = *square;
            if let Some(mean) = self.grad_avg.get_mut(i) {
                *mean += weight * (grad - *mean);
                variance -= *mean * *mean;
            }
            let mut direction = grad / (variance.sqrt() + config.eps as f32);
            if let Some(b) = self.momentum_buffer.get_mut(i) {
                *b = config.momentum as f32 * *b + direction;
                direction = *b;
            }
            *theta -= rate * direction;
        }
    }

    fn entries(&mut self) -> [(&'static str, &mut Vec<f32>); 3] {
        [
            ("square_avg", &mut self.square_avg),
            ("grad_avg", &mut self.grad_avg),
            ("momentum_buffer", &mut self.momentum_buffer),
        ]
    }
}

impl Optimizer for RmsProp {
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
            let Moments { square_avg, grad_avg, momentum_buffer } = moments;
            let mut insert = |name: &str, data: &Vec<f32>| {
                state.insert_f32(format!("{index}.{name}"), &[data.len()], data);
            };
            insert("square_avg", square_avg);
            insert("grad_avg", grad_avg);
            insert("momentum_buffer", momentum_buffer);
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.config.learning_rate = read_learning_rate(state)?;
        for (index, moments) in self.moments.iter_mut().enumerate() {
            for (name, data) in moments.entries() {
                state.copy_f32(&format!("{index}.{name}"), data)?;
            }
        }
        Ok(())
    }
}
