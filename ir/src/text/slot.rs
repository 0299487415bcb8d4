//! Text form of the packed graph. Linear maps and polynomials are listed first and referred to.

use serde_json::{Value, json};

use super::cursor::{Cursor, to_value};
use super::line::{Call, lines, parse_operation, parse_outputs, print_graph};
use super::tables::{Tables, parse_layout, print_maps, print_polynomials};
use crate::error::Error;
use crate::graph::Graph;
use crate::nn::Activation;
use crate::slot::{
    ApproximatedActivation, Chebyshev, GatedTerm, Normalisation, Op, SlotGraph, SlotType, Weighting,
};

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
        Op::Activation(activation) => {
            json!({"activation": to_value(&ActivationCall::of(activation, tables))})
        }
        Op::Normalise(division) => {
            let [numerator, denominator, start, deviation] = division
                .polynomials()
                .map(|polynomial| id_of(&mut tables.polynomials, polynomial));
            let fields = Division {
                function: division.function,
                numerator,
                denominator,
                start,
                deviation,
                iterations: division.iterations,
                steps: division.rotations.clone(),
            };
            json!({"normalise": to_value(&fields)})
        }
        Op::ParallelConvolution { map, slots } => {
            tables.maps.push(map.clone());
            let map = tables.maps.len() - 1;
            json!({"parallel_convolution": {"map": map, "slots": slots}})
        }
        Op::SisoConvolution(map) => {
            tables.maps.push(map.clone());
            json!({"siso_convolution": {"map": tables.maps.len() - 1}})
        }
        Op::Input => json!("input"),
        Op::Add => json!("add"),
        Op::Multiply => json!("multiply"),
        Op::RotateSum { rotations } => json!({"rotate_sum": {"steps": rotations}}),
    };
    Call::of_variant(variant)
}

/// A polynomial's place in the table, where it is put if it is new.
fn id_of(table: &mut Vec<Chebyshev>, polynomial: &Chebyshev) -> usize {
    let known = table.iter().position(|known| known == polynomial);
    known.unwrap_or_else(|| {
        table.push(polynomial.clone());
        table.len() - 1
    })
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
struct Sum {
    steps: Vec<usize>,
}

/// A [`Normalisation`] with its polynomials by reference.
#[derive(serde::Deserialize, serde::Serialize)]
struct Division {
    function: Weighting,
    numerator: usize,
    denominator: usize,
    start: usize,
    deviation: usize,
    iterations: usize,
    steps: Vec<usize>,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct ActivationCall {
    function: Activation,
    terms: Vec<TermCall>,
    free: Option<usize>,
    error: f64,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct TermCall {
    factor: usize,
    gate: Vec<usize>,
}

impl ActivationCall {
    /// With polynomials by number; those that are not in the table yet join it.
    fn of(activation: &ApproximatedActivation, tables: &mut Tables) -> Self {
        let table = &mut tables.polynomials;
        let mut id_of = |polynomial: &Chebyshev| {
            let known = table.iter().position(|known| known == polynomial);
            known.unwrap_or_else(|| {
                table.push(polynomial.clone());
                table.len() - 1
            })
        };
        let terms = activation.terms.iter().map(|term| TermCall {
            factor: id_of(&term.factor),
            gate: term.gate.iter().map(&mut id_of).collect(),
        });
        let terms = terms.collect();
        Self {
            function: activation.function,
            terms,
            free: activation.free.as_ref().map(id_of),
            error: activation.error,
        }
    }

    /// The inverse of [`of`](Self::of); an index that the table lacks is the error.
    fn resolved(self, table: &[Chebyshev]) -> Result<ApproximatedActivation, usize> {
        let polynomial = |index: usize| table.get(index).cloned().ok_or(index);
        let term = |call: TermCall| -> Result<GatedTerm, usize> {
            let gate = call.gate.into_iter().map(polynomial);
            Ok(GatedTerm {
                factor: polynomial(call.factor)?,
                gate: gate.collect::<Result<_, usize>>()?,
            })
        };
        let terms = self.terms.into_iter().map(term);
        Ok(ApproximatedActivation {
            function: self.function,
            terms: terms.collect::<Result<_, usize>>()?,
            free: self.free.map(polynomial).transpose()?,
            error: self.error,
        })
    }
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
        "siso_convolution" => {
            let reference: MapReference =
                cursor.decode(&what, call.attributes.unwrap_or(Value::Null))?;
            let map = tables.maps.get(reference.map);
            map.cloned()
                .map(Op::SisoConvolution)
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
            let call: ActivationCall =
                cursor.decode(&what, call.attributes.unwrap_or(Value::Null))?;
            let resolved = call.resolved(&tables.polynomials);
            resolved
                .map(Op::Activation)
                .map_err(|index| missing('p', index))
        }
        "normalise" => {
            let fields: Division = cursor.decode(&what, call.attributes.unwrap_or(Value::Null))?;
            let polynomial = |index: usize| {
                let known = tables.polynomials.get(index).cloned();
                known.ok_or_else(|| missing('p', index))
            };
            Ok(Op::Normalise(Normalisation {
                function: fields.function,
                numerator: polynomial(fields.numerator)?,
                denominator: polynomial(fields.denominator)?,
                start: polynomial(fields.start)?,
                deviation: polynomial(fields.deviation)?,
                iterations: fields.iterations,
                rotations: fields.steps,
            }))
        }
        "rotate_sum" => {
            let Sum { steps } = cursor.decode(&what, call.attributes.unwrap_or(Value::Null))?;
            Ok(Op::RotateSum { rotations: steps })
        }
        "input" => Ok(Op::Input),
        "add" => Ok(Op::Add),
        "multiply" => Ok(Op::Multiply),
        _ => Err(cursor.error(format!("{what} is no operation of a packed graph"))),
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

    #[test]
    fn activations_of_several_summands_round_trip() {
        use crate::graph::ValueId;
        let (mut graph, _) = slot_graph();
        if let Op::Activation(activation) = &mut graph.node_mut(ValueId(2)).op {
            activation.function = Activation::Clip {
                low: Some(-1.0),
                high: None,
            };
            let mut second = activation.terms[0].clone();
            second.factor.coefficients = vec![0.25, -1.0];
            activation.terms.push(second);
            activation.free = Some(Chebyshev {
                coefficients: vec![0.5],
            });
        }
        let text = print_slot(&graph);
        assert!(text.contains("function={clip={low=-1.0}}"), "{text}");
        assert_eq!(parse_slot(&text).unwrap(), graph);
        // The free polynomial is the table's last.
        let last = text.lines().filter(|l| l.starts_with("polynomial")).count() - 1;
        let message = parse_slot(&text.replace(&format!("free=p{last}"), "free=p99"))
            .unwrap_err()
            .to_string();
        assert!(message.ends_with("p99 is not defined"), "{message}");
    }
}
