//! `heddlec` as a process.

mod command_line;
#[cfg(unix)]
mod crashes;
mod folder;
#[cfg(unix)]
mod outputs;
#[cfg(unix)]
mod terminal;
