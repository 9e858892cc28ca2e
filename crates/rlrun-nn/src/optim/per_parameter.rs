//! What optimizers that treat each parameter on its own share: all but the formula.

use rlrun_core::{State, StateError};
use rlrun_tensor::Parameter;

use super::Optimizer;
use crate::distinct;

/// The formula of an optimizer that treats each parameter on its own.
pub trait Rule: Send {
    /// The step size at first.
    fn learning_rate(&self) -> f64;

    /// What is remembered of a parameter: the name of each moment, and the number it starts from.
    fn moments(&self) -> Vec<(&'static str, f32)>;

    /// Moves the parameter `theta`. The moments are those of [`Rule::moments`], in that order.
    fn update(&self, step: Step, theta: &mut [f32], grad: &[f32], moments: &mut [Vec<f32>]);
}

/// Which step of a parameter it is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Number of the step, from 1.
    pub t: u64,
    /// The step size now.
    pub learning_rate: f64,
}

/// An optimizer that moves each parameter by the rule `R`.
#[derive(Debug)]
pub struct PerParameter<R> {
    rule: R,
    learning_rate: f64,
    parameters: Vec<Parameter>,
    memories: Vec<Memory>,
}

/// What is remembered of one parameter.
#[derive(Debug)]
struct Memory {
    steps: u64,
    moments: Vec<Vec<f32>>,
}

impl<R: Rule> PerParameter<R> {
    /// An optimizer of `parameters`.
    ///
    /// # Panics
    /// If the learning rate is negative or not a finite number.
    #[track_caller]
    pub fn new(parameters: Vec<Parameter>, rule: R) -> PerParameter<R> {
        let learning_rate = rule.learning_rate();
        check(learning_rate).unwrap_or_else(|reason| panic!("{reason}"));
        let parameters = distinct(parameters);
        let start = |count: usize| rule.moments().iter().map(|(_, x)| vec![*x; count]).collect();
        let memory = |p: &Parameter| Memory { steps: 0, moments: start(p.numel()) };
        let memories = parameters.iter().map(memory).collect();
        PerParameter { rule, learning_rate, parameters, memories }
    }

    /// What `state` remembers of the parameter `index`.
    fn memory(&self, state: &State, index: usize) -> Result<Memory, StateError> {
        let read = |(name, start): &(&str, f32)| {
            let mut moment = vec![*start; self.parameters[index].numel()];
            state.copy_f32(&format!("{index}.{name}"), &mut moment)?;
            Ok(moment)
        };
        let moments = self.rule.moments().iter().map(read).collect::<Result<_, _>>()?;
        Ok(Memory { steps: state.counter(&format!("{index}.step"))?, moments })
    }
}

impl<R: Rule> Optimizer for PerParameter<R> {
    fn step(&mut self) {
        let PerParameter { rule, learning_rate, parameters, memories } = self;
        for (parameter, memory) in parameters.iter().zip(memories) {
            parameter.update(|theta, grad| {
                memory.steps += 1;
                let step = Step { t: memory.steps, learning_rate: *learning_rate };
                rule.update(step, theta, grad, &mut memory.moments);
            });
        }
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    #[track_caller]
    fn set_learning_rate(&mut self, learning_rate: f64) {
        check(learning_rate).unwrap_or_else(|reason| panic!("{reason}"));
        self.learning_rate = learning_rate;
    }

    fn state(&self) -> State {
        let mut state = State::new();
        state.insert_f64("learning_rate", [self.learning_rate]);
        let names = self.rule.moments();
        for (index, memory) in self.memories.iter().enumerate() {
            state.insert_u64(format!("{index}.step"), [memory.steps]);
            for ((name, _), moment) in names.iter().zip(&memory.moments) {
                state.insert_f32(format!("{index}.{name}"), &[moment.len()], moment);
            }
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let learning_rate = read_learning_rate(state)?;
        let memories = 0..self.parameters.len();
        let memories = memories.map(|index| self.memory(state, index));
        let memories = memories.collect::<Result<Vec<_>, _>>()?;
        let known = self.state();
        if let Some(path) = state.0.keys().find(|path| !known.0.contains_key(*path)) {
            let count = self.parameters.len();
            let reason =
                format!("the optimizer has {count} parameters, and no moment of this name");
            return Err(StateError::Invalid { path: path.clone(), reason });
        }
        (self.learning_rate, self.memories) = (learning_rate, memories);
        Ok(())
    }
}

/// What is wrong with a step size, if anything.
fn check(learning_rate: f64) -> Result<(), String> {
    if learning_rate >= 0.0 && learning_rate.is_finite() {
        return Ok(());
    }
    Err(format!("the learning rate is `{learning_rate}`: expected a finite number from 0 on"))
}

fn read_learning_rate(state: &State) -> Result<f64, StateError> {
    let path = "learning_rate".to_owned();
    match state.f64(&path)? {
        [learning_rate] => match check(*learning_rate) {
            Ok(()) => Ok(*learning_rate),
            Err(reason) => Err(StateError::Invalid { path, reason }),
        },
        many => Err(StateError::Shape { path, expected: vec![1], found: vec![many.len()] }),
    }
}
