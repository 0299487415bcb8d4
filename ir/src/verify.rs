//! Verifiers, one for every stage. Each collects everything that is wrong before it answers.

use std::fmt;

use crate::error::Error;
use crate::graph::ValueId;

pub mod ckks;
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
    Err(Error::Invalid { stage, violations: lines.join("\n") })
}
