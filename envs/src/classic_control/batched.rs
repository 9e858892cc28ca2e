//! Many environments of one classic-control task, advanced in blocks with the vector instructions
//! of the machine; to the bit what single environments give.

use pulp::Arch;
use rlrun_core::{NumpyRng, State, StateError};
use rlrun_env::{Actions, Canvas, EnvError, EnvSpec, Episodes, StepBatch, VecEnv};

use super::lanes::{LANES, Lanes};
use super::{ClassicEnv, Task};
use crate::render::Scene;

/// Longest observation of the tasks.
const MAX_OBS: usize = 6;

/// What a block of environments returns from a step.
#[derive(Clone, Debug)]
pub struct BlockStep {
    /// Observations, one [`Lanes`]-wide array per component.
    pub obs: [[f32; LANES]; MAX_OBS],
    /// Rewards.
    pub rewards: Lanes,
    /// Whether the task ended the episode.
    pub terminated: [bool; LANES],
}

/// A vector environment of one [`Task`].
#[derive(Clone, Debug)]
pub struct BatchedVecEnv<T: Task> {
    task: T,
    spec: EnvSpec,
    arch: Arch,
    blocks: Vec<T::Block>,
    rngs: Vec<NumpyRng>,
    episodes: Episodes,
    obs: Vec<f32>,
    batch: StepBatch,
}

impl<T: Task + Scene> BatchedVecEnv<T> {
    /// `n_envs` copies of `env`.
    ///
    /// # Errors
    /// [`EnvError::NoEnvs`] if `n_envs` is 0.
    pub fn new(env: &ClassicEnv<T>, n_envs: usize) -> Result<BatchedVecEnv<T>, EnvError> {
        let (task, spec) = (env.task().clone(), EnvSpec::shared(std::slice::from_ref(env))?);
        if n_envs == 0 {
            return Err(EnvError::NoEnvs);
        }
        let dim = spec.observation_space.dim();
        Ok(BatchedVecEnv {
            task,
            arch: Arch::new(),
            blocks: vec![T::Block::default(); n_envs.div_ceil(LANES)],
            rngs: vec![NumpyRng::new(0); n_envs],
            episodes: Episodes::new(&spec, n_envs),
            obs: vec![0.0; n_envs * dim],
            batch: StepBatch::new(n_envs, dim),
            spec,
        })
    }

    /// Starts an episode in one lane with its generator; the first observation is finite, as every
    /// draw between finite bounds is.
    fn start(&mut self, lane: usize) {
        let state = self.task.reset(&mut self.rngs[lane]);
        let dim = self.spec.observation_space.dim();
        self.task.observe(&state, &mut self.obs[lane * dim..(lane + 1) * dim]);
        let columns = self.blocks[lane / LANES].as_mut();
        for (column, &value) in columns.iter_mut().zip(state.as_ref()) {
            column[lane % LANES] = value;
        }
    }

    /// The number of one lane from each column.
    fn state_of(&self, lane: usize) -> impl Iterator<Item = f64> {
        let columns = self.blocks[lane / LANES].as_ref();
        columns.iter().map(move |column| column[lane % LANES])
    }
}

/// The actions of the block that starts at `first`, as numbers; zero beyond the last environment.
#[inline(always)]
fn block_actions(actions: &Actions, first: usize) -> Lanes {
    let mut numbers = [0.0; LANES];
    match actions {
        Actions::Discrete(choices) => {
            let lanes = numbers.iter_mut().zip(&choices[first..]);
            lanes.for_each(|(number, &choice)| *number = choice as u32 as f64);
        }
        Actions::Continuous { values, .. } => {
            let lanes = numbers.iter_mut().zip(&values[first..]);
            lanes.for_each(|(number, &force)| *number = f64::from(force));
        }
        _ => {}
    }
    numbers
}

/// Writes what a block returned into the rows that start at `first`.
#[inline(always)]
fn write_rows<const DIM: usize>(out: &BlockStep, first: usize, batch: &mut StepBatch) {
    let count = LANES.min(batch.rewards.len() - first);
    batch.rewards[first..first + count].copy_from_slice(&out.rewards[..count]);
    batch.terminated[first..first + count].copy_from_slice(&out.terminated[..count]);
    let (rows, _) = batch.next_obs[first * DIM..(first + count) * DIM].as_chunks_mut::<DIM>();
    for (lane, row) in rows.iter_mut().enumerate() {
        *row = std::array::from_fn(|component| out.obs[component][lane % LANES]);
    }
}

