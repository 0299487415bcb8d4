//! Errors of this crate.

use crate::weights::WeightId;

/// What can be wrong with a graph, a text or a plan file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape does not fit its use.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The weight or operation.
        what: String,
        /// The shape that fits.
        expected: String,
        /// The shape at hand.
        found: String,
    },
    /// An operation refers to a weight that is not stored.
    #[error("{weight} is not among the stored weights")]
    MissingWeight {
        /// The missing weight.
        weight: WeightId,
    },
    /// A text form does not parse.
    #[error("line {line}: {message}")]
    Parse {
        /// One-based line number.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A graph breaks its stage's rules; every violation on a line of its own.
    #[error("the {stage} graph is invalid:\n{violations}")]
    Invalid {
        /// `nn`, `slot` or `ckks`.
        stage: &'static str,
        /// One line for every violation.
        violations: String,
    },
    /// A preprocessing set is unknown or unsound.
    #[error(
        "`--preprocess {name}` {reason}\n\
         help: use cifar10, cifar100, imagenet, mnist, unit, none, or a JSON file {{scale, mean, std, channels}}"
    )]
    Preprocess {
        /// The set's name or file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is foreign, damaged, of another kind or version, or does not hold together.
    #[error("`{file}` {message}")]
    File {
        /// The file's name.
        file: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A file's parameters are malformed or weaker than what is accepted.
    #[error("`{file}`: {source}{}", acknowledgement(source))]
    Refused {
        /// The file's name.
        file: String,
        /// What is wrong with them.
        source: heddle_params::Error,
    },
    /// Reading or writing failed.
    #[error("`{file}`: {source}")]
    Io {
        /// The file's name.
        file: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Parts of a plan contradict each other.
    #[error("{0}")]
    Inconsistent(String),
    /// The parameters are malformed or weaker than they claim.
    #[error(transparent)]
    Parameters(#[from] heddle_params::Error),
    /// A file cannot be written under a name without a loss or a mix-up.
    #[error("`{file}` {message}\nhelp: {help}")]
    Output {
        /// The output's name.
        file: String,
        /// What stands in the way.
        message: String,
        /// What to do.
        help: String,
    },
}

/// How a person acknowledges parameters below 128 bits, as the end of the error's help line.
fn acknowledgement(error: &heddle_params::Error) -> &'static str {
    match error {
        heddle_params::Error::Insecure { .. }
        | heddle_params::Error::InsecureEncapsulation { .. } => {
            ", on the command line with `--insecure`"
        }
        _ => "",
    }
}
