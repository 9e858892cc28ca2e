//! `x.i((0, .., 1..3))`: numbers, ranges and new dimensions in one call, as views.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

use smallvec::{SmallVec, smallvec};

use crate::error::{TensorError, ok, raise};
use crate::tensor::Tensor;
use crate::view::ViewStep;

/// A new dimension of extent 1 in [`Tensor::i`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAxis;

/// What [`Tensor::i`] takes of one dimension: made of an integer, a range of integers, or [`NewAxis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexOf(Part);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    At(isize),
    /// From a start to before an end; without an end, to the last.
    Range(isize, Option<isize>),
    New,
}

/// What [`Tensor::i`] takes: one [`IndexOf`] or a tuple of up to six.
#[derive(Clone, Debug)]
pub struct IndexList(SmallVec<[IndexOf; 6]>);

macro_rules! of_integers {
    ($($int:ty),*) => { $(
        impl From<$int> for IndexOf {
            fn from(at: $int) -> IndexOf {
                IndexOf(Part::At(clamped(at)))
            }
        }
        of_integers!(@ranges $int: Range, RangeFrom, RangeTo, RangeInclusive, RangeToInclusive);
    )* };
    (@ranges $int:ty: $($range:ident),*) => { $(
        impl From<$range<$int>> for IndexOf {
            fn from(range: $range<$int>) -> IndexOf {
                let bounds = (range.start_bound().map(|&at| clamped(at)), range.end_bound().map(|&at| clamped(at)));
                IndexOf::of_bounds(bounds)
            }
        }
    )* };
}
of_integers!(usize, isize, i32, i64);

/// An index of any type; what `isize` cannot hold is out of range of every tensor.
fn clamped<T: TryInto<isize>>(index: T) -> isize {
    index.try_into().unwrap_or(isize::MAX)
}

impl From<RangeFull> for IndexOf {
    fn from(_: RangeFull) -> IndexOf {
        IndexOf(Part::Range(0, None))
    }
}

impl From<NewAxis> for IndexOf {
    fn from(_: NewAxis) -> IndexOf {
        IndexOf(Part::New)
    }
}

impl IndexOf {
    fn of_bounds((start, end): (Bound<isize>, Bound<isize>)) -> IndexOf {
        let start = match start {
            Bound::Included(start) => start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match end {
            Bound::Excluded(end) => Some(end),
            // `..=-1` ends with the last.
            Bound::Included(-1) | Bound::Unbounded => None,
            Bound::Included(last) => Some(last.saturating_add(1)),
        };
        IndexOf(Part::Range(start, end))
    }
}

impl<I: Into<IndexOf>> From<I> for IndexList {
    fn from(one: I) -> IndexList {
        IndexList(smallvec![one.into()])
    }
}

macro_rules! of_tuples {
    ($(($($name:ident),*);)*) => { $(
        impl<$($name: Into<IndexOf>),*> From<($($name,)*)> for IndexList {
            #[expect(non_snake_case, reason = "the types name the parts")]
            fn from(($($name,)*): ($($name,)*)) -> IndexList {
                IndexList(smallvec![$($name.into()),*])
            }
        }
    )* };
}
of_tuples! {
    (A); (A, B); (A, B, C); (A, B, C, D); (A, B, C, D, E); (A, B, C, D, E, F);
}

impl Tensor {
    /// A view of part of this tensor, one index for each of its first dimensions; those that are not
    /// named stay whole. An integer picks one index of a dimension, which disappears; a range keeps
    /// several (`..` all); [`NewAxis`] adds a dimension of extent 1. As everywhere in this library,
    /// negative numbers count from the end. Unlike Python's, a range that reaches beyond the dimension
    /// is an error. Gradients flow through it, and writes to it (`x.i(0).fill_(1.0)`) reach `x`.
    ///
    /// # Panics
    /// [`TensorError::IndexOutOfRange`] for an index or range outside its dimension,
    /// [`TensorError::ShapeMismatch`] for more indices than there are dimensions.
    ///
    /// ```
    /// use rlrun_tensor::{NewAxis, Tensor};
    /// let x = Tensor::arange(0.0, 12.0, 1.0).view([3, 4]);
    /// assert_eq!(x.i(1).to_vec(), [4.0, 5.0, 6.0, 7.0]);
    /// assert_eq!(x.i((.., -1)).to_vec(), [3.0, 7.0, 11.0]);
    /// assert_eq!(x.i((1.., 1..3)).to_vec(), [5.0, 6.0, 9.0, 10.0]);
    /// assert_eq!(x.i((0, NewAxis)).dims(), [1, 4]);
    /// ```
    #[track_caller]
    pub fn i(&self, index: impl Into<IndexList>) -> Tensor {
        let IndexList(parts) = index.into();
        let named = parts.iter().filter(|&&part| part != IndexOf(Part::New)).count();
        if named > self.ndim() {
            let detail = format!("{named} indices of {:?}", self.dims());
            raise(TensorError::ShapeMismatch { op: "index", detail });
        }
        let (mut view, mut dim) = (self.clone(), 0);
        for IndexOf(part) in parts {
            let step = match part {
                Part::New => ViewStep::Unsqueeze(dim),
                Part::At(index) => ok(view.select_step("index", dim as isize, index)),
                Part::Range(start, end) => ok(view.range_step(dim, start, end)),
            };
            dim += usize::from(!matches!(part, Part::At(_)));
            view = view.step(step, false);
        }
        view
    }

    /// The step to the indices from `start` to before `end`.
    fn range_step(
        &self,
        dim: usize,
        start: isize,
        end: Option<isize>,
    ) -> Result<ViewStep, TensorError> {
        let extent = self.dims()[dim];
        let from_start = |at: isize| if at < 0 { at.saturating_add_unsigned(extent) } else { at };
        let (from, to) = (from_start(start), end.map_or(extent as isize, from_start));
        if from < 0 || to < from || to > extent as isize {
            let shown = end.map_or_else(String::new, |end| end.to_string());
            let bound = format!("the range {start}..{shown} of an extent of {extent}");
            let index =
                if from < 0 || from > extent as isize { start } else { end.unwrap_or(start) };
            return Err(TensorError::IndexOutOfRange {
                op: "index",
                what: "bound",
                index: index as i64,
                bound,
            });
        }
        Ok(ViewStep::Narrow { dim, start: from as usize, len: (to - from) as usize })
    }
}
