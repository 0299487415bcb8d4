//! Notes: what import and compiler have to say to the user, one sentence each.

use std::fmt;

use crate::nn::Activation;
use crate::printable;

/// What an importer or a pass wants the user to know. It displays as a sentence.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// The model's operator set is newer than the newest that is known.
    NewOperatorSet {
        /// The model's version.
        version: i64,
        /// The version that it is read as.
        read_as: i64,
    },
    /// The input's batch was dynamic.
    BatchFixed {
        /// The input's name.
        input: String,
    },
    /// The input's elements are integers in the model.
    IntegerInput {
        /// The input's name.
        input: String,
    },
    /// What comes behind the logits is left out.
    FinalCut {
        /// The operator: a softmax or the like.
        op: String,
        /// The node's name.
        node: String,
    },
    /// What comes behind the logits in the model is evaluated under encryption.
    FinalReplaced {
        /// The operator: a softmax or the like.
        op: String,
        /// The node's name.
        node: String,
    },
    /// Results are probabilities.
    Probabilities {
        /// log2 of the largest error that the approximation of softmax makes.
        error_log2: f64,
    },
    /// Ranges were calibrated with few images.
    FewImages {
        /// How many there were.
        images: usize,
        /// How many there should be at least.
        least: usize,
    },
    /// Ranges come from batch-norm statistics.
    EstimatedRanges {
        /// How many of them.
        ranges: usize,
    },
    /// The range of the logits is the worst case for the ranges in front.
    WorstCaseRange {
        /// The node's name.
        node: String,
        /// The range.
        bound: f64,
    },
    /// The calibration images leave little margin below a range.
    LittleMargin {
        /// The node's name.
        node: String,
        /// The range.
        bound: f64,
        /// The fraction of it that the images use.
        used: f64,
    },
    /// An activation's operand is close to 0 on all calibration images.
    NearlyDead {
        /// The node's name.
        node: String,
        /// The range that it was given.
        bound: f64,
    },
    /// An activation's polynomial is less precise than those of others.
    Imprecise {
        /// The node's name.
        node: String,
        /// The function.
        function: Activation,
        /// The range of its operand.
        bound: f64,
        /// `−log2` of the largest error, in units of the result's bound.
        bits: f64,
    },
    /// An activation jumps, which polynomials do not.
    Jump {
        /// The node's name.
        node: String,
        /// The function.
        function: Activation,
        /// The distance from a jump within which a result lies between the two.
        width: f64,
    },
    /// A sentence whose meaning is not known: one read back from a text.
    Sentence(String),
}

