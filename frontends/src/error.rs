//! Errors of the importers.

use std::fmt;
use std::path::PathBuf;

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's file cannot be read.
    #[error("cannot read `{}`: {source}", .path.display())]
    Io {
        /// The model's path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not an ONNX model, or a damaged one.
    #[error("`{model}` is not a readable ONNX model: {reason}\nhelp: {help}")]
    NotOnnx {
        /// The model's file name.
        model: String,
        /// What is wrong with the bytes.
        reason: String,
        /// What to do about it.
        help: &'static str,
    },
    /// The model is sound, but holds something that cannot be compiled; all of it, at once.
    #[error("cannot import `{model}`: {problems}")]
    Unsupported {
        /// The model's file name.
        model: String,
        /// Every problem, in the order of the model's nodes.
        problems: Problems,
    },
}

/// One thing that stands in the way of an import.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Name of the node, tensor, input or file.
    pub subject: String,
    /// The node's operator, or `input`, `initializer`, `model`, ….
    pub kind: String,
    /// What is wrong, and what is supported instead.
    pub message: String,
}

/// All problems of one model; prints as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |cell: fn(&Problem) -> &str| {
            self.0
                .iter()
                .map(|problem| cell(problem).chars().count())
                .max()
                .unwrap_or(0)
        };
        let kinds = width(|problem| &problem.kind);
        let subjects = width(|problem| &problem.subject) + 2;
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural}", self.0.len())?;
        for Problem {
            subject,
            kind,
            message,
        } in &self.0
        {
            let subject = format!("`{subject}`");
            write!(f, "\n  {kind:kinds$}  {subject:subjects$}  {message}")?;
        }
        Ok(())
    }
}
