//! One classic-control environment: a task with a generator, checks and saving.

use rlrun_core::{NumpyRng, State, StateError};
use rlrun_env::{Action, Canvas, Env, EnvError, EnvSpec, Step};

use super::Task;
use crate::render::Scene;

/// A [`Task`] as an environment.
#[derive(Clone, Debug)]
pub struct ClassicEnv<T: Task> {
    task: T,
    spec: EnvSpec,
    state: T::State,
    rng: NumpyRng,
    started: bool,
    /// The action of the last step as a number, for pictures only: a state that is loaded has none.
    last_action: Option<f32>,
}

impl<T: Task> ClassicEnv<T> {
    /// An environment of `task`; the spaces in `spec` must be the task's.
    pub(crate) fn new(task: T, spec: EnvSpec) -> ClassicEnv<T> {
        let (state, rng) = (T::State::default(), NumpyRng::new(0));
        ClassicEnv { task, spec, state, rng, started: false, last_action: None }
    }

    /// The task with its constants.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Everything that changes from step to step, in the task's order.
    pub fn task_state(&self) -> &T::State {
        &self.state
    }

    /// Replaces the generator, as `reset(seed)` does; for seeds of more than 64 bits.
    pub fn set_rng(&mut self, rng: NumpyRng) {
        self.rng = rng;
    }
}

impl<T: Task + Scene> Env for ClassicEnv<T> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>, obs: &mut [f32]) -> Result<(), EnvError> {
        if let Some(seed) = seed {
            self.rng = NumpyRng::new(seed);
        }
        self.state = self.task.reset(&mut self.rng);
        self.started = true;
        self.last_action = None;
        self.task.observe(&self.state, obs);
        Ok(())
    }

    fn step(&mut self, action: Action<'_>, obs: &mut [f32]) -> Result<Step, EnvError> {
        if !self.started {
            return Err(EnvError::StepBeforeReset { id: self.spec.id.clone() });
        }
        self.spec.check_action(action)?;
        let step = self.task.step(&mut self.state, action);
        self.last_action = match action {
            Action::Continuous(&[number]) => Some(number),
            _ => None,
        };
        self.task.observe(&self.state, obs);
        Ok(step)
    }

    fn render(&self) -> Option<Canvas> {
        let action = self.last_action.as_ref().map(std::slice::from_ref).map(Action::Continuous);
        self.started.then(|| self.task.draw(self.state.as_ref(), action))
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_f64("state", self.state.as_ref());
        state.insert_bools("started", &[self.started]);
        state.insert_child("rng", self.rng.state());
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let (numbers, target) = (state.f64("state")?, self.state.as_mut());
        if numbers.len() != target.len() {
            let (expected, found) = (vec![target.len()], vec![numbers.len()]);
            return Err(StateError::Shape { path: "state".to_owned(), expected, found });
        }
        target.copy_from_slice(numbers);
        self.started = state.bools("started")? == [true];
        self.last_action = None;
        self.rng.load_state(&state.child("rng"))
    }
}
