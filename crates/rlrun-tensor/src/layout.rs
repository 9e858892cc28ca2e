//! Shape, strides and offset: how a tensor lies in its storage.

use crate::error::{TensorError, ok, raise};

/// Largest number of dimensions.
pub const MAX_DIMS: usize = 6;

#[track_caller]
fn check_ndim(ndim: usize) {
    if ndim > MAX_DIMS {
        let detail = format!("{ndim} dimensions, expected at most {MAX_DIMS}");
        raise(TensorError::ShapeMismatch { op: "shape", detail });
    }
}

/// The number of elements of a shape that was asked for.
pub(crate) fn checked_numel(op: &'static str, shape: &[usize]) -> Result<usize, TensorError> {
    // Empty tensors keep their other extents, which strides are computed from.
    let reach = shape.iter().try_fold(1usize, |reach, &extent| reach.checked_mul(extent.max(1)));
    match reach.filter(|&reach| reach <= isize::MAX as usize / size_of::<i64>()) {
        Some(_) => Ok(shape.iter().product()),
        None => {
            let detail = format!("the shape {shape:?} has more elements than memory can hold");
            Err(TensorError::ShapeMismatch { op, detail })
        }
    }
}

/// Up to [`MAX_DIMS`] extents or strides, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims<T> {
    len: u8,
    values: [T; MAX_DIMS],
}

pub(crate) type Shape = Dims<usize>;

impl<T: PartialEq> PartialEq for Dims<T> {
    #[inline]
    fn eq(&self, other: &Dims<T>) -> bool {
        self.len == other.len && self.iter().zip(other.iter()).all(|(a, b)| a == b)
    }
}

impl<T: Copy + Default> Dims<T> {
    pub(crate) fn new() -> Dims<T> {
        Dims { len: 0, values: [T::default(); MAX_DIMS] }
    }

    #[track_caller]
    pub(crate) fn of(values: &[T]) -> Dims<T> {
        check_ndim(values.len());
        let mut dims = Dims::new();
        dims.len = values.len() as u8;
        dims.values[..values.len()].copy_from_slice(values);
        dims
    }

    #[track_caller]
    pub(crate) fn insert(&mut self, at: usize, value: T) {
        check_ndim(self.len() + 1);
        self.values.copy_within(at..self.len as usize, at + 1);
        self.values[at] = value;
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, at: usize) {
        self.values.copy_within(at + 1..self.len as usize, at);
        self.len -= 1;
        self.values[self.len as usize] = T::default();
    }
}

impl<T> std::ops::Deref for Dims<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[..self.len as usize]
    }
}

impl<T> std::ops::DerefMut for Dims<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len as usize]
    }
}

/// Where each element of a tensor lies in its storage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layout {
    pub(crate) shape: Shape,
    pub(crate) strides: Dims<isize>,
    pub(crate) offset: usize,
}

impl Layout {
    #[track_caller]
    pub(crate) fn contiguous(shape: &[usize]) -> Layout {
        ok(checked_numel("shape", shape));
        let shape = Shape::of(shape);
        Layout { shape, strides: contiguous_strides(&shape), offset: 0 }
    }

