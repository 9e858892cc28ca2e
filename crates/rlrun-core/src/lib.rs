//! What every other crate may rely on: named random streams and saved state.

mod rng;
mod state;

pub use rng::{Purpose, Rng, rng_stream};
pub use state::{State, StateError, Value};
