//! What programs do about signals: nothing unfinished stays behind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::partial;

/// Longest wait for files that are just being put in place. Only a disk that does not answer takes
/// longer; then the process ends without waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// From now on SIGINT, SIGTERM and SIGHUP remove this process's unfinished files and then end it
/// as they would have done: a shell sees 130, 143 or 129. Files that are just being put in place
/// are all put in place first. A thread of its own does this.
///
/// A file that would exceed the process's limit is an error of writing then, and no longer the end
/// of the process: SIGXFSZ does nothing.
///
/// Where `/proc` tells that one of them is ignored, as under `nohup`, it stays ignored. Programs
/// call this once, before they start other threads.
///
/// # Errors
/// If the system refuses a handler or a thread.
pub fn remove_unfinished_on_signals() -> io::Result<()> {
    let ignored = ignored();
    let handled = [SIGHUP, SIGINT, SIGTERM]
        .into_iter()
        .filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(handled)?;
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                end(signal);
            }
        })?;
    Ok(())
}

/// Removes the unfinished files and dies while it holds their list, so that no new one appears.
fn end(signal: i32) {
    let mut held = partial::hold_within(PATIENCE);
    if let Some(partial_files) = &mut held {
        partial::remove_all(partial_files);
    }
    // Returns only if the system refuses to end the process by the signal.
    let _ = emulate_default_handler(signal);
    std::process::exit(128 + signal);
}

/// The signals that are ignored, the first in the lowest bit; none where the system does not say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
