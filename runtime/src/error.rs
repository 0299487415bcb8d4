//! Errors of this crate.

use heddle_ir::ValueId;

use crate::protocol::KeyId;

/// What can go wrong when plans are executed and keys and ciphertexts are read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The framing of a plan, key or ciphertext file is wrong, or a weight does not fit.
    #[error(transparent)]
    Ir(#[from] heddle_ir::Error),
    /// The parameters of a plan are refused.
    #[error("the plan's parameters are refused: {0}")]
    Parameters(#[from] heddle_params::Error),
    /// The engine refuses an operation outside of a schedule.
    #[error(transparent)]
    Engine(#[from] heddle_ckks::Error),
    /// The engine refuses an operation of the schedule.
    #[error("{value} (node `{node}`): {source}")]
    Operation {
        /// The operation.
        value: ValueId,
        /// The ONNX node it comes from.
        node: String,
        /// The engine's error.
        source: heddle_ckks::Error,
    },
    /// The schedule contradicts itself.
    #[error("{value} (node `{node}`): {message}\nhelp: compile the plan again with heddlec")]
    Schedule {
        /// The operation.
        value: ValueId,
        /// The ONNX node it comes from.
        node: String,
        /// What is wrong.
        message: String,
    },
    /// A key or ciphertext was made for another plan.
    #[error(
        "`{file}` was made for another plan (digest {found}, this plan's is {expected})\nhelp: {help}"
    )]
    OtherPlan {
        /// The file's name.
        file: String,
        /// First digits of the digest in the file.
        found: String,
        /// First digits of the plan's digest.
        expected: String,
        /// How to fix it.
        help: &'static str,
    },
    /// Two things that belong to different secret keys.
    #[error(
        "{left} and {right} belong to different secret keys ({left_key} and {right_key})\nhelp: take keys and \
         ciphertexts of one `heddle keygen`; `heddle inspect FILE` shows the key of each"
    )]
    OtherKey {
        /// One of them.
        left: String,
        /// Its key.
        left_key: KeyId,
        /// The other one.
        right: String,
        /// Its key.
        right_key: KeyId,
    },
    /// An answer is out of the plan's range.
    #[error(
        "{what} is out of the plan's range, so it says nothing of the image: the image is unlike those of \
         calibration, or the plan was run with other keys than the image was encrypted with\n\
         help: compile with more images for `--calibrate`, a larger `--margin` or a larger `--range`; where keys may \
         be mixed up, ask the server to run the plan again with those of this secret key"
    )]
    OutOfRange {
        /// The answer; no number of it.
        what: String,
    },
    /// An element of an image is out of the plan's range.
    #[error(
        "`{image}`: an element is {element}, {}: the plan takes values up to {range}\nhelp: preprocess the tensor as \
         the model wants it; to allow such values, compile with this image among those of `--calibrate`, with a \
         larger `--margin`, or with a `--range` for the model's input by its name",
        excess(*element, *range)
    )]
    InputRange {
        /// The image.
        image: String,
        /// The element that is furthest out.
        element: f32,
        /// The bound of the plan's input.
        range: f64,
    },
    /// The evaluation keys that a plan needs are more than is allowed.
    #[error(
        "the plan needs {count} evaluation keys of {:.2} GiB; at most {:.2} GiB are allowed\nhelp: a plan of a \
         network needs a few; where you trust its maker, raise `--max-keys`",
        gib(*needed), gib(*limit)
    )]
    KeyLimit {
        /// Number of the keys.
        count: usize,
        /// Their bytes.
        needed: u64,
        /// Most bytes allowed.
        limit: u64,
    },
    /// A key or ciphertext file holds something else than it should.
    #[error("`{file}`: {message}\nhelp: {help}")]
    Content {
        /// The file's name.
        file: String,
        /// What is wrong.
        message: String,
        /// How to fix it.
        help: String,
    },
    /// A memory limit is below what the plan needs.
    #[error(
        "{:.2} GiB of memory are too few: this plan needs {:.2} GiB, of which keys take {:.2} and the bootstraps' \
         transforms {:.2}\nhelp: raise the limit to at least that",
        gib(*limit), gib(*needed), gib(*keys), gib(*transforms)
    )]
    Memory {
        /// The limit, in bytes.
        limit: u64,
        /// What must be in memory, in bytes.
        needed: u64,
        /// The keys' part of it.
        keys: u64,
        /// The transforms' part of it.
        transforms: u64,
    },
    /// An input does not fit the plan.
    #[error("{what}: {message}")]
    Input {
        /// The image or vector.
        what: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Reading or writing failed.
    #[error("`{file}`: {source}")]
    Io {
        /// The file's name.
        file: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// By how much an element exceeds a range.
fn excess(element: f32, range: f64) -> String {
    let times = f64::from(element).abs() / range;
    if !times.is_finite() {
        "which is not a finite number".into()
    } else if times < 10.0 {
        format!("{:.3} % beyond the range", 100.0 * (times - 1.0))
    } else {
        format!("{times:.1} times the range")
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}
