//! Other shapes on the same memory: view, reshape, permute, narrow, select, split.

use smallvec::SmallVec;

use crate::error::{TensorError, ok};
use crate::layout::{Dims, Shape, checked_numel, dim_index, existing_dim};
use crate::tensor::Tensor;
use crate::view::ViewStep;

/// A target shape in which one extent may be -1: as many as are left.
#[derive(Clone, Debug)]
pub struct ReshapeTo(SmallVec<[isize; 4]>);

macro_rules! reshape_from {
    ($($int:ty),*) => { $(
        impl<const N: usize> From<[$int; N]> for ReshapeTo {
            fn from(extents: [$int; N]) -> ReshapeTo {
                ReshapeTo(extents.iter().map(|&extent| extent as isize).collect())
            }
        }
        impl From<&[$int]> for ReshapeTo {
            fn from(extents: &[$int]) -> ReshapeTo {
                ReshapeTo(extents.iter().map(|&extent| extent as isize).collect())
            }
        }
    )* };
}
reshape_from!(usize, isize, i32);

impl ReshapeTo {
    fn resolve(&self, op: &'static str, numel: usize) -> Result<Shape, TensorError> {
        let target = || self.0.to_vec();
        let mismatch = || {
            let detail = format!("{numel} elements do not fill the shape {:?}", target());
            TensorError::ShapeMismatch { op, detail }
        };
        let mut known = self.0.iter().filter(|&&extent| extent >= 0);
        let known = known.try_fold(1isize, |known, &extent| known.checked_mul(extent));
        let known = known.ok_or_else(mismatch)?;
        let unknown = self.0.iter().filter(|&&extent| extent == -1).count();
        if unknown > 1 || (unknown == 1 && known == 0) {
            return Err(TensorError::AmbiguousReshape { target: target(), numel });
        }
        let left = if unknown == 1 { numel as isize / known } else { 1 };
        if self.0.iter().any(|&extent| extent < -1) || known * left != numel as isize {
            return Err(mismatch());
        }
        let fill = |&extent: &isize| if extent == -1 { left as usize } else { extent as usize };
        Ok(Shape::of(&self.0.iter().map(fill).collect::<SmallVec<[usize; 4]>>()))
    }
}

impl Tensor {
    /// The same elements with another shape, on the same memory. One extent may be -1.
    ///
    /// # Panics
    /// [`TensorError::ViewSizeIncompatible`] if that needs a copy; sizes that do not fit.
    #[track_caller]
    pub fn view(&self, shape: impl Into<ReshapeTo>) -> Tensor {
        let shape = ok(shape.into().resolve("view", self.numel()));
        self.step(ViewStep::Reshape(shape), false)
    }

