//! The threads that large kernels share their outputs between.
//!
//! A kernel hands work over for a few microseconds at a time, and a sleeping thread takes tens of
//! them to wake. So the others wait for work actively while they get some, and fall asleep when
//! they have had none for a while.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder, Yield};

/// How long a thread waits for work before it falls asleep.
const PATIENCE: Duration = Duration::from_micros(500);

struct Team {
    threads: usize,
    /// Whether the others were called and have not fallen asleep since.
    awake: Arc<AtomicBool>,
}

thread_local! {
    /// The threads that kernels called from this thread may use.
    static TEAM: RefCell<Option<Team>> = const { RefCell::new(None) };
    /// Whether this thread is one of the others and waits for work.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on a thread of a new pool of `n` (at least 1), where kernels that are large enough use
/// all of them. The bits of the results do not depend on it: threads split outputs, or the blocks of
/// a sum.
///
/// # Errors
/// If the system refuses to start so many threads.
pub fn with_threads<R: Send>(
    n: usize,
    f: impl FnOnce() -> R + Send,
) -> Result<R, ThreadPoolBuildError> {
    if n <= 1 && TEAM.with_borrow(Option::is_none) {
        return Ok(f());
    }
    let pool = ThreadPoolBuilder::new().num_threads(n.max(1)).build()?;
    Ok(pool.install(|| {
        let team = Team { threads: n.max(1), awake: Arc::default() };
        TEAM.set(Some(team));
        f()
    }))
}

/// The number of threads that kernels called from this thread may use.
pub fn num_threads() -> usize {
    TEAM.with_borrow(|team| team.as_ref().map_or(1, |team| team.threads))
}

/// How many threads are worth their cost for so many multiply-adds, or operations that take as long.
pub(super) fn threads_for(operations: usize) -> usize {
    const EACH: usize = 1 << 15;
    match num_threads() {
        1 => 1,
        available => (operations / EACH).clamp(1, available),
    }
}

/// Where the first half of the threads stops in `len`, rounded to whole units; `None` if nothing is
/// left for the others.
pub(super) fn cut(len: usize, threads: usize, unit: usize) -> Option<usize> {
    let at = (len * (threads / 2)).div_ceil(threads * unit) * unit;
    (at < len).then_some(at)
}

/// Runs both halves of some work, each with its share of the threads: at the same time if there is
/// more than one, else one after the other.
pub(super) fn halves<A: Send, B: Send>(
    threads: usize,
    first: impl FnOnce(usize) -> A + Send,
    rest: impl FnOnce(usize) -> B + Send,
) -> (A, B) {
    if threads == 1 {
        return (first(1), rest(1));
    }
    let few = threads / 2;
    join(|| first(few), || rest(threads - few))
}

/// Runs both, at the same time if another thread is free.
fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    call_the_others();
    let (taken, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let first = || {
        let a = a();
        // Parts end at nearly the same time: not worth the system call that rayon would make.
        while taken.load(Ordering::Relaxed) && !done.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        a
    };
    let second = || {
        taken.store(true, Ordering::Relaxed);
        let _done = SetAtEnd(&done);
        b()
    };
    rayon::join(first, second)
}

/// Sets a flag when it is dropped, by a panic too.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn call_the_others() {
    TEAM.with_borrow(|team| {
        if let Some(team) = team
            && !team.awake.swap(true, Ordering::AcqRel)
        {
            let awake = team.awake.clone();
            let caller = rayon::current_thread_index();
            rayon::spawn_broadcast(move |other| {
                if Some(other.index()) != caller && !WAITS.get() {
                    wait_for_work(&awake);
                }
            });
        }
    });
}

/// Takes over work until there has been none for a while.
fn wait_for_work(awake: &AtomicBool) {
    WAITS.set(true);
    let mut last = Instant::now();
    while last.elapsed() < PATIENCE {
        for _ in 0..64 {
            match rayon::yield_now() {
                Some(Yield::Executed) => last = Instant::now(),
                _ => std::hint::spin_loop(),
            }
        }
        std::thread::yield_now();
    }
    WAITS.set(false);
    awake.store(false, Ordering::Release);
}
