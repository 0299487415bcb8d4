//! Text form of the schedule. What an operation frees is printed as a comment, because it follows
//! from the operations; so are, on request, the evaluation keys.

use std::fmt::Write as _;

use heddle_params::keys::{KeyKind, KeyUse};

use super::cursor::{Cursor, to_value};
use super::line::{Call, lines, parse_operation, parse_outputs, print_graph};
use super::tables::{Tables, print_maps, print_polynomials};
use crate::ckks::{CiphertextType, Op, Schedule};
use crate::error::Error;
use crate::graph::{Graph, ValueId};

/// A schedule as text.
pub fn print_ckks(schedule: &Schedule) -> String {
    let mut out = "ckks schedule\n".to_owned();
    print_maps(&schedule.linear_maps, &mut out);
    print_polynomials(&schedule.polynomials, &mut out);
    let frees = schedule.frees();
    let comment = |value: ValueId| {
        let freed: Vec<String> = frees[value.index()]
            .iter()
            .map(ValueId::to_string)
            .collect();
        (!freed.is_empty()).then(|| format!("free {}", freed.join(", ")))
    };
    print_graph(
        &schedule.graph,
        |op| Call::of_variant(to_value(op)),
        comment,
        &mut out,
    );
    out
}

/// A list of keys as comment lines, which may stand before or behind a schedule's text.
pub fn print_keys(keys: &[KeyUse]) -> String {
    let mut out = String::new();
    for KeyUse { kind, level } in keys {
        let kind = match kind {
            KeyKind::Galois(galois) => format!("galois {galois}"),
            KeyKind::Relin => "relinearise".to_owned(),
            KeyKind::Encapsulate => "encapsulate".to_owned(),
            KeyKind::Decapsulate => "decapsulate".to_owned(),
        };
        let _ = writeln!(out, "# key {kind}, level {level}");
    }
    out
}

fn op(cursor: &Cursor<'_>, call: Call) -> Result<Op, Error> {
    let what = format!("`{}`", call.word);
    cursor.decode(&what, call.into_variant())
}

fn parse_type(cursor: &mut Cursor<'_>) -> Result<CiphertextType, Error> {
    cursor.keyword("ct")?;
    cursor.expect("<")?;
    cursor.keyword("slots")?;
    cursor.expect("=")?;
    cursor.expect("2^")?;
    let log_slots = cursor.unsigned()?;
    cursor.expect(",")?;
    cursor.keyword("level")?;
    cursor.expect("=")?;
    let level = cursor.unsigned()?;
    cursor.expect(",")?;
    cursor.keyword("scale")?;
    cursor.expect("=")?;
    cursor.expect("2^")?;
    let log_scale = cursor.float()?;
    cursor.expect(">")?;
    Ok(CiphertextType {
        log_slots,
        level,
        log_scale,
    })
}

/// Parses what [`print_ckks`] printed. The weights are not needed.
///
/// # Errors
/// [`Error::Parse`] with the line.
pub fn parse_ckks(text: &str) -> Result<Schedule, Error> {
    let (header, lines) = lines(text, &["ckks", "schedule"])?;
    header.end()?;
    let mut graph = Graph::new();
    let mut tables = Tables::default();
    for mut cursor in lines {
        if cursor.peek("%") {
            parse_operation(&mut graph, &mut cursor, op, parse_type)?;
        } else if !tables.parse(&mut cursor)? {
            parse_outputs(&mut graph, &mut cursor)?;
        }
    }
    let Tables {
        maps: linear_maps,
        polynomials,
    } = tables;
    Ok(Schedule {
        graph,
        linear_maps,
        polynomials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::schedule;
    use crate::text::line::MAX_LINE;

    #[test]
    fn round_trips() {
        let (schedule, _) = schedule();
        let text = print_ckks(&schedule);
        assert_eq!(parse_ckks(&text).unwrap(), schedule);
        assert!(text.contains(
            "%4 = bootstrap %3 {variant=Real} : ct<slots=2^5, level=18, scale=2^40>  @\"relu\"  \
             # free %3\n"
        ));
    }

    #[test]
    fn errors_name_the_line() {
        let (schedule, _) = schedule();
        let text = print_ckks(&schedule);
        let edits = [
            (
                "%4 = bootstrap %3",
                "%4 = bootstrap %4",
                "uses %4 before it is defined",
            ),
            (
                "%4 = bootstrap",
                "%5 = bootstrap",
                "defines %5, but %4 comes next",
            ),
            (
                "bootstrap %3 {variant=Real}",
                "bootstrap %3 {variant=Unreal}",
                "`bootstrap`: ",
            ),
            ("level=18", "level=-1", "expected a whole number, found `-1"),
            ("output %", "output %99", "is not defined"),
            ("ckks schedule", "ckks shedule", "expected `schedule`"),
            (
                "polynomial p0",
                "polynomial p7",
                "defines p7, but p0 comes next",
            ),
        ];
        for (from, to, expected) in edits {
            let message = parse_ckks(&text.replacen(from, to, 1))
                .unwrap_err()
                .to_string();
            assert!(
                message.starts_with("line ") && message.contains(expected),
                "{message}"
            );
        }
        assert!(parse_ckks("").is_err());
        let long = format!("{text}# {}", " ".repeat(MAX_LINE));
        let message = parse_ckks(&long).unwrap_err().to_string();
        assert!(message.contains("at most 262144 are read"), "{message}");
    }
}
