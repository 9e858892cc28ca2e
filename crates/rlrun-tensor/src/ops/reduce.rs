//! Sums and means over some or all dimensions, and any reduction over several.

use crate::autograd::NodeRef;
use crate::call::CallGuard;
use crate::error::{TensorError, ok};
use crate::kernels;
use crate::layout::{Shape, dim_index};
use crate::mode::{self, GradModeGuard};
use crate::tensor::Tensor;

/// A row-major array seen as `[outer, extent, inner]` around one dimension.
#[derive(Clone, Copy)]
pub(super) struct Around {
    pub(super) outer: usize,
    pub(super) extent: usize,
    pub(super) inner: usize,
}

impl Around {
    pub(super) fn new(shape: &[usize], dim: usize) -> Around {
        let (before, rest) = shape.split_at(dim.min(shape.len()));
        let (extent, after) = rest.split_first().unwrap_or((&1, &[]));
        Around { outer: before.iter().product(), extent: *extent, inner: after.iter().product() }
    }

    /// The places of one line along the dimension.
    pub(super) fn line(self, outer: usize, inner: usize) -> impl Iterator<Item = usize> + Clone {
        let start = outer * self.extent * self.inner + inner;
        (0..self.extent).map(move |i| start + i * self.inner)
    }

    /// Every line, in row-major order of the result.
    pub(super) fn lines(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.outer).flat_map(move |outer| (0..self.inner).map(move |inner| (outer, inner)))
    }
}

/// The shape without `dim`, or with extent 1 there.
pub(super) fn reduced(shape: &[usize], dim: usize, keepdim: bool) -> Shape {
    let mut shape = Shape::of(shape);
    if shape.is_empty() {
        return shape;
    }
    if keepdim {
        shape[dim] = 1;
    } else {
        shape.remove(dim);
    }
    shape
}

/// The dimensions that a reduction names, in order; all if it names none.
fn named(op: &'static str, dims: &[isize], ndim: usize) -> Result<Vec<usize>, TensorError> {
    let mut at: Vec<usize> =
        dims.iter().map(|&dim| dim_index(op, dim, ndim)).collect::<Result<_, _>>()?;
    at.sort_unstable();
    if at.windows(2).any(|pair| pair[0] == pair[1]) {
        let detail = format!("{dims:?} names a dimension twice");
        return Err(TensorError::ShapeMismatch { op, detail });
    }
    if at.is_empty() {
        at.extend(0..ndim);
    }
    Ok(at)
}

/// `grad` repeated to `shape`: numbers side by side, or a view of it where that is recorded or
/// there is only one number.
fn spread(grad: &Tensor, shape: &Shape) -> Tensor {
    if mode::recording() || grad.numel() == 1 {
        return grad.expand(&shape[..]);
    }
    // Adding to zeros broadcasts at the speed of the kernels.
    grad.add(&Tensor::zeros(&shape[..]))
}

