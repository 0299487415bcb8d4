//! The ordered list of passes.

use heddle_ir::ckks::Schedule;
use heddle_ir::nn::{ActivationMap, Model};
use heddle_ir::plan::Outcome;
use heddle_ir::slot::SlotGraph;
use heddle_ir::verify;
use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::{Parameters, named};

use crate::analysis::cost::CostModel;
use crate::analysis::ranges::{self, Ranges};
use crate::approx::activation::Approximation;
use crate::compile::{Convolution, Options, Ring};
use crate::error::Error;
use crate::pass::{Changed, PassLog};
use crate::passes::schedule::Target;
use crate::passes::split_channels::Splitting;
use crate::passes::{
    append_softmax, approximate_activations, fold_batch_norm, fold_padding, fuse_linear_maps,
    lower_max_pool, lower_siso, pack, place_bootstraps, remove_identity, schedule, share_sums,
    split_channels,
};

/// What comes out of the last pass, with the last graph of every stage.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The parameters chosen.
    pub parameters: Parameters,
    /// How ciphertexts are refreshed.
    pub bootstrap: BootstrapParameters,
    /// The tensor graph.
    pub model: Model,
    /// The calibrated ranges.
    pub ranges: Ranges,
    /// The activations as polynomials.
    pub approximations: ActivationMap<Approximation>,
    /// The packed graph.
    pub packed: SlotGraph,
    /// The schedule.
    pub schedule: Schedule,
    /// What import and passes have to say to the user, one sentence each.
    pub notes: Vec<String>,
    /// What every pass did.
    pub log: PassLog,
}

