//! Compiling a model: options in, plan out.

use heddle_ir::ValueId;
use heddle_ir::nn::Model;
use heddle_ir::plan::{Outcome, Plan};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::slot::SlotGraph;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::eval_mod::EvalMod;

use crate::analysis::ranges::RangeOverride;
use crate::approx::sign::ReluPrecision;
use crate::error::Error;
use crate::pass::{Explain, PassLog};
use crate::passes::approximate_activations;
use crate::pipeline;

/// The ring that a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// N = 2^16 at 128-bit security: set B, or set A where convolutions take two levels. There is none for SISO
    /// convolutions.
    Secure,
    /// The same chain of primes over another ring, smaller for tests: without security. Of degree 2^16 for the set of
    /// SISO convolutions as it is.
    Insecure {
        /// log2 of the ring's degree.
        log_n: u32,
    },
}

/// How convolutions are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Convolution {
    /// One sparse matrix by its diagonals, shortcut and join included: one level.
    #[default]
    SingleLevel,
    /// The algorithm of Lee et al., ICML 2022, under parameter set A: two levels. A convolution
    /// that it cannot express (strides that differ between the axes, or that the grid has no room
    /// for) is evaluated at a single level.
    MultiplexedParallel,
    /// One channel a ciphertext, as in Lee et al., arXiv 2106.07229, under that paper's parameters, set S, which are not
    /// secure: [`Ring::Secure`] refuses them. One level. What is no convolution (pools that are no sums over the whole
    /// map, matrix products) is evaluated at a single level too, by its diagonals.
    Siso,
}

/// What a model is compiled with.
#[derive(Clone, Debug)]
pub struct Options {
    /// From pixels to the model's input.
    pub preprocess: Preprocess,
    /// Preprocessed images to calibrate ranges with, row-major `C, H, W`; may be empty.
    pub samples: Vec<Vec<f32>>,
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
    pub outcome: Outcome,
    /// Whether the text after every pass is kept.
    pub explain: Explain,
}

impl Options {
    /// The defaults: no samples, ranges or labels given, 128-bit security, real messages, logits.
    pub fn new(preprocess: Preprocess) -> Self {
        Self {
            preprocess,
            samples: Vec::new(),
            range_overrides: Vec::new(),
            labels: Vec::new(),
            ring: Ring::Secure,
            convolution: Convolution::default(),
            variant: BootstrapVariant::Real,
            relu: ReluPrecision::default(),
            eval_mod: EvalMod::Cosine,
            outcome: Outcome::Logits,
            explain: Explain::default(),
        }
    }
}

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// The plan.
    pub plan: Plan,
    /// The tensor graph after its last pass.
    pub model: Model,
    /// The packed graph after its last pass.
    pub packed: SlotGraph,
    /// What every pass did.
    pub log: PassLog,
}

/// Compiles an imported model.
///
/// # Errors
/// If a range cannot be told, a feature map does not fit a ciphertext, or an operation is deeper
/// than the levels between two bootstraps.
pub fn compile(model: Model, options: &Options) -> Result<Compilation, Error> {
    let lowered = pipeline::run(model, options)?;
    let pipeline::Lowered {
        parameters,
        bootstrap,
        model,
        ranges,
        approximations,
        packed,
        schedule,
        notes,
        log,
    } = lowered;
    let short = approximate_activations::notes(&ranges, &approximations);
    let mut plan = Plan {
        name: model.name.clone(),
        model_digest: model.digest,
        parameters: parameters.literal().clone(),
        insecure: parameters.is_insecure(),
        bootstrap,
        schedule,
        weights: model.weights.clone(),
        input: packed.ty(ValueId(0)).clone(),
        output: packed.ty(packed.outputs()[0]).clone(),
        outcome: options.outcome,
        input_order: model.input_order,
        preprocess: options.preprocess.clone(),
        labels: options.labels.clone(),
        notes: notes.into_iter().chain(short).collect(),
        ranges: approximate_activations::records(&ranges, &approximations),
    };
    // Names come from the model's file, labels from the user's.
    plan.make_printable();
    Ok(Compilation {
        plan,
        model,
        packed,
        log,
    })
}
