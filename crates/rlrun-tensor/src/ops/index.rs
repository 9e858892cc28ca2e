//! Picking, placing and joining elements.

use std::ops::Deref;

use crate::autograd::{Grads, NodeRef};
use crate::error::{TensorError, ok, raise};
use crate::layout::{Layout, Shape, checked_numel, dim_index, existing_dim};
use crate::pool;
use crate::storage::DType;
use crate::tensor::Tensor;

use super::reduce::Around;

/// Checks an index against an extent.
fn check(op: &'static str, index: i64, extent: usize) -> Result<usize, TensorError> {
    if index < 0 || index >= extent as i64 {
        let bound = format!("an extent of {extent}");
        return Err(TensorError::IndexOutOfRange { op, what: "index", index, bound });
    }
    Ok(index as usize)
}

/// For each element of an index tensor, the place in an array of shape `shape` that it names.
fn places(
    op: &'static str,
    shape: &[usize],
    dim: usize,
    index: &Tensor,
) -> Result<Vec<usize>, TensorError> {
    let fits = index.ndim() == shape.len()
        && index.dims().iter().zip(shape).enumerate().all(|(d, (a, b))| d == dim || a <= b);
    if !fits {
        let detail = format!("an index of shape {:?} does not fit {shape:?}", index.dims());
        return Err(TensorError::ShapeMismatch { op, detail });
    }
    let indices = index.read_i64(op)?;
    let mut within = Layout::contiguous(shape);
    let step = within.strides.get(dim).map_or(0, |&stride| stride as usize);
    within.shape = index.layout.shape;
    if let Some(stride) = within.strides.get_mut(dim) {
        *stride = 0;
    }
    let extent = shape.get(dim).copied().unwrap_or(1);
    if dim + 1 == shape.len() && index.dims()[..dim] == shape[..dim] {
        let rows = indices.chunks_exact(index.dims()[dim].max(1)).enumerate();
        let place = |(row, &index)| Ok(row * extent + check(op, index, extent)?);
        return rows
            .flat_map(|(row, line)| line.iter().map(move |i| (row, i)))
            .map(place)
            .collect();
    }
    let place = |(start, &index): (usize, &i64)| Ok(start + step * check(op, index, extent)?);
    within.offsets().zip(&indices).map(place).collect()
}

impl Tensor {
    /// `out[i][j] = self[index[i][j]][j]` for `dim` 0, and so on; `index` is `i64`, of the shape of
    /// the result. Indices and masks are gathered too, without a gradient.
    ///
    /// # Panics
    /// If an index or `dim` is out of range, or the shapes do not fit.
    #[track_caller]
    pub fn gather(&self, dim: isize, index: &Tensor) -> Tensor {
        let dim = ok(dim_index("gather", dim, self.ndim()));
        let places = ok(places("gather", self.dims(), dim, index));
        if self.dtype() != DType::F32 {
            return self.picked(places.into_iter(), index.dims());
        }
        let numbers = self.read();
        let value = Tensor::build(index.dims(), |out| {
            for (out, &place) in out.iter_mut().zip(&places) {
                *out = numbers[place];
            }
        });
        drop(numbers);
        let shape = self.layout.shape;
        value.record("gather", [self, index], |saver| {
            let index = saver.input(index);
            move |grad: &Tensor, node: &NodeRef| {
                let whole = Tensor::zeros(&shape[..]);
                [Some(whole.scatter_add(dim as isize, &index.get(node), grad)), None]
            }
        })
    }

