//! Products of elements, and Euclidean lengths.

use crate::autograd::NodeRef;
use crate::error::ok;
use crate::layout::dim_index;
use crate::tensor::Tensor;

use super::reduce::{Around, reduced};
use super::select::gated;

impl Tensor {
    /// The product of all elements, `[…] -> []`; 1 of none.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn prod(&self) -> Tensor {
        self.reshape([-1]).prod_dim(0, false)
    }

    /// The product along a dimension: that of its first half and its second, and so on, which gives
    /// gradients without dividing by an element.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn prod_dim(&self, dim: isize, keepdim: bool) -> Tensor {
        ok(self.expect_f32("prod"));
        let at = ok(dim_index("prod", dim, self.ndim()));
        if self.ndim() == 0 {
            return self * 1.0;
        }
        let dim = at as isize;
        let mut factors = self * 1.0;
        while factors.dims()[at] > 1 {
            let (half, odd) = (factors.dims()[at] / 2, factors.dims()[at] % 2);
            let part = |start: usize, len| factors.narrow(dim, start as isize, len);
            let pairs = part(0, half) * part(half, half);
            factors = match odd {
                0 => pairs,
                _ => Tensor::cat(&[&pairs, &part(2 * half, 1)], dim),
            };
        }
        let shape = reduced(self.dims(), at, keepdim);
        if factors.dims()[at] == 0 {
            return Tensor::ones(&shape[..]);
        }
        factors.result_of_shape(&shape)
    }

    /// √Σx² of all elements, `[…] -> []`; the gradient at 0 is 0.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn norm(&self) -> Tensor {
        self.reshape([-1]).norm_dim(0, false)
    }

    /// √Σx² along a dimension; the gradient at 0 is 0.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn norm_dim(&self, dim: isize, keepdim: bool) -> Tensor {
        ok(self.expect_f32("norm"));
        let at = ok(dim_index("norm", dim, self.ndim()));
        let around = Around::new(self.dims(), at);
        let numbers = self.read();
        let value = Tensor::build(&reduced(self.dims(), at, keepdim), |out| {
            for (out, (outer, inner)) in out.iter_mut().zip(around.lines()) {
                let line = around.line(outer, inner).map(|at| f64::from(numbers[at]));
                // Not `sum`, which is -0 of no numbers.
                *out = line.fold(0.0, |total, x| total + x * x).sqrt() as f32;
            }
        });
        drop(numbers);
        let kept = reduced(self.dims(), at, true);
        let result = value.clone();
        value.record("norm", [self], |saver| {
            let (x, y) = (saver.input(self), saver.result(&result));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, y) = (x.get(node), y.get(node).reshape(&kept[..]));
                let some = y.ne_scalar(0.0).as_mask();
                [Some(x * gated(&(grad.reshape(&kept[..]) / y), &some))]
            }
        })
    }
}