    pub(crate) fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (&extent, &stride) in self.shape.iter().zip(self.strides.iter()).rev() {
            if extent != 1 {
                if stride != expected && self.numel() != 0 {
                    return false;
                }
                expected *= extent as isize;
            }
        }
        true
    }

    /// Whether the elements fill a run of memory without gaps or overlaps, in any order.
    pub(crate) fn is_dense(&self) -> bool {
        if self.is_contiguous() {
            return true;
        }
        let mut order: Dims<usize> = Dims::of(&[0, 1, 2, 3, 4, 5][..self.shape.len()]);
        order.sort_by_key(|&dim| self.strides[dim]);
        let mut expected = 1;
        for &dim in order.iter().filter(|&&dim| self.shape[dim] != 1) {
            if self.strides[dim] != expected {
                return false;
            }
            expected *= self.shape[dim] as isize;
        }
        true
    }

    /// Whether two elements share memory (as after `expand`).
    pub(crate) fn overlaps(&self) -> bool {
        if self.numel() < 2 || self.is_dense() {
            return false;
        }
        let mut order: Dims<usize> = Dims::of(&[0, 1, 2, 3, 4, 5][..self.shape.len()]);
        order.sort_by_key(|&dim| self.strides[dim]);
        let mut reach = 0;
        for &dim in order.iter().filter(|&&dim| self.shape[dim] != 1) {
            if self.strides[dim] <= reach {
                return true;
            }
            reach += self.strides[dim] * (self.shape[dim] as isize - 1);
        }
        false
    }

    /// The offsets of all elements, row-major.
    pub(crate) fn offsets(&self) -> Offsets {
        Offsets::new(self)
    }

    /// Where runs of elements that lie side by side start, row-major, and their length.
    pub(crate) fn rows(&self) -> (Offsets, usize) {
        let mut outer = *self;
        match (self.shape.last(), self.strides.last()) {
            (Some(&width), Some(&1)) if width > 0 => {
                outer.shape.remove(self.shape.len() - 1);
                outer.strides.remove(self.strides.len() - 1);
                (outer.offsets(), width)
            }
            _ => (outer.offsets(), 1),
        }
    }

    /// The same elements seen with a larger shape: extents of 1 and missing ones repeat.
    pub(crate) fn broadcast(&self, shape: &[usize]) -> Option<Layout> {
        let missing = shape.len().checked_sub(self.shape.len())?;
        let mut strides = Dims::of(&[0; MAX_DIMS][..shape.len()]);
        for (dim, (&extent, &stride)) in self.shape.iter().zip(self.strides.iter()).enumerate() {
            match shape[missing + dim] {
                same if same == extent => strides[missing + dim] = stride,
                _ if extent == 1 => {}
                _ => return None,
            }
        }
        Some(Layout { shape: Shape::of(shape), strides, offset: self.offset })
    }

    /// The same elements, in the same order, with another shape, if strides can express it.
    pub(crate) fn view(&self, shape: &[usize]) -> Option<Layout> {
        let strides = if self.is_contiguous() {
            contiguous_strides(shape)
        } else {
            view_strides(self, shape)?
        };
        Some(Layout { shape: Shape::of(shape), strides, offset: self.offset })
    }
}

fn contiguous_strides(shape: &[usize]) -> Dims<isize> {
    let mut strides = Dims::of(&[1; MAX_DIMS][..shape.len()]);
    let mut step = 1;
    for (stride, &extent) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step *= extent.max(1) as isize;
    }
    strides
}

/// Strides for `shape` over a strided layout: each run of old dimensions that lies evenly in
/// memory may be cut anew; a new extent may not span two runs.
fn view_strides(old: &Layout, shape: &[usize]) -> Option<Dims<isize>> {
    if old.numel() == 0 {
        return (old.shape[..] == *shape).then_some(old.strides);
    }
    let mut strides = Dims::of(&[1; MAX_DIMS][..shape.len()]);
    let mut new_dim = shape.len();
    let mut run = 1;
    let mut filled = 1;
    let mut base = old.strides.last().copied().unwrap_or(1);
    for dim in (0..old.shape.len()).rev() {
        run *= old.shape[dim];
        let ends =
            dim == 0 || (old.shape[dim - 1] != 1 && old.strides[dim - 1] != run as isize * base);
        if !ends {
            continue;
        }
        while new_dim > 0 && (filled < run || shape[new_dim - 1] == 1) {
            new_dim -= 1;
            strides[new_dim] = filled as isize * base;
            filled *= shape[new_dim];
        }
        if filled != run {
            return None;
        }
        if dim > 0 {
            (run, filled, base) = (1, 1, old.strides[dim - 1]);
        }
    }
    (new_dim == 0).then_some(strides)
}

/// The shape that two shapes broadcast to.
pub(crate) fn broadcast_shape(
    op: &'static str,
    a: &[usize],
    b: &[usize],
) -> Result<Shape, TensorError> {
    if a == b {
        return Ok(Shape::of(a));
    }
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut shape = Shape::of(long);
    let missing = long.len() - short.len();
    for (dim, &extent) in short.iter().enumerate() {
        let out = &mut shape[missing + dim];
        *out = match (*out, extent) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => {
                let detail = format!("shapes {a:?} and {b:?} do not broadcast");
                return Err(TensorError::ShapeMismatch { op, detail });
            }
        };
    }
    Ok(shape)
}

