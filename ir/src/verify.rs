//! Verifiers, one for every stage. Each collects every violation before it answers.

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

/// Most violations that are kept and shown.
pub const MOST_SHOWN: usize = 20;

/// The rules that a graph breaks: the first [`MOST_SHOWN`] of them, and how many there are. A
/// hostile file that breaks millions of rules costs no memory for it.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    shown: Vec<Violation>,
    count: usize,
}

impl Violations {
    /// No violations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, violation: Violation) {
        self.count += 1;
        if self.shown.len() < MOST_SHOWN {
            self.shown.push(violation);
        }
    }

    /// Adds those of another verifier.
    pub fn absorb(&mut self, other: Self) {
        let count = self.count + other.count;
        self.extend(other.shown);
        self.count = count;
    }

    /// How many there are, those that are not shown included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A violation by one operation, with the name of the node that it comes from.
    fn push_at<O, T>(&mut self, graph: &Graph<O, T>, value: ValueId, message: &str) {
        self.count += 1;
        if self.shown.len() < MOST_SHOWN {
            self.shown.push(at(graph, value, message));
        }
    }
}

impl std::ops::Deref for Violations {
    type Target = [Violation];

    fn deref(&self) -> &[Violation] {
        &self.shown
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.shown.into_iter()
    }
}

impl Extend<Violation> for Violations {
    fn extend<I: IntoIterator<Item = Violation>>(&mut self, violations: I) {
        violations
            .into_iter()
            .for_each(|violation| self.push(violation));
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        let mut all = Self::new();
        all.extend(violations);
        all
    }
}

/// Turns a verifier's findings into one error.
///
/// # Errors
/// [`Error::Invalid`] with a line for each of the first violations, and the number of the others.
pub fn require(stage: &'static str, violations: &Violations) -> Result<(), Error> {
    if violations.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    let more = violations.count() - violations.len();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Err(Error::Invalid {
        stage,
        violations: lines.join("\n"),
    })
}

/// Reports a graph without inputs, or without exactly one output that exists. How many inputs there
/// may be is for others to say: an image may take several.
fn check_ends<O, T>(
    graph: &Graph<O, T>,
    is_input: impl Fn(&O) -> bool,
    violations: &mut Violations,
) {
    let inputs = graph.select(is_input).count();
    let mut complain = |message: String| {
        violations.push(Violation {
            value: None,
            message,
        })
    };
    if inputs == 0 {
        complain("expected an input, found none".to_owned());
    }
    let outputs = graph.outputs().len();
    if outputs != 1 {
        complain(format!("expected one output, found {outputs}"));
    }
    for output in graph
        .outputs()
        .iter()
        .filter(|output| output.index() >= graph.len())
    {
        complain(format!("output {output} does not exist"));
    }
}

/// Reports values that nobody uses. Of several inputs, some may go unused: a network need not look
/// at all of the image.
fn check_dead<O, T>(
    graph: &Graph<O, T>,
    is_input: impl Fn(&O) -> bool,
    violations: &mut Violations,
) {
    let has_several = graph.select(&is_input).nth(1).is_some();
    for value in graph.values() {
        let may_be = has_several && is_input(&graph.node(value).op);
        if !may_be && graph.users(value).is_empty() && !graph.outputs().contains(&value) {
            violations.push_at(graph, value, "nobody uses this value");
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
