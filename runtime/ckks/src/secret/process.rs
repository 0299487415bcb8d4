//! What a process that holds secrets does once, when it starts.
//!
//! Secrets themselves look after their memory: a [`crate::SecretKey`] lies on locked pages, and
//! what is computed from it is wiped (see [`Secrecy`](crate::buffer::Secrecy)).

/// Asks the system to write no image of this process's memory to a file when it crashes, and to let
/// no other process of the same user read its memory. Returns whether the system does both; where
/// it does not, nothing else changes.
///
/// On Linux the process is declared not dumpable, which also keeps debuggers and profilers of
/// unprivileged users away; on every Unix the limit of core files is set to nothing, which
/// processes that it starts inherit. Elsewhere nothing is done.
pub fn forbid_core_dumps() -> bool {
    let (no_core_file, not_dumpable) = (no_core_file(), not_dumpable());
    no_core_file && not_dumpable
}

#[cfg(unix)]
fn no_core_file() -> bool {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, nothing).is_ok()
}

#[cfg(not(unix))]
fn no_core_file() -> bool {
    false
}

#[cfg(target_os = "linux")]
fn not_dumpable() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn not_dumpable() -> bool {
    false
}
