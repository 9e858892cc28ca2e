//! Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983 as in Sutskever et al. 2013).

use rlrun_core::{State, StateError};
use rlrun_tensor::Parameter;

use super::{Optimizer, read_learning_rate, read_moments};

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
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    parameters: Vec<Parameter>,
    /// b of each parameter, empty before its first gradient.
    momentum_buffers: Vec<Vec<f32>>,
}

impl Sgd {
    /// An optimizer of `parameters`.
    pub fn new(parameters: Vec<Parameter>, config: SgdConfig) -> Sgd {
        Sgd { momentum_buffers: vec![Vec::new(); parameters.len()], config, parameters }
    }
}

fn update(buffer: &mut Vec<f32>, parameter: &mut [f32], grad: &[f32], config: &SgdConfig) {
    let sign = if config.maximize { -1.0 } else { 1.0 };
    let (rate, decay) = (config.learning_rate as f32, config.weight_decay as f32);
    let momentum = config.momentum as f32;
    // The first gradient enters undampened.
    let first = buffer.is_empty();
    let (keep, add) = if first { (0.0, 1.0) } else { (momentum, (1.0 - config.dampening) as f32) };
    if first && momentum != 0.0 {
        buffer.resize(grad.len(), 0.0);
    }
    for (i, (theta, grad)) in parameter.iter_mut().zip(grad).enumerate() {
        let mut direction = sign * grad + decay * *theta;
        if let Some(b) = buffer.get_mut(i) {
            *b = keep * *b + add * direction;
            direction = if config.nesterov { direction + momentum * *b } else { *b };
        }
        *theta -= rate * direction;
    }
}

impl Optimizer for Sgd {
    fn step(&mut self) {
        for (parameter, buffer) in self.parameters.iter().zip(&mut self.momentum_buffers) {
            parameter.update(|theta, grad| update(buffer, theta, grad, &self.config));
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
        for (index, buffer) in self.momentum_buffers.iter().enumerate() {
            state.insert_f32(format!("{index}.momentum_buffer"), &[buffer.len()], buffer);
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.config.learning_rate = read_learning_rate(state)?;
        for (index, buffer) in self.momentum_buffers.iter_mut().enumerate() {
            let path = format!("{index}.momentum_buffer");
            let (_, saved) = state.f32(&path)?;
            let count = if saved.is_empty() { 0 } else { self.parameters[index].numel() };
            *buffer = read_moments(state, &path, count)?;
        }
        Ok(())
    }
}
