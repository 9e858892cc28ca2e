//! The operations, each with its backward rule beside it.

mod arithmetic;
mod conv;
mod copy;
mod cross_entropy;
mod elementwise;
mod index;
mod linear;
mod loss;
mod norm;
mod operators;
mod recurrent;
mod reduce;
mod softmax;

pub use linear::Activation;
pub use loss::Reduction;
pub use recurrent::CellWeights;
