//! Whole-product tests and snapshots, and what they share: ONNX files built in memory, programs as processes.
#![forbid(unsafe_code)]

pub mod onnx_builder;
pub mod processes;
pub mod resnet;
pub mod small;
