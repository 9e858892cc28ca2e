//! Elements in order along a dimension.

use std::cmp::Ordering;

use crate::error::{TensorError, ok, raise};
use crate::layout::dim_index;
use crate::mode::GradModeGuard;
use crate::tensor::Tensor;

use super::reduce::Around;

impl Tensor {
    /// The elements along a dimension in order, and where each came from (`i64`). Equal elements keep
    /// their order; NaN counts as the largest.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn sort(&self, dim: isize, descending: bool) -> (Tensor, Tensor) {
        let order = self.argsort(dim, descending);
        (self.gather(dim, &order), order)
    }

    /// Where the elements along a dimension come from when they are put in order: [`Tensor::sort`].
    ///
    /// # Panics
    /// As [`Tensor::sort`].
    #[track_caller]
    pub fn argsort(&self, dim: isize, descending: bool) -> Tensor {
        ok(self.expect_f32("sort"));
        let around = Around::new(self.dims(), ok(dim_index("sort", dim, self.ndim())));
        let numbers = self.read();
        let mut order = vec![0; numbers.len()];
        for (outer, inner) in around.lines() {
            let places: Vec<usize> = around.line(outer, inner).collect();
            let mut indices: Vec<usize> = (0..places.len()).collect();
            indices.sort_by(|&i, &j| {
                let order = ascending(numbers[places[i]], numbers[places[j]]);
                if descending { order.reverse() } else { order }
            });
            places.iter().zip(indices).for_each(|(&at, index)| order[at] = index as i64);
        }
        Tensor::from_i64(&order, self.dims())
    }

    /// The `k` largest elements along a dimension, the largest first, and their places.
    ///
    /// # Panics
    /// As [`Tensor::sort`], and if there are fewer than `k`.
    #[track_caller]
    pub fn topk(&self, k: usize, dim: isize) -> (Tensor, Tensor) {
        let at = ok(dim_index("topk", dim, self.ndim()));
        let extent = self.dims().get(at).copied().unwrap_or(1);
        if k > extent {
            let bound = format!("an extent of {extent}");
            raise(TensorError::IndexOutOfRange { op: "topk", what: "k", index: k as i64, bound });
        }
        let mode = GradModeGuard::no_grad();
        let order = match self.ndim() {
            0 => self.argsort(dim, true),
            _ => self.argsort(dim, true).narrow(dim, 0, k),
        };
        drop(mode);
        let places = Tensor::from_i64(&order.to_vec_i64(), order.dims());
        (self.gather(dim, &places), places)
    }
}

/// The order of numbers in which NaN comes last.
fn ascending(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
