//! The ordered list of passes.

use heddle_ir::ckks::Schedule;
use heddle_ir::nn::Model;
use heddle_ir::slot::SlotGraph;
use heddle_ir::verify;
use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::{Parameters, named};

use crate::analysis::ranges::{self, Ranges};
use crate::analysis::rotations;
use crate::approx::sign;
use crate::compile::{Convolution, Options, Ring};
use crate::error::Error;
use crate::pass::{Changed, PassLog};
use crate::passes::schedule::Machine;
use crate::passes::{
    fold_batch_norm, fuse_linear_maps, pack, place_bootstraps, remove_identity, schedule,
    select_keys,
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
    /// The packed graph.
    pub packed: SlotGraph,
    /// The schedule.
    pub schedule: Schedule,
    /// What every pass did.
    pub log: PassLog,
}

/// Runs every pass, each verified after it ran.
///
/// # Errors
/// As [`crate::compile::compile`].
pub fn run(model: Model, options: &Options) -> Result<Lowered, Error> {
    let (literal, bootstrap) = match options.convolution {
        Convolution::SingleLevel => (named::set_b_literal(), BootstrapParameters::default()),
        Convolution::MultiplexedParallel => (named::set_a_literal(), named::set_a_bootstrap()),
    };
    let parameters = match options.ring {
        Ring::Secure => Parameters::new(literal)?,
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

    let sign = sign::default_composite()?;
    let packed = pack::run(&model, &ranges, &sign, options.convolution, slots)?;
    verify::require("slot", &verify::slot::verify(&packed, &model.weights))?;
    log.slot(pack::NAME, Changed::Yes, &packed, pack::remarks(&packed));
    let (packed, changed) = fuse_linear_maps::run(packed);
    verify::require("slot", &verify::slot::verify(&packed, &model.weights))?;
    log.slot(fuse_linear_maps::NAME, changed, &packed, Vec::new());
    let steps = rotations::steps(&packed, &model.weights, slots)?;
    let placement = place_bootstraps::run(&packed, &steps, &parameters, &bootstrap)?;
    log.slot(
        place_bootstraps::NAME,
        Changed::No,
        &packed,
        placement.remarks(),
    );

    let machine = Machine {
        parameters: &parameters,
        bootstrap: &bootstrap,
        variant: options.variant,
    };
    let mut schedule = schedule::run(&packed, &steps, &placement, &model.weights, machine)?;
    log.ckks(schedule::NAME, &schedule, Vec::new());
    select_keys::run(&mut schedule, &parameters, &bootstrap)?;
    let machine = verify::ckks::Machine {
        parameters: &parameters,
        bootstrap: &bootstrap,
    };
    let violations = verify::ckks::verify(&schedule, machine, Some(&model.weights));
    verify::require("ckks", &violations)?;
    let violations = verify::ckks::verify_diagonals(&schedule, &model.weights);
    verify::require("ckks", &violations)?;
    log.ckks(
        select_keys::NAME,
        &schedule,
        vec![format!("{} keys", schedule.keys.len())],
    );

    Ok(Lowered {
        parameters,
        bootstrap,
        model,
        ranges,
        packed,
        schedule,
        log,
    })
}
