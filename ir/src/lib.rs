//! Heddle's intermediate representations.
//!
//! A model passes through three stages, each a typed graph of single-result operations:
//!
//! 1. [`nn`], the tensor graph: convolutions, activations, additions on `C×H×W` tensors;
//! 2. [`slot`], the packed graph: sparse linear maps and slotwise polynomials on vectors of slots;
//! 3. [`ckks`], the levelled schedule: what the encrypted machine executes, in order.
//!
//! Every stage has a verifier ([`verify`]) that collects all violations, a text form ([`text`]) that
//! prints and parses back, and a reference interpreter on plain numbers ([`eval`]). The [`plan`]
//! module defines the file that carries a schedule and its weights from compiler to runtime.
#![forbid(unsafe_code)]

pub mod ckks;
pub mod error;
pub mod eval;
pub mod file;
pub mod graph;
pub mod layout;
pub mod linear;
mod matrix;
pub mod nn;
pub mod plan;
pub mod preprocess;
pub mod printable;
pub mod slot;
#[cfg(test)]
mod test_support;
pub mod text;
pub mod verify;
pub mod weights;

pub use error::Error;
pub use graph::{Graph, ValueId};
pub use layout::MultiplexedLayout;
pub use weights::{Tensor, WeightId, Weights};
