//! Model files to Heddle's tensor graph, and pictures to its input.
#![forbid(unsafe_code)]

pub mod error;
pub mod image;
pub mod onnx;

pub use error::Error;
