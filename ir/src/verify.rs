//! Verifiers, one for every stage. Each collects everything that is wrong before it answers.

use std::fmt;

use crate::error::Error;
use crate::graph::{Graph, ValueId};

pub mod ckks;
mod maps;
pub mod nn;
pub mod slot;

/// One rule that a graph breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The value whose operation breaks it; `None` for the graph as a whole.
    pub value: Option<ValueId>,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{value}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Turns a verifier's findings into one error.
///
/// # Errors
/// [`Error::Invalid`] with a line for every violation, if there are any.
pub fn require(stage: &'static str, violations: &[Violation]) -> Result<(), Error> {
    if violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    Err(Error::Invalid {
        stage,
        violations: lines.join("\n"),
    })
}

/// One input and one output that exists.
fn check_ends<O, T>(
    graph: &Graph<O, T>,
    is_input: impl Fn(&O) -> bool,
    violations: &mut Vec<Violation>,
) {
    let inputs = graph
        .values()
        .filter(|value| is_input(&graph.node(*value).op))
        .count();
    for (what, count) in [("input", inputs), ("output", graph.outputs().len())] {
        if count != 1 {
            let message = format!("expected one {what}, found {count}");
            violations.push(Violation {
                value: None,
                message,
            });
        }
    }
    for output in graph
        .outputs()
        .iter()
        .filter(|output| output.index() >= graph.len())
    {
        let message = format!("output {output} does not exist");
        violations.push(Violation {
            value: None,
            message,
        });
    }
}

/// No value that leads nowhere.
fn check_dead<O, T>(graph: &Graph<O, T>, violations: &mut Vec<Violation>) {
    for value in graph.values() {
        if graph.users(value).is_empty() && !graph.outputs().contains(&value) {
            violations.push(at(graph, value, "nobody uses this value"));
        }
    }
}

/// A violation by one operation, with the name of the node that it comes from.
fn at<O, T>(graph: &Graph<O, T>, value: ValueId, message: &str) -> Violation {
    Violation {
        value: Some(value),
        message: format!("`{}`: {message}", graph.node(value).name),
    }
}