/// Turns a dimension that may count from the end into an index.
pub(crate) fn dim_index(op: &'static str, dim: isize, ndim: usize) -> Result<usize, TensorError> {
    let bound = ndim.max(1) as isize;
    if dim < -bound || dim >= bound {
        let bound = format!("{ndim} dimensions");
        return Err(TensorError::IndexOutOfRange {
            op,
            what: "dimension",
            index: dim as i64,
            bound,
        });
    }
    Ok(if dim < 0 { dim + bound } else { dim } as usize)
}

/// Copies the elements of a layout to `out`, row-major.
pub(crate) fn gather(source: &[f32], layout: &Layout, out: &mut [f32]) {
    let (Some(&width), Some(&step)) = (layout.shape.last(), layout.strides.last()) else {
        out.copy_from_slice(&source[layout.offset..][..out.len()]);
        return;
    };
    let mut outer = *layout;
    outer.shape.remove(layout.shape.len() - 1);
    outer.strides.remove(layout.shape.len() - 1);
    for (row, start) in out.chunks_exact_mut(width.max(1)).zip(outer.offsets()) {
        match step {
            0 => row.fill(source[start]),
            1 => row.copy_from_slice(&source[start..][..width]),
            _ => {
                for (i, out) in row.iter_mut().enumerate() {
                    *out = source[(start as isize + i as isize * step) as usize];
                }
            }
        }
    }
}

/// The same for an operation that needs a dimension: a tensor without any has none in range.
pub(crate) fn existing_dim(
    op: &'static str,
    dim: isize,
    ndim: usize,
) -> Result<usize, TensorError> {
    if ndim > 0 {
        return dim_index(op, dim, ndim);
    }
    let bound = "a tensor without dimensions".to_owned();
    Err(TensorError::IndexOutOfRange { op, what: "dimension", index: dim as i64, bound })
}

/// Walks the offsets of a layout, row-major.
pub(crate) struct Offsets {
    layout: Layout,
    index: Dims<usize>,
    next: isize,
    left: usize,
}

impl Offsets {
    fn new(layout: &Layout) -> Offsets {
        let index = Dims::of(&[0; MAX_DIMS][..layout.shape.len()]);
        Offsets { layout: *layout, index, next: layout.offset as isize, left: layout.numel() }
    }
}

impl Iterator for Offsets {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.next;
        for dim in (0..self.index.len()).rev() {
            self.index[dim] += 1;
            self.next += self.layout.strides[dim];
            if self.index[dim] < self.layout.shape[dim] {
                break;
            }
            self.index[dim] = 0;
            self.next -= self.layout.strides[dim] * self.layout.shape[dim] as isize;
        }
        Some(current as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Offsets {}

#[cfg(test)]
mod tests {
    use super::*;

    fn strided(shape: &[usize], strides: &[isize]) -> Layout {
        Layout { shape: Shape::of(shape), strides: Dims::of(strides), offset: 0 }
    }

    #[test]
    fn a_view_splits_and_joins_even_runs_only() {
        let transposed = strided(&[3, 2], &[1, 3]);
        assert!(transposed.view(&[6]).is_none());
        let split = transposed.view(&[3, 1, 2]).unwrap();
        assert_eq!(split.offsets().collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
        let rows = strided(&[2, 4], &[8, 1]);
        assert_eq!(rows.view(&[2, 2, 2]).unwrap().strides[..], [8, 2, 1]);
        assert!(rows.view(&[8]).is_none());
    }

    #[test]
    fn dense_means_no_gap_and_no_overlap() {
        assert!(strided(&[3, 2], &[1, 3]).is_dense());
        assert!(!strided(&[3, 2], &[4, 1]).is_dense());
        assert!(!strided(&[3, 2], &[4, 1]).overlaps());
        assert!(strided(&[3, 2], &[0, 1]).overlaps());
    }
}