/// Runs every pass, each verified after it ran.
///
/// # Errors
/// As [`crate::compile::compile`].
pub fn run(model: Model, options: &Options) -> Result<Lowered, Error> {
    let by_default = BootstrapParameters::with_eval_mod(options.eval_mod);
    let depth = by_default.eval_mod_depth();
    let (literal, bootstrap) = match options.convolution {
        Convolution::SingleLevel => (named::set_b_literal_with(depth), by_default),
        Convolution::MultiplexedParallel => (
            named::set_a_literal_with(depth),
            named::set_a_bootstrap_with(options.eval_mod),
        ),
        Convolution::Siso => {
            let bootstrap = named::set_s_bootstrap_with(options.eval_mod);
            (
                named::set_s_literal_with(bootstrap.eval_mod_depth()),
                bootstrap,
            )
        }
    };
    let parameters = match options.ring {
        Ring::Secure => Parameters::new(literal).map_err(|error| match error {
            heddle_params::Error::Insecure { bits, .. } => Error::InsecureSet { bits },
            error => error.into(),
        })?,
        Ring::Insecure { log_n } => named::over_small_ring(literal, log_n)?,
    };
    bootstrap.check(&parameters)?;
    let slots = parameters.n() / 2;
    let mut log = PassLog::new(options.explain);

    verify::require("nn", &verify::nn::verify(&model))?;
    log.nn("import", Changed::Yes, &model);
    let (model, changed) = remove_identity::run(model)?;
    verify::require("nn", &verify::nn::verify(&model))?;
    log.nn(remove_identity::NAME, changed, &model);
    let (model, changed) = fold_padding::run(model)?;
    verify::require("nn", &verify::nn::verify(&model))?;
    log.nn(fold_padding::NAME, changed, &model);
    let (model, changed) = lower_max_pool::run(model)?;
    verify::require("nn", &verify::nn::verify(&model))?;
    log.nn(lower_max_pool::NAME, changed, &model);
    let mut model = match options.outcome {
        Outcome::Logits => model,
        Outcome::Probabilities => append_softmax::centred(model),
    };
    verify::require("nn", &verify::nn::verify(&model))?;
    model.number_activations();
    let ranges = ranges::calibrate(
        &model,
        &options.samples,
        &options.range_overrides,
        options.preprocess.bound(),
    )?;
    log.nn(ranges::NAME, Changed::No, &model);
    let (model, changed) = fold_batch_norm::run(model)?;
    verify::require("nn", &verify::nn::verify(&model))?;
    log.nn(fold_batch_norm::NAME, changed, &model);

    let sign = options.relu.stages()?;
    let approximations = approximate_activations::run(&model, &ranges, &sign);
    log.nn(approximate_activations::NAME, Changed::No, &model);
    let (splitting, max_terms) = match options.convolution {
        Convolution::SingleLevel | Convolution::MultiplexedParallel => {
            (Splitting::WhereNeeded, fuse_linear_maps::MAX_TERMS)
        }
        Convolution::Siso => (Splitting::EveryChannel, fuse_linear_maps::MAX_SISO_TERMS),
    };
    let (mut model, changed) = split_channels::run(model, splitting, slots);
    verify::require("nn", &verify::nn::verify(&model))?;
    log.nn(split_channels::NAME, changed, &model);

    let packed = pack::run(&model, &ranges, &approximations, options.convolution, slots)?;
    verify::require("slot", &verify::slot::verify(&packed, &model.weights))?;
    log.slot(pack::NAME, Changed::Yes, &packed, pack::remarks(&packed));
    let mut notes: Vec<String> = model.notes.iter().chain(ranges.notes()).cloned().collect();
    let packed = match options.outcome {
        Outcome::Logits => packed,
        Outcome::Probabilities => {
            let (packed, softmax) = append_softmax::run(packed, &mut model.weights);
            verify::require("slot", &verify::slot::verify(&packed, &model.weights))?;
            log.slot(
                append_softmax::NAME,
                Changed::Yes,
                &packed,
                softmax.remarks(),
            );
            append_softmax::note(&softmax, &mut notes);
            packed
        }
    };
    let (packed, changed) = fuse_linear_maps::run(packed, max_terms);
    verify::require("slot", &verify::slot::verify(&packed, &model.weights))?;
    log.slot(fuse_linear_maps::NAME, changed, &packed, Vec::new());
    let packed = match options.convolution {
        Convolution::SingleLevel | Convolution::MultiplexedParallel => packed,
        Convolution::Siso => {
            let (packed, changed) = lower_siso::run(packed);
            verify::require("slot", &verify::slot::verify(&packed, &model.weights))?;
            let remarks = lower_siso::remarks(&packed);
            log.slot(lower_siso::NAME, changed, &packed, remarks);
            packed
        }
    };
    let cost = CostModel::new(&parameters, &bootstrap);
    // Linear maps run where an activation has used up its levels, one above what bootstraps take.
    let level = bootstrap.input_level() + 1;
    let shared = share_sums::run(packed, &model.weights, cost, level, slots)?;
    let (packed, rotations) = (shared.graph, shared.rotations);
    verify::require("slot", &verify::slot::verify(&packed, &model.weights))?;
    log.slot(
        share_sums::NAME,
        shared.changed,
        &packed,
        share_sums::remarks(&packed),
    );
    let placement = place_bootstraps::run(&packed, &rotations, &parameters, &bootstrap)?;
    log.slot(
        place_bootstraps::NAME,
        Changed::No,
        &packed,
        placement.remarks(),
    );

    let target = Target {
        parameters: &parameters,
        bootstrap: &bootstrap,
        variant: options.variant,
    };
    let schedule = schedule::run(&packed, &rotations, &placement, &model.weights, target)?;
    log.ckks(schedule::NAME, &schedule, Vec::new());
    let machine = verify::ckks::Machine {
        parameters: &parameters,
        bootstrap: &bootstrap,
    };
    let violations = verify::ckks::verify(&schedule, machine, Some(&model.weights));
    verify::require("ckks", &violations)?;
    let violations = verify::ckks::verify_diagonals(&schedule, &model.weights);
    verify::require("ckks", &violations)?;
    let keys = schedule.required_keys(&parameters, &bootstrap)?;
    log.ckks(
        "select-keys",
        &schedule,
        vec![format!("{} keys", keys.len())],
    );

    Ok(Lowered {
        parameters,
        bootstrap,
        model,
        ranges,
        approximations,
        packed,
        schedule,
        notes,
        log,
    })
}
