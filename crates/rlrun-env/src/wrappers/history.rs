//! Wrappers that remember observations: several shown together, or one shown late.

use rlrun_core::{State, StateError};

use super::wrapper_error;
use crate::{Actions, BoxSpace, EnvError, EnvSpec, Space, StepBatch, VecEnv};

/// The last observations of every environment, oldest first. An episode begins as if its first
/// observation had always been there.
struct History {
    /// `[n_envs, frames, dim]`.
    frames: Vec<f32>,
    dim: usize,
    row: usize,
}

impl History {
    fn new(n_envs: usize, frames: usize, dim: usize) -> History {
        History { frames: vec![0.0; n_envs * frames * dim], dim, row: frames * dim }
    }

    /// Forgets the past of one environment.
    fn begin(&mut self, lane: usize, obs: &[f32]) {
        let row = &mut self.frames[lane * self.row..(lane + 1) * self.row];
        row.chunks_exact_mut(self.dim).for_each(|frame| frame.copy_from_slice(obs));
    }

    /// Forgets the past of every environment.
    fn begin_all(&mut self, obs: &[f32]) {
        for (lane, row) in obs.chunks_exact(self.dim).enumerate() {
            self.begin(lane, row);
        }
    }

    /// Appends an observation of every environment.
    fn push(&mut self, obs: &[f32]) {
        let rows = self.frames.chunks_exact_mut(self.row).zip(obs.chunks_exact(self.dim));
        for (row, obs) in rows {
            row.copy_within(self.dim.., 0);
            row[self.row - self.dim..].copy_from_slice(obs);
        }
    }

    /// Appends the successors of `step` and copies it into `batch`, with `shown` numbers per
    /// environment as `next_obs`.
    fn step(&mut self, step: &StepBatch, shown: usize, batch: &mut StepBatch) {
        self.push(&step.next_obs);
        batch.copy_from(step);
        batch.next_obs.clear();
        self.show(shown, &mut batch.next_obs);
    }

    /// The first `shown` numbers of each environment's history.
    fn show(&self, shown: usize, rows: &mut Vec<f32>) {
        rows.extend(self.frames.chunks_exact(self.row).flat_map(|row| &row[..shown]));
    }

    /// Begins the episodes that follow ended ones; their first observations are in `obs`.
    fn begin_ended(&mut self, batch: &StepBatch, obs: &[f32]) {
        for finished in &batch.finished {
            let row = finished.env * self.dim..(finished.env + 1) * self.dim;
            self.begin(finished.env, &obs[row]);
        }
    }
}

/// Most numbers that a history may hold: 4 GiB.
const MAX_NUMBERS: usize = 1 << 30;

/// Refuses a history of `frames` observations, asked for by `setting`, that is out of all bounds.
fn check_size(envs: &dyn VecEnv, frames: Option<usize>, setting: String) -> Result<(), EnvError> {
    let row = envs.spec().observation_space.dim().checked_mul(envs.num_envs());
    let numbers = frames.and_then(|frames| frames.checked_mul(row?));
    if numbers.is_some_and(|numbers| numbers <= MAX_NUMBERS) {
        return Ok(());
    }
    let (n_envs, dim) = (envs.num_envs(), envs.spec().observation_space.dim());
    let reason = format!(
        "`{setting}` is too much: with {n_envs} environments of {dim} numbers it needs more than \
         {MAX_NUMBERS} numbers; use less"
    );
    Err(wrapper_error(envs, reason))
}

/// Environments whose observations pass through a [`History`].
struct Remembering {
    envs: Box<dyn VecEnv>,
    history: History,
    /// How many numbers of a history row are shown.
    shown: usize,
    obs: Vec<f32>,
    batch: StepBatch,
}

impl Remembering {
    fn new(envs: Box<dyn VecEnv>, frames: usize, shown_frames: usize) -> Remembering {
        let dim = envs.spec().observation_space.dim();
        Remembering {
            history: History::new(envs.num_envs(), frames, dim),
            shown: shown_frames * dim,
            obs: vec![0.0; envs.num_envs() * shown_frames * dim],
            batch: StepBatch::default(),
            envs,
        }
    }

    fn show(&mut self) {
        self.obs.clear();
        self.history.show(self.shown, &mut self.obs);
    }

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.envs.reset(seed)?;
        self.history.begin_all(self.envs.obs());
        self.show();
        Ok(())
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.history.step(self.envs.step(actions)?, self.shown, &mut self.batch);
        self.history.begin_ended(&self.batch, self.envs.obs());
        self.show();
        Ok(&self.batch)
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_child("inner", self.envs.state()?);
        let shape = [self.envs.num_envs(), self.history.row];
        state.insert_f32("frames", &shape, &self.history.frames);
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        state.copy_f32("frames", &mut self.history.frames)?;
        self.envs.load_state(&state.child("inner"))?;
        self.show();
        Ok(())
    }
}

/// Shows the last observations together, oldest first.
pub struct FrameStack {
    inner: Remembering,
    spec: EnvSpec,
}

impl FrameStack {
    /// Shows `frames` observations of `envs` together.
    ///
    /// # Errors
    /// [`EnvError::Args`] if `frames` is 0 or out of all bounds.
    pub fn new(envs: Box<dyn VecEnv>, frames: usize) -> Result<FrameStack, EnvError> {
        if frames == 0 {
            return Err(wrapper_error(&envs, "`frame_stack = 0` shows nothing".to_owned()));
        }
        check_size(&envs, Some(frames), format!("frame_stack = {frames}"))?;
        let mut spec = envs.spec().clone();
        spec.observation_space = match spec.observation_space {
            Space::Box(BoxSpace { low, high, mut shape }) => {
                shape[0] *= frames;
                let stacked = BoxSpace::new(low.repeat(frames), high.repeat(frames));
                Space::Box(stacked.with_shape(&shape))
            }
            Space::Discrete(n) => Space::MultiDiscrete(vec![n; frames]),
            Space::MultiDiscrete(n) => Space::MultiDiscrete(n.repeat(frames)),
            Space::MultiBinary(n) => Space::MultiBinary(n * frames),
        };
        Ok(FrameStack { inner: Remembering::new(envs, frames, frames), spec })
    }
}

/// Shows observations some steps late.
pub struct ObservationDelay {
    inner: Remembering,
}

impl ObservationDelay {
    /// Shows the observations of `envs` `steps` steps late.
    ///
    /// # Errors
    /// [`EnvError::Args`] if `steps` is out of all bounds.
    pub fn new(envs: Box<dyn VecEnv>, steps: usize) -> Result<ObservationDelay, EnvError> {
        check_size(&envs, steps.checked_add(1), format!("observation_delay = {steps}"))?;
        Ok(ObservationDelay { inner: Remembering::new(envs, steps + 1, 1) })
    }
}

impl VecEnv for FrameStack {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    pass_on!(inner.envs);

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.inner.reset(seed)
    }

    fn obs(&self) -> &[f32] {
        &self.inner.obs
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.inner.step(actions)
    }

    fn state(&self) -> Result<State, EnvError> {
        self.inner.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.inner.load_state(state)
    }
}

impl VecEnv for ObservationDelay {
    fn spec(&self) -> &EnvSpec {
        self.inner.envs.spec()
    }

    pass_on!(inner.envs);

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        self.inner.reset(seed)
    }

    fn obs(&self) -> &[f32] {
        &self.inner.obs
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.inner.step(actions)
    }

    fn state(&self) -> Result<State, EnvError> {
        self.inner.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        self.inner.load_state(state)
    }
}
