//! How many threads a large product may use.

use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(1);

/// Lets products that are large enough use up to `n` threads (at least 1, which is the default).
/// The bits of the results do not depend on it: every element is computed by one thread.
pub fn set_num_threads(n: usize) {
    THREADS.store(n.max(1), Ordering::Relaxed);
}

/// The number of threads that large products use.
pub fn num_threads() -> usize {
    THREADS.load(Ordering::Relaxed)
}
