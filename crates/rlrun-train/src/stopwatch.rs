//! How long a run has gone on, over all the processes that took part in it.

use std::time::Instant;

/// When this process began, at which step, and how long the run had gone on before.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    began: Instant,
    step: u64,
    seconds_before: f64,
}

impl Stopwatch {
    /// Begins now, at `step`, after `seconds_before` of earlier processes.
    pub(crate) fn start(step: u64, seconds_before: f64) -> Stopwatch {
        Stopwatch { began: Instant::now(), step, seconds_before }
    }

    /// Seconds since the run began, to a millisecond.
    pub(crate) fn seconds(&self) -> f64 {
        ((self.seconds_before + self.began.elapsed().as_secs_f64()) * 1e3).round() / 1e3
    }

    /// Steps a second that this process has made, which is at `step` now.
    pub(crate) fn fps(&self, step: u64) -> f64 {
        ((step - self.step) as f64 / self.began.elapsed().as_secs_f64()).round()
    }
}
