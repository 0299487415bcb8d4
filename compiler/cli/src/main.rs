//! `heddlec`: compiles an ONNX model to an encrypted-inference plan.
#![forbid(unsafe_code)]

mod args;
mod compile;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_terminal::main(compile::run)
}
