//! Numeric kernels over slices: products, elementwise functions, reductions, optimizer steps.
//!
//! Pure functions that know nothing of tensors. SIMD is chosen at run time (AVX-512, AVX2 with
//! FMA, portable) and does not change a bit of any result: every output element is computed by the
//! same sequence of correctly rounded operations on every level, for every number of rows and of
//! threads. This folder holds the only `unsafe` code of the workspace.
#![allow(unsafe_code)]

mod columns;
mod convolution;
mod elementwise;
mod gemm;
mod log_softmax;
mod math;
mod matrix;
mod optim;
mod simd;
mod sum;
#[cfg(test)]
mod tests;
mod threads;

pub use columns::{activation_backward, column_sums};
pub use convolution::{Patches, convolve, convolve_dw, convolve_dx, transpose};
pub use elementwise::{Binary, Operand, Unary, binary, unary};
pub use gemm::{Activation, Start, gemm, gemm_tall};
pub use log_softmax::log_softmax;
pub use matrix::{Matrix, MatrixMut};
pub use optim::{AdamStep, RmsPropStep, adam, axpy, lerp, rms_prop};
pub use simd::{Level, level};
pub use sum::{sum, sum_of_squares};
pub use threads::{num_threads, with_threads};
