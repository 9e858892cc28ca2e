//! Memories of steps: plain numbers, never tensors, so neither a graph nor an inference tensor can
//! reach them.

mod replay;
mod rollout;

use rlrun_core::{State, StateError};
use rlrun_env::{Actions, Space};

pub use replay::{ReplayBatch, ReplayBuffer, Sampling};
pub use rollout::{Evaluation, RolloutBuffer};

/// No actions yet, of the kind that `space` takes.
///
/// # Panics
/// If no buffer keeps such actions; agents check their action space when they are built.
fn empty_actions(space: &Space) -> Actions {
    match space {
        Space::Discrete(_) => Actions::Discrete(Vec::new()),
        Space::Box(bounds) => Actions::Continuous { values: Vec::new(), dim: bounds.low.len() },
        Space::MultiDiscrete(_) | Space::MultiBinary(_) => {
            Actions::MultiDiscrete { values: Vec::new(), dim: space.dim() }
        }
        other => panic!("no buffer keeps the actions of {other:?}"),
    }
}

/// Forgets all actions and keeps the memory.
fn clear_actions(actions: &mut Actions) {
    match actions {
        Actions::Discrete(choices) => choices.clear(),
        Actions::Continuous { values, .. } => values.clear(),
        Actions::MultiDiscrete { values, .. } => values.clear(),
        other => panic!("no buffer keeps {other:?}"),
    }
}

/// Writes `rows` over the rows from `start` on, or at the end.
fn write<T: Copy>(column: &mut Vec<T>, start: usize, rows: &[T]) {
    if start == column.len() {
        column.extend_from_slice(rows);
    } else {
        column[start..start + rows.len()].copy_from_slice(rows);
    }
}

/// [`write`] for actions; `start` counts rows.
fn write_actions(column: &mut Actions, start: usize, rows: &Actions) {
    match (column, rows) {
        (Actions::Discrete(column), Actions::Discrete(rows)) => write(column, start, rows),
        (Actions::Continuous { values, dim }, Actions::Continuous { values: rows, .. }) => {
            write(values, start * *dim, rows);
        }
        (Actions::MultiDiscrete { values, dim }, Actions::MultiDiscrete { values: rows, .. }) => {
            write(values, start * *dim, rows);
        }
        (column, rows) => panic!("expected actions like {column:?}, got {rows:?}"),
    }
}

/// Copies the given rows of `column`, `dim` numbers each, to `out`.
pub(crate) fn gather<T: Copy>(column: &[T], dim: usize, rows: &[usize], out: &mut Vec<T>) {
    out.clear();
    rows.iter().for_each(|row| out.extend_from_slice(&column[row * dim..(row + 1) * dim]));
}

/// [`gather`] for actions.
pub(crate) fn gather_actions(column: &Actions, rows: &[usize], out: &mut Actions) {
    match (column, out) {
        (Actions::Discrete(column), Actions::Discrete(out)) => {
            out.clear();
            out.extend(rows.iter().map(|&row| column[row]));
        }
        (Actions::Continuous { values, dim }, Actions::Continuous { values: out, .. }) => {
            gather(values, *dim, rows, out);
        }
        (Actions::MultiDiscrete { values, dim }, Actions::MultiDiscrete { values: out, .. }) => {
            gather(values, *dim, rows, out);
        }
        (column, out) => panic!("expected actions like {column:?}, got {out:?}"),
    }
}

fn insert_actions(state: &mut State, actions: &Actions) {
    match actions {
        Actions::Discrete(choices) => {
            state.insert_u64("actions", choices.iter().map(|&a| a as u64).collect::<Vec<_>>());
        }
        Actions::Continuous { values, dim } => {
            state.insert_f32("actions", &[values.len() / dim, *dim], values);
        }
        Actions::MultiDiscrete { values, .. } => {
            state.insert_u64("actions", values.iter().map(|&a| a as u64).collect::<Vec<_>>());
        }
        other => panic!("no buffer keeps {other:?}"),
    }
}

/// Reads `rows` actions of the kind of `like`.
fn read_actions(state: &State, like: &Actions, rows: usize) -> Result<Actions, StateError> {
    match like {
        Actions::Continuous { dim, .. } => {
            Ok(Actions::Continuous { values: read_f32(state, "actions", rows * dim)?, dim: *dim })
        }
        Actions::MultiDiscrete { dim, .. } => {
            Ok(Actions::MultiDiscrete { values: read_choices(state, rows * dim)?, dim: *dim })
        }
        _ => Ok(Actions::Discrete(read_choices(state, rows)?)),
    }
}

fn read_choices(state: &State, count: usize) -> Result<Vec<usize>, StateError> {
    let choices = state.u64("actions")?;
    expect_len("actions", choices.len(), count)?;
    Ok(choices.iter().map(|&choice| choice as usize).collect())
}

/// Reads a column that is there for all `rows` or for none.
fn read_optional(state: &State, path: &str, rows: usize) -> Result<Vec<f32>, StateError> {
    let found = state.f32(path)?.1.len();
    read_f32(state, path, if found == 0 { 0 } else { rows })
}

/// Reads masks of `rows` rows, which may have none.
fn read_masks(state: &State, path: &str, rows: usize) -> Result<Vec<bool>, StateError> {
    let masks = state.bools(path)?;
    if rows == 0 || !masks.len().is_multiple_of(rows) {
        expect_len(path, masks.len(), 0)?;
    }
    Ok(masks)
}

fn read_f32(state: &State, path: &str, len: usize) -> Result<Vec<f32>, StateError> {
    let mut numbers = vec![0.0; len];
    state.copy_f32(path, &mut numbers)?;
    Ok(numbers)
}

fn read_bools(state: &State, path: &str, len: usize) -> Result<Vec<bool>, StateError> {
    let flags = state.bools(path)?;
    expect_len(path, flags.len(), len)?;
    Ok(flags)
}

fn expect_len(path: &str, found: usize, expected: usize) -> Result<(), StateError> {
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (vec![expected], vec![found]);
    Err(StateError::Shape { path: path.to_owned(), expected, found })
}
