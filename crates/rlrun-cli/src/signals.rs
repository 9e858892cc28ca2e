//! Signals that ask a run to stop: the first lets it save, a second one ends it at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Sets `stop` at the first SIGINT, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2, and ends the process at the
/// second. One that was ignored when the program began, as `nohup` does, stays ignored.
#[cfg(unix)]
pub(crate) fn stop_at(stop: &Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    use signal_hook::flag;

    let ignored = ignored();
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2] {
        if ignored >> (signal - 1) & 1 == 0 {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(stop))?;
            flag::register(signal, Arc::clone(stop))?;
        }
    }
    Ok(())
}

/// Elsewhere the system ends the process, which loses the steps since the newest checkpoint.
#[cfg(not(unix))]
pub(crate) fn stop_at(_stop: &Arc<AtomicBool>) -> io::Result<()> {
    Ok(())
}

/// The signals that this process ignores, as Linux tells it: bit n - 1 is signal n.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
