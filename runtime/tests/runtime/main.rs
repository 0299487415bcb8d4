//! The runtime on a small network over a small, insecure ring.

mod backends;
mod command_line;
#[cfg(unix)]
mod crashes;
mod folder;
mod imaginary;
#[cfg(unix)]
mod outputs;
#[cfg(unix)]
mod terminal;
mod toy;
mod trust;
