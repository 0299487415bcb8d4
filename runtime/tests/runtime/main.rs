//! The runtime on a small network over a small, insecure ring.

mod backends;
mod clear_backend;
mod contracts;
mod imaginary;
mod pieces;
mod server;
mod trust;

use heddle_params::{Accept, Insecure};

/// What accepts the toy plan's small ring.
fn any() -> Accept {
    Accept::Any(Insecure::acknowledged())
}
