//! A cursor over one line, and attribute values: the part of the grammar that all stages share.
//!
//! Attributes are what serde makes of an operation's fields, so that a new field needs no new
//! syntax: `{kernel=[3, 3], weight=w0, padding=counted}`. Absent optional fields are left out.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use crate::error::Error;

/// Deepest nesting of lists and records; far above what any operation has.
const MAX_DEPTH: usize = 16;

/// What refers into which table, by the field's name.
fn reference_prefix(field: &str) -> Option<char> {
    match field {
        "weight" | "bias" | "scale" | "shift" | "mean" | "variance" => Some('w'),
        "map" => Some('m'),
        "polynomial" | "factor" | "gate" | "free" => Some('p'),
        _ => None,
    }
}

fn is_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `w12` as 12.
fn reference(word: &str) -> Option<u64> {
    let digits = word.strip_prefix(['w', 'm', 'p'])?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// A string in double quotes with JSON's escapes, always on one line.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A float that parses back to the same bits; always with a point or an exponent.
pub(super) fn float(value: f64) -> String {
    format!("{value:?}")
}

/// A value in the attribute syntax; `field` decides how numbers that refer into tables print.
pub(super) fn print_value(value: &Value, field: &str, out: &mut String) {
    match value {
        Value::Null => out.push_str("none"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            if let Some(prefix) = reference_prefix(field).filter(|_| number.is_u64()) {
                out.push(prefix);
            }
            out.push_str(&number.to_string());
        }
        Value::String(text) => {
            let bare = is_word(text)
                && reference(text).is_none()
                && !matches!(text.as_str(), "none" | "true" | "false");
            out.push_str(&if bare { text.clone() } else { quoted(text) });
        }
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print_value(element, field, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // Sorted here, because the map's own order depends on a feature of serde_json.
            let mut fields: Vec<_> = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                out.push_str(name);
                out.push('=');
                print_value(value, name, out);
            }
            out.push('}');
        }
    }
}

/// Any of our types as an attribute value.
pub(super) fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("our types have string keys only")
}

/// A field of `given` that is not in `understood`, at any depth.
fn unknown_field<'a>(given: &'a Value, understood: &Value) -> Option<&'a str> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            given
                .iter()
                .find_map(|(name, value)| match understood.get(name) {
                    Some(known) => unknown_field(value, known),
                    None => Some(name.as_str()),
                })
        }
        (Value::Array(given), Value::Array(understood)) => given
            .iter()
            .zip(understood)
            .find_map(|(given, known)| unknown_field(given, known)),
        _ => None,
    }
}

