//! `heddlec`: compiles an ONNX model to an encrypted-inference plan.

mod args;
mod compile;

use std::process::ExitCode;

use clap::Parser;
use heddle_ir::printable;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => usage(&error),
    };
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

/// Ends the process with help, or with what is wrong about its arguments, in which whatever a terminal would obey is
/// escaped.
fn usage(error: &clap::Error) -> ! {
    // The message about escaped arguments is the message, escaped, but for its own line breaks and colours.
    let escaped = std::env::args_os()
        .map(|argument| printable::line(&argument.to_string_lossy()).into_owned());
    match args::Args::try_parse_from(escaped) {
        Err(error) => error.exit(),
        Ok(_) => {
            compile::say(&printable::line(&error.to_string()));
            std::process::exit(error.exit_code())
        }
    }
}
