//! Text from files on a terminal.
//!
//! Names, labels and notes come from files that others made. A terminal obeys control characters,
//! and some characters change the order in which others are shown. So what is printed is escaped,
//! and files that hold such characters where a line of text is expected are refused.

use std::borrow::Cow;
use std::path::Path;

/// Whether a character is shown as itself: no control character, none that reorders text, no
/// separator of lines.
fn is_plain(c: char) -> bool {
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    let hides = matches!(c, '\u{ad}' | '\u{34f}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}'
        | '\u{2029}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !reorders && !hides
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match keep(c) {
            true => out.push(c),
            false => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// Whether `text` is one line that a terminal shows as it is.
pub fn is_line(text: &str) -> bool {
    text.chars().all(is_plain)
}

/// `text` as one line that a terminal shows as it is: other characters as `\u{…}`.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_plain)
}

/// `text`, or its first characters and `…` where it has more than `most` of them.
pub fn clip(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(most.saturating_sub(1)).collect();
            Cow::Owned(kept + "…")
        }
    }
}

/// The widest cell of a table: one absurd name does not make every row as wide.
const MAX_CELL: usize = 60;

/// A name as a cell of a table.
pub fn cell(text: &str) -> Cow<'_, str> {
    clip(text, MAX_CELL)
}

/// A table of left-aligned columns, two spaces apart, without trailing spaces; a row per line.
/// Cells that are too wide are cut as [`cell`] does.
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let rows: Vec<[Cow<'_, str>; COLUMNS]> = rows
        .iter()
        .map(|row| row.each_ref().map(|text| cell(text)))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Bytes in hexadecimal digits, lower case, two each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes `text` one line that a terminal shows as it is, as [`line()`] does.
pub fn make_line(text: &mut String) {
    if let Cow::Owned(escaped) = line(text) {
        *text = escaped;
    }
}

/// Like [`line()`], but line breaks and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_plain(c) || matches!(c, '\n' | '\t'))
}

/// The name of a file as one line that a terminal shows as it is. Whoever packs an archive chooses
/// the names in it, so messages name files in this way alone.
pub fn path(path: &Path) -> String {
    line(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_cut() {
        let rows = [
            ["name".to_owned(), "x".to_owned()],
            ["größer".to_owned(), String::new()],
            ["n".repeat(99), "1".to_owned()],
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{:60}  x", "name"));
        assert_eq!(lines[1], "größer");
        assert_eq!(lines[2], format!("{}…  1", "n".repeat(59)));
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }

    #[test]
    fn terminal_escapes_are_not_printed() {
        let hostile = "cat\x1b]0;title\x07\x1b[31mred\u{9b}2J\r\u{202e}gpj";
        let shown = line(hostile);
        assert!(is_line(&shown) && !is_line(hostile));
        assert_eq!(
            shown,
            "cat\\u{1b}]0;title\\u{7}\\u{1b}[31mred\\u{9b}2J\\u{d}\\u{202e}gpj"
        );
        assert_eq!(lines("a\tb\n\x1bc"), "a\tb\n\\u{1b}c");
        assert_eq!(line("a\nb"), "a\\u{a}b");
        assert_eq!(path(Path::new("x\nerror: y.npy")), "x\\u{a}error: y.npy");
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("äbcd", 3), "äb…");
        for plain in ["", "layer1.0/conv", "Größe – 大 👍", "`x`: help"] {
            assert!(is_line(plain) && matches!(line(plain), Cow::Borrowed(_)));
        }
    }
}
