//! Pictures of the environments, made without a display: Gymnasium's scenes as an RGB picture, as
//! PNG, as GIF, and as text for a terminal.

mod ansi;
mod classic_control;
#[cfg(feature = "gif")]
mod gif;
#[cfg(feature = "png")]
mod png;

use rlrun_env::Action;
pub use rlrun_env::{Canvas, Color};

pub use ansi::to_ansi;
#[cfg(feature = "gif")]
pub use gif::{GifError, write_gif};
#[cfg(feature = "png")]
pub use png::{PngError, to_png};

/// What draws one kind of task.
pub trait Scene {
    /// Draws the task in `state` (its numbers, in its order); `action` is the last one, for scenes
    /// that show it.
    fn draw(&self, state: &[f64], action: Option<Action<'_>>) -> Canvas;
}

/// A small picture whose lower half is black.
#[cfg(test)]
fn half_black() -> Canvas {
    let mut canvas = Canvas::new(6, 4);
    canvas.polygon(&[[0.0, 0.0], [0.0, 2.0], [6.0, 2.0], [6.0, 0.0]], [0, 0, 0]);
    canvas
}
