//! Comparisons, and what is asked of masks. None of them has a gradient.

use crate::error::{TensorError, ok, raise};
use crate::layout::{Layout, broadcast_shape, dim_index};
use crate::pool;
use crate::storage::{Buffer, DType, StorageRef};
use crate::tensor::Tensor;

use super::reduce::{Around, reduced};

macro_rules! comparison {
    ($($name:ident, $of_number:ident, $sign:tt;)*) => { impl Tensor { $(
        #[doc = concat!("A mask of where `self ", stringify!($sign), " other`, broadcast.")]
        ///
        /// # Panics
        /// If the shapes do not broadcast.
        #[track_caller]
        pub fn $name(&self, other: &Tensor) -> Tensor {
            self.compare(stringify!($name), other, |a, b| a $sign b)
        }

        #[doc = concat!("A mask of where `self ", stringify!($sign), " number`.")]
        #[track_caller]
        pub fn $of_number(&self, number: f32) -> Tensor {
            self.$name(&Tensor::scalar(number))
        }
    )* } };
}

comparison! {
    eq, eq_scalar, ==;
    ne, ne_scalar, !=;
    lt, lt_scalar, <;
    le, le_scalar, <=;
    gt, gt_scalar, >;
    ge, ge_scalar, >=;
}

impl Tensor {
    /// Where both are set, broadcast.
    ///
    /// # Panics
    /// If one is not a mask or the shapes do not broadcast.
    #[track_caller]
    pub fn logical_and(&self, other: &Tensor) -> Tensor {
        self.of_masks("logical_and", other, |a, b| a && b)
    }

    /// Where one of them is set, broadcast.
    ///
    /// # Panics
    /// If one is not a mask or the shapes do not broadcast.
    #[track_caller]
    pub fn logical_or(&self, other: &Tensor) -> Tensor {
        self.of_masks("logical_or", other, |a, b| a || b)
    }

    /// Where this mask is not set.
    ///
    /// # Panics
    /// If this is not a mask.
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        self.of_masks("logical_not", self, |a, _| !a)
    }

    /// Whether any element is set, or not zero.
    #[track_caller]
    pub fn any(&self) -> bool {
        self.flags().contains(&true)
    }

    /// Whether every element is set, or not zero; of none, too.
    #[track_caller]
    pub fn all(&self) -> bool {
        !self.flags().contains(&false)
    }

    /// A mask of whether any element along a dimension is set, or not zero.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn any_dim(&self, dim: isize, keepdim: bool) -> Tensor {
        self.of_lines("any", dim, keepdim, |line| line.contains(&true))
    }

    /// A mask of whether every element along a dimension is set, or not zero.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn all_dim(&self, dim: isize, keepdim: bool) -> Tensor {
        self.of_lines("all", dim, keepdim, |line| !line.contains(&false))
    }

    #[track_caller]
    fn of_masks(&self, op: &'static str, other: &Tensor, f: fn(bool, bool) -> bool) -> Tensor {
        ok(self.expect_dtype(op, DType::Bool).and_then(|()| other.expect_dtype(op, DType::Bool)));
        self.compare(op, other, |a, b| f(a != 0.0, b != 0.0))
    }

    #[track_caller]
    fn compare(
        &self,
        op: &'static str,
        other: &Tensor,
        holds: impl Fn(f64, f64) -> bool,
    ) -> Tensor {
        let shape = ok(broadcast_shape(op, self.dims(), other.dims()));
        let spread = |tensor: &Tensor| match Layout::contiguous(tensor.dims()).broadcast(&shape) {
            Some(layout) => layout,
            None => unreachable!("both broadcast to the common shape"),
        };
        let (a, b) = (self.numbers(), other.numbers());
        let places = spread(self).offsets().zip(spread(other).offsets());
        let flags = places.map(|(i, j)| holds(a[i], b[j]));
        mask(pool::collected(flags.len(), flags), &shape)
    }

    #[track_caller]
    fn of_lines(
        &self,
        op: &'static str,
        dim: isize,
        keepdim: bool,
        f: impl Fn(&[bool]) -> bool,
    ) -> Tensor {
        let at = ok(dim_index(op, dim, self.ndim()));
        let (around, flags) = (Around::new(self.dims(), at), self.flags());
        let line =
            |(outer, inner)| f(&around.line(outer, inner).map(|at| flags[at]).collect::<Vec<_>>());
        mask(around.lines().map(line).collect(), &reduced(self.dims(), at, keepdim))
    }

    /// Which elements are set, or not zero, row-major.
    #[track_caller]
    pub(super) fn flags(&self) -> Vec<bool> {
        self.numbers().into_iter().map(|x| x != 0.0).collect()
    }

    /// The elements of any type as numbers, row-major.
    #[track_caller]
    fn numbers(&self) -> Vec<f64> {
        match self.dtype() {
            DType::F32 => pool::collected(self.numel(), self.read().iter().map(|&x| f64::from(x))),
            DType::I64 => ok(self.read_i64("compare")).into_iter().map(|x| x as f64).collect(),
            DType::Bool => {
                ok(self.read_bool("compare")).into_iter().map(|x| u8::from(x).into()).collect()
            }
        }
    }

    /// The same elements as another type: indices lose their fraction, masks are set where a number
    /// is not 0. Only `f32` of `f32` keeps its history, as it is the same tensor.
    ///
    /// # Panics
    /// [`TensorError::DtypeMismatch`] for a number that is no index: NaN, infinite, too large.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        let numbers = self.numbers();
        match dtype {
            DType::F32 => Tensor::build(self.dims(), |out| {
                out.iter_mut().zip(numbers).for_each(|(out, x)| *out = x as f32);
            }),
            DType::Bool => mask(numbers.into_iter().map(|x| x != 0.0).collect(), self.dims()),
            DType::I64 => {
                if let Some(x) = numbers.iter().find(|x| x.is_nan() || x.abs() >= 2_f64.powi(63)) {
                    let found = if x.is_nan() { "NaN" } else { "a number beyond i64" };
                    raise(TensorError::DtypeMismatch { op: "to_dtype", expected: "i64", found });
                }
                let indices = numbers.into_iter().map(|x| x as i64).collect();
                let storage = StorageRef::new(Buffer::I64(indices));
                Tensor::fresh(storage, Layout::contiguous(self.dims()))
            }
        }
    }
}

#[track_caller]
fn mask(flags: Vec<bool>, shape: &[usize]) -> Tensor {
    Tensor::fresh(StorageRef::new(Buffer::Bool(flags)), Layout::contiguous(shape))
}