    /// A copy to which `source[i][j]` was added at `[index[i][j]][j]` for `dim` 0, and so on, in
    /// row-major order and double precision.
    ///
    /// # Panics
    /// If an index or `dim` is out of range, or the shapes do not fit.
    #[track_caller]
    pub fn scatter_add(&self, dim: isize, index: &Tensor, source: &Tensor) -> Tensor {
        ok(self.expect_f32("scatter_add").and_then(|()| source.expect_f32("scatter_add")));
        let dim = ok(dim_index("scatter_add", dim, self.ndim()));
        let places = ok(places("scatter_add", self.dims(), dim, index));
        if source.dims() != index.dims() {
            let detail = format!("source {:?} and index {:?} differ", source.dims(), index.dims());
            raise(TensorError::ShapeMismatch { op: "scatter_add", detail });
        }
        let (numbers, added) = (self.read(), source.read());
        let value = Tensor::build(self.dims(), |out| {
            // In f64: one place may collect the gradients of a whole batch.
            let mut sums: Vec<f64> = numbers.iter().map(|&x| x.into()).collect();
            for (&place, &x) in places.iter().zip(added.iter()) {
                sums[place] += f64::from(x);
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32);
        });
        drop((numbers, added));
        value.record("scatter_add", [self, index, source], |saver| {
            let index = saver.input(index);
            move |grad: &Tensor, node: &NodeRef| {
                let to_source = node.needs(2).then(|| grad.gather(dim as isize, &index.get(node)));
                [Some(grad.clone()), None, to_source]
            }
        })
    }

    /// The rows (or whatever `dim` counts) that `index` `[n]` names, in its order; those of indices and
    /// masks too, without a gradient.
    ///
    /// # Panics
    /// If an index or `dim` is out of range, or `index` is not a vector.
    #[track_caller]
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Tensor {
        let dim = ok(dim_index("index_select", dim, self.ndim()));
        if index.ndim() > 1 {
            let detail = format!("the index has shape {:?}, expected a vector", index.dims());
            raise(TensorError::ShapeMismatch { op: "index_select", detail });
        }
        let rows = ok(index.read_i64("index_select"));
        if self.ndim() == 0 && rows.len() != 1 {
            let detail = format!("{} indices of a tensor without dimensions", rows.len());
            raise(TensorError::ShapeMismatch { op: "index_select", detail });
        }
        let around = Around::new(self.dims(), dim);
        let mut shape = self.layout.shape;
        if let Some(extent) = shape.get_mut(dim) {
            *extent = rows.len();
        }
        for &row in &rows {
            ok(check("index_select", row, around.extent));
        }
        if self.dtype() != DType::F32 {
            return self.picked(places_of_rows(around, &rows), &shape);
        }
        let numbers = self.read();
        let value = Tensor::build(&shape, |out| copy_rows(&numbers, around, &rows, out));
        drop(numbers);
        let whole = self.layout.shape;
        value.record("index_select", [self, index], |saver| {
            let index = saver.input(index);
            move |grad: &Tensor, node: &NodeRef| {
                let mut along = Shape::of(&[1; crate::MAX_DIMS][..whole.len()]);
                if let Some(extent) = along.get_mut(dim) {
                    *extent = grad.dims()[dim];
                }
                let index = index.get(node).reshape(&along[..]).expand(grad.dims());
                [Some(Tensor::zeros(&whole[..]).scatter_add(dim as isize, &index, grad)), None]
            }
        })
    }

    /// Joins tensors of one type along a dimension; their other extents are equal. A vector of nothing
    /// (`[0]`) joins with everything.
    ///
    /// # Panics
    /// If there is none, `dim` is out of range, or the types or shapes do not fit.
    #[track_caller]
    pub fn cat(tensors: &[&Tensor], dim: isize) -> Tensor {
        let (dim, shape) = ok(joined_shape(tensors, dim));
        let lengths: Vec<Option<usize>> = tensors
            .iter()
            .map(|tensor| (tensor.ndim() == shape.len()).then(|| tensor.dims()[dim]))
            .collect();
        let value = joined(tensors, &shape, dim);
        value.record_many("cat", tensors, |_| {
            move |grad: &Tensor, node: &NodeRef| {
                let mut start = 0;
                let part = |(i, len): (usize, &Option<usize>)| {
                    let Some(len) = *len else { return node.needs(i).then(|| Tensor::zeros([0])) };
                    start += len;
                    node.needs(i).then(|| grad.narrow(dim as isize, (start - len) as isize, len))
                };
                lengths.iter().enumerate().map(part).collect::<Grads>()
            }
        })
    }

