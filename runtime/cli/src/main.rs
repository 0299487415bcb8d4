//! `heddle`: what clients and servers of encrypted inference have installed.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_cli::main()
}
