//! Compiling a model: options in, plan out.

use heddle_ir::nn::Model;
use heddle_ir::plan::{InputPacking, InputPiece, Plan};
use heddle_ir::slot::{Op, SlotGraph};

use crate::analysis::prediction::Prediction;
use crate::error::Error;
use crate::observer::Observer;
use crate::options::Options;
use crate::pass::PassLog;
use crate::passes::approximate_activations;
use crate::pipeline;

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// The plan.
    pub plan: Plan,
    /// The tensor graph after its last pass.
    pub model: Model,
    /// The packed graph after its last pass.
    pub packed: SlotGraph,
    /// How long an inference takes.
    pub prediction: Prediction,
    /// What every pass did.
    pub log: PassLog,
}

/// Compiles an imported model. The same model and options give the byte-identical plan, whatever
/// the observer does.
///
/// # Errors
/// If the model does not pass its verifier, the range of an activation cannot be told, a
/// calibration image has another size or gives a value that is not finite, a feature map does not
/// fit a ciphertext, an operation is deeper than the levels between two bootstraps, or the options
/// call for parameters below 128 bits.
pub fn compile(
    model: Model,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Compilation, Error> {
    let lowered = pipeline::run(model, options, observer)?;
    let pipeline::Lowered {
        parameters,
        bootstrap,
        model,
        ranges,
        approximations,
        packed,
        schedule,
        prediction,
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
        input: input_packing(&model, &packed, ranges.input()),
        output: packed.ty(packed.outputs()[0]).clone(),
        output_kind: options.output_kind,
        input_order: model.input_order,
        preprocess: options.preprocess.clone(),
        labels: options.labels.clone(),
        notes: notes
            .iter()
            .chain(&short)
            .map(ToString::to_string)
            .collect(),
        ranges: approximate_activations::records(&ranges, &approximations),
    };
    // Names come from the model's file, labels from the user's.
    plan.make_printable();
    Ok(Compilation {
        plan,
        model,
        packed,
        prediction,
        log,
    })
}

/// Where the image's elements lie: the regions of the tensor graph's inputs with the layouts of the
/// packed graph's, which come in the same order.
fn input_packing(model: &Model, packed: &SlotGraph, range: f64) -> InputPacking {
    let inputs = packed.select(|op| matches!(op, Op::Input));
    let pieces = model.input_regions.iter().zip(inputs);
    InputPacking {
        shape: model.image_shape(),
        range,
        pieces: pieces
            .map(|(region, input)| InputPiece {
                region: region.clone(),
                layout: packed.ty(input).layout,
            })
            .collect(),
    }
}