    /// The same elements with another shape: a view if strides allow it, else a copy.
    ///
    /// # Panics
    /// If the sizes do not fit.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<ReshapeTo>) -> Tensor {
        let shape = ok(shape.into().resolve("reshape", self.numel()));
        if self.layout.view(&shape).is_some() {
            return self.step(ViewStep::Reshape(shape), false);
        }
        let whole = self.layout.shape;
        self.contiguous_copy().with_shape(shape).record("reshape", [self], |_| {
            move |grad: &Tensor, _: &_| [Some(grad.reshape(&whole[..]))]
        })
    }

    /// Repeats extents of 1 and missing leading ones, without copying. -1 keeps an extent.
    ///
    /// # Panics
    /// If an extent other than 1 would change.
    #[track_caller]
    pub fn expand(&self, shape: impl Into<ReshapeTo>) -> Tensor {
        let ReshapeTo(target) = shape.into();
        let missing = target.len().saturating_sub(self.ndim());
        let extent = |(dim, &extent): (usize, &isize)| match usize::try_from(extent) {
            Ok(extent) => Some(extent),
            Err(_) if extent == -1 => self.dims().get(dim.checked_sub(missing)?).copied(),
            Err(_) => None,
        };
        let found = target.iter().enumerate().map(extent).collect::<Option<SmallVec<[usize; 4]>>>();
        let Some(target) = found else {
            let detail = format!("{:?} does not expand to {target:?}", self.dims());
            crate::error::raise(TensorError::ShapeMismatch { op: "expand", detail })
        };
        ok(checked_numel("expand", &target));
        self.step(ViewStep::Expand(Shape::of(&target)), false)
    }

    /// Exchanges two dimensions.
    ///
    /// # Panics
    /// If a dimension is out of range.
    #[track_caller]
    pub fn transpose(&self, dim0: isize, dim1: isize) -> Tensor {
        let dim0 = ok(dim_index("transpose", dim0, self.ndim()));
        let dim1 = ok(dim_index("transpose", dim1, self.ndim()));
        let mut order = Dims::of(&[0, 1, 2, 3, 4, 5, 6, 7][..self.ndim()]);
        if self.ndim() > 0 {
            order.swap(dim0, dim1);
        }
        self.step(ViewStep::Permute(order), false)
    }

    /// Reorders the dimensions.
    ///
    /// # Panics
    /// If `order` is not a permutation of the dimensions.
    #[track_caller]
    pub fn permute(&self, order: impl AsRef<[isize]>) -> Tensor {
        let order = order.as_ref();
        let mut dims = SmallVec::<[usize; 4]>::new();
        for &dim in order {
            let dim = ok(dim_index("permute", dim, self.ndim()));
            if !dims.contains(&dim) {
                dims.push(dim);
            }
        }
        if dims.len() != self.ndim() || order.len() != self.ndim() {
            let detail = format!("{order:?} does not reorder {} dimensions", self.ndim());
            crate::error::raise(TensorError::ShapeMismatch { op: "permute", detail });
        }
        self.step(ViewStep::Permute(Dims::of(&dims)), false)
    }

    /// `len` indices of `dim`, from `start`; a negative start counts from the end.
    ///
    /// # Panics
    /// If the range is not within the dimension.
    #[track_caller]
    pub fn narrow(&self, dim: isize, start: isize, len: usize) -> Tensor {
        self.step(ok(self.narrow_step("narrow", dim, start, len)), false)
    }

    pub(super) fn narrow_step(
        &self,
        op: &'static str,
        dim: isize,
        start: isize,
        len: usize,
    ) -> Result<ViewStep, TensorError> {
        let dim = existing_dim(op, dim, self.ndim())?;
        let extent = self.dims()[dim];
        let from = if start < 0 { start + extent as isize } else { start };
        match usize::try_from(from) {
            Ok(start) if start.checked_add(len).is_some_and(|end| end <= extent) => {
                Ok(ViewStep::Narrow { dim, start, len })
            }
            _ => {
                let bound = format!("a range of {len} in an extent of {extent}");
                let index = start as i64;
                Err(TensorError::IndexOutOfRange { op, what: "start", index, bound })
            }
        }
    }

    /// One index of `dim`, which disappears; a negative index counts from the end.
    ///
    /// # Panics
    /// If the index is out of range.
    #[track_caller]
    pub fn select(&self, dim: isize, index: isize) -> Tensor {
        self.step(ok(self.select_step("select", dim, index)), false)
    }

    pub(super) fn select_step(
        &self,
        op: &'static str,
        dim: isize,
        index: isize,
    ) -> Result<ViewStep, TensorError> {
        let dim = existing_dim(op, dim, self.ndim())?;
        let extent = self.dims()[dim] as isize;
        if index < -extent || index >= extent {
            let bound = format!("an extent of {extent}");
            let index = index as i64;
            return Err(TensorError::IndexOutOfRange { op, what: "index", index, bound });
        }
        let index = if index < 0 { index + extent } else { index } as usize;
        Ok(ViewStep::Select { dim, index })
    }

    /// Adds a dimension of extent 1 at `dim`.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn unsqueeze(&self, dim: isize) -> Tensor {
        let dim = ok(dim_index("unsqueeze", dim, self.ndim() + 1));
        self.step(ViewStep::Unsqueeze(dim), false)
    }

    /// Removes `dim` if its extent is 1.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn squeeze_dim(&self, dim: isize) -> Tensor {
        let dim = ok(dim_index("squeeze", dim, self.ndim()));
        if self.dims().get(dim) == Some(&1) {
            self.step(ViewStep::Squeeze(dim), false)
        } else {
            self.step(ViewStep::Reshape(self.layout.shape), false)
        }
    }

    /// Removes every dimension of extent 1.
    #[track_caller]
    pub fn squeeze(&self) -> Tensor {
        let left = self.dims().iter().copied().filter(|&extent| extent != 1);
        let left = left.collect::<SmallVec<[usize; 4]>>();
        self.step(ViewStep::Reshape(Shape::of(&left)), false)
    }

    /// Views of `size` indices of `dim` each; the last may be shorter.
    ///
    /// # Panics
    /// If `size` is 0 or `dim` is out of range.
    #[track_caller]
    pub fn split(&self, size: usize, dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("split", dim, self.ndim()))];
        if size == 0 {
            let detail = "a part of 0 indices never ends".to_owned();
            crate::error::raise(TensorError::ShapeMismatch { op: "split", detail });
        }
        let sizes = (0..extent.max(1)).step_by(size).map(|start| size.min(extent - start));
        self.split_sizes(&sizes.collect::<Vec<_>>(), dim)
    }

    /// Views of the given numbers of indices of `dim`.
    ///
    /// # Panics
    /// If the sizes do not add up to the extent.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("split", dim, self.ndim()))];
        if sizes.iter().sum::<usize>() != extent {
            let detail = format!("the sizes {sizes:?} do not add up to {extent}");
            crate::error::raise(TensorError::ShapeMismatch { op: "split", detail });
        }
        let mut start = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for &len in sizes {
            parts.push(self.step(ok(self.narrow_step("split", dim, start as isize, len)), true));
            start += len;
        }
        parts
    }

    /// At most `count` views of equal size (the last may be shorter); `count` empty ones of an empty
    /// dimension.
    ///
    /// # Panics
    /// If `count` is 0 or `dim` is out of range.
    #[track_caller]
    pub fn chunk(&self, count: usize, dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("chunk", dim, self.ndim()))];
        if count == 0 {
            let detail = "expected at least one chunk".to_owned();
            crate::error::raise(TensorError::ShapeMismatch { op: "chunk", detail });
        }
        if extent == 0 {
            return self.split_sizes(&vec![0; count], dim);
        }
        self.split(extent.div_ceil(count), dim)
    }

    /// One view per index of `dim`, which disappears.
    ///
    /// # Panics
    /// If `dim` is out of range.
    #[track_caller]
    pub fn unbind(&self, dim: isize) -> Vec<Tensor> {
        let extent = self.dims()[ok(existing_dim("unbind", dim, self.ndim()))];
        let mut parts = Vec::with_capacity(extent);
        for index in 0..extent {
            parts.push(self.step(ok(self.select_step("unbind", dim, index as isize)), true));
        }
        parts
    }
}
