//! Softmax and its logarithms along a dimension.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::kernels;
use crate::layout::dim_index;
use crate::tensor::Tensor;

use super::reduce::{Around, reduced};

impl Tensor {
    /// `e^x / Σ e^x` along a dimension. A line of -∞ alone gives NaN.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn softmax(&self, dim: isize) -> Tensor {
        ok(self.expect_f32("softmax"));
        let at = ok(dim_index("softmax", dim, self.ndim()));
        let value = self.along(at, softmax);
        let result = value.clone();
        value.record("softmax", [self], |saver| {
            let y = saver.result(&result);
            move |grad: &Tensor, node: &NodeRef| {
                let y = y.get(node);
                let weighted = grad * &y;
                let sum = weighted.sum_dim(at as isize, true);
                [Some(weighted - y * sum)]
            }
        })
    }

    /// `x - ln Σ e^x` along a dimension, without overflow.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn log_softmax(&self, dim: isize) -> Tensor {
        ok(self.expect_f32("log_softmax"));
        let at = ok(dim_index("log_softmax", dim, self.ndim()));
        let value = if at + 1 == self.ndim() && self.numel() > 0 {
            let (numbers, width) = (self.read(), self.dims()[at]);
            Tensor::build(self.dims(), |out| kernels::log_softmax(&numbers, width, out))
        } else {
            self.along(at, log_softmax)
        };
        let result = value.clone();
        value.record("log_softmax", [self], |saver| {
            let y = saver.result(&result);
            move |grad: &Tensor, node: &NodeRef| {
                let sum = grad.sum_dim(at as isize, true);
                [Some(grad - y.get(node).exp() * sum)]
            }
        })
    }

    /// `ln Σ e^x` along a dimension, without overflow. A line of -∞ alone gives -∞.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn logsumexp(&self, dim: isize, keepdim: bool) -> Tensor {
        ok(self.expect_f32("logsumexp"));
        let at = ok(dim_index("logsumexp", dim, self.ndim()));
        let around = Around::new(self.dims(), at);
        let numbers = self.read();
        let value = Tensor::build(&reduced(self.dims(), at, keepdim), |out| {
            for (out, (outer, inner)) in out.iter_mut().zip(around.lines()) {
                let line = around.line(outer, inner).map(|at| numbers[at]);
                *out = log_sum_exp(line);
            }
        });
        drop(numbers);
        let kept = reduced(self.dims(), at, true);
        let result = value.clone();
        value.record("logsumexp", [self], |saver| {
            let (x, y) = (saver.input(self), saver.result(&result));
            move |grad: &Tensor, node: &NodeRef| {
                let y = y.get(node).reshape(&kept[..]);
                [Some((x.get(node) - y).exp() * grad.reshape(&kept[..]))]
            }
        })
    }

    /// A copy in which `f` has changed every line along a dimension.
    #[track_caller]
    fn along(&self, dim: usize, f: impl Fn(&mut [f32])) -> Tensor {
        let around = Around::new(self.dims(), dim);
        let numbers = self.read();
        let mut line = Vec::with_capacity(around.extent);
        Tensor::build(self.dims(), |out| {
            for (outer, inner) in around.lines() {
                line.clear();
                line.extend(around.line(outer, inner).map(|at| numbers[at]));
                f(&mut line);
                for (at, &x) in around.line(outer, inner).zip(&line) {
                    out[at] = x;
                }
            }
        })
    }
}

/// The largest element; NaN wins.
fn largest(line: impl Iterator<Item = f32>) -> f32 {
    line.fold(f32::NEG_INFINITY, |m, x| if x > m || x.is_nan() { x } else { m })
}

/// Lines of up to this length are added up one number after the other.
const SHORT: usize = 512;

/// The sum of a line; of a long one in double precision, which keeps its digits.
fn total(mut line: impl Iterator<Item = f32>) -> f32 {
    let first = line.by_ref().take(SHORT).sum::<f32>();
    match line.next() {
        None => first,
        Some(next) => {
            line.fold(f64::from(first) + f64::from(next), |sum, x| sum + f64::from(x)) as f32
        }
    }
}

/// `ln Σ e^x = m + ln Σ e^(x-m)` with the largest element m.
fn log_sum_exp(line: impl Iterator<Item = f32> + Clone) -> f32 {
    let most = largest(line.clone());
    let shift = if most.is_infinite() { 0.0 } else { most };
    shift + total(line.map(|x| (x - shift).exp())).ln()
}

/// `e^(x-m) / Σ e^(x-m)` with the largest element m.
fn softmax(line: &mut [f32]) {
    let most = largest(line.iter().copied());
    for x in line.iter_mut() {
        *x = (*x - most).exp();
    }
    let sum = total(line.iter().copied());
    for x in line {
        *x /= sum;
    }
}

/// `(x - m) - ln Σ e^(x-m)` with the largest element m: the small differences first.
fn log_softmax(line: &mut [f32]) {
    let most = largest(line.iter().copied());
    let log_sum = total(line.iter().map(|x| (x - most).exp())).ln();
    for x in line {
        *x = (*x - most) - log_sum;
    }
}