    /// Joins tensors of one shape along a new dimension. Of inference tensors alone the result is,
    /// outside the mode, a view of the joined memory, as in PyTorch.
    ///
    /// # Panics
    /// As [`Tensor::cat`].
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], dim: isize) -> Tensor {
        let mut layers = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            layers.push(tensor.unsqueeze(dim));
        }
        let joined = Tensor::cat(&layers.iter().collect::<Vec<_>>(), dim);
        if !joined.is_inference() && tensors.iter().all(|tensor| tensor.is_inference()) {
            return joined.view(joined.dims());
        }
        joined
    }

    /// This tensor `times[d]` times in a row along each dimension d; missing leading dimensions have
    /// extent 1.
    ///
    /// # Panics
    /// If `times` has fewer entries than this tensor has dimensions.
    #[track_caller]
    pub fn repeat(&self, times: &[usize]) -> Tensor {
        let Some(missing) = times.len().checked_sub(self.ndim()) else {
            let detail = format!("{times:?} is shorter than the shape {:?}", self.dims());
            raise(TensorError::ShapeMismatch { op: "repeat", detail })
        };
        let leading = Shape::of(&[1; crate::MAX_DIMS][..missing.min(crate::MAX_DIMS)]);
        let start: Vec<usize> = leading.iter().chain(self.dims()).copied().collect();
        let many = |(extent, times): (&usize, &usize)| extent.saturating_mul(*times);
        let shape: Vec<usize> = start.iter().zip(times).map(many).collect();
        if ok(checked_numel("repeat", &shape)) == 0 {
            return self.repeated_to_nothing(&shape);
        }
        let mut whole = self.clone_contiguous().result_of_shape(&start);
        for (dim, &times) in times.iter().enumerate().filter(|(_, times)| **times != 1) {
            let copies = pool::collected(times, std::iter::repeat_n(&whole, times));
            whole = Tensor::cat(&copies, dim as isize);
        }
        whole
    }

    #[track_caller]
    fn repeated_to_nothing(&self, shape: &[usize]) -> Tensor {
        ok(self.expect_f32("repeat"));
        let whole = self.layout.shape;
        Tensor::zeros(shape).record("repeat", [self], |_| {
            move |_: &Tensor, _: &NodeRef| [Some(Tensor::zeros(&whole[..]))]
        })
    }

    /// For each class of this `i64` tensor a row of `classes` numbers, 1 at the class and 0
    /// elsewhere (`i64`): `[…] -> […, classes]`.
    ///
    /// # Panics
    /// If a class is out of range or this is not an `i64` tensor.
    #[track_caller]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        let indices = ok(self.read_i64("one_hot"));
        let numel = ok(checked_numel("one_hot", &[indices.len(), classes]));
        let mut rows: Vec<i64> = pool::collected(numel, std::iter::repeat_n(0, numel));
        for (row, &index) in indices.iter().enumerate() {
            rows[row * classes + ok(check("one_hot", index, classes))] = 1;
        }
        let mut shape = self.layout.shape;
        shape.insert(shape.len(), classes);
        Tensor::from_i64(&rows, &shape[..])
    }

    /// A copy in which the order along `dims` is reversed.
    ///
    /// # Panics
    /// If a dimension is out of range or named twice.
    #[track_caller]
    pub fn flip(&self, dims: &[isize]) -> Tensor {
        ok(self.expect_f32("flip"));
        let dims = dims.iter().map(|&dim| dim_index("flip", dim, self.ndim()));
        let dims: Vec<_> = ok(dims.collect());
        if (1..dims.len()).any(|at| dims[..at].contains(&dims[at])) {
            let detail = format!("{dims:?} names a dimension twice");
            raise(TensorError::ShapeMismatch { op: "flip", detail });
        }
        let mut from = Layout::contiguous(self.dims());
        let mut start = 0;
        let has_elements = |dim: &&usize| self.dims().get(**dim).is_some_and(|&extent| extent > 0);
        for &dim in dims.iter().filter(has_elements) {
            start += (self.dims()[dim] - 1) * from.strides[dim] as usize;
            from.strides[dim] = -from.strides[dim];
        }
        from.offset = start;
        let numbers = self.read();
        let value = Tensor::build(self.dims(), |out| {
            for (out, at) in out.iter_mut().zip(from.offsets()) {
                *out = numbers[at];
            }
        });
        drop(numbers);
        let back: Vec<isize> = dims.iter().map(|&dim| dim as isize).collect();
        value.record("flip", [self], |_| move |grad: &Tensor, _: &NodeRef| [Some(grad.flip(&back))])
    }
}

