//! The three gradient modes: grad, no_grad and inference mode.
//!
//! | mode | records history | bumps versions | tracks views |
//! |---|---|---|---|
//! | grad (default) | yes | yes | yes |
//! | [`no_grad`] | no | yes | yes |
//! | [`inference_mode`] | no | not of tensors made in it | not of tensors made in it |
//!
//! Modes belong to a thread; a new thread starts in grad mode.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;

use crate::error::Site;

#[derive(Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) grad: bool,
    pub(crate) inference: Option<Site>,
    /// Whether a walk through the graph computes gradients that are not recorded: its views are
    /// results, of which nobody knows from what they were taken.
    pub(crate) walk: bool,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode { grad: true, inference: None, walk: false }) };
}

pub(crate) fn mode() -> Mode {
    MODE.get()
}

/// Whether operations of this thread may record history now.
pub(crate) fn recording() -> bool {
    let mode = MODE.get();
    mode.grad && mode.inference.is_none()
}

/// Whether the grad flag is on. It may be on inside inference mode, where it has no effect.
pub fn is_grad_enabled() -> bool {
    MODE.get().grad
}

/// Whether this thread is in inference mode.
pub fn is_inference_mode_enabled() -> bool {
    MODE.get().inference.is_some()
}

/// Sets the grad flag until the enclosing guard or closure ends.
pub fn set_grad_enabled(on: bool) {
    MODE.set(Mode { grad: on, ..MODE.get() });
}

/// A mode as a scope; the closures [`no_grad`], [`enable_grad`] and [`inference_mode`] are the
/// usual form. Dropping the guard restores what was before it.
#[must_use = "the mode ends when the guard is dropped: bind it with `let _mode = …`"]
pub struct GradModeGuard {
    previous: Mode,
    not_send: PhantomData<*const ()>,
}

impl GradModeGuard {
    fn enter(mode: Mode) -> GradModeGuard {
        GradModeGuard { previous: MODE.replace(mode), not_send: PhantomData }
    }

    /// Stops recording history.
    pub fn no_grad() -> GradModeGuard {
        GradModeGuard::enter(Mode { grad: false, ..MODE.get() })
    }

    /// Resumes recording history; without effect inside inference mode.
    pub fn enable_grad() -> GradModeGuard {
        GradModeGuard::enter(Mode { grad: true, ..MODE.get() })
    }

    /// Enters inference mode, or with `false` leaves it for an ordinary grad mode.
    #[track_caller]
    pub fn inference_mode(on: bool) -> GradModeGuard {
        // Not `on.then(Location::caller)`: the caller of that is in the standard library.
        let here = Location::caller();
        let inference = on.then_some(here);
        GradModeGuard::enter(Mode { grad: !on, inference, walk: false })
    }

    /// Computes gradients without recording them.
    pub(crate) fn walk() -> GradModeGuard {
        GradModeGuard::enter(Mode { grad: false, walk: true, ..MODE.get() })
    }

    /// The user's code within a walk.
    pub(crate) fn hook() -> GradModeGuard {
        GradModeGuard::enter(Mode { walk: false, ..MODE.get() })
    }

    /// The mode of another thread, taken there with [`ThreadMode::current`].
    pub fn of(mode: ThreadMode) -> GradModeGuard {
        GradModeGuard::enter(mode.0)
    }
}

impl Drop for GradModeGuard {
    fn drop(&mut self) {
        MODE.set(self.previous);
    }
}

/// The mode of a thread, to be handed to a worker that computes for it.
#[derive(Clone, Copy)]
pub struct ThreadMode(Mode);

impl ThreadMode {
    /// The mode of this thread.
    pub fn current() -> ThreadMode {
        ThreadMode(MODE.get())
    }
}

/// Runs `f` without recording history. Versions are still bumped and views still tracked.
///
/// ```
/// use rlrun_tensor::{Tensor, no_grad};
/// let w = Tensor::from_slice(&[1.0, 2.0], [2]).requires_grad_(true);
/// let y = no_grad(|| &w * 2.0);
/// assert!(!y.requires_grad());
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _mode = GradModeGuard::no_grad();
    f()
}

/// Runs `f` with history recorded again, inside [`no_grad`].
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    let _mode = GradModeGuard::enable_grad();
    f()
}

/// Runs `f` in inference mode: no history, and tensors made inside have no version counter and no
/// tracked views. They can be read anywhere but neither be saved for backward nor be written
/// outside the mode.
///
/// ```
/// use rlrun_tensor::{Tensor, inference_mode};
/// let y = inference_mode(|| Tensor::zeros([2]) + 1.0);
/// assert!(y.is_inference());
/// ```
#[track_caller]
pub fn inference_mode<R>(f: impl FnOnce() -> R) -> R {
    let _mode = GradModeGuard::inference_mode(true);
    f()
}
