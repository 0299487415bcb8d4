//! What the command lines `heddle` and `heddlec` share.
//!
//! Both start with [`main`], which reads the arguments, runs the command and prints its error.
//! Results go to standard output ([`print`](fn@print)), everything else to standard error. Notes
//! begin with `note: `, errors with `error: `. Names and labels come from files that others made,
//! so all text is escaped: a terminal obeys no character of it.
//!
//! ```
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Arguments {
//!     name: String,
//! }
//!
//! fn greet(arguments: Arguments) -> std::io::Result<()> {
//!     heddle_terminal::note("this program greets");
//!     heddle_terminal::print(&format!("hello, {}", arguments.name))
//! }
//!
//! // A program's `main` returns what `heddle_terminal::main(greet)` returns.
//! greet(Arguments::parse_from(["greet", "world"]))?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod progress;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use heddle_ir::printable;

pub use progress::{Progress, Spinner};

/// Runs a program: reads its arguments and does what they say.
///
/// The process ends with 2 on wrong usage. The result is a failure, with the error on standard
/// error, where `command` fails. Unfinished files are removed when a signal ends the process.
pub fn main<Arguments: Parser, E: Display>(
    command: impl FnOnce(Arguments) -> Result<(), E>,
) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => usage::<Arguments>(&error),
    };
    #[cfg(unix)]
    if let Err(error) = heddle_ir::file::signals::remove_unfinished_on_signals() {
        note(&format!("signals leave unfinished files behind: {error}"));
    }
    match command(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends the process with help, or with what is wrong about its arguments. In the message, whatever
/// a terminal would obey is escaped.
fn usage<Arguments: Parser>(error: &clap::Error) -> ! {
    // clap colours its message, so the message cannot be escaped as a whole. The arguments are
    // escaped instead, and parsed again.
    let escaped = std::env::args_os()
        .map(|argument| printable::line(&argument.to_string_lossy()).into_owned());
    match Arguments::try_parse_from(escaped) {
        Err(error) => error.exit(),
        Ok(_) => {
            say(&printable::line(&error.to_string()));
            std::process::exit(error.exit_code())
        }
    }
}

/// Prints a line on standard error.
pub fn say(text: &str) {
    // Nobody reads a standard error that is closed.
    let _ = writeln!(io::stderr(), "{}", printable::lines(text));
}

/// Prints a note on standard error: what the user should know, although nothing failed.
pub fn note(text: &str) {
    say(&format!("note: {text}"));
}

/// Prints a result and a line break on standard output.
///
/// # Errors
/// If standard output cannot be written. A reader that closes the pipe early is no error.
pub fn print(text: &str) -> io::Result<()> {
    write(&format!("{text}\n"))
}

/// Writes text to standard output as it is, without a line break at its end.
///
/// # Errors
/// As [`print`](fn@print).
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = printable::lines(text);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(io::Error::new(
            error.kind(),
            format!("`standard output`: {error}"),
        )),
        _ => Ok(()),
    }
}
