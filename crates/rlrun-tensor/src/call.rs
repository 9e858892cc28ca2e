//! For which layer and from which line of the user's program this thread computes: what messages
//! name in the place of a line within a layer.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::error::Site;

/// Where a layer lies in its network, `actor.2`. A module learns it when its parameters are listed.
#[derive(Debug, Default)]
pub struct LayerPath(AtomicU32);

/// Every path that a layer was found at; a [`LayerPath`] is 0 or one more than a place in it.
static PATHS: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl LayerPath {
    /// A path that is not known yet.
    pub const fn unknown() -> LayerPath {
        LayerPath(AtomicU32::new(0))
    }

    /// Sets the path. One that is known stays if it is longer: a network knows more than its part.
    pub fn set(&self, path: &str) {
        let mut paths = PATHS.lock();
        let known = (self.0.load(Ordering::Relaxed) as usize).checked_sub(1);
        if path.is_empty() || known.is_some_and(|known| paths[known].len() >= path.len()) {
            return;
        }
        let place = paths.iter().position(|other| other == path).unwrap_or_else(|| {
            paths.push(path.to_owned());
            paths.len() - 1
        });
        self.0.store(u32::try_from(place + 1).unwrap_or(0), Ordering::Relaxed);
    }
}

impl Clone for LayerPath {
    /// A copy of a layer lies elsewhere.
    fn clone(&self) -> LayerPath {
        LayerPath::unknown()
    }
}

/// A call of the user's that the library is at work on.
#[derive(Clone, Copy)]
struct Call {
    /// The outermost call.
    at: Site,
    /// Whether the code that runs now is the library's, whose lines tell a user nothing.
    own: bool,
    kind: &'static str,
    /// The innermost known path, and which of its parts is meant.
    path: u32,
    part: Option<u32>,
}

thread_local! {
    static CALL: Cell<Option<Call>> = const { Cell::new(None) };
}

/// A call of the user's, until it is dropped: messages name the line of the outermost one and the
/// path of the innermost layer.
#[must_use = "the call ends when it is dropped: bind it with `let _call = …`"]
pub struct CallGuard {
    previous: Option<Call>,
    not_send: PhantomData<*const ()>,
}

impl CallGuard {
    #[track_caller]
    fn enter(own: bool, kind: &'static str, path: u32, part: Option<u32>) -> CallGuard {
        let previous = CALL.get();
        let at = previous.map_or(Location::caller(), |outer| outer.at);
        let (path, part) = match previous {
            // What is not known here may be known around it.
            Some(outer) if path == 0 && (outer.path != 0 || outer.part.is_some()) => {
                (outer.path, outer.part)
            }
            _ => (path, part),
        };
        CALL.set(Some(Call { at, own, kind, path, part }));
        CallGuard { previous, not_send: PhantomData }
    }

    /// A call that the library computes itself: the forward pass of a layer `kind`, a step of an
    /// optimizer. Its tensors and writes are said to be made at the line of the outermost call.
    #[track_caller]
    pub fn of(kind: &'static str, path: &LayerPath) -> CallGuard {
        CallGuard::enter(true, kind, path.0.load(Ordering::Relaxed), None)
    }

    /// The same for what has no path, such as backward.
    #[track_caller]
    pub fn named(kind: &'static str) -> CallGuard {
        CallGuard::enter(true, kind, 0, None)
    }

    /// A call that is passed on to part number `part` of a container, which may be the user's own
    /// layer: what that computes keeps its own lines.
    #[track_caller]
    pub fn part(kind: &'static str, path: &LayerPath, part: usize) -> CallGuard {
        CallGuard::enter(false, kind, path.0.load(Ordering::Relaxed), u32::try_from(part).ok())
    }

    /// A call that is passed on as it is, to what cannot know its caller.
    #[track_caller]
    pub fn through() -> CallGuard {
        CallGuard::enter(false, "", 0, None)
    }

    /// Code of the user's within a call, such as a hook.
    pub(crate) fn users() -> CallGuard {
        let previous = CALL.get();
        CALL.set(previous.map(|call| Call { own: false, ..call }));
        CallGuard { previous, not_send: PhantomData }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        CALL.set(self.previous);
    }
}

/// The line to name for what is made or written now.
#[track_caller]
pub(crate) fn site() -> Site {
    match CALL.get() {
        Some(call) if call.own => call.at,
        _ => Location::caller(),
    }
}

/// ``; in `actor.2: Linear`, called at `src/main.rs:10:5` ``, or nothing outside calls.
#[derive(Clone, Copy, Debug)]
pub struct InCall;

impl fmt::Display for InCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(call) = CALL.get() else { return Ok(()) };
        let paths = PATHS.lock();
        let path = (call.path as usize).checked_sub(1).map(|place| paths[place].as_str());
        match (path, call.part) {
            (Some(path), Some(part)) => write!(f, "; in `{path}.{part}")?,
            (Some(path), None) => write!(f, "; in `{path}")?,
            (None, Some(part)) => write!(f, "; in `{part}")?,
            (None, None) if call.kind.is_empty() => f.write_str("; in `forward")?,
            (None, None) => write!(f, "; in `{}", call.kind)?,
        }
        match call.kind {
            // The part of a container is named by its place alone: what it is, nobody knows.
            "" => {}
            _ if call.path == 0 && call.part.is_none() || !call.own => {}
            kind => write!(f, ": {kind}")?,
        }
        write!(f, "`, called at `{}`", call.at)
    }
}
