//! Free lists of this thread: what a step allocated, the next step uses again.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

use crate::storage::Storage;
use crate::tensor::Inner;

/// Storages of `2^i` numbers wait in list `i`; larger ones go back to the system.
const CLASSES: usize = 25;
const SMALLEST: usize = 16;
/// Bytes that one list may keep.
const KEEP_BYTES: usize = 1 << 22;

type FreeLists<T> = [Vec<Arc<T>>; CLASSES];

thread_local! {
    static STORAGES: RefCell<FreeLists<Storage>> =
        const { RefCell::new([const { Vec::new() }; CLASSES]) };
    /// Inference tensors with their memory. They have neither counter nor record, so that nothing
    /// has to be made new before they are used again.
    static INFERENCE_TENSORS: RefCell<FreeLists<Inner>> =
        const { RefCell::new([const { Vec::new() }; CLASSES]) };
}

fn class_of(len: usize) -> usize {
    len.max(SMALLEST).next_power_of_two().trailing_zeros() as usize
}

fn take<T>(lists: &'static LocalKey<RefCell<FreeLists<T>>>, len: usize) -> Option<Arc<T>> {
    lists.try_with(|lists| lists.borrow_mut().get_mut(class_of(len))?.pop()).ok()?
}

/// Keeps `block` unless the list is full.
fn give<T>(
    lists: &'static LocalKey<RefCell<FreeLists<T>>>,
    class: usize,
    block: Arc<T>,
) -> Result<(), Arc<T>> {
    let keep = (KEEP_BYTES >> (class + 2)).clamp(4, 256);
    let mut left = Some(block);
    // A thread that ends keeps nothing.
    let _gone_thread = lists.try_with(|lists| match lists.borrow_mut().get_mut(class) {
        Some(list) if list.len() < keep => list.extend(left.take()),
        _ => {}
    });
    left.map_or(Ok(()), Err)
}

/// A storage of at least `len` numbers of any value, owned by the caller alone.
pub(crate) fn take_storage(len: usize) -> Arc<Storage> {
    take(&STORAGES, len).unwrap_or_else(|| {
        let class = class_of(len);
        let len = if class < CLASSES { 1 << class } else { len };
        Arc::new(Storage::pooled(vec![0.0; len], class))
    })
}

/// Takes a storage back if this was the last handle to it.
pub(crate) fn give_storage(mut storage: Arc<Storage>) {
    let Some(only) = unique(&mut storage) else { return };
    let Some(class) = only.class() else { return };
    only.renew();
    give(&STORAGES, class, storage).ok();
}

/// A used inference tensor with memory for at least `len` numbers, owned by the caller alone.
pub(crate) fn take_inference_tensor(len: usize) -> Option<Arc<Inner>> {
    take(&INFERENCE_TENSORS, len)
}

/// Takes back an inference tensor that nobody else holds, with memory of the class.
pub(crate) fn give_inference_tensor(class: usize, tensor: Arc<Inner>) -> Result<(), Arc<Inner>> {
    give(&INFERENCE_TENSORS, class, tensor)
}

/// The contents of an `Arc` without other owners; cheaper than `Arc::get_mut` where there are some.
pub(crate) fn unique<T>(shared: &mut Arc<T>) -> Option<&mut T> {
    if Arc::strong_count(shared) != 1 { None } else { Arc::get_mut(shared) }
}

/// A type whose emptied blocks wait in a free list of this thread.
pub(crate) trait Recycle: Sized + 'static {
    /// The free list of this thread.
    fn with_list<R>(f: impl FnOnce(&mut Vec<Arc<Self>>) -> R) -> Option<R>;
    /// Drops what the block holds.
    fn clear(&mut self);
}

/// Blocks of one type that a list may keep.
const KEEP_BLOCKS: usize = 256;

/// `value` in a used block if there is one.
pub(crate) fn block<T: Recycle>(value: T) -> Arc<T> {
    match T::with_list(Vec::pop).flatten() {
        Some(mut block) => {
            if let Some(slot) = Arc::get_mut(&mut block) {
                *slot = value;
            }
            block
        }
        None => Arc::new(value),
    }
}

/// Takes a block back if this was the last handle to it.
pub(crate) fn recycle<T: Recycle>(mut block: Arc<T>) {
    let Some(only) = unique(&mut block) else { return };
    only.clear();
    T::with_list(|list| {
        if list.len() < KEEP_BLOCKS {
            list.push(block);
        }
    });
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Numbers in a vector that goes back to a free list of the thread when it is dropped:
/// [`crate::Tensor::to_scratch`].
#[derive(Debug)]
pub struct Scratch {
    /// At least `len` numbers.
    values: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// `len` numbers of any value.
    pub(crate) fn new(len: usize) -> Scratch {
        let used = SCRATCH.try_with(|list| list.borrow_mut().pop()).unwrap_or_default();
        let mut values = used.unwrap_or_default();
        if values.len() < len {
            values.resize(len, 0.0);
        }
        Scratch { values, len }
    }
}

impl std::ops::Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl std::ops::DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let _gone_thread = SCRATCH.try_with(|list| {
            let mut list = list.borrow_mut();
            if list.len() < 8 && values.capacity() <= KEEP_BYTES {
                list.push(values);
            }
        });
    }
}
