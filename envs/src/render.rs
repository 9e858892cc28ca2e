//! Pictures of the environments, made without a display: Gymnasium's scenes as an RGB picture, as
//! PNG, as GIF, and as text for a terminal.

mod canvas;
mod classic_control;
mod encode;

use rlrun_core::State;
use rlrun_env::Action;

pub use canvas::{Canvas, Color};
pub use encode::{GifError, PngError, to_ansi, to_png, write_gif};

/// What draws one kind of environment.
pub trait Scene: Send {
    /// Draws the environment in `state` (the numbers of a task, as [`task_state`] finds them);
    /// `action` is the last one, for scenes that show it.
    fn draw(&self, state: &[f64], action: Option<Action<'_>>) -> Canvas;
}

/// The numbers that a scene is drawn from, out of the saved state of an environment, or of lane
/// `lane` of a vector of less than 8 environments, with or without wrappers.
pub fn task_state(state: &State, lane: usize) -> Option<&[f64]> {
    let in_vector = format!("env.{lane}.state");
    let path = state.0.keys().find(|path| *path == "state" || path.ends_with(&in_vector))?;
    state.f64(path).ok()
}
