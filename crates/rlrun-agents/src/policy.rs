//! What a policy is: it maps what is seen to actions, may remember, and is a thing of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rlrun_core::{Rng, State, StateError};
use rlrun_env::{Actions, Observations};

use crate::{Agent, AgentError};

/// A rule that maps observations to actions. It can be saved, loaded and called without the agent
/// that learnt it and without an environment, and served from several threads.
pub trait Policy: Send + Sync {
    /// What the policy remembers of `rows` environments whose episodes begin.
    fn memory(&self, _rows: usize) -> Memory {
        Memory::none()
    }

    /// Writes one action per row of `seen` into `actions`, whose buffers are reused: the policy's
    /// best without `rngs`, drawn from the policy with them, one stream per row. `memory` is
    /// written; whoever acts clears the rows whose episode begins ([`Memory::begin`]) before.
    ///
    /// # Errors
    /// [`AgentError::NonFinite`] if what the policy computed is NaN or infinite.
    fn act(
        &self,
        seen: &Observations<'_>,
        memory: &mut Memory,
        rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError>;

    /// The discounted return expected from each row of `seen`; `None` if the policy has no
    /// estimate.
    fn values(&self, _seen: &Observations<'_>, _memory: &Memory) -> Option<Vec<f32>> {
        None
    }

    /// Everything the policy consists of, under documented names.
    fn state(&self) -> State;

    /// Takes over a saved policy.
    ///
    /// # Errors
    /// [`StateError`] if an entry is missing or does not fit.
    fn load_state(&mut self, state: &State) -> Result<(), StateError>;
}

/// The policy of an agent that cannot part with it.
pub(crate) struct Locked<A: ?Sized>(pub(crate) Mutex<Box<A>>);

impl<A: Agent + ?Sized> Locked<A> {
    fn agent(&self) -> MutexGuard<'_, Box<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Agent + ?Sized> Policy for Locked<A> {
    fn memory(&self, rows: usize) -> Memory {
        self.agent().policy().memory(rows)
    }

    fn act(
        &self,
        seen: &Observations<'_>,
        memory: &mut Memory,
        rngs: Option<&mut [Rng]>,
        actions: &mut Actions,
    ) -> Result<(), AgentError> {
        self.agent().policy().act(seen, memory, rngs, actions)
    }

    fn values(&self, seen: &Observations<'_>, memory: &Memory) -> Option<Vec<f32>> {
        self.agent().policy().values(seen, memory)
    }

    fn state(&self) -> State {
        self.agent().policy().state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.agent().policy_mut().load_state(state)
    }
}

/// What a policy remembers from step to step: plain numbers, a row per environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    width: usize,
    numbers: Vec<f32>,
}

impl Memory {
    /// Nothing: for a policy that acts on what it sees alone.
    pub const fn none() -> Memory {
        Memory { width: 0, numbers: Vec::new() }
    }

    /// `rows` rows of `width` zeros.
    pub fn zeros(rows: usize, width: usize) -> Memory {
        Memory { width, numbers: vec![0.0; rows * width] }
    }

    /// All rows, row-major.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// All rows, to be written.
    pub fn numbers_mut(&mut self) -> &mut [f32] {
        &mut self.numbers
    }

    /// Sets the rows to zero whose flag in `starts` is set: their episode begins.
    pub fn begin(&mut self, starts: &[bool]) {
        if self.width > 0 {
            for (row, _) in
                self.numbers.chunks_exact_mut(self.width).zip(starts).filter(|(_, s)| **s)
            {
                row.fill(0.0);
            }
        }
    }

    /// The numbers.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let rows = self.numbers.len().checked_div(self.width).unwrap_or_default();
        state.insert_f32("numbers", &[rows, self.width], &self.numbers);
        state
    }

    /// Takes over saved numbers of as many rows.
    ///
    /// # Errors
    /// [`StateError`] if they are missing or of another shape.
    pub fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        state.copy_f32("numbers", &mut self.numbers)
    }
}