/// Where the elements of rows lie, row-major.
fn places_of_rows(around: Around, rows: &[i64]) -> impl ExactSizeIterator<Item = usize> {
    let Around { outer, extent, inner } = around;
    let (width, rows) = (rows.len() * inner, rows.to_vec());
    (0..outer * width).map(move |at| {
        let (block, within) = (at / width, at % width);
        (block * extent + rows[within / inner] as usize) * inner + within % inner
    })
}

fn copy_rows(numbers: &[f32], around: Around, rows: &[i64], out: &mut [f32]) {
    let Around { outer, extent, inner } = around;
    let mut out = out.chunks_exact_mut(inner.max(1));
    for block in 0..outer {
        for (&row, out) in rows.iter().zip(&mut out) {
            out.copy_from_slice(&numbers[(block * extent + row as usize) * inner..][..inner]);
        }
    }
}

/// The dimension along which tensors are joined and the shape of the whole.
fn joined_shape(tensors: &[&Tensor], dim: isize) -> Result<(usize, Shape), TensorError> {
    let Some(first) = tensors.first() else {
        let detail = "expected at least one tensor".to_owned();
        return Err(TensorError::ShapeMismatch { op: "cat", detail });
    };
    let is_nothing = |tensor: &Tensor| tensor.dims() == [0];
    let Some(like) = tensors.iter().find(|tensor| !is_nothing(tensor)) else {
        tensors.iter().try_for_each(|tensor| tensor.expect_dtype("cat", first.dtype()))?;
        return Ok((0, first.layout.shape));
    };
    let dim = existing_dim("cat", dim, like.ndim())?;
    let mut shape = like.layout.shape;
    shape[dim] = 0;
    for tensor in tensors {
        tensor.expect_dtype("cat", first.dtype())?;
        if is_nothing(tensor) {
            continue;
        }
        let others =
            |s: &[usize]| s.iter().enumerate().all(|(d, &x)| d == dim || x == like.dims()[d]);
        if tensor.ndim() != like.ndim() || !others(tensor.dims()) {
            let detail = format!("{:?} and {:?} do not join", like.dims(), tensor.dims());
            return Err(TensorError::ShapeMismatch { op: "cat", detail });
        }
        shape[dim] += tensor.dims()[dim];
    }
    Ok((dim, shape))
}

#[track_caller]
fn joined(tensors: &[&Tensor], shape: &Shape, dim: usize) -> Tensor {
    let (around, numel) = (Around::new(shape, dim), shape.iter().product());
    match tensors.first().map_or(DType::F32, |first| first.dtype()) {
        DType::F32 => Tensor::build(shape, |out| join(tensors, Tensor::read, around, dim, out)),
        DType::I64 => {
            let mut out = pool::collected(numel, std::iter::repeat_n(0, numel));
            join(tensors, |tensor| ok(tensor.read_i64("cat")), around, dim, &mut out);
            Tensor::from_i64(&out, &shape[..])
        }
        DType::Bool => {
            let mut out = pool::collected(numel, std::iter::repeat_n(false, numel));
            join(tensors, |tensor| ok(tensor.read_bool("cat")), around, dim, &mut out);
            Tensor::from_bool(&out, &shape[..])
        }
    }
}

fn join<'a, T: Copy, N: Deref<Target = [T]>>(
    tensors: &[&'a Tensor],
    read: impl Fn(&'a Tensor) -> N,
    around: Around,
    dim: usize,
    out: &mut [T],
) {
    let Around { extent, inner, .. } = around;
    let mut start = 0;
    for &tensor in tensors.iter().filter(|tensor| tensor.numel() > 0) {
        let numbers = read(tensor);
        let run = tensor.dims()[dim] * inner;
        if run > 0 {
            let blocks = out.chunks_exact_mut((extent * inner).max(1));
            for (block, run_of) in blocks.zip(numbers.chunks_exact(run)) {
                block[start..start + run].copy_from_slice(run_of);
            }
        }
        start += run;
    }
}
