//! Values as JSON.

use heddle_ir::printable;
use serde::Serialize;

/// A value as JSON in which a terminal shows every character as it is.
///
/// # Errors
/// None in practice: our types serialise.
pub(super) fn json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escape(&serde_json::to_string_pretty(value)?))
}

/// Prints a value as JSON on standard output.
///
/// # Errors
/// If standard output cannot be written.
#[cfg(feature = "client")]
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(heddle_terminal::print(&json(value)?)?)
}

/// Escapes what a terminal would obey. JSON's own writer escapes the ASCII control characters; the
/// others stand in strings alone.
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
