//! The runtime on a small network over a small, insecure ring.

mod backends;
mod command_line;
mod imaginary;
mod toy;
mod trust;
