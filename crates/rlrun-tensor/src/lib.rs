//! Strided tensors with reverse-mode autograd and three gradient modes. (Signatures; the bodies follow.)
#![allow(missing_docs, clippy::todo, unused_variables)]

pub mod kernels;
mod sketch;
pub use sketch::*;
