//! Variances and standard deviations over some or all dimensions.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::layout::{Shape, dim_index};
use crate::tensor::Tensor;

use super::reduce::{Around, reduced};
use super::select::gated;

impl Tensor {
    /// The variance of all elements with Bessel's correction, `[…] -> []`; NaN of one element.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn var(&self) -> Tensor {
        let flat = self.reshape([-1]);
        flat.var_dim(0, true, false)
    }

    /// The standard deviation of all elements with Bessel's correction, `[…] -> []`.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn std(&self) -> Tensor {
        self.reshape([-1]).std_dim(0, true, false)
    }

    /// The variance over one dimension, with Bessel's correction if `unbiased`.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn var_dim(&self, dim: isize, unbiased: bool, keepdim: bool) -> Tensor {
        ok(self.expect_f32("var"));
        let at = ok(dim_index("var", dim, self.ndim()));
        let around = Around::new(self.dims(), at);
        let divisor = around.extent as f64 - f64::from(u8::from(unbiased));
        let shape = reduced(self.dims(), at, keepdim);
        let value = self.variances(around, divisor, &shape, |variance| variance);
        let kept = reduced(self.dims(), at, true);
        value.record("var", [self], |saver| {
            let x = saver.input(self);
            move |grad: &Tensor, node: &NodeRef| {
                let x = x.get(node);
                let centred = &x - x.mean_dim(at as isize, true);
                [Some(centred * (2.0 / divisor) as f32 * grad.reshape(&kept[..]))]
            }
        })
    }

    /// The standard deviation over one dimension, with Bessel's correction if `unbiased`. The
    /// gradient at 0 is 0.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn std_dim(&self, dim: isize, unbiased: bool, keepdim: bool) -> Tensor {
        ok(self.expect_f32("std"));
        let at = ok(dim_index("std", dim, self.ndim()));
        let around = Around::new(self.dims(), at);
        let divisor = (around.extent as f64 - f64::from(u8::from(unbiased))).max(0.0);
        let shape = reduced(self.dims(), at, keepdim);
        let value = self.variances(around, divisor, &shape, f64::sqrt);
        let kept = reduced(self.dims(), at, true);
        let result = value.clone();
        value.record("std", [self], |saver| {
            let (x, y) = (saver.input(self), saver.result(&result));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, y) = (x.get(node), y.get(node).reshape(&kept[..]));
                let centred = &x - x.mean_dim(at as isize, true);
                let some = Tensor::build(y.dims(), |out| {
                    for (out, &y) in out.iter_mut().zip(y.read().iter()) {
                        *out = f32::from(u8::from(y != 0.0));
                    }
                });
                let to_variance = gated(&(grad.reshape(&kept[..]) / (y * 2.0)), &some);
                [Some(centred * (2.0 / divisor) as f32 * to_variance)]
            }
        })
    }

    /// The variance over several dimensions, with Bessel's correction if `unbiased`.
    ///
    /// # Panics
    /// As [`Tensor::mean_dims`].
    #[track_caller]
    pub fn var_dims(&self, dims: &[isize], unbiased: bool, keepdim: bool) -> Tensor {
        self.over_dims("var", dims, keepdim, |joined| joined.var_dim(-1, unbiased, false))
    }

    /// The standard deviation over several dimensions, with Bessel's correction if `unbiased`.
    ///
    /// # Panics
    /// As [`Tensor::mean_dims`].
    #[track_caller]
    pub fn std_dims(&self, dims: &[isize], unbiased: bool, keepdim: bool) -> Tensor {
        self.over_dims("std", dims, keepdim, |joined| joined.std_dim(-1, unbiased, false))
    }

    /// `f` of the variance of every line.
    #[track_caller]
    fn variances(
        &self,
        around: Around,
        divisor: f64,
        shape: &Shape,
        f: impl Fn(f64) -> f64,
    ) -> Tensor {
        let numbers = self.read();
        Tensor::build(shape, |out| {
            for (out, (outer, inner)) in out.iter_mut().zip(around.lines()) {
                let line = || around.line(outer, inner).map(|at| f64::from(numbers[at]));
                let mean = line().sum::<f64>() / around.extent as f64;
                let squares: f64 = line().map(|x| (x - mean) * (x - mean)).sum();
                *out = f(squares / divisor.max(0.0)) as f32;
            }
        })
    }
}
