//! What optimizers that treat each parameter on its own share: all but the formula.

use std::ops::Range;

use rlrun_core::{State, StateError};
use rlrun_tensor::{CallGuard, Parameter};

use super::{Optimizer, check_group};
use crate::{Parameters, StatefulLayers};

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

/// An optimizer that moves each parameter by the rule `R`, in groups with settings of their own.
#[derive(Debug)]
pub struct PerParameter<R> {
    groups: Vec<Group<R>>,
    /// Those of the first group, then those of the second, …
    parameters: Vec<Parameter>,
    memories: Vec<Memory>,
    /// Those beside the parameters that must train for a loss.
    layers: StatefulLayers,
}

/// Parameters that share their settings.
#[derive(Debug)]
struct Group<R> {
    rule: R,
    learning_rate: f64,
    members: Range<usize>,
}

/// One group of an optimizer: an entry of PyTorch's `param_groups`.
#[derive(Clone, Copy, Debug)]
pub struct ParamGroup<'a, R> {
    /// Its parameters, each once.
    pub parameters: &'a [Parameter],
    /// Its settings, as they were given.
    pub config: &'a R,
    /// Its step size now.
    pub learning_rate: f64,
}

/// What is remembered of one parameter.
#[derive(Debug)]
struct Memory {
    steps: u64,
    moments: Vec<Vec<f32>>,
}

impl<R: Rule> PerParameter<R> {
    /// An optimizer of `parameters`, as one group.
    ///
    /// # Panics
    /// If the learning rate is negative or not a finite number.
    #[track_caller]
    pub fn new(parameters: impl Into<Parameters>, rule: R) -> PerParameter<R> {
        let mut optimizer = PerParameter {
            groups: Vec::new(),
            parameters: Vec::new(),
            memories: Vec::new(),
            layers: StatefulLayers::default(),
        };
        optimizer.add_param_group(parameters, rule);
        optimizer
    }

    /// Adds parameters with settings of their own.
    ///
    /// # Panics
    /// If the learning rate is negative or not a finite number, or a parameter is in another group.
    ///
    /// ```
    /// use rlrun_nn::optim::{Adam, AdamConfig, Optimizer};
    /// use rlrun_tensor::{Parameter, Tensor};
    /// let (weight, bias) = (Parameter::new(Tensor::ones([2, 2])), Parameter::new(Tensor::ones([2])));
    /// let mut adam = Adam::new(vec![weight], AdamConfig { weight_decay: 0.1, ..AdamConfig::adamw() });
    /// adam.add_param_group(vec![bias], AdamConfig { learning_rate: 1e-2, ..AdamConfig::default() });
    /// adam.set_group_learning_rate(1, 5e-3);
    /// assert_eq!((adam.group_learning_rate(0), adam.group_learning_rate(1)), (1e-3, 5e-3));
    /// ```
    #[track_caller]
    pub fn add_param_group(&mut self, parameters: impl Into<Parameters>, rule: R) {
        let learning_rate = rule.learning_rate();
        check(learning_rate).unwrap_or_else(|reason| panic!("{reason}"));
        let (parameters, layers) = parameters.into().into_parts();
        for (index, new) in parameters.iter().enumerate() {
            if let Some(place) = self.parameters.iter().position(|old| old.is(new)) {
                let group = self.groups.iter().take_while(|group| group.members.end <= place);
                panic!(
                    "parameter {index} {:?} of group {} is in group {} already: a parameter belongs to \
                     one group",
                    new.dims(),
                    self.groups.len(),
                    group.count()
                );
            }
        }
        let start = |count: usize| rule.moments().iter().map(|(_, x)| vec![*x; count]).collect();
        let memory = |p: &Parameter| Memory { steps: 0, moments: start(p.numel()) };
        self.layers.extend(&layers);
        self.memories.extend(parameters.iter().map(memory));
        let first = self.parameters.len();
        self.parameters.extend(parameters);
        self.groups.push(Group { rule, learning_rate, members: first..self.parameters.len() });
    }

