//! Free lists of this thread: what a step allocated, the next step uses again. They know nothing of
//! what waits in them.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

use crate::error::{TensorError, raise};

/// Blocks with memory for `2^i` numbers wait in list `i`; larger ones go back to the system.
const CLASSES: usize = 25;
const SMALLEST: usize = 16;
/// Bytes that one list may keep.
const KEEP_BYTES: usize = 1 << 22;

/// Blocks with memory, a list for each size: a `thread_local!` beside their type.
pub(crate) struct SizeLists<T>(RefCell<[Vec<Arc<T>>; CLASSES]>);

impl<T> SizeLists<T> {
    pub(crate) const fn new() -> SizeLists<T> {
        SizeLists(RefCell::new([const { Vec::new() }; CLASSES]))
    }
}

/// The list for memory of `len` numbers, if it is not too large for any, and how much its blocks
/// have.
pub(crate) fn class_of(len: usize) -> Option<(usize, usize)> {
    let class = len.max(SMALLEST).next_power_of_two().trailing_zeros() as usize;
    (class < CLASSES).then_some((class, 1 << class))
}

/// Memory for more numbers than a list keeps.
///
/// # Panics
/// With a shape's error, not by the end of the program, if the system does not give it.
#[track_caller]
pub(crate) fn large(len: usize) -> Vec<f32> {
    drop(reserved::<f32>(len));
    vec![0.0; len]
}

/// `len` elements in memory that no list keeps.
///
/// # Panics
/// As [`large`].
#[track_caller]
pub(crate) fn collected<T>(len: usize, elements: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut vector = reserved(len);
    vector.extend(elements);
    vector
}

#[track_caller]
fn reserved<T>(len: usize) -> Vec<T> {
    let mut vector = Vec::new();
    if vector.try_reserve_exact(len).is_err() {
        let detail = format!("{len} numbers are more than memory can hold");
        raise(TensorError::ShapeMismatch { op: "memory", detail });
    }
    vector
}

/// A used block with memory for at least `len` numbers, owned by the caller alone.
pub(crate) fn take<T>(lists: &'static LocalKey<SizeLists<T>>, len: usize) -> Option<Arc<T>> {
    let (class, _) = class_of(len)?;
    lists.try_with(|lists| lists.0.borrow_mut()[class].pop()).ok()?
}

/// Keeps a block that nobody else holds, unless the list of its class is full.
pub(crate) fn give<T>(
    lists: &'static LocalKey<SizeLists<T>>,
    class: usize,
    block: Arc<T>,
) -> Result<(), Arc<T>> {
    let keep = (KEEP_BYTES >> (class + 2)).clamp(4, 256);
    let mut left = Some(block);
    // A thread that ends keeps nothing.
    let _gone_thread = lists.try_with(|lists| match lists.0.borrow_mut().get_mut(class) {
        Some(list) if list.len() < keep => list.extend(left.take()),
        _ => {}
    });
    left.map_or(Ok(()), Err)
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

/// Numbers in a vector that goes back to a free list of the thread when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    /// At least `len` numbers.
    values: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// `len` numbers of any value.
    #[track_caller]
    pub(crate) fn new(len: usize) -> Scratch {
        let used = SCRATCH.try_with(|list| list.borrow_mut().pop()).unwrap_or_default();
        let mut values = used.unwrap_or_default();
        if class_of(len).is_none() && values.len() < len {
            values = large(len);
        } else if values.len() < len {
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
