//! Faults for tests: the n-th file operation of this thread fails, is cut short, or calls a function
//! before it is done, which may stop the process there.
//!
//! `rlrun verify-resume` uses it to kill a run at every one of its operations.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;

/// What is called before an operation: with its name, and the path that it is about.
pub type BeforeOperation = Box<dyn FnOnce(&str, &Path)>;

/// What happens instead of an operation, or before it.
pub enum Fault {
    /// The system refuses it.
    Error(io::Error),
    /// A write or a read transfers half of what it was asked to; other operations are done.
    Short,
    /// This is called first.
    Call(BeforeOperation),
}

impl Fault {
    /// The error of the system with this number: 28 is `ENOSPC` on Linux.
    pub fn from_os(number: i32) -> Fault {
        Fault::Error(io::Error::from_raw_os_error(number))
    }
}

thread_local! {
    static DONE: Cell<u64> = const { Cell::new(0) };
    static PLANNED: RefCell<Option<(u64, Fault)>> = const { RefCell::new(None) };
}

/// Counts the operations of this thread from 0 again, and makes operation `number` meet `fault`.
pub fn plan(number: u64, fault: Fault) {
    DONE.set(0);
    PLANNED.set(Some((number, fault)));
}

/// Calls `f` with a fault at its operation `number`.
pub fn with<T>(number: u64, fault: Fault, f: impl FnOnce() -> T) -> T {
    plan(number, fault);
    let result = f();
    PLANNED.set(None);
    result
}

/// File operations of this thread since the last [`plan`], or since it began.
pub fn operations() -> u64 {
    DONE.get()
}

/// Counts an operation; the error that it is to meet.
pub(super) fn before(operation: &str, path: &Path) -> io::Result<()> {
    before_transfer(operation, path, 0).map(drop)
}

/// Counts an operation that transfers `length` bytes; how many of them it is to transfer.
pub(super) fn before_transfer(operation: &str, path: &Path, length: usize) -> io::Result<usize> {
    let number = DONE.replace(DONE.get() + 1);
    let is_planned = |plan: &mut (u64, Fault)| plan.0 == number;
    match PLANNED.with_borrow_mut(|plan| plan.take_if(is_planned)).map(|plan| plan.1) {
        None => Ok(length),
        Some(Fault::Error(error)) => Err(error),
        Some(Fault::Short) => Ok(length.div_ceil(2)),
        Some(Fault::Call(call)) => {
            call(operation, path);
            Ok(length)
        }
    }
}