impl Tensor {
    /// The sum of all elements, `[…] -> []`.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn sum(&self) -> Tensor {
        ok(self.expect_f32("sum"));
        let shape = self.layout.shape;
        let total = kernels::sum(&self.read());
        Tensor::scalar(total).filled_from(self).record("sum", [self], |_| {
            move |grad: &Tensor, _: &NodeRef| [Some(spread(grad, &shape))]
        })
    }

    /// Σ x², outside history, in memory order.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn sum_of_squares(&self) -> f32 {
        ok(self.expect_f32("sum_of_squares"));
        if self.layout.is_dense() {
            kernels::sum_of_squares(&self.read_memory())
        } else {
            kernels::sum_of_squares(&self.read())
        }
    }

    /// The mean of all elements, `[…] -> []`; NaN of none.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn mean(&self) -> Tensor {
        let (shape, count) = (self.layout.shape, self.numel() as f32);
        let value = {
            let _mode = GradModeGuard::no_grad();
            self.sum() / count
        };
        value.record("mean", [self], |_| {
            move |grad: &Tensor, _: &NodeRef| [Some(spread(&(grad / count), &shape))]
        })
    }

    /// The sum over one dimension.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn sum_dim(&self, dim: isize, keepdim: bool) -> Tensor {
        ok(self.expect_f32("sum"));
        let at = ok(dim_index("sum", dim, self.ndim()));
        let around = Around::new(self.dims(), at);
        let numbers = self.read();
        let shape = reduced(self.dims(), at, keepdim);
        let value = Tensor::build(&shape, |out| sum_lines(&numbers, around, out));
        let (whole, kept) = (self.layout.shape, reduced(self.dims(), at, true));
        drop(numbers);
        value.record("sum", [self], |_| {
            move |grad: &Tensor, _: &NodeRef| [Some(spread(&grad.reshape(&kept[..]), &whole))]
        })
    }

    /// The sum over several dimensions; over all if `dims` is empty.
    ///
    /// # Panics
    /// If a dimension is out of range or named twice, or this is not an `f32` tensor.
    #[track_caller]
    pub fn sum_dims(&self, dims: &[isize], keepdim: bool) -> Tensor {
        if self.ndim() == 0 {
            ok(named("sum", dims, 0));
            return self.sum();
        }
        let at = ok(named("sum", dims, self.ndim()));
        let mut sum = self.clone();
        for &dim in at.iter().rev() {
            sum = sum.sum_dim(dim as isize, keepdim);
        }
        sum
    }

    /// A reduction over several dimensions by one over a single dimension: the dimensions are
    /// moved to the end and joined.
    #[track_caller]
    pub(super) fn over_dims(
        &self,
        op: &'static str,
        dims: &[isize],
        keepdim: bool,
        reduce: impl FnOnce(&Tensor) -> Tensor,
    ) -> Tensor {
        let last = ok(named(op, dims, self.ndim()));
        // `reduce` is a closure, which does not know its caller.
        let _call = CallGuard::named(op);
        if self.ndim() == 0 {
            return reduce(self);
        }
        let first: Vec<usize> = (0..self.ndim()).filter(|dim| !last.contains(dim)).collect();
        let order: Vec<isize> = first.iter().chain(&last).map(|&dim| dim as isize).collect();
        let mut joined: Vec<usize> = first.iter().map(|&dim| self.dims()[dim]).collect();
        joined.push(last.iter().map(|&dim| self.dims()[dim]).product());
        let value = reduce(&self.permute(order).reshape(&joined[..]));
        if !keepdim {
            return value;
        }
        let mut kept = self.layout.shape;
        for dim in last {
            kept[dim] = 1;
        }
        value.result_of_shape(&kept)
    }

    /// The mean over several dimensions.
    ///
    /// # Panics
    /// If a dimension is out of range or named twice, or this is not an `f32` tensor.
    #[track_caller]
    pub fn mean_dims(&self, dims: &[isize], keepdim: bool) -> Tensor {
        self.over_dims("mean", dims, keepdim, |joined| joined.mean_dim(-1, false))
    }

    /// The largest element over several dimensions; ties share the gradient; NaN wins.
    ///
    /// # Panics
    /// As [`Tensor::mean_dims`], or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn amax_dims(&self, dims: &[isize], keepdim: bool) -> Tensor {
        self.over_dims("amax", dims, keepdim, |joined| joined.amax(-1, false))
    }

    /// The smallest element over several dimensions; ties share the gradient; NaN wins.
    ///
    /// # Panics
    /// As [`Tensor::mean_dims`], or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn amin_dims(&self, dims: &[isize], keepdim: bool) -> Tensor {
        self.over_dims("amin", dims, keepdim, |joined| joined.amin(-1, false))
    }

    /// `ln Σ e^x` over several dimensions, without overflow.
    ///
    /// # Panics
    /// As [`Tensor::mean_dims`].
    #[track_caller]
    pub fn logsumexp_dims(&self, dims: &[isize], keepdim: bool) -> Tensor {
        self.over_dims("logsumexp", dims, keepdim, |joined| joined.logsumexp(-1, false))
    }

    /// The mean over one dimension.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn mean_dim(&self, dim: isize, keepdim: bool) -> Tensor {
        let at = ok(dim_index("mean", dim, self.ndim()));
        let extent = self.dims().get(at).copied().unwrap_or(1) as f32;
        let value = {
            let _mode = GradModeGuard::no_grad();
            self.sum_dim(dim, keepdim) / extent
        };
        let (whole, kept) = (self.layout.shape, reduced(self.dims(), at, true));
        value.record("mean", [self], |_| {
            move |grad: &Tensor, _: &NodeRef| {
                [Some(spread(&(grad / extent).reshape(&kept[..]), &whole))]
            }
        })
    }

    /// Running sums along a dimension.
    ///
    /// # Panics
    /// If `dim` is out of range or this is not an `f32` tensor.
    #[track_caller]
    pub fn cumsum(&self, dim: isize) -> Tensor {
        ok(self.expect_f32("cumsum"));
        let at = ok(dim_index("cumsum", dim, self.ndim()));
        let around = Around::new(self.dims(), at);
        let numbers = self.read();
        let value = Tensor::build(self.dims(), |out| {
            for (outer, inner) in around.lines() {
                let mut sum = 0.0;
                for at in around.line(outer, inner) {
                    sum += f64::from(numbers[at]);
                    out[at] = sum as f32;
                }
            }
        });
        drop(numbers);
        value.record("cumsum", [self], |_| {
            move |grad: &Tensor, _: &NodeRef| {
                let dim = at as isize;
                [Some(grad.flip(&[dim]).cumsum(dim).flip(&[dim]))]
            }
        })
    }
}

/// Lines of up to this length are added up one number after the other.
const SHORT: usize = 16;

/// Sums along the middle dimension, in an order that depends on `extent` and `inner` alone.
fn sum_lines(numbers: &[f32], around: Around, out: &mut [f32]) {
    let Around { extent, inner, .. } = around;
    if extent == 0 || out.is_empty() {
        return out.fill(0.0);
    }
    if inner == 1 {
        for (out, line) in out.iter_mut().zip(numbers.chunks_exact(extent)) {
            *out = if extent <= SHORT { line.iter().sum() } else { kernels::sum(line) };
        }
        return;
    }
    for (out, rows) in out.chunks_exact_mut(inner).zip(numbers.chunks_exact(extent * inner)) {
        if extent <= SHORT {
            add_rows(rows, out);
        } else {
            kernels::column_sums(rows, out);
        }
    }
}

fn add_rows(rows: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for row in rows.chunks_exact(out.len()) {
        for (out, &x) in out.iter_mut().zip(row) {
            *out += x;
        }
    }
}
