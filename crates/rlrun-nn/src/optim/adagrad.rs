//! Adagrad (Duchi, Hazan & Singer 2011).

use rlrun_core::{State, StateError};
use rlrun_tensor::Parameter;

use super::{Optimizer, read_learning_rate};

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
#[derive(Debug)]
pub struct Adagrad {
    config: AdagradConfig,
    parameters: Vec<Parameter>,
    sums: Vec<Sum>,
}

/// What Adagrad remembers of one parameter.
#[derive(Debug)]
struct Sum {
    step: u64,
    squares: Vec<f32>,
}

impl Adagrad {
    /// An optimizer of `parameters`.
    pub fn new(parameters: Vec<Parameter>, config: AdagradConfig) -> Adagrad {
        let start = config.initial_accumulator_value;
        let sum = |parameter: &Parameter| Sum { step: 0, squares: vec![start; parameter.numel()] };
        Adagrad { sums: parameters.iter().map(sum).collect(), config, parameters }
    }
}

impl Sum {
    /// s ← s + g², θ ← θ - lr g / (√s + ε).
    fn update(&mut self, parameter: &mut [f32], grad: &[f32], config: &AdagradConfig) {
        let past = self.step as f64;
        self.step += 1;
        let rate = (config.learning_rate / (1.0 + past * config.lr_decay)) as f32;
        let sign = if config.maximize { -1.0 } else { 1.0 };
        let decay = config.weight_decay as f32;
        for ((theta, grad), sum) in parameter.iter_mut().zip(grad).zip(&mut self.squares) {
            let grad = sign * grad + decay * *theta;
            *sum += grad * grad;
            *theta -= rate * (grad / (sum.sqrt() + config.eps as f32));
        }
    }
}

impl Optimizer for Adagrad {
    fn step(&mut self) {
        for (parameter, sum) in self.parameters.iter().zip(&mut self.sums) {
            parameter.update(|theta, grad| sum.update(theta, grad, &self.config));
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
        for (index, sum) in self.sums.iter().enumerate() {
            state.insert_u64(format!("{index}.step"), [sum.step]);
            state.insert_f32(format!("{index}.sum"), &[sum.squares.len()], &sum.squares);
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.config.learning_rate = read_learning_rate(state)?;
        for (index, sum) in self.sums.iter_mut().enumerate() {
            sum.step = state.counter(&format!("{index}.step"))?;
            state.copy_f32(&format!("{index}.sum"), &mut sum.squares)?;
        }
        Ok(())
    }
}
