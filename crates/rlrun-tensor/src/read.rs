//! Reading a tensor: in place where its numbers lie row-major, else a copy.

use std::fmt;

use parking_lot::{MappedRwLockReadGuard, RwLockReadGuard};

use crate::error::{TensorError, ok, raise};
use crate::layout::gather;
use crate::pool::{self, Scratch};
use crate::storage::{Buffer, DType, Memory};
use crate::tensor::{Tensor, check_len};

impl Tensor {
    /// The numbers, row-major: in place if they lie so, else a copy.
    pub(crate) fn read(&self) -> Numbers<'_> {
        if self.layout.is_contiguous() {
            return Numbers::InPlace(self.read_memory());
        }
        let mut copy = Scratch::new(self.numel());
        self.copy_to_slice(&mut copy);
        Numbers::Copied(copy)
    }

    /// The run of memory of a dense tensor, in memory order.
    pub(crate) fn read_memory(&self) -> MappedRwLockReadGuard<'_, [f32]> {
        let start = self.layout.offset;
        let end = start + self.numel();
        RwLockReadGuard::map(self.storage.read(), |memory| &f32s(memory)[start..end])
    }

    /// The indices, row-major.
    #[track_caller]
    pub(crate) fn read_i64(&self, op: &'static str) -> Result<Vec<i64>, TensorError> {
        self.expect_dtype(op, DType::I64)?;
        match &self.storage.read().buffer {
            Buffer::I64(values) if self.is_contiguous() => {
                Ok(values[self.layout.offset..][..self.numel()].to_vec())
            }
            Buffer::I64(values) => {
                Ok(pool::collected(self.numel(), self.layout.offsets().map(|at| values[at])))
            }
            _ => unreachable!("the dtype was checked"),
        }
    }

    /// The flags, row-major.
    #[track_caller]
    pub(crate) fn read_bool(&self, op: &'static str) -> Result<Vec<bool>, TensorError> {
        self.expect_dtype(op, DType::Bool)?;
        match &self.storage.read().buffer {
            Buffer::Bool(values) => {
                Ok(pool::collected(self.numel(), self.layout.offsets().map(|at| values[at])))
            }
            _ => unreachable!("the dtype was checked"),
        }
    }

    /// Writes the numbers, row-major, into `out` without an allocation.
    ///
    /// # Panics
    /// If `out` has another length or this is not an `f32` tensor.
    #[track_caller]
    pub fn copy_to_slice(&self, out: &mut [f32]) {
        ok(self.expect_f32("copy_to_slice"));
        check_len("copy_to_slice", out.len(), self.dims());
        gather(f32s(&self.storage.read()), &self.layout, out);
    }

    /// The numbers, row-major.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn to_vec(&self) -> Vec<f32> {
        let mut values = pool::large(self.numel());
        self.copy_to_slice(&mut values);
        values
    }

    /// The numbers, row-major, in a vector that is used again: after the first call of its kind
    /// nothing is allocated.
    ///
    /// # Panics
    /// If this is not an `f32` tensor.
    #[track_caller]
    pub fn to_scratch(&self) -> Scratch {
        let mut values = Scratch::new(self.numel());
        self.copy_to_slice(&mut values);
        values
    }

    /// The indices, row-major.
    ///
    /// # Panics
    /// If this is not an `i64` tensor.
    #[track_caller]
    pub fn to_vec_i64(&self) -> Vec<i64> {
        ok(self.read_i64("to_vec_i64"))
    }

    /// The flags, row-major.
    ///
    /// # Panics
    /// If this is not a `bool` tensor.
    #[track_caller]
    pub fn to_vec_bool(&self) -> Vec<bool> {
        ok(self.read_bool("to_vec_bool"))
    }

    /// The only element, of any type.
    ///
    /// # Panics
    /// If there is not exactly one element.
    #[track_caller]
    pub fn item(&self) -> f64 {
        if self.numel() != 1 {
            let detail = format!("{:?} has {} elements, expected one", self.dims(), self.numel());
            raise(TensorError::ShapeMismatch { op: "item", detail });
        }
        let at = self.layout.offset;
        match &self.storage.read().buffer {
            Buffer::F32(values) => f64::from(values[at]),
            Buffer::I64(values) => values[at] as f64,
            Buffer::Bool(values) => f64::from(u8::from(values[at])),
        }
    }
}

/// The numbers of a tensor, row-major.
pub(crate) enum Numbers<'a> {
    InPlace(MappedRwLockReadGuard<'a, [f32]>),
    Copied(Scratch),
}

impl std::ops::Deref for Numbers<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            Numbers::InPlace(numbers) => numbers,
            Numbers::Copied(numbers) => numbers,
        }
    }
}

/// The numbers of memory whose type was checked.
pub(crate) fn f32s(memory: &Memory) -> &[f32] {
    match &memory.buffer {
        Buffer::F32(values) => values,
        _ => unreachable!("the dtype was checked"),
    }
}
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?} {}", self.dims(), self.dtype().name())?;
        if self.is_inference() {
            write!(f, ", inference")?;
        } else if self.requires_grad() {
            write!(f, ", requires_grad")?;
        }
        let memory = self.storage.read();
        let shown = self.layout.offsets().take(8);
        match &memory.buffer {
            Buffer::F32(values) => {
                write!(f, ", {:?}", shown.map(|at| values[at]).collect::<Vec<_>>())
            }
            Buffer::I64(values) => {
                write!(f, ", {:?}", shown.map(|at| values[at]).collect::<Vec<_>>())
            }
            Buffer::Bool(values) => {
                write!(f, ", {:?}", shown.map(|at| values[at]).collect::<Vec<_>>())
            }
        }?;
        write!(f, "{})", if self.numel() > 8 { " …" } else { "" })
    }
}
