//! Heddle's compiler: from a tensor graph to an encrypted-inference plan.
//!
//! [`compile::compile`] runs the passes in the order of [`pipeline`]; each lives in a file of its own under
//! [`passes`] and is verified after it ran. The compiler never links the encryption engine: a plan
//! is data.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod approx;
pub mod compile;
pub mod error;
pub mod pass;
pub mod passes;
pub mod pipeline;

pub use error::Error;
