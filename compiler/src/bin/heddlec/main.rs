//! `heddlec`: compiles an ONNX model to an encrypted-inference plan.

mod args;
mod compile;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    #[cfg(unix)]
    if let Err(error) = heddle_ir::file::signals::remove_unfinished_on_signals() {
        compile::say(&format!(
            "note: signals leave unfinished files behind: {error}"
        ));
    }
    match compile::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            compile::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
