//! The tensor: a cheap handle on a strided piece of shared memory, its autograd record, and where
//! it was made.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use crate::call;
use crate::diagnostics;
use crate::error::{Origin, Site, TensorError, ok, raise};
use crate::layout::{Layout, Shape, checked_numel};
use crate::meta::Meta;
use crate::mode;
use crate::pool::{self, Recycle, SizeLists};
use crate::storage::{Buffer, DType, StorageRef};

/// A strided array of `f32` (or of indices or flags) that may take part in recorded history.
///
/// A clone is another handle on the same tensor. Views share memory and version counter. Operations
/// that are given shapes or indices that do not fit panic with the text of a [`TensorError`] at the
/// caller's line; [`crate::catch`] turns that into the typed error.
#[derive(Clone)]
pub struct Tensor(Option<Arc<Inner>>);

/// What a handle points at.
pub struct Inner {
    pub(crate) storage: StorageRef,
    pub(crate) layout: Layout,
    /// Counts writes in the place of the storage's own counter (`data`, `set_data`).
    counter: Option<StorageRef>,
    made_at: Site,
    /// Where the inference mode was opened, if this is an inference tensor.
    mode_at: Option<Site>,
    meta: OnceLock<Arc<Meta>>,
}

thread_local! {
    static BLOCKS: RefCell<Vec<Arc<Inner>>> = const { RefCell::new(Vec::new()) };
    /// Inference tensors with their memory. They have neither counter nor record, so that nothing
    /// has to be made new before they are used again.
    static INFERENCE_TENSORS: SizeLists<Inner> = const { SizeLists::new() };
}

impl Recycle for Inner {
    fn with_list<R>(f: impl FnOnce(&mut Vec<Arc<Inner>>) -> R) -> Option<R> {
        BLOCKS.try_with(|list| f(&mut list.borrow_mut())).ok()
    }

    fn clear(&mut self) {
        self.storage = StorageRef::none();
        self.counter = None;
        self.meta = OnceLock::new();
    }
}

impl Inner {
    /// The free list for a tensor that can be used again with its memory: an inference tensor
    /// without other owners of it, hooks or gradient.
    fn reusable_class(&self) -> Option<usize> {
        let plain = self.counter.is_none() && self.meta.get().is_none();
        let whole = self.mode_at.is_some() && plain && !self.storage.is_shared();
        if whole { self.storage.class() } else { None }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        if Arc::strong_count(&inner) != 1 {
            return;
        }
        let used = match inner.reusable_class() {
            Some(class) => pool::give(&INFERENCE_TENSORS, class, inner).err(),
            None => Some(inner),
        };
        if let Some(inner) = used {
            pool::recycle(inner);
        }
    }
}

impl std::ops::Deref for Tensor {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        match &self.0 {
            Some(inner) => inner,
            None => unreachable!("a tensor is taken out only when it is dropped"),
        }
    }
}

impl Tensor {
    /// A tensor on memory of its own, of the kind that the current mode makes.
    #[track_caller]
    pub(crate) fn fresh(storage: StorageRef, layout: Layout) -> Tensor {
        let mode_at = mode::mode().inference;
        diagnostics::count_tensor();
        Tensor::from_inner(Inner {
            storage,
            layout,
            counter: None,
            made_at: call::site(),
            mode_at,
            meta: OnceLock::new(),
        })
    }

    /// Another tensor on the same memory, of the same kind, without history.
    #[track_caller]
    pub(crate) fn alias(&self, layout: Layout) -> Tensor {
        diagnostics::count_tensor();
        Tensor::from_inner(Inner {
            storage: self.storage.clone(),
            layout,
            counter: self.counter.clone(),
            made_at: call::site(),
            mode_at: self.mode_at,
            meta: OnceLock::new(),
        })
    }

    /// How many handles there are on this tensor.
    pub(crate) fn handles(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }

    fn from_inner(inner: Inner) -> Tensor {
        Tensor(Some(pool::block(inner)))
    }

