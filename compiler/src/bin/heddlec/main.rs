//! `heddlec`: compiles an ONNX model to an encrypted-inference plan.

mod args;
mod compile;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match compile::run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            compile::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
