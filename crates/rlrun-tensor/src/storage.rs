//! Memory shared by a tensor and its aliases, and the version counter of that memory.
//!
//! Access is checked at run time by a lock per storage. Readers never wait for readers, and a
//! write that reads other storages takes its locks in the order of addresses, so that no set of
//! threads can wait in a circle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::Site;
use crate::pool::{self, SizeLists};

/// The type of a tensor's elements. Only `F32` is differentiable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// Numbers.
    F32,
    /// Indices and classes.
    I64,
    /// Masks.
    Bool,
}

impl DType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::I64 => "i64",
            DType::Bool => "bool",
        }
    }
}

/// The elements. Vectors may be longer than the storage: they come from a free list.
#[derive(Debug)]
pub(crate) enum Buffer {
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

/// The elements and the place that wrote them last.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) buffer: Buffer,
    pub(crate) last_write: Option<(&'static str, Site)>,
}

#[derive(Debug)]
pub(crate) struct Storage {
    memory: RwLock<Memory>,
    version: AtomicU32,
    dtype: DType,
    /// The free list that the memory belongs to.
    class: Option<usize>,
}

impl Storage {
    pub(crate) fn new(buffer: Buffer) -> Storage {
        let dtype = match buffer {
            Buffer::F32(_) => DType::F32,
            Buffer::I64(_) => DType::I64,
            Buffer::Bool(_) => DType::Bool,
        };
        let memory = RwLock::new(Memory { buffer, last_write: None });
        Storage { memory, version: AtomicU32::new(0), dtype, class: None }
    }

    /// Memory that goes back to the free list `class`.
    pub(crate) fn pooled(values: Vec<f32>, class: usize) -> Storage {
        Storage { class: Some(class), ..Storage::new(Buffer::F32(values)) }
    }

    pub(crate) fn class(&self) -> Option<usize> {
        self.class
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn bump(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read_recursive()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write()
    }

    /// The memory of a storage that nobody shares yet.
    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        self.memory.get_mut()
    }

    /// Makes a used storage new again.
    pub(crate) fn renew(&mut self) {
        *self.version.get_mut() = 0;
        self.memory.get_mut().last_write = None;
    }
}

thread_local! {
    static USED: SizeLists<Storage> = const { SizeLists::new() };
}

/// A shared storage that goes back to the free list of the thread that drops it last.
#[derive(Clone, Debug)]
pub(crate) struct StorageRef(Option<Arc<Storage>>);

impl StorageRef {
    pub(crate) fn new(buffer: Buffer) -> StorageRef {
        StorageRef(Some(Arc::new(Storage::new(buffer))))
    }

    /// No storage: what an emptied block holds.
    pub(crate) fn none() -> StorageRef {
        StorageRef(None)
    }

    /// At least `len` numbers of any value; nobody else holds it.
    ///
    /// # Panics
    /// If memory cannot hold them.
    #[track_caller]
    pub(crate) fn f32(len: usize) -> StorageRef {
        StorageRef(Some(pool::take(&USED, len).unwrap_or_else(|| {
            Arc::new(match pool::class_of(len) {
                Some((class, len)) => Storage::pooled(vec![0.0; len], class),
                None => Storage::new(Buffer::F32(pool::large(len))),
            })
        })))
    }

    pub(crate) fn same(&self, other: &StorageRef) -> bool {
        self.address() == other.address()
    }

    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref::<Storage>(self) as usize
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.0.as_ref().is_none_or(|storage| Arc::strong_count(storage) != 1)
    }

    /// The numbers of a fresh storage.
    pub(crate) fn fresh_f32(&mut self) -> &mut [f32] {
        match self.0.as_mut().and_then(Arc::get_mut).map(|storage| &mut storage.memory_mut().buffer)
        {
            Some(Buffer::F32(values)) => values,
            _ => unreachable!("a fresh f32 storage has one owner"),
        }
    }
}

impl std::ops::Deref for StorageRef {
    type Target = Storage;
    fn deref(&self) -> &Storage {
        match &self.0 {
            Some(storage) => storage,
            None => unreachable!("a storage is taken out only when it is dropped"),
        }
    }
}

impl Drop for StorageRef {
    fn drop(&mut self) {
        let Some(mut storage) = self.0.take() else { return };
        let Some(only) = pool::unique(&mut storage) else { return };
        let Some(class) = only.class() else { return };
        only.renew();
        pool::give(&USED, class, storage).ok();
    }
}
