//! What a model is compiled with.

use heddle_ir::plan::OutputKind;
use heddle_ir::preprocess::Preprocess;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::eval_mod::EvalMod;

use crate::analysis::ranges::{IMAGE_MARGIN, InputBound, Policy, RangeOverride};
use crate::approx::sign::ReluPrecision;
use crate::pass::Explain;

/// The ring that a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// N = 2^16 at 128-bit security: the set `N16_QP1714_DENSE`, or `N16_QP1684_DENSE` where
    /// convolutions take two levels. There is none for SISO convolutions.
    Secure,
    /// The same chain of primes over another ring, smaller for tests: without security. At degree
    /// 2^16 the set of SISO convolutions is used as it is.
    Insecure {
        /// log2 of the ring's degree.
        log_n: u32,
    },
}

/// What images are, which decides the range of the model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ImageKind {
    /// Pixels: the preprocessing bounds the input exactly, unless a sample exceeds that.
    #[default]
    Pixels,
    /// Tensors of any numbers: the input's range has the margin of all ranges over the samples.
    Tensors,
}

/// How convolutions are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Convolution {
    /// One sparse matrix by its diagonals, shortcut and join included: one level.
    #[default]
    SingleLevel,
    /// The algorithm of Lee et al., ICML 2022, under the parameter set `N16_QP1684_DENSE`: two
    /// levels. A convolution that it cannot express (strides that differ between the axes, or a
    /// feature map that does not fit the grid) is evaluated at a single level.
    MultiplexedParallel,
    /// One channel per ciphertext, as in Lee et al., arXiv 2106.07229, under that paper's
    /// parameters, `N16_QP1750_SPARSE64`, which are not secure: [`Ring::Secure`] refuses them. One
    /// level. All other linear layers (matrix products, pools that are no sums over the whole map)
    /// are evaluated at a single level too, by their diagonals.
    Siso,
}

/// What a model is compiled with.
#[derive(Clone, Debug)]
pub struct Options {
    /// From pixels to the model's input.
    pub preprocess: Preprocess,
    /// Preprocessed images to calibrate ranges with, row-major `C, H, W`; may be empty.
    pub samples: Vec<Vec<f32>>,
    /// What the images are.
    pub images: ImageKind,
    /// Ranges are this factor times the largest |value| among the samples, from 1 to 1000.
    pub margin: f64,
    /// Ranges given by hand.
    pub range_overrides: Vec<RangeOverride>,
    /// Class names in the order of the logits; may be empty.
    pub labels: Vec<String>,
    /// The ring.
    pub ring: Ring,
    /// How convolutions are evaluated.
    pub convolution: Convolution,
    /// Whether bootstraps remove the imaginary part.
    pub variant: BootstrapVariant,
    /// How precisely ReLU and other piecewise functions are evaluated.
    pub relu: ReluPrecision,
    /// How bootstraps remove multiples of the lowest modulus.
    pub eval_mod: EvalMod,
    /// What the plan ends in.
    pub output_kind: OutputKind,
    /// Whether the text after every pass is kept.
    pub explain: Explain,
}

impl Options {
    /// The defaults: no samples, ranges or labels given, images of pixels, the margin
    /// [`IMAGE_MARGIN`], 128-bit security, real messages, logits.
    pub fn new(preprocess: Preprocess) -> Self {
        Self {
            preprocess,
            samples: Vec::new(),
            images: ImageKind::default(),
            margin: IMAGE_MARGIN,
            range_overrides: Vec::new(),
            labels: Vec::new(),
            ring: Ring::Secure,
            convolution: Convolution::default(),
            variant: BootstrapVariant::Real,
            relu: ReluPrecision::default(),
            eval_mod: EvalMod::Cosine,
            output_kind: OutputKind::Logits,
            explain: Explain::default(),
        }
    }

    /// How ranges follow from the samples.
    pub(crate) fn range_policy(&self) -> Policy {
        let bound = self.preprocess.bound();
        Policy {
            margin: self.margin,
            input: match self.images {
                ImageKind::Pixels => InputBound::Pixels(bound),
                ImageKind::Tensors => InputBound::Tensors(bound),
            },
        }
    }
}
