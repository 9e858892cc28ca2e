//! The actions of a batch of environments.

use rlrun_core::{State, StateError};

use crate::{Action, EnvError, EnvSpec, Space};

/// One action per environment.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Actions {
    /// Choices of a discrete space, one per environment.
    Discrete(Vec<usize>),
    /// Vectors of a box space, row-major `[n_envs, dim]`.
    Continuous {
        /// The numbers, row-major.
        values: Vec<f32>,
        /// Length of one action.
        dim: usize,
    },
    /// Several choices or flags per environment, row-major `[n_envs, dim]`.
    MultiDiscrete {
        /// The choices, row-major.
        values: Vec<usize>,
        /// Length of one action.
        dim: usize,
    },
}

impl Clone for Actions {
    fn clone(&self) -> Actions {
        match self {
            Actions::Discrete(choices) => Actions::Discrete(choices.clone()),
            Actions::Continuous { values, dim } => {
                Actions::Continuous { values: values.clone(), dim: *dim }
            }
            Actions::MultiDiscrete { values, dim } => {
                Actions::MultiDiscrete { values: values.clone(), dim: *dim }
            }
        }
    }

    /// Copies into the memory that is there, if the kinds are the same.
    fn clone_from(&mut self, source: &Actions) {
        match (self, source) {
            (Actions::Discrete(own), Actions::Discrete(choices)) => own.clone_from(choices),
            (
                Actions::Continuous { values: own, dim },
                Actions::Continuous { values, dim: width },
            ) => {
                own.clone_from(values);
                *dim = *width;
            }
            (own, source) => *own = source.clone(),
        }
    }
}

impl Actions {
    /// The first choice, or zeros, in each of `n_envs` rows: something to write actions into.
    pub fn zeros(space: &Space, n_envs: usize) -> Actions {
        let dim = space.dim();
        match space {
            Space::Discrete(_) => Actions::Discrete(vec![0; n_envs]),
            Space::Box(_) => Actions::Continuous { values: vec![0.0; n_envs * dim], dim },
            Space::MultiDiscrete(_) | Space::MultiBinary(_) => {
                Actions::MultiDiscrete { values: vec![0; n_envs * dim], dim }
            }
        }
    }

    /// How many rows there are.
    pub fn num_envs(&self) -> usize {
        match self {
            Actions::Discrete(choices) => choices.len(),
            Actions::Continuous { values, dim } => values.len() / (*dim).max(1),
            Actions::MultiDiscrete { values, dim } => values.len() / (*dim).max(1),
        }
    }

    /// The action of environment `env`.
    ///
    /// # Panics
    /// If there are not that many rows.
    pub fn row(&self, env: usize) -> Action<'_> {
        match self {
            Actions::Discrete(choices) => Action::Discrete(choices[env]),
            Actions::Continuous { values, dim } => {
                Action::Continuous(&values[env * dim..(env + 1) * dim])
            }
            Actions::MultiDiscrete { values, dim } => {
                Action::MultiDiscrete(&values[env * dim..(env + 1) * dim])
            }
        }
    }

    /// Replaces the action of environment `env` by one of the same kind and size.
    ///
    /// # Panics
    /// If there are not that many rows or the sizes differ.
    pub fn set_row(&mut self, env: usize, action: Action<'_>) {
        match (self, action) {
            (Actions::Discrete(choices), Action::Discrete(choice)) => choices[env] = choice,
            (Actions::Continuous { values, dim }, Action::Continuous(row)) => {
                values[env * *dim..(env + 1) * *dim].copy_from_slice(row);
            }
            (Actions::MultiDiscrete { values, dim }, Action::MultiDiscrete(row)) => {
                values[env * *dim..(env + 1) * *dim].copy_from_slice(row);
            }
            (actions, action) => panic!("cannot put `{action}` into {actions:?}"),
        }
    }

    /// The numbers of all rows.
    pub fn state(&self) -> State {
        let mut state = State::new();
        match self {
            Actions::Discrete(values) | Actions::MultiDiscrete { values, .. } => {
                let values = values.iter().map(|&choice| choice as u64).collect::<Vec<_>>();
                state.insert_u64("choices", values);
            }
            Actions::Continuous { values, .. } => {
                state.insert_f32("values", &[values.len()], values);
            }
        }
        state
    }

    /// Takes over saved numbers of the same kind and size.
    ///
    /// # Errors
    /// [`StateError`] if they are not.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        match self {
            Actions::Discrete(values) | Actions::MultiDiscrete { values, .. } => {
                let saved = state.u64("choices")?;
                if saved.len() != values.len() {
                    let (expected, found) = (vec![values.len()], vec![saved.len()]);
                    return Err(StateError::Shape { path: "choices".to_owned(), expected, found });
                }
                values.iter_mut().zip(saved).for_each(|(to, &from)| *to = from as usize);
                Ok(())
            }
            Actions::Continuous { values, .. } => state.copy_f32("values", values),
        }
    }

    /// Checks number, kind and size of the actions, choices against the space, and numbers for
    /// NaN. The bounds of a box are left to the environment, which clips or refuses.
    ///
    /// # Errors
    /// [`EnvError::ActionCount`] or, for the first row that does not fit, [`EnvError::Action`].
    pub fn check(&self, spec: &EnvSpec, n_envs: usize) -> Result<(), EnvError> {
        let all_fit = match (self, &spec.action_space) {
            (Actions::Discrete(choices), Space::Discrete(n)) => {
                choices.iter().all(|choice| choice < n)
            }
            (Actions::Continuous { values, dim }, Space::Box(space)) => {
                *dim == space.low.len() && !values.iter().any(|value| value.is_nan())
            }
            (Actions::MultiDiscrete { .. }, space) => {
                (0..self.num_envs()).all(|env| space.contains(self.row(env)))
            }
            _ => false,
        };
        if self.num_envs() != n_envs {
            let (id, found) = (spec.id.clone(), self.num_envs());
            return Err(EnvError::ActionCount { id, found, expected: n_envs });
        }
        if all_fit {
            return Ok(());
        }
        (0..n_envs).try_for_each(|env| spec.check_action(self.row(env)))
    }
}
