//! The text form of every stage: what `heddlec --emit` prints, what passes are compared by, and
//! what a plan file stores. It parses back to the same graph.
//!
//! A text is a header, tables, operations in order and the outputs, one item a line; `#` starts a
//! comment. Every operation states its result's full type and the ONNX node it comes from:
//!
//! ```text
//! %3 = rescale %2 : ct<slots=2^14, level=8, scale=2^40>  @"layer1.0.conv2"  # free %2
//! ```
//!
//! Weights (`w0`), linear maps (`m0`) and polynomials (`p0`) are referred to by number. Texts of
//! packed graphs and schedules parse without the weights; the tensor graph's text names each
//! weight with its shape and hash and parses against the weights themselves.

mod ckks;
mod cursor;
#[cfg(test)]
mod fuzz;
mod line;
mod nn;
mod slot;
pub mod summary;
mod tables;

pub use ckks::{parse_ckks, print_ckks, print_keys};
pub use nn::{parse_nn, print_nn};
pub use slot::{parse_slot, print_slot};
pub use summary::{eval_mod, plan_summary, summary};
