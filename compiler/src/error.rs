//! The crate's error type.

use heddle_ir::printable;

/// Why a model does not compile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A graph is invalid, or a weight or shape does not fit its use.
    #[error(transparent)]
    Ir(#[from] heddle_ir::Error),
    /// The parameters are unsound or too weak.
    #[error(transparent)]
    Parameters(#[from] heddle_params::Error),
    /// The parameter set that the options call for is below 128 bits, and nobody acknowledged that.
    #[error(
        "the parameter set that these convolutions are made for gives {bits:.1} bits of security; 128 are needed\n\
         help: choose other convolutions; to study this one as it is, acknowledge an insecure ring with \
         `--insecure-log-n 16`"
    )]
    InsecureSet {
        /// Estimated classical bits.
        bits: f64,
    },
    /// No polynomial fits what was asked for.
    #[error("no approximation: {0}")]
    Approximation(String),
    /// A row of a feature map has more elements than a ciphertext has slots.
    #[error(
        "a row of `{node}` does not fit a ciphertext: the network's largest maps have {extents} elements a \
         channel, and a ciphertext has {slots} slots\n\
         help: export the network for smaller images; a row of a map may have {slots} elements"
    )]
    TooLarge {
        /// The node's name.
        node: String,
        /// Height and width of the largest maps.
        extents: String,
        /// The slots that there are.
        slots: usize,
    },
    /// An operation on a map of several ciphertexts cannot be had piece by piece.
    #[error(
        "`{node}` makes or takes a map of several ciphertexts ({shape} of {slots} slots each), which this \
         operation does not support\n\
         help: export the network for smaller images, or with fewer channels at this point"
    )]
    Unsplit {
        /// The node's name.
        node: String,
        /// The type of its result.
        shape: String,
        /// The slots of a ciphertext.
        slots: usize,
    },
    /// An operation consumes more levels than lie between two bootstraps.
    #[error(
        "`{node}` consumes {depth} levels, but only {levels} lie between two bootstraps\n\
         help: use a parameter set with more levels"
    )]
    TooDeep {
        /// The node's name.
        node: String,
        /// Levels that it consumes.
        depth: usize,
        /// Levels that a bootstrap gives.
        levels: usize,
    },
    /// A calibration image gives a function an operand that it is not defined on.
    #[error(
        "`{node}` is {function}, whose operand must stay above {pole}; a sample image gives {least}\n\
         help: check the preprocessing and the images, or train the network with a larger constant \
         in front of this function"
    )]
    Pole {
        /// The node's name.
        node: String,
        /// The function.
        function: String,
        /// What its operand must stay above.
        pole: f64,
        /// The least operand that the images show.
        least: f64,
    },
    /// An activation has no useful polynomials on its range.
    #[error(
        "`{node}` is {function} on ±{bound:.4}: {reason}\n\
         help: give a range with `--range {node}=B` that is closer to what images reach, or calibrate \
         with other images"
    )]
    Activation {
        /// The node's name.
        node: String,
        /// The function.
        function: String,
        /// The bound of its operand.
        bound: f64,
        /// Why there are none.
        reason: String,
    },
    /// Neither samples, nor batch-norm statistics, nor the user tell the range of an activation.
    #[error(
        "the range of `{node}` is unknown: there are no sample images, and no batch normalisation in \
         front of it tells its statistics\n\
         help: give sample images with `--calibrate IMAGES`, or a bound for every such activation with \
         `--range PATTERN=B`; affected: {affected}"
    )]
    UnknownRange {
        /// The first activation without a range.
        node: String,
        /// The names of all of them.
        affected: String,
    },
    /// `--range` is not of the form `PATTERN=B`.
    #[error(
        "`{}` is not a range: {reason}\n\
         help: write `--range PATTERN=B`, for instance `--range 'layer1.*=12.5'`",
        printable::line(text)
    )]
    RangeSyntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `--range` names no activation.
    #[error(
        "`--range {}={bound}` matches neither an activation nor the input\n\
         help: the names are: {names}",
        printable::line(pattern)
    )]
    RangeUnmatched {
        /// The pattern.
        pattern: String,
        /// Its bound.
        bound: f64,
        /// The names that could be matched.
        names: String,
    },
    /// `--range` is below what the samples show.
    #[error(
        "the range {bound} for `{node}` is too small: the sample images reach {observed:.4}\n\
         help: give at least {observed:.4}, better {margin} times as much, or leave the range out"
    )]
    RangeTooSmall {
        /// The activation's name.
        node: String,
        /// The bound that was given.
        bound: f64,
        /// The largest |value| that the samples show.
        observed: f64,
        /// How many times as much a range should be.
        margin: f64,
    },
    /// The margin of ranges makes no sense.
    #[error(
        "a margin of {margin} is not a number from 1 to 1000\n\
         help: give `--margin 2`, the default, or a little more or less"
    )]
    Margin {
        /// What was given.
        margin: f64,
    },
    /// A sample image leads to an infinite value or a NaN.
    #[error(
        "sample image {image} makes `{node}` infinite or not a number\n\
         help: check the preprocessing and the image"
    )]
    NotFinite {
        /// Index of the image among the samples.
        image: usize,
        /// The node's name.
        node: String,
    },
    /// A batch normalisation divides by the root of something that is not positive.
    #[error(
        "batch normalisation `{node}`: variance + epsilon is {value} in channel {channel}; it must be \
         positive and finite\n\
         help: export the model again from its trained weights"
    )]
    BatchNorm {
        /// The node's name.
        node: String,
        /// The first such channel.
        channel: usize,
        /// The value found.
        value: f64,
    },
}
