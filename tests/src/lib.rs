//! Whole-product tests and snapshots, and what the tests of all crates share: ONNX files built in
//! memory, a toy plan, programs as processes.
#![forbid(unsafe_code)]

pub mod npy;
pub mod onnx_builder;
pub mod processes;
pub mod program;
pub mod resnet;
pub mod small;
pub mod terminal;
pub mod toy;
