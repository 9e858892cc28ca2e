//! What every other crate may rely on: named random streams, saved state, and the version of the
//! arithmetic.

mod numerics;
mod numpy_rng;
mod report;
mod rng;
mod safetensors;
mod state;
mod ziggurat;

pub use numerics::NUMERICS;
pub use numpy_rng::{NumpyRng, SeedError, SeedSequence};
pub use report::Report;
pub use rng::{Purpose, Rng, Streams, rng_stream};
pub use safetensors::{SafetensorsError, safetensors_metadata};
pub use state::{State, StateError, Value};
