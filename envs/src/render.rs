//! Pictures of the environments, made without a display: Gymnasium's scenes as an RGB picture, as
//! PNG, as GIF, and as text for a terminal.

mod classic_control;
mod encode;

use rlrun_env::Action;
pub use rlrun_env::{Canvas, Color};

pub use encode::{GifError, PngError, to_ansi, to_png, write_gif};

/// What draws one kind of task.
pub trait Scene {
    /// Draws the task in `state` (its numbers, in its order); `action` is the last one, for scenes
    /// that show it.
    fn draw(&self, state: &[f64], action: Option<Action<'_>>) -> Canvas;
}