/// A position in one line of text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: usize, text: &'a str) -> Self {
        Self {
            rest: text.trim(),
            line,
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::Parse {
            line: self.line,
            message: message.into(),
        }
    }

    fn expected(&self, what: &str) -> Error {
        let found: String = self.rest.chars().take(24).collect();
        if found.is_empty() {
            self.error(format!("expected {what}, found the end of the line"))
        } else {
            self.error(format!("expected {what}, found `{found}`"))
        }
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest.trim_start();
        taken
    }

    /// Whether nothing but a comment is left.
    pub(super) fn at_end(&self) -> bool {
        self.rest.is_empty() || self.rest.starts_with('#')
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        if self.at_end() {
            Ok(())
        } else {
            Err(self.expected("the end of the line"))
        }
    }

    pub(super) fn peek(&self, token: &str) -> bool {
        self.rest.starts_with(token)
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        if found {
            self.skip(token.len());
        }
        found
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), Error> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.expected(&format!("`{token}`")))
        }
    }

    /// A word of letters, digits and underscores that does not start with a digit.
    pub(super) fn word(&mut self) -> Result<&'a str, Error> {
        let len = self
            .rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        if is_word(&self.rest[..len]) {
            Ok(self.skip(len))
        } else {
            Err(self.expected("a word"))
        }
    }

    pub(super) fn keyword(&mut self, keyword: &str) -> Result<(), Error> {
        let mut ahead = *self;
        if ahead.word().is_ok_and(|word| word == keyword) {
            *self = ahead;
            Ok(())
        } else {
            Err(self.expected(&format!("`{keyword}`")))
        }
    }

    fn numeral(&mut self) -> &'a str {
        let in_numeral =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let len = self.rest.bytes().take_while(in_numeral).count();
        &self.rest[..len]
    }

    /// A number without sign.
    pub(super) fn unsigned<T: FromStr>(&mut self) -> Result<T, Error> {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let parsed = self.rest[..len]
            .parse()
            .map_err(|_| self.expected("a whole number"))?;
        self.skip(len);
        Ok(parsed)
    }

    pub(super) fn float(&mut self) -> Result<f64, Error> {
        let numeral = self.numeral();
        let parsed = numeral.parse().map_err(|_| self.expected("a number"))?;
        self.skip(numeral.len());
        Ok(parsed)
    }

    pub(super) fn string(&mut self) -> Result<String, Error> {
        if !self.peek("\"") {
            return Err(self.expected("a string in double quotes"));
        }
        let mut escaped = false;
        let close = self.rest.bytes().skip(1).position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        let close = close.ok_or_else(|| self.error("a string is not closed"))?;
        let text = &self.rest[..close + 2];
        let parsed = serde_json::from_str(text)
            .map_err(|_| self.error(format!("{text} has a wrong escape")))?;
        self.skip(text.len());
        Ok(parsed)
    }

    /// A reference such as `m3`, with its prefix given.
    pub(super) fn reference(&mut self, prefix: char) -> Result<usize, Error> {
        let what = || format!("a reference `{prefix}0`, `{prefix}1`, …");
        let mut ahead = *self;
        match ahead.word() {
            Ok(word) if word.starts_with(prefix) && word.len() > 1 => {
                let index = reference(word).ok_or_else(|| self.expected(&what()))?;
                *self = ahead;
                usize::try_from(index).map_err(|_| self.expected(&what()))
            }
            _ => Err(self.expected(&what())),
        }
    }

    /// A value of the attribute syntax.
    pub(super) fn value(&mut self) -> Result<Value, Error> {
        self.nested_value(MAX_DEPTH)
    }

    fn nested_value(&mut self, depth: usize) -> Result<Value, Error> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.error("attributes are nested too deeply"));
        };
        if self.eat("[") {
            let mut elements = Vec::new();
            while !self.eat("]") {
                if !elements.is_empty() {
                    self.expect(",")?;
                }
                elements.push(self.nested_value(depth)?);
            }
            return Ok(Value::Array(elements));
        }
        if self.eat("{") {
            let mut fields = Map::new();
            while !self.eat("}") {
                if !fields.is_empty() {
                    self.expect(",")?;
                }
                let name = self.word()?;
                self.expect("=")?;
                if fields
                    .insert(name.to_owned(), self.nested_value(depth)?)
                    .is_some()
                {
                    return Err(self.error(format!("`{name}` is given twice")));
                }
            }
            return Ok(Value::Object(fields));
        }
        if self.peek("\"") {
            return self.string().map(Value::String);
        }
        if let Ok(word) = self.word() {
            return Ok(match word {
                "none" => Value::Null,
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => reference(word).map_or_else(|| word.into(), Value::from),
            });
        }
        let numeral = self.numeral();
        let number = numeral.parse::<u64>().map(Number::from).ok();
        let number = number.or_else(|| numeral.parse::<i64>().map(Number::from).ok());
        let number = number.or_else(|| numeral.parse().ok().and_then(Number::from_f64));
        let number = number.ok_or_else(|| self.expected("a value"))?;
        self.skip(numeral.len());
        Ok(Value::Number(number))
    }

    /// Reads what [`to_value`] made; `what` names it in errors.
    pub(super) fn decode<T: DeserializeOwned + Serialize>(
        &self,
        what: &str,
        value: Value,
    ) -> Result<T, Error> {
        let decoded: T = serde_json::from_value(value.clone())
            .map_err(|error| self.error(format!("{what}: {error}")))?;
        match unknown_field(&value, &to_value(&decoded)) {
            Some(field) => Err(self.error(format!("{what}: unknown field `{field}`"))),
            None => Ok(decoded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn print(value: &Value) -> String {
        let mut out = String::new();
        print_value(value, "", &mut out);
        out
    }

    fn parse(text: &str) -> Result<Value, Error> {
        let mut cursor = Cursor::new(7, text);
        let value = cursor.value()?;
        cursor.end()?;
        Ok(value)
    }

    #[test]
    fn values_round_trip() {
        let value = json!({
            "weight": 3, "bias": 4, "window": {"kernel": [3, 3], "pads": [1, 1, 1, 1]},
            "padding": "counted", "name": "a \"b\" # c\nd", "tiny": 5e-324, "third": 1.0 / 3.0,
            "negative": -2, "minus_zero": -0.0, "flag": true, "odd": "w3", "gate": [0, 1],
        });
        let text = print(&value);
        assert!(
            text.contains("weight=w3") && text.contains("gate=[p0, p1]"),
            "{text}"
        );
        assert!(text.contains(r#"odd="w3""#));
        assert_eq!(parse(&text).unwrap(), value);
    }

    #[test]
    fn absent_fields_are_left_out() {
        assert_eq!(print(&json!({"bias": null, "groups": 1})), "{groups=1}");
    }

    #[test]
    fn malformed_values_name_the_line() {
        for text in [
            "",
            "{a=}",
            "[1, ",
            "{a=1, a=2}",
            "\"open",
            "1.2.3",
            "é",
            &"[".repeat(99),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.starts_with("line 7: "), "{message}");
        }
    }
}
