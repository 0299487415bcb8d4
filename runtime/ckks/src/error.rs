//! The crate's error type.

use heddle_params::GaloisElement;

/// What can go wrong in the engine.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The parameters were refused.
    #[error(transparent)]
    Parameters(#[from] heddle_params::Error),
    /// The kernel asked for by `HEDDLE_KERNEL` is unknown or the machine lacks it.
    #[error(
        "kernel `{name}` cannot be used: {reason}\nhelp: set HEDDLE_KERNEL to `scalar`, or unset it"
    )]
    Kernel {
        /// The name asked for.
        name: String,
        /// Why it cannot be used.
        reason: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// No key of this kind serves the level.
    #[error(
        "no key for {kind} at level {level}\nhelp: generate the keys from the plan that is executed, for the same \
         parameters"
    )]
    MissingKey {
        /// What the key is for: `rotation 5`, `relinearisation`, …
        kind: String,
        /// The level at which it is needed.
        level: usize,
    },
    /// No key for a Galois element serves the level.
    #[error("no key for the Galois element {galois} at level {level}")]
    MissingGaloisKey {
        /// The automorphism.
        galois: GaloisElement,
        /// The level at which it is needed.
        level: usize,
    },
    /// Two operands are at different levels.
    #[error("{op}: operands are at levels {left} and {right}\nhelp: drop the higher one first")]
    LevelMismatch {
        /// The operation.
        op: &'static str,
        /// Level of the first operand.
        left: usize,
        /// Level of the second operand.
        right: usize,
    },
    /// An operation needs more levels than are left.
    #[error(
        "{op}: needs level {needed} but the operand is at level {found}\nhelp: bootstrap first"
    )]
    NotEnoughLevels {
        /// The operation.
        op: &'static str,
        /// The least level it needs.
        needed: usize,
        /// The level found.
        found: usize,
    },
    /// Two operands have different scales.
    #[error(
        "{op}: operands have scales 2^{left:.6} and 2^{right:.6}\nhelp: bring both to one scale first"
    )]
    ScaleMismatch {
        /// The operation.
        op: &'static str,
        /// log2 of the first scale.
        left: f64,
        /// log2 of the second scale.
        right: f64,
    },
    /// A scale is not a positive, finite number that the modulus can hold.
    #[error(
        "{op}: a scale of 2^{log_scale:.1} does not fit; at most 2^{limit:.1} does at this level"
    )]
    ScaleRange {
        /// The operation.
        op: &'static str,
        /// log2 of the scale.
        log_scale: f64,
        /// log2 of the largest scale that fits.
        limit: f64,
    },
    /// Two operands are packed differently.
    #[error("{op}: operands hold 2^{left} and 2^{right} slots")]
    SlotsMismatch {
        /// The operation.
        op: &'static str,
        /// log2 of the first operand's slots.
        left: u32,
        /// log2 of the second operand's slots.
        right: u32,
    },
    /// A vector does not fit the slots.
    #[error("{op}: {found} values were given where {expected} are expected")]
    SlotCount {
        /// The operation.
        op: &'static str,
        /// Values given.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// A value cannot be encoded.
    #[error(
        "{op}: the value at index {index} is {value}, which is not finite or exceeds the modulus at this scale"
    )]
    ValueRange {
        /// The operation.
        op: &'static str,
        /// Where it stands.
        index: usize,
        /// The value.
        value: f64,
    },
    /// An operand has the wrong form, for instance a product that was not relinearised.
    #[error("{op}: {detail}")]
    Operand {
        /// The operation.
        op: &'static str,
        /// What is wrong and how to fix it.
        detail: String,
    },
    /// Objects of two different parameter sets met.
    #[error("{op}: the operands belong to different parameter sets")]
    ContextMismatch {
        /// The operation.
        op: &'static str,
    },
    /// Bytes do not hold what they should.
    #[error(
        "{what}: {detail}\nhelp: the file is damaged or belongs to another version or parameter set"
    )]
    Wire {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}
