//! The ordered list of passes.

use heddle_ir::Note;
use heddle_ir::ckks::{Schedule, Target};
use heddle_ir::nn::{ActivationMap, Model};
use heddle_ir::plan::OutputKind;
use heddle_ir::slot::SlotGraph;
use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

use crate::analysis::cost::CostModel;
use crate::analysis::grid::Grid;
use crate::analysis::prediction::Prediction;
use crate::analysis::ranges::{self, Ranges};
use crate::approx::activation::Approximation;
use crate::error::Error;
use crate::observer::Observer;
use crate::options::{Convolution, Options};
use crate::parameters;
use crate::pass::{Changed, PassLog};
use crate::passes::share_sums::Transforms;
use crate::passes::split_channels::Splitting;
use crate::passes::{
    add_checkpoints, append_softmax, approximate_activations, centre_operands, fold_batch_norm,
    fold_padding, fuse_linear_maps, lower_max_pool, lower_siso, pack, place_bootstraps,
    remove_identity, schedule, share_sums, split_channels,
};
use crate::stage::{Packed, Scheduled, Verified};

/// What comes out of the last pass, with the last graph of every stage.
pub(crate) struct Lowered {
    /// The parameters chosen.
    pub(crate) parameters: Parameters,
    /// How ciphertexts are refreshed.
    pub(crate) bootstrap: BootstrapParameters,
    /// The tensor graph.
    pub(crate) model: Model,
    /// The calibrated ranges.
    pub(crate) ranges: Ranges,
    /// The activations as polynomials.
    pub(crate) approximations: ActivationMap<Approximation>,
    /// The packed graph.
    pub(crate) packed: SlotGraph,
    /// The schedule.
    pub(crate) schedule: Schedule,
    /// How long an inference takes.
    pub(crate) prediction: Prediction,
    /// What import and passes have to say to the user.
    pub(crate) notes: Vec<Note>,
    /// What every pass did.
    pub(crate) log: PassLog,
}

/// What was found out about the activations of the tensor graph.
struct Activations {
    /// The grid of all maps.
    grid: Grid,
    /// The calibrated ranges.
    ranges: Ranges,
    /// The polynomials.
    approximations: ActivationMap<Approximation>,
}

/// Runs every pass, each verified after it ran.
pub(crate) fn run(
    model: Model,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Lowered, Error> {
    let (parameters, bootstrap) = parameters::choose(options)?;
    let pipeline = Pipeline {
        options,
        slots: parameters.n() / 2,
        parameters: &parameters,
        bootstrap: &bootstrap,
    };
    let tensors = Verified::begin("import", model, options.explain, observer)?;
    let (tensors, activations) = pipeline.on_tensors(tensors, observer)?;
    let (packed, transforms, notes) = pipeline.on_slots(tensors, &activations)?;
    let (scheduled, log) = pipeline.on_schedule(packed, transforms)?.finish();
    Ok(Lowered {
        model: scheduled.packed.model,
        ranges: activations.ranges,
        approximations: activations.approximations,
        packed: scheduled.packed.graph,
        schedule: scheduled.schedule,
        prediction: scheduled.prediction,
        notes,
        log,
        parameters,
        bootstrap,
    })
}

/// The choices that passes depend on.
struct Pipeline<'a> {
    options: &'a Options,
    parameters: &'a Parameters,
    bootstrap: &'a BootstrapParameters,
    slots: usize,
}

