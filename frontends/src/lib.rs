//! ONNX to Heddle's tensor graph.
#![forbid(unsafe_code)]

pub mod image;
