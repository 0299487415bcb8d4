//! Operation lines and output lines, the same for every stage.

use std::fmt::{Display, Write};

use serde_json::{Map, Value};

use super::cursor::{Cursor, print_value, quoted};
use crate::error::Error;
use crate::graph::{Graph, ValueId};

/// An operation without its result's type: a word, operands and attributes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) word: String,
    pub(super) attributes: Option<Value>,
}

impl Call {
    /// Splits what serde makes of an enum's variant into its name and fields.
    pub(super) fn of_variant(value: Value) -> Self {
        match value {
            Value::Object(variant) => match variant.into_iter().next() {
                Some((word, fields)) => Self {
                    word,
                    attributes: Some(fields),
                },
                None => Self {
                    word: String::new(),
                    attributes: None,
                },
            },
            Value::String(word) => Self {
                word,
                attributes: None,
            },
            other => Self {
                word: other.to_string(),
                attributes: None,
            },
        }
    }

    /// The inverse of [`of_variant`](Self::of_variant).
    pub(super) fn into_variant(self) -> Value {
        match self.attributes {
            Some(fields) => Value::Object(Map::from_iter([(self.word, fields)])),
            None => Value::String(self.word),
        }
    }

    pub(super) fn print(&self, operands: &[ValueId], out: &mut String) {
        out.push_str(&self.word);
        for (index, operand) in operands.iter().enumerate() {
            out.push_str(if index == 0 { " " } else { ", " });
            let _ = write!(out, "{operand}");
        }
        if let Some(attributes) = &self.attributes {
            out.push(' ');
            print_value(attributes, "", out);
        }
    }

    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<(Self, Vec<ValueId>), Error> {
        let word = cursor.word()?.to_owned();
        let mut operands = Vec::new();
        while cursor.peek("%") || (!operands.is_empty() && cursor.eat(",")) {
            operands.push(parse_value_id(cursor)?);
        }
        let attributes = if cursor.peek("{") {
            Some(cursor.value()?)
        } else {
            None
        };
        Ok((Self { word, attributes }, operands))
    }
}

fn parse_value_id(cursor: &mut Cursor<'_>) -> Result<ValueId, Error> {
    cursor.expect("%")?;
    Ok(ValueId(cursor.unsigned()?))
}

/// Prints all operations and the outputs; `call` gives an operation's word and attributes,
/// `comment` what follows it.
pub(super) fn print_graph<O, T: Display>(
    graph: &Graph<O, T>,
    mut call: impl FnMut(&O) -> Call,
    comment: impl Fn(ValueId) -> Option<String>,
    out: &mut String,
) {
    for value in graph.values() {
        let node = graph.node(value);
        let _ = write!(out, "{value} = ");
        call(&node.op).print(&graph.operands(value), out);
        let _ = write!(out, " : {}  @{}", node.ty, quoted(&node.name));
        if let Some(comment) = comment(value) {
            let _ = write!(out, "  # {comment}");
        }
        out.push('\n');
    }
    let outputs: Vec<String> = graph.outputs().iter().map(ValueId::to_string).collect();
    if !outputs.is_empty() {
        let _ = writeln!(out, "output {}", outputs.join(", "));
    }
}

/// Parses the line of one operation, which must define the next value.
pub(super) fn parse_operation<O, T>(
    graph: &mut Graph<O, T>,
    cursor: &mut Cursor<'_>,
    op: impl FnOnce(&Cursor<'_>, Call) -> Result<O, Error>,
    ty: impl FnOnce(&mut Cursor<'_>) -> Result<T, Error>,
) -> Result<(), Error> {
    let next = ValueId(graph.len() as u32);
    let value = parse_value_id(cursor)?;
    if value != next {
        return Err(cursor.error(format!("defines {value}, but {next} comes next")));
    }
    cursor.expect("=")?;
    let (call, operands) = Call::parse(cursor)?;
    if let Some(operand) = operands.iter().find(|operand| **operand >= next) {
        return Err(cursor.error(format!("uses {operand} before it is defined")));
    }
    let op = op(cursor, call)?;
    cursor.expect(":")?;
    let ty = ty(cursor)?;
    cursor.expect("@")?;
    let name = cursor.string()?;
    cursor.end()?;
    graph.add(op, &operands, ty, name);
    Ok(())
}

/// Parses `output %7`; the values must exist already.
pub(super) fn parse_outputs<O, T>(
    graph: &mut Graph<O, T>,
    cursor: &mut Cursor<'_>,
) -> Result<(), Error> {
    cursor.keyword("output")?;
    if !graph.outputs().is_empty() {
        return Err(cursor.error("the outputs are given twice"));
    }
    let mut outputs = Vec::new();
    while outputs.is_empty() || cursor.eat(",") {
        let value = parse_value_id(cursor)?;
        if value.index() >= graph.len() {
            return Err(cursor.error(format!("output {value} is not defined")));
        }
        outputs.push(value);
    }
    cursor.end()?;
    graph.set_outputs(outputs);
    Ok(())
}

/// Most bytes of a line: bounds what the values of one operation take while they are decoded.
pub(super) const MAX_LINE: usize = 1 << 18;

/// The lines of a text that hold something, after its header line, with the header's cursor
/// behind `stage`.
///
/// # Errors
/// If the header is another, or a line has more than [`MAX_LINE`] bytes.
pub(super) fn lines<'a>(
    text: &'a str,
    stage: &'static [&'static str],
) -> Result<(Cursor<'a>, impl Iterator<Item = Cursor<'a>>), Error> {
    if let Some((index, line)) = (text.lines().enumerate()).find(|(_, line)| line.len() > MAX_LINE)
    {
        let message = format!("has {} bytes; at most {MAX_LINE} are read", line.len());
        return Err(Error::Parse {
            line: index + 1,
            message,
        });
    }
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| Cursor::new(index + 1, line))
        .filter(|cursor| !cursor.at_end());
    let mut header = lines.next().unwrap_or(Cursor::new(1, ""));
    for word in stage {
        header.keyword(word)?;
    }
    Ok((header, lines))
}