impl Note {
    /// Escapes every name in it that a terminal would not show as one line.
    pub fn make_printable(&mut self) {
        match self {
            Self::BatchFixed { input: text }
            | Self::IntegerInput { input: text }
            | Self::Sentence(text) => printable::make_line(text),
            Self::FinalCut { op, node } | Self::FinalReplaced { op, node } => {
                printable::make_line(op);
                printable::make_line(node);
            }
            Self::WorstCaseRange { node, .. }
            | Self::LittleMargin { node, .. }
            | Self::NearlyDead { node, .. }
            | Self::Imprecise { node, .. }
            | Self::Jump { node, .. } => printable::make_line(node),
            Self::NewOperatorSet { .. }
            | Self::Probabilities { .. }
            | Self::FewImages { .. }
            | Self::EstimatedRanges { .. } => {}
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewOperatorSet { version, read_as } => write!(
                f,
                "operator set {version} is newer than {read_as}, and is read as {read_as}"
            ),
            Self::BatchFixed { input } => write!(f, "the batch of input `{input}` is fixed to 1"),
            Self::IntegerInput { input } => write!(
                f,
                "input `{input}` holds integers in the model; the plan takes the same numbers as \
                 floats"
            ),
            Self::FinalCut { op, node } => {
                write!(f, "the final {op} `{node}` is cut off: results are logits")
            }
            Self::FinalReplaced { op, node } => write!(
                f,
                "the final {op} `{node}` is replaced by softmax under encryption"
            ),
            Self::Probabilities { error_log2 } => write!(
                f,
                "results are probabilities; the approximation of softmax is off by at most \
                 2^{error_log2:.1}"
            ),
            Self::FewImages { images, least } => write!(
                f,
                "ranges come from {images} sample images only; calibrate with at least {least}, \
                 better 1,000, so that no image overflows"
            ),
            Self::EstimatedRanges { ranges } => write!(
                f,
                "{ranges} ranges are estimates from batch-norm statistics; `--calibrate IMAGES` \
                 makes them tighter and the result more precise"
            ),
            Self::WorstCaseRange { node, bound } => write!(
                f,
                "the range of the logits, {bound:.1}, is the worst case for the given ranges; \
                 `--range {node}=B` makes the result more precise"
            ),
            Self::LittleMargin { node, bound, used } => write!(
                f,
                "the samples use {:.0} % of the range of `{node}`, {bound:.4}: other images may \
                 overflow it; `--range {node}=B` widens it",
                100.0 * used
            ),
            Self::NearlyDead { node, bound } => {
                write!(f, "`{node}` is nearly dead; its range is set to {bound:.4}")
            }
            Self::Imprecise {
                node,
                function,
                bound,
                bits,
            } => write!(
                f,
                "`{node}` is {function} on ±{bound:.1}, which no polynomial of a feasible degree \
                 follows: it is precise to {bits:.1} bits only"
            ),
            Self::Jump {
                node,
                function,
                width,
            } => write!(
                f,
                "`{node}` is {function}, which jumps; operands closer than {width:.4} to a jump get a \
                 result between both sides"
            ),
            Self::Sentence(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plans store these sentences: a change of one changes the bytes of plans.
    #[test]
    fn every_note_is_the_sentence_that_plans_store() {
        let node = || "layer1/relu".to_owned();
        let op = || "Softmax".to_owned();
        let cases = [
            (
                Note::NewOperatorSet {
                    version: 30,
                    read_as: 24,
                },
                "operator set 30 is newer than 24, and is read as 24",
            ),
            (
                Note::BatchFixed { input: "x".into() },
                "the batch of input `x` is fixed to 1",
            ),
            (
                Note::IntegerInput { input: "x".into() },
                "input `x` holds integers in the model; the plan takes the same numbers as floats",
            ),
            (
                Note::FinalCut {
                    op: op(),
                    node: node(),
                },
                "the final Softmax `layer1/relu` is cut off: results are logits",
            ),
            (
                Note::FinalReplaced {
                    op: op(),
                    node: node(),
                },
                "the final Softmax `layer1/relu` is replaced by softmax under encryption",
            ),
            (
                Note::Probabilities { error_log2: -11.26 },
                "results are probabilities; the approximation of softmax is off by at most 2^-11.3",
            ),
            (
                Note::FewImages {
                    images: 7,
                    least: 100,
                },
                "ranges come from 7 sample images only; calibrate with at least 100, better 1,000, \
                 so that no image overflows",
            ),
            (
                Note::EstimatedRanges { ranges: 19 },
                "19 ranges are estimates from batch-norm statistics; `--calibrate IMAGES` makes them \
                 tighter and the result more precise",
            ),
            (
                Note::WorstCaseRange {
                    node: node(),
                    bound: 12.34,
                },
                "the range of the logits, 12.3, is the worst case for the given ranges; \
                 `--range layer1/relu=B` makes the result more precise",
            ),
            (
                Note::LittleMargin {
                    node: node(),
                    bound: 2.5,
                    used: 0.914,
                },
                "the samples use 91 % of the range of `layer1/relu`, 2.5000: other images may \
                 overflow it; `--range layer1/relu=B` widens it",
            ),
            (
                Note::NearlyDead {
                    node: node(),
                    bound: 0.0625,
                },
                "`layer1/relu` is nearly dead; its range is set to 0.0625",
            ),
            (
                Note::Imprecise {
                    node: node(),
                    function: Activation::Tanh,
                    bound: 40.0,
                    bits: 6.24,
                },
                "`layer1/relu` is tanh on ±40.0, which no polynomial of a feasible degree follows: \
                 it is precise to 6.2 bits only",
            ),
            (
                Note::Jump {
                    node: node(),
                    function: Activation::ThresholdedRelu { threshold: 1.0 },
                    width: 0.012_34,
                },
                "`layer1/relu` is thresholded_relu(1), which jumps; operands closer than 0.0123 to a \
                 jump get a result between both sides",
            ),
            (Note::Sentence("as it is".into()), "as it is"),
        ];
        for (note, sentence) in cases {
            assert_eq!(note.to_string(), sentence);
        }
    }

    /// Escaping the names escapes the sentence.
    #[test]
    fn a_printable_note_is_one_line() {
        let hostile = || "a\x1b[2J\nb".to_owned();
        let notes = [
            Note::BatchFixed { input: hostile() },
            Note::IntegerInput { input: hostile() },
            Note::FinalCut {
                op: hostile(),
                node: hostile(),
            },
            Note::FinalReplaced {
                op: hostile(),
                node: hostile(),
            },
            Note::WorstCaseRange {
                node: hostile(),
                bound: 1.0,
            },
            Note::LittleMargin {
                node: hostile(),
                bound: 1.0,
                used: 0.9,
            },
            Note::NearlyDead {
                node: hostile(),
                bound: 1.0,
            },
            Note::Imprecise {
                node: hostile(),
                function: Activation::Tanh,
                bound: 1.0,
                bits: 1.0,
            },
            Note::Jump {
                node: hostile(),
                function: Activation::ThresholdedRelu { threshold: 1.0 },
                width: 0.5,
            },
            Note::Sentence(hostile()),
        ];
        for mut note in notes {
            let sentence = printable::line(&note.to_string()).into_owned();
            note.make_printable();
            assert_eq!(note.to_string(), sentence);
        }
    }
}
