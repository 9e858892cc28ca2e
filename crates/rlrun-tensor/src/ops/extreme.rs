//! The largest and smallest elements, and where they are.

use crate::autograd::NodeRef;
use crate::error::{TensorError, ok, raise};
use crate::layout::{Layout, dim_index};
use crate::mode::GradModeGuard;
use crate::storage::{Buffer, StorageRef};
use crate::tensor::Tensor;

use super::reduce::{Around, reduced};
use super::select::gated;

impl Tensor {
    /// The largest element, `[…] -> []`; ties share the gradient; NaN wins.
    ///
    /// # Panics
    /// [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn max(&self) -> Tensor {
        self.reshape([-1]).extreme("max", 0, false, |x, best| x > best)
    }

    /// The smallest element, `[…] -> []`; ties share the gradient; NaN wins.
    ///
    /// # Panics
    /// [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn min(&self) -> Tensor {
        self.reshape([-1]).extreme("min", 0, false, |x, best| x < best)
    }

    /// The largest element along a dimension; ties share the gradient; NaN wins.
    ///
    /// # Panics
    /// If `dim` is out of range, or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn amax(&self, dim: isize, keepdim: bool) -> Tensor {
        self.extreme("amax", dim, keepdim, |x, best| x > best)
    }

    /// The smallest element along a dimension; ties share the gradient; NaN wins.
    ///
    /// # Panics
    /// If `dim` is out of range, or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn amin(&self, dim: isize, keepdim: bool) -> Tensor {
        self.extreme("amin", dim, keepdim, |x, best| x < best)
    }

    #[track_caller]
    fn extreme(
        &self,
        op: &'static str,
        dim: isize,
        keepdim: bool,
        better: fn(f32, f32) -> bool,
    ) -> Tensor {
        let (at, places) = self.best_places(op, dim, better);
        let kept = reduced(self.dims(), at, true);
        let value = self.pick(&places, &reduced(self.dims(), at, keepdim));
        let result = value.clone();
        value.record(op, [self], |saver| {
            let (x, y) = (saver.input(self), saver.result(&result));
            move |grad: &Tensor, node: &NodeRef| {
                let (x, y) = (x.get(node), y.get(node).reshape(&kept[..]));
                // As in PyTorch, the gradient of a NaN is NaN for its line, but for the extreme of all.
                let ties = ties_of(&x, &y, op == "max" || op == "min");
                let share = &ties / ties.sum_dim(at as isize, true);
                [Some(gated(&grad.reshape(&kept[..]).expand(x.dims()), &share))]
            }
        })
    }

    /// The largest element along a dimension and its first place; the gradient goes to that place.
    ///
    /// # Panics
    /// If `dim` is out of range, or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn max_dim(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        self.first_extreme("max", dim, keepdim, |x, best| x > best)
    }

    /// The smallest element along a dimension and its first place; the gradient goes to that place.
    ///
    /// # Panics
    /// If `dim` is out of range, or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn min_dim(&self, dim: isize, keepdim: bool) -> (Tensor, Tensor) {
        self.first_extreme("min", dim, keepdim, |x, best| x < best)
    }

    #[track_caller]
    fn first_extreme(
        &self,
        op: &'static str,
        dim: isize,
        keepdim: bool,
        better: fn(f32, f32) -> bool,
    ) -> (Tensor, Tensor) {
        let (at, places) = self.best_places(op, dim, better);
        let around = Around::new(self.dims(), at);
        let shape = reduced(self.dims(), at, keepdim);
        let index = |&place: &usize| (place / around.inner % around.extent) as i64;
        let indices = StorageRef::new(Buffer::I64(places.iter().map(index).collect()));
        let indices = Tensor::fresh(indices, Layout::contiguous(&shape));
        let kept = reduced(self.dims(), at, true);
        let whole = self.layout.shape;
        let values = self.pick(&places, &shape);
        let values = values.record(op, [self], |saver| {
            let index = saver.input(&indices);
            move |grad: &Tensor, node: &NodeRef| {
                let grad = grad.reshape(&kept[..]);
                let index = index.get(node).reshape(&kept[..]);
                [Some(Tensor::zeros(&whole[..]).scatter_add(at as isize, &index, &grad))]
            }
        });
        (values, indices)
    }

    /// The first place of the largest element along a dimension (`i64`); NaN wins.
    ///
    /// # Panics
    /// If `dim` is out of range, or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn argmax(&self, dim: isize) -> Tensor {
        let _mode = GradModeGuard::no_grad();
        self.max_dim(dim, false).1
    }

    /// The first place of the smallest element along a dimension (`i64`); NaN wins.
    ///
    /// # Panics
    /// If `dim` is out of range, or [`TensorError::EmptyReduction`] of no elements.
    #[track_caller]
    pub fn argmin(&self, dim: isize) -> Tensor {
        let _mode = GradModeGuard::no_grad();
        self.min_dim(dim, false).1
    }

    /// Where the best element of each line lies, row-major, and the dimension's index.
    #[track_caller]
    fn best_places(
        &self,
        op: &'static str,
        dim: isize,
        better: fn(f32, f32) -> bool,
    ) -> (usize, Vec<usize>) {
        ok(self.expect_f32(op));
        let at = ok(dim_index(op, dim, self.ndim()));
        let around = Around::new(self.dims(), at);
        if around.extent == 0 {
            raise(TensorError::EmptyReduction { op, shape: self.dims().to_vec() });
        }
        let numbers = self.read();
        let best = |(outer, inner): (usize, usize)| {
            let wins = |x: f32, best: f32| !best.is_nan() && (x.is_nan() || better(x, best));
            around
                .line(outer, inner)
                .reduce(|best, at| if wins(numbers[at], numbers[best]) { at } else { best })
                .unwrap_or_default()
        };
        (at, around.lines().map(best).collect())
    }

    #[track_caller]
    fn pick(&self, places: &[usize], shape: &[usize]) -> Tensor {
        let numbers = self.read();
        Tensor::build(shape, |out| {
            for (out, &place) in out.iter_mut().zip(places) {
                *out = numbers[place];
            }
        })
    }
}

/// 1 where `x` equals `y`, broadcast, else 0; two NaNs are equal if they shall be.
fn ties_of(x: &Tensor, y: &Tensor, nan_ties: bool) -> Tensor {
    let y = y.expand(x.dims());
    let (a, b) = (x.read(), y.read());
    Tensor::build(x.dims(), |out| {
        for ((out, &a), &b) in out.iter_mut().zip(a.iter()).zip(b.iter()) {
            *out = f32::from(u8::from(a == b || (nan_ties && a.is_nan() && b.is_nan())));
        }
    })
}
