//! Heddle's intermediate representations.
//!
//! A model passes through three stages, each a typed graph of single-result operations:
//!
//! 1. [`nn`], the tensor graph: convolutions, activations, additions on `C×H×W` tensors;
//! 2. [`slot`], the packed graph: sparse linear maps and slotwise polynomials on vectors of slots;
//! 3. [`ckks`], the levelled schedule: what the runtime executes on ciphertexts, in order.
//!
//! Every stage has a verifier ([`verify`]) that collects all violations, a text form ([`text`])
//! that prints and parses back, and a reference interpreter on plain numbers ([`eval`]). The
//! [`plan`] module defines the file that carries a schedule and its weights from compiler to
//! runtime.
//!
//! ```
//! use heddle_ir::ckks::{CiphertextType, Op, Schedule};
//! use heddle_ir::{Graph, text};
//!
//! let ty = CiphertextType { log_slots: 3, level: 2, log_scale: 40.0 };
//! let mut graph = Graph::new();
//! let x = graph.add(Op::Input, &[], ty, "image");
//! let y = graph.add(Op::Rotate { by: 4 }, &[x], ty, "sum");
//! let sum = graph.add(Op::Add, &[x, y], CiphertextType { log_slots: 2, ..ty }, "sum");
//! graph.set_outputs(vec![sum]);
//! let schedule = Schedule { graph, linear_maps: Vec::new(), polynomials: Vec::new() };
//!
//! let printed = text::print_ckks(&schedule);
//! assert!(printed.contains("%1 = rotate %0 {by=4} : ct<slots=2^3, level=2, scale=2^40>"));
//! assert_eq!(text::parse_ckks(&printed)?, schedule);
//! assert!(schedule.halves_period(sum));
//! # Ok::<(), heddle_ir::Error>(())
//! ```
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
pub mod note;
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
pub use note::Note;
pub use weights::{Tensor, WeightId, Weights};
