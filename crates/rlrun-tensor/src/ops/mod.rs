//! The operations, each with its backward rule beside it.

mod apply;
mod arithmetic;
mod assign;
mod categorical;
mod compare;
mod conv;
mod copy;
mod cross_entropy;
mod elementwise;
mod extreme;
mod index;
mod indexing;
mod linear;
mod loss;
mod masked;
mod norm;
mod operators;
mod pool2d;
mod product;
mod recurrent;
mod reduce;
mod select;
mod shape;
mod softmax;
mod sort;
mod special;
mod variance;

pub use indexing::{IndexList, IndexOf, NewAxis};
pub use linear::Activation;
pub use loss::Reduction;
pub use recurrent::CellWeights;
pub use shape::ReshapeTo;
