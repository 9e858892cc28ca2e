//! The operations, each with its backward rule beside it.

mod arithmetic;
mod copy;
mod elementwise;
mod index;
mod linear;
mod loss;
mod operators;
mod reduce;
mod softmax;

pub use linear::Activation;
pub use loss::Reduction;