    /// The groups, in the order in which they were added.
    pub fn param_groups<'a>(&'a self) -> Vec<ParamGroup<'a, R>> {
        let view = |group: &'a Group<R>| ParamGroup {
            parameters: &self.parameters[group.members.clone()],
            config: &group.rule,
            learning_rate: group.learning_rate,
        };
        self.groups.iter().map(view).collect()
    }

    #[track_caller]
    fn group(&self, index: usize) -> &Group<R> {
        check_group(index, self.groups.len());
        &self.groups[index]
    }

    /// What `state` remembers of the parameters of a group.
    fn remembered(&self, state: &State, group: &Group<R>) -> Result<Vec<Memory>, StateError> {
        let moments = group.rule.moments();
        let memory = |index: usize| {
            let read = |(name, start): &(&str, f32)| {
                let mut moment = vec![*start; self.parameters[index].numel()];
                state.copy_f32(&format!("{index}.{name}"), &mut moment)?;
                Ok(moment)
            };
            let moments = moments.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Memory { steps: state.counter(&format!("{index}.step"))?, moments })
        };
        group.members.clone().map(memory).collect()
    }

    /// How many parameters each group has; of one group nothing is said.
    fn sizes(&self) -> Option<Vec<u64>> {
        let sizes = self.groups.iter().map(|group| group.members.len() as u64);
        (self.groups.len() > 1).then(|| sizes.collect())
    }
}

impl<R: Rule> Optimizer for PerParameter<R> {
    /// # Panics
    /// [`crate::UntrainedLayer`], if a layer of the network that the parameters came from only
    /// evaluated for the loss.
    #[track_caller]
    fn step(&mut self) {
        let _call = CallGuard::named("optimizer step");
        self.layers.check_trained().unwrap_or_else(|error| panic!("{error}"));
        self.layers.stepped();
        for Group { rule, learning_rate, members } in &self.groups {
            let parameters = &self.parameters[members.clone()];
            for (parameter, memory) in parameters.iter().zip(&mut self.memories[members.clone()]) {
                parameter.update(|theta, grad| {
                    memory.steps += 1;
                    let step = Step { t: memory.steps, learning_rate: *learning_rate };
                    rule.update(step, theta, grad, &mut memory.moments);
                });
            }
        }
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn learning_rate(&self) -> f64 {
        self.groups[0].learning_rate
    }

    #[track_caller]
    fn set_learning_rate(&mut self, learning_rate: f64) {
        check(learning_rate).unwrap_or_else(|reason| panic!("{reason}"));
        self.groups.iter_mut().for_each(|group| group.learning_rate = learning_rate);
    }

    fn group_count(&self) -> usize {
        self.groups.len()
    }

    #[track_caller]
    fn group_learning_rate(&self, group: usize) -> f64 {
        self.group(group).learning_rate
    }

    #[track_caller]
    fn set_group_learning_rate(&mut self, group: usize, learning_rate: f64) {
        check(learning_rate).unwrap_or_else(|reason| panic!("{reason}"));
        check_group(group, self.groups.len());
        self.groups[group].learning_rate = learning_rate;
    }

    fn state(&self) -> State {
        let mut state = State::new();
        let rates = self.groups.iter().map(|group| group.learning_rate);
        state.insert_f64("learning_rate", rates.collect::<Vec<_>>());
        if let Some(sizes) = self.sizes() {
            state.insert_u64("param_groups", sizes);
        }
        for group in &self.groups {
            let names = group.rule.moments();
            for index in group.members.clone() {
                let memory = &self.memories[index];
                state.insert_u64(format!("{index}.step"), [memory.steps]);
                for ((name, _), moment) in names.iter().zip(&memory.moments) {
                    state.insert_f32(format!("{index}.{name}"), &[moment.len()], moment);
                }
            }
        }
        state
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let rates = read_learning_rates(state, self.groups.len())?;
        if let Some(expected) = self.sizes() {
            let (path, found) = ("param_groups".to_owned(), state.u64("param_groups")?);
            if found != expected {
                let reason = format!("groups of {found:?} parameters, expected {expected:?}");
                return Err(StateError::Invalid { path, reason });
            }
        }
        let memories = self.groups.iter().map(|group| self.remembered(state, group));
        let memories = memories.collect::<Result<Vec<_>, _>>()?;
        let known = self.state();
        if let Some(path) = state.0.keys().find(|path| !known.0.contains_key(*path)) {
            let count = self.parameters.len();
            let reason =
                format!("the optimizer has {count} parameters, and no moment of this name");
            return Err(StateError::Invalid { path: path.clone(), reason });
        }
        self.memories = memories.into_iter().flatten().collect();
        self.groups.iter_mut().zip(rates).for_each(|(group, rate)| group.learning_rate = rate);
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

fn read_learning_rates(state: &State, groups: usize) -> Result<Vec<f64>, StateError> {
    let path = "learning_rate".to_owned();
    let rates = state.f64(&path)?;
    if rates.len() != groups {
        return Err(StateError::Shape { path, expected: vec![groups], found: vec![rates.len()] });
    }
    match rates.iter().try_for_each(|&rate| check(rate)) {
        Ok(()) => Ok(rates.to_vec()),
        Err(reason) => Err(StateError::Invalid { path, reason }),
    }
}
