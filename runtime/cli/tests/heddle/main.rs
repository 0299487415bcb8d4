//! `heddle` as a process, on a small network over a small, insecure ring.

mod bad_files;
mod bench;
mod command_line;
#[cfg(unix)]
mod crashes;
mod eval;
mod folder;
#[cfg(unix)]
mod outputs;
#[cfg(unix)]
mod terminal;
mod trust;
