//! Text form of the packed graph. Linear maps and polynomials are listed first and referred to.

use serde_json::{Value, json};

use super::cursor::{Cursor, to_value};
use super::line::{Call, lines, parse_operation, parse_outputs, print_graph};
use super::tables::{Tables, parse_layout, print_maps, print_polynomials};
use crate::error::Error;
use crate::graph::Graph;
use crate::nn::Activation;
use crate::slot::{ApproximatedActivation, Chebyshev, Op, SlotGraph, SlotType};

/// A packed graph as text.
pub fn print_slot(graph: &SlotGraph) -> String {
    let mut tables = Tables::default();
    let mut operations = String::new();
    print_graph(graph, |op| call(op, &mut tables), |_| None, &mut operations);
    let mut out = "slot graph\n".to_owned();
    print_maps(&tables.maps, &mut out);
    print_polynomials(&tables.polynomials, &mut out);
    out + &operations
}

fn call(op: &Op, tables: &mut Tables) -> Call {
    let variant = match op {
        Op::Linear(map) => {
            tables.maps.push(map.clone());
            json!({"linear": {"map": tables.maps.len() - 1}})
        }
        Op::ParallelConvolution { map, slots } => {
            tables.maps.push(map.clone());
            let map = tables.maps.len() - 1;
            json!({"parallel_convolution": {"map": map, "slots": slots}})
        }
        Op::Activation(ApproximatedActivation { function, stages }) => {
            let table = &mut tables.polynomials;
            let mut id_of = |stage: &Chebyshev| {
                table
                    .iter()
                    .position(|known| known == stage)
                    .unwrap_or_else(|| {
                        table.push(stage.clone());
                        table.len() - 1
                    })
            };
            let stages: Vec<usize> = stages.iter().map(&mut id_of).collect();
            json!({"activation": {"function": to_value(function), "stages": stages}})
        }
        Op::Input | Op::Add | Op::RotateSum { .. } => to_value(op),
    };
    Call::of_variant(variant)
}

#[derive(serde::Deserialize, serde::Serialize)]
struct MapReference {
    map: usize,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Parallel {
    map: usize,
    slots: usize,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Stages {
    function: Activation,
    stages: Vec<usize>,
}

fn op(cursor: &Cursor<'_>, call: Call, tables: &Tables) -> Result<Op, Error> {
    let what = format!("`{}`", call.word);
    let missing =
        |prefix: char, index: usize| cursor.error(format!("{prefix}{index} is not defined"));
    match call.word.as_str() {
        "linear" => {
            let reference: MapReference =
                cursor.decode(&what, call.attributes.unwrap_or(Value::Null))?;
            let map = tables.maps.get(reference.map);
            map.cloned()
                .map(Op::Linear)
                .ok_or_else(|| missing('m', reference.map))
        }
        "parallel_convolution" => {
            let Parallel { map, slots } =
                cursor.decode(&what, call.attributes.unwrap_or(Value::Null))?;
            let index = map;
            let map = tables.maps.get(index).cloned();
            map.map(|map| Op::ParallelConvolution { map, slots })
                .ok_or_else(|| missing('m', index))
        }
        "activation" => {
            let Stages { function, stages } =
                cursor.decode(&what, call.attributes.unwrap_or(Value::Null))?;
            let stages = stages.into_iter().map(|index| {
                tables
                    .polynomials
                    .get(index)
                    .cloned()
                    .ok_or_else(|| missing('p', index))
            });
            let stages = stages.collect::<Result<_, Error>>()?;
            Ok(Op::Activation(ApproximatedActivation { function, stages }))
        }
        _ => cursor.decode(&what, call.into_variant()),
    }
}

/// Parses a packed value's type as it displays.
pub(crate) fn parse_slot_type(cursor: &mut Cursor<'_>) -> Result<SlotType, Error> {
    cursor.keyword("slots")?;
    cursor.expect("<")?;
    let layout = parse_layout(cursor)?;
    cursor.expect(",")?;
    cursor.keyword("range")?;
    cursor.expect("=")?;
    let range = cursor.float()?;
    cursor.expect(">")?;
    Ok(SlotType { layout, range })
}

/// Parses what [`print_slot`] printed. The weights are not needed.
///
/// # Errors
/// [`Error::Parse`] with the line.
pub fn parse_slot(text: &str) -> Result<SlotGraph, Error> {
    let (header, lines) = lines(text, &["slot", "graph"])?;
    header.end()?;
    let mut graph = Graph::new();
    let mut tables = Tables::default();
    for mut cursor in lines {
        if cursor.peek("%") {
            let op = |cursor: &Cursor<'_>, call| op(cursor, call, &tables);
            parse_operation(&mut graph, &mut cursor, op, parse_slot_type)?;
        } else if !tables.parse(&mut cursor)? {
            parse_outputs(&mut graph, &mut cursor)?;
        }
    }
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::slot_graph;

    #[test]
    fn round_trips() {
        let (graph, _) = slot_graph();
        let text = print_slot(&graph);
        assert_eq!(parse_slot(&text).unwrap(), graph);
        assert_eq!(print_slot(&parse_slot(&text).unwrap()), text);
    }

    #[test]
    fn undefined_references_name_the_line() {
        let (graph, _) = slot_graph();
        let text = print_slot(&graph).replace("{map=m0}", "{map=m9}");
        let message = parse_slot(&text).unwrap_err().to_string();
        assert!(message.starts_with("line ") && message.ends_with("m9 is not defined"));
    }
}