    /// A fresh contiguous tensor whose elements `fill` writes, all of them.
    #[track_caller]
    pub(crate) fn build(shape: &[usize], fill: impl FnOnce(&mut [f32])) -> Tensor {
        Tensor::build_as(Layout::contiguous(shape), fill)
    }

    /// The same with a dense layout of another memory order; `fill` sees memory order.
    #[track_caller]
    pub(crate) fn build_as(layout: Layout, fill: impl FnOnce(&mut [f32])) -> Tensor {
        let numel = layout.numel();
        let layout = Layout { offset: 0, ..layout };
        if let Some(mode_at) = mode::mode().inference
            && let Some(mut used) = pool::take(&INFERENCE_TENSORS, numel)
            && let Some(inner) = Arc::get_mut(&mut used)
        {
            fill(&mut inner.storage.fresh_f32()[..numel]);
            (inner.layout, inner.made_at, inner.mode_at) = (layout, call::site(), Some(mode_at));
            diagnostics::count_tensor();
            return Tensor(Some(used));
        }
        let mut storage = StorageRef::f32(numel);
        fill(&mut storage.fresh_f32()[..numel]);
        Tensor::fresh(storage, layout)
    }

    /// A row-major copy of `data`.
    ///
    /// # Panics
    /// If `shape` does not have `data.len()` elements.
    #[track_caller]
    pub fn from_slice(data: &[f32], shape: impl AsRef<[usize]>) -> Tensor {
        check_len("from_slice", data.len(), shape.as_ref());
        Tensor::build(shape.as_ref(), |out| out.copy_from_slice(data))
    }

    /// `data`, row-major, without a copy.
    ///
    /// # Panics
    /// If `shape` does not have `data.len()` elements.
    #[track_caller]
    pub fn from_vec(data: Vec<f32>, shape: impl AsRef<[usize]>) -> Tensor {
        check_len("from_vec", data.len(), shape.as_ref());
        let storage = StorageRef::new(Buffer::F32(data));
        Tensor::fresh(storage, Layout::contiguous(shape.as_ref()))
    }

    /// Indices or classes.
    ///
    /// # Panics
    /// If `shape` does not have `data.len()` elements.
    #[track_caller]
    pub fn from_i64(data: &[i64], shape: impl AsRef<[usize]>) -> Tensor {
        check_len("from_i64", data.len(), shape.as_ref());
        let storage = StorageRef::new(Buffer::I64(data.to_vec()));
        Tensor::fresh(storage, Layout::contiguous(shape.as_ref()))
    }

    /// A mask.
    ///
    /// # Panics
    /// If `shape` does not have `data.len()` elements.
    #[track_caller]
    pub fn from_bool(data: &[bool], shape: impl AsRef<[usize]>) -> Tensor {
        check_len("from_bool", data.len(), shape.as_ref());
        let storage = StorageRef::new(Buffer::Bool(data.to_vec()));
        Tensor::fresh(storage, Layout::contiguous(shape.as_ref()))
    }

    /// All elements `value`.
    #[track_caller]
    pub fn full(shape: impl AsRef<[usize]>, value: f32) -> Tensor {
        Tensor::build(shape.as_ref(), |out| out.fill(value))
    }

    /// All elements zero.
    #[track_caller]
    pub fn zeros(shape: impl AsRef<[usize]>) -> Tensor {
        Tensor::full(shape, 0.0)
    }

    /// All elements one.
    #[track_caller]
    pub fn ones(shape: impl AsRef<[usize]>) -> Tensor {
        Tensor::full(shape, 1.0)
    }

    /// A tensor without dimensions.
    #[track_caller]
    pub fn scalar(value: f32) -> Tensor {
        Tensor::full([], value)
    }