/// One step of all blocks. A type instead of a closure, because all of it must be compiled into the
/// code for each instruction set.
struct StepBlocks<'a, T: Task> {
    task: &'a T,
    blocks: &'a mut [T::Block],
    actions: &'a Actions,
    batch: &'a mut StepBatch,
}

impl<T: Task> pulp::NullaryFnOnce for StepBlocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut out = BlockStep {
            obs: [[0.0; LANES]; MAX_OBS],
            rewards: [0.0; LANES],
            terminated: [false; LANES],
        };
        let dim = self.batch.next_obs.len() / self.batch.rewards.len();
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let first = index * LANES;
            self.task.step_block(block, &block_actions(self.actions, first), &mut out);
            match dim {
                2 => write_rows::<2>(&out, first, self.batch),
                3 => write_rows::<3>(&out, first, self.batch),
                4 => write_rows::<4>(&out, first, self.batch),
                _ => write_rows::<MAX_OBS>(&out, first, self.batch),
            }
        }
    }
}

impl<T: Task + Scene> VecEnv for BatchedVecEnv<T> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.rngs.len()
    }

    fn set_max_episode_steps(&mut self, limit: u32) -> Result<(), EnvError> {
        self.episodes.set_limit(limit, &mut self.spec)
    }

    fn reset(&mut self, seed: u64) -> Result<(), EnvError> {
        for lane in 0..self.rngs.len() {
            self.rngs[lane] = NumpyRng::new(seed.wrapping_add(lane as u64));
            self.start(lane);
        }
        self.episodes.start(&self.obs)
    }

    fn obs(&self) -> &[f32] {
        &self.obs
    }

    fn starts(&self) -> &[bool] {
        self.episodes.starts()
    }

    fn step(&mut self, actions: &Actions) -> Result<&StepBatch, EnvError> {
        self.episodes.check_started()?;
        actions.check(&self.spec, self.rngs.len())?;
        let BatchedVecEnv { task, blocks, batch, .. } = self;
        self.arch.dispatch(StepBlocks { task, blocks, actions, batch });
        self.batch.truncated.fill(false);
        self.episodes.record(&mut self.batch)?;
        self.obs.copy_from_slice(&self.batch.next_obs);
        for index in 0..self.batch.finished.len() {
            self.start(self.batch.finished[index].env);
        }
        Ok(&self.batch)
    }

    /// Without the last action.
    fn render(&self, lane: usize) -> Option<Canvas> {
        let state: Vec<f64> = self.state_of(lane).collect();
        Some(self.task.draw(&state, None))
    }

    fn state(&self) -> Result<State, EnvError> {
        let mut state = State::new();
        state.insert_child("episodes", self.episodes.state());
        state.insert_f32("obs", &[self.num_envs(), self.spec.observation_space.dim()], &self.obs);
        state.insert_f64(
            "states",
            (0..self.num_envs()).flat_map(|lane| self.state_of(lane)).collect::<Vec<_>>(),
        );
        for (lane, rng) in self.rngs.iter().enumerate() {
            state.insert_child(&format!("rng.{lane}"), rng.state());
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let width = T::State::default().as_ref().len();
        let states = state.f64("states")?;
        if states.len() != width * self.num_envs() {
            let (expected, found) = (vec![self.num_envs(), width], vec![states.len()]);
            return Err(StateError::Shape { path: "states".to_owned(), expected, found });
        }
        self.episodes.load_state(&state.child("episodes"))?;
        state.copy_f32("obs", &mut self.obs)?;
        for (lane, numbers) in states.chunks_exact(width).enumerate() {
            let columns = self.blocks[lane / LANES].as_mut();
            for (column, &value) in columns.iter_mut().zip(numbers) {
                column[lane % LANES] = value;
            }
            self.rngs[lane].load_state(&state.child(&format!("rng.{lane}")))?;
        }
        Ok(())
    }
}