impl Pipeline<'_> {
    fn is_siso(&self) -> bool {
        self.options.convolution == Convolution::Siso
    }

    fn with_softmax(&self) -> bool {
        self.options.output_kind == OutputKind::Probabilities
    }

    /// The passes of the tensor graph.
    fn on_tensors<'a>(
        &self,
        tensors: Verified<'a, Model>,
        observer: &dyn Observer,
    ) -> Result<(Verified<'a, Model>, Activations), Error> {
        let options = self.options;
        let splitting = match self.is_siso() {
            true => Splitting::EveryChannel,
            false => Splitting::WhereNeeded,
        };
        let mut tensors = tensors
            .pass(remove_identity::NAME, remove_identity::run)?
            .pass(fold_padding::NAME, fold_padding::run)?
            .pass(lower_max_pool::NAME, |model| {
                lower_max_pool::run(model, splitting, self.slots)
            })?;
        if self.with_softmax() {
            tensors = tensors.prepare(append_softmax::centred)?;
        }
        // Before what takes long: a network whose maps do not fit is refused.
        let grid = Grid::of(tensors.graph(), self.slots)?;
        if !self.is_siso() {
            tensors = tensors.pass(add_checkpoints::NAME, |model| {
                add_checkpoints::run(model, &grid)
            })?;
        }
        tensors = tensors.pass(centre_operands::NAME, |model| {
            centre_operands::run(model, &options.samples)
        })?;
        tensors = tensors.prepare(|mut model| {
            model.number_activations();
            model
        })?;
        let ranges = ranges::calibrate(
            tensors.graph(),
            &options.samples,
            &options.range_overrides,
            options.range_policy(),
            observer,
        )?;
        tensors.note(ranges::NAME, Changed::No, Vec::new());
        let mut tensors = tensors.pass(fold_batch_norm::NAME, fold_batch_norm::run)?;
        let sign = options.relu.stages()?;
        let approximations = approximate_activations::run(tensors.graph(), &ranges, &sign)?;
        tensors.note(approximate_activations::NAME, Changed::No, Vec::new());
        let tensors = tensors.pass(split_channels::NAME, |model| {
            split_channels::run(model, splitting, &grid)
        })?;
        let activations = Activations {
            grid,
            ranges,
            approximations,
        };
        Ok((tensors, activations))
    }

    /// The passes of the packed graph, what is known of its linear maps, and what import and passes
    /// have to say to the user.
    fn on_slots<'a>(
        &self,
        tensors: Verified<'a, Model>,
        activations: &Activations,
    ) -> Result<(Verified<'a, Packed>, Transforms, Vec<Note>), Error> {
        let (ranges, slots) = (&activations.ranges, self.slots);
        let approximations = &activations.approximations;
        let mut packed = tensors.lower(
            pack::NAME,
            |model| {
                let convolution = self.options.convolution;
                let graph = pack::run(
                    &model,
                    ranges,
                    approximations,
                    convolution,
                    &activations.grid,
                )?;
                Ok(Packed { graph, model })
            },
            |packed| pack::remarks(&packed.graph),
        )?;
        let imported = &packed.graph().model.notes;
        let mut notes: Vec<Note> = imported.iter().chain(ranges.notes()).cloned().collect();
        if self.with_softmax() {
            let (with_softmax, softmax) = packed.pass_giving(
                append_softmax::NAME,
                |Packed { graph, mut model }| {
                    let (graph, softmax) = append_softmax::run(graph, &mut model.weights);
                    Ok((Packed { graph, model }, Changed::Yes, softmax))
                },
                |_, softmax| softmax.remarks(),
            )?;
            append_softmax::note(&softmax, &mut notes);
            packed = with_softmax;
        }
        let max_terms = match self.is_siso() {
            true => fuse_linear_maps::MAX_SISO_TERMS,
            false => fuse_linear_maps::MAX_TERMS,
        };
        packed = packed.pass(fuse_linear_maps::NAME, |packed| {
            packed.map(|graph, _| Ok(fuse_linear_maps::run(graph, max_terms)))
        })?;
        if self.is_siso() {
            packed = packed.pass_with_remarks(
                lower_siso::NAME,
                |packed| packed.map(|graph, _| Ok(lower_siso::run(graph))),
                |packed| lower_siso::remarks(&packed.graph),
            )?;
        }
        let cost = CostModel::new(self.parameters, self.bootstrap);
        // Linear maps run where an activation has used up its levels, one above what bootstraps
        // take.
        let level = self.bootstrap.input_level() + 1;
        let (packed, transforms) = packed.pass_giving(
            share_sums::NAME,
            |Packed { graph, model }| {
                let shared = share_sums::run(graph, &model.weights, cost, level, slots)?;
                let graph = shared.graph;
                Ok((Packed { graph, model }, shared.changed, shared.transforms))
            },
            |packed, _| share_sums::remarks(&packed.graph),
        )?;
        Ok((packed, transforms, notes))
    }

    /// The passes that make the schedule.
    fn on_schedule<'a>(
        &self,
        mut packed: Verified<'a, Packed>,
        Transforms {
            rotations,
            expanded,
        }: Transforms,
    ) -> Result<Verified<'a, Scheduled>, Error> {
        let (parameters, bootstrap) = (self.parameters, self.bootstrap);
        let graph = &packed.graph().graph;
        let placement = place_bootstraps::run(graph, &rotations, parameters, bootstrap)?;
        packed.note(place_bootstraps::NAME, Changed::No, placement.remarks());
        let mut scheduled = packed.lower(
            schedule::NAME,
            |packed| {
                let target = Target {
                    parameters,
                    bootstrap,
                };
                let (graph, weights) = (&packed.graph, &packed.model.weights);
                let variant = self.options.variant;
                let schedule =
                    schedule::run(graph, &rotations, &placement, weights, target, variant)?;
                Ok(Scheduled {
                    schedule,
                    packed,
                    expanded,
                    parameters: parameters.clone(),
                    bootstrap: bootstrap.clone(),
                    prediction: Prediction::of(placement.cost),
                })
            },
            |_| Vec::new(),
        )?;
        let schedule = &scheduled.graph().schedule;
        let keys = schedule.required_keys(parameters, bootstrap)?;
        let remarks = vec![format!("{} keys", keys.len())];
        scheduled.note("select-keys", Changed::Yes, remarks);
        Ok(scheduled)
    }
}
