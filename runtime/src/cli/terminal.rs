//! What is printed. Names and labels come from files, so whatever a terminal would obey is escaped.

use std::io::{self, Write};

use heddle_ir::printable;
use serde::Serialize;

use crate::Error;

/// A line on standard error, for notes and errors.
pub(super) fn say(text: &str) {
    // There is nobody left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{}", printable::lines(text));
}

/// Ends the process with help, or with what is wrong about its arguments, in which whatever a terminal would obey is
/// escaped.
pub(super) fn usage<Arguments: clap::Parser>(error: &clap::Error) -> ! {
    // The message about escaped arguments is the message, escaped, but for its own line breaks and colours.
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

/// A result on standard output. A reader that closes the pipe early is not an error.
pub(super) fn print(text: &str) -> Result<(), Error> {
    write(&printable::lines(text))
}

/// A result on standard output as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    write(&json(value)?)
}

fn write(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(Error::Io {
            file: "standard output".into(),
            source,
        }),
        _ => Ok(()),
    }
}

/// A value as JSON in which every character is one that a terminal shows as it is.
///
/// # Errors
/// None in practice: our types serialise.
pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Io {
        file: "json".into(),
        source: error.into(),
    })?;
    Ok(escape(&text))
}

/// JSON's own writer escapes the ASCII control characters; the others stand in strings alone.
fn escape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c == '\n' || printable::is_line(c.encode_utf8(&mut [0; 4])) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_escapes_of_a_terminal() {
        let hostile = "cat\x1b[2J\u{9b}31m\u{202e}\u{e0041}\n";
        let text = json(&[hostile]).unwrap();
        assert!(
            text.chars()
                .all(|c| c == '\n' || printable::is_line(&c.to_string()))
        );
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, [hostile]);
    }
}
