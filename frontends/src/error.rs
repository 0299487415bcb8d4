//! Errors of the importers.

use std::fmt;
use std::path::PathBuf;

use heddle_ir::printable;

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's file cannot be read.
    #[error("cannot read `{}`: {source}", printable::path(path))]
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

/// Most problems that are shown.
const SHOWN: usize = 20;

/// The problems of one model; prints as a table of the first twenty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The first of them, a thousand at most.
    pub list: Vec<Problem>,
    /// How many there are beyond those of the list.
    pub more: usize,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names in a model are its maker's.
        let plain = |problem: &Problem| Problem {
            subject: printable::line(&problem.subject).into_owned(),
            kind: printable::line(&problem.kind).into_owned(),
            message: printable::line(&problem.message).into_owned(),
        };
        let shown: Vec<Problem> = self.list.iter().take(SHOWN).map(plain).collect();
        let width = |cell: fn(&Problem) -> &str| {
            shown
                .iter()
                .map(|problem| cell(problem).chars().count())
                .max()
                .unwrap_or(0)
        };
        let kinds = width(|problem| &problem.kind);
        let subjects = width(|problem| &problem.subject) + 2;
        let count = self.list.len() + self.more;
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} problem{plural}")?;
        for Problem {
            subject,
            kind,
            message,
        } in &shown
        {
            let subject = format!("`{subject}`");
            write!(f, "\n  {kind:kinds$}  {subject:subjects$}  {message}")?;
        }
        if count > shown.len() {
            write!(f, "\n  and {} more", count - shown.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_model_break_no_line() {
        let hostile = Problem {
            subject: "n\n1 problem".into(),
            kind: "Relu\x1b[2J".into(),
            message: "reads `x\ny`".into(),
        };
        let (list, more) = (vec![hostile], 0);
        let text = Problems { list, more }.to_string();
        assert_eq!(
            text,
            "1 problem\n  Relu\\u{1b}[2J  `n\\u{a}1 problem`  reads `x\\u{a}y`"
        );
    }

    #[test]
    fn a_thousand_problems_are_cut_at_twenty() {
        let problem = |index: usize| Problem {
            subject: format!("n{index}"),
            kind: "Relu".into(),
            message: "is odd".into(),
        };
        let problems = |count: usize, more| Problems {
            list: (0..count).map(problem).collect(),
            more,
        };
        let text = problems(1000, 234).to_string();
        assert!(
            text.starts_with("1234 problems\n  Relu  `n0`   is odd\n"),
            "{text}"
        );
        assert!(text.ends_with("`n19`  is odd\n  and 1214 more"), "{text}");
        assert_eq!(problems(20, 0).to_string().lines().count(), 21);
        assert_eq!(
            problems(1, 0).to_string(),
            "1 problem\n  Relu  `n0`  is odd"
        );
    }
}
