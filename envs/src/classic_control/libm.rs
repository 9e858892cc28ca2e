//! Functions as numpy computes them: by the system's libm, to the bit.

use std::hint::black_box;

/// `x**2` of a numpy or Python `float`: libm's `pow`, which differs from `x * x` in the last bit
/// of about one argument in a thousand.
pub(super) fn square(x: f64) -> f64 {
    x.powf(black_box(2.0))
}

/// `x**2` of a numpy `float32`: libm's `powf`.
pub(super) fn square_f32(x: f32) -> f32 {
    x.powf(black_box(2.0))
}