    /// Zeros of this tensor's shape; dense memory order is kept.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        self.full_like(0.0)
    }

    /// Extent of each dimension.
    pub fn dims(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Steps in memory, in elements, for each dimension.
    pub fn strides(&self) -> &[isize] {
        &self.layout.strides
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.layout.numel()
    }

    /// Number of dimensions.
    pub fn ndim(&self) -> usize {
        self.layout.shape.len()
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// Whether the elements lie row-major without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// Whether this is an inference tensor: made in inference mode, or a view of one.
    pub fn is_inference(&self) -> bool {
        self.mode_at.is_some()
    }

    /// Whether both are handles on the same tensor.
    pub fn is(&self, other: &Tensor) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Whether both lie in the same memory.
    pub fn shares_storage(&self, other: &Tensor) -> bool {
        self.storage.same(&other.storage)
    }

    /// How often this memory was written since it was made.
    ///
    /// # Panics
    /// With [`TensorError::VersionOfInference`] for an inference tensor.
    #[track_caller]
    pub fn version(&self) -> u32 {
        if self.is_inference() {
            raise(TensorError::VersionOfInference { tensor: self.origin() });
        }
        self.counter().version()
    }

    pub(crate) fn counter(&self) -> &StorageRef {
        self.counter.as_ref().unwrap_or(&self.storage)
    }

    /// Shape and place of making, for messages.
    pub fn origin(&self) -> Origin {
        Origin { shape: self.dims().to_vec(), made_at: self.made_at, mode_at: self.mode_at }
    }

    /// Whether no other handle can see this tensor or its memory.
    pub(crate) fn is_unshared(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| Arc::strong_count(inner) == 1)
            && !self.storage.is_shared()
    }

    pub(crate) fn meta(&self) -> Option<&Arc<Meta>> {
        self.meta.get()
    }

    pub(crate) fn meta_or_new(&self) -> &Arc<Meta> {
        self.meta.get_or_init(Meta::new)
    }

    pub(crate) fn with_meta(self, meta: Arc<Meta>) -> Tensor {
        let set = self.meta.set(meta);
        debug_assert!(set.is_ok(), "a fresh tensor has no autograd record");
        self
    }

    /// The same values and memory without history, with a version counter of its own that starts
    /// at 0: writes through it go unseen by saved tensors. Prefer [`Tensor::detach`].
    #[track_caller]
    pub fn data(&self) -> Tensor {
        let mut alias = self.alias(self.layout);
        if !self.is_inference()
            && let Some(inner) = alias.0.as_mut().and_then(Arc::get_mut)
        {
            inner.counter = Some(StorageRef::new(Buffer::Bool(Vec::new())));
        }
        alias
    }

    /// Lets this handle see the memory of `source`; history, gradient and version stay.
    ///
    /// # Panics
    /// With [`TensorError::SetDataAcrossModes`] if just one of the two is an inference tensor.
    #[track_caller]
    pub fn set_data(&mut self, source: &Tensor) {
        if self.is_inference() != source.is_inference() {
            raise(TensorError::SetDataAcrossModes { tensor: self.origin() });
        }
        let replaced = Tensor::from_inner(Inner {
            storage: source.storage.clone(),
            layout: source.layout,
            counter: Some(self.counter().clone()),
            made_at: self.made_at,
            mode_at: self.mode_at,
            meta: self.meta.clone(),
        });
        *self = replaced;
    }

    /// A fresh contiguous tensor with another shape of as many elements.
    pub(crate) fn with_shape(mut self, shape: Shape) -> Tensor {
        match self.0.as_mut().and_then(Arc::get_mut) {
            Some(inner) => inner.layout = Layout::contiguous(&shape),
            None => unreachable!("a fresh tensor has one handle"),
        }
        self
    }

    pub(crate) fn expect_f32(&self, op: &'static str) -> Result<(), TensorError> {
        self.expect_dtype(op, DType::F32)
    }

    pub(crate) fn expect_dtype(&self, op: &'static str, dtype: DType) -> Result<(), TensorError> {
        if self.dtype() == dtype {
            return Ok(());
        }
        let (expected, found) = (dtype.name(), self.dtype().name());
        Err(TensorError::DtypeMismatch { op, expected, found })
    }
}

#[track_caller]
pub(crate) fn check_len(op: &'static str, len: usize, shape: &[usize]) {
    if ok(checked_numel(op, shape)) != len {
        let detail = format!("{len} numbers do not fill the shape {shape:?}");
        raise(TensorError::ShapeMismatch { op, detail });
    }
}
