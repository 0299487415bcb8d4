//! Range calibration: a bound for every activation's operand, for the image and for the logits.
//!
//! The polynomial that stands for an activation diverges outside [−1, 1]; slots hold x / bound, and
//! a bound that is too small ruins the result while one that is too large costs precision. Bounds
//! come, in this order of preference, from the user, from sample images, or from batch-norm
//! statistics. They belong to values, by their order among the activations: a node's name matters
//! only where the user picks nodes by name.

mod overrides;
mod statistics;

use std::sync::atomic::{AtomicUsize, Ordering};

use heddle_ir::eval::nn::run_with;
use heddle_ir::nn::{Model, Op};
use heddle_ir::plan::RangeRecord;
use heddle_ir::{Note, ValueId};
use rayon::prelude::*;

pub use overrides::RangeOverride;
pub use statistics::SIGMAS;

use crate::error::Error;
use crate::observer::Observer;

/// The pass's name.
pub const NAME: &str = "calibrate-ranges";

/// A bound is this factor times the largest |value| among the samples. Other images go further, and one that leaves a
/// range has no result: of 417 ranges of twelve networks, each calibrated with 1,000 training images, 2,000 to 5,000 test
/// images exceed 1.2 times the samples in 48, 1.3 times in 11, 1.4 times in 4 and 1.5 times in 1. If they go on to fall
/// like that, by two thirds a tenth, one network in thousands has an image beyond 2; that costs 0.4 bits against 1.5.
pub const SAMPLE_MARGIN: f64 = 2.0;

/// Bounds are at least this fraction of the median bound, since networks have activations that are
/// nearly dead: dividing by a range close to 0 would blow up noise.
pub const FLOOR: f64 = 1.0 / 64.0;

/// A range of which the samples use more than this share carries a note.
const LITTLE_ROOM: f64 = 0.8;

/// With fewer samples than this, the ranges carry a note.
const FEW_SAMPLES: usize = 100;

/// Where a bound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The largest |value| among sample images, times [`SAMPLE_MARGIN`].
    Samples,
    /// Batch-norm statistics: |mean| plus [`SIGMAS`] standard deviations.
    Statistics,
    /// `--range`.
    User,
    /// [`FLOOR`], because the samples or statistics gave less.
    Floor,
    /// What the bounds of the activations in front allow at most.
    WorstCase,
}

/// The bound of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Name of the activation's node; for the logits, of the last node.
    pub name: String,
    /// |x| ≤ bound, positive and finite.
    pub bound: f64,
    /// Where it comes from.
    pub source: Source,
    /// The largest |x| among the samples; `None` without samples.
    pub observed: Option<f64>,
}

impl Range {
    /// The share of the bound that the samples use; `None` without samples.
    pub fn used(&self) -> Option<f64> {
        self.observed.map(|observed| observed / self.bound)
    }
}

/// The bounds of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    input: f64,
    activations: Vec<Range>,
    output: Range,
    notes: Vec<Note>,
}

impl Ranges {
    /// Bound of the image's elements.
    pub fn input(&self) -> f64 {
        self.input
    }

    /// Bound of every activation's operand, in the order of the activations.
    pub fn activations(&self) -> impl ExactSizeIterator<Item = &f64> {
        self.activations.iter().map(|range| &range.bound)
    }

    /// Bound of the logits.
    pub fn output(&self) -> f64 {
        self.output.bound
    }

    /// All bounds with names and head-room: the activations in order, then the logits.
    pub fn details(&self) -> impl Iterator<Item = &Range> {
        self.activations.iter().chain([&self.output])
    }

    /// [`details`](Self::details) as a plan records them, without the activations' approximations.
    pub fn records(&self) -> Vec<RangeRecord> {
        let record = |range: &Range| RangeRecord {
            name: range.name.clone(),
            bound: range.bound,
            observed: range.observed,
            activation: None,
        };
        self.details().map(record).collect()
    }

    /// What the user should know.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// The bounds of `model`, which must pass its verifier.
///
/// `samples` are preprocessed images, row-major `C, H, W`; without any, batch-norm statistics are
/// used, for which `model` must still have its batch normalisations. `input_bound` is the largest
/// |element| that preprocessing can give. `observer` is told of every image.
///
/// # Errors
/// If an override matches nothing or is below what the samples show, if a sample has the wrong
/// size or leads to a value that is not finite, or if an activation's range cannot be told.
pub fn calibrate(
    model: &Model,
    samples: &[Vec<f32>],
    overrides: &[RangeOverride],
    input_bound: f64,
    observer: &dyn Observer,
) -> Result<Ranges, Error> {
    let targets = targets(model);
    let given = overrides::resolve(overrides, model, &targets)?;
    let observed = observe(model, samples, &targets, observer)?;
    let input = samples
        .iter()
        .flatten()
        .fold(input_bound, |bound, element| {
            bound.max(f64::from(element.abs()))
        });
    let estimated: Vec<Option<(f64, Source)>> = match &observed {
        Some(observed) => observed
            .iter()
            .map(|max| Some((SAMPLE_MARGIN * max, Source::Samples)))
            .collect(),
        None => {
            let bounds = statistics::bounds(model);
            let target_bounds = targets.iter().map(|target| bounds[target.value.index()]);
            target_bounds
                .map(|bound| bound.map(|bound| (bound, Source::Statistics)))
                .collect()
        }
    };
    let floor = FLOOR * median(estimated.iter().flatten().map(|(bound, _)| *bound), input);
    let mut bounds: Vec<Option<(f64, Source)>> = given
        .iter()
        .zip(estimated)
        .map(|(given, estimated)| match (given, estimated) {
            (Some(bound), _) => Some((*bound, Source::User)),
            (None, Some((bound, _))) if bound < floor => Some((floor, Source::Floor)),
            (None, estimated) => estimated,
        })
        .collect();
    let unknown: Vec<&str> = targets[..targets.len() - 1]
        .iter()
        .zip(&bounds)
        .filter(|(_, bound)| bound.is_none())
        .map(|(target, _)| target.name.as_str())
        .collect();
    if let Some(first) = unknown.first() {
        return Err(Error::UnknownRange {
            node: (*first).to_owned(),
            affected: overrides::abbreviate(&unknown),
        });
    }
    if bounds.last().is_some_and(Option::is_none) {
        let known: Vec<f64> = bounds.iter().flatten().map(|(bound, _)| *bound).collect();
        let worst = statistics::worst_case(model, input, &known);
        *bounds.last_mut().expect("the logits are a target") = Some((worst, Source::WorstCase));
    }

    let mut ranges: Vec<Range> = Vec::with_capacity(targets.len());
    for (i, (target, bound)) in targets.into_iter().zip(bounds).enumerate() {
        let (bound, source) = bound.expect("unknown ranges were refused");
        let observed = observed.as_ref().map(|observed| observed[i]);
        let name = target.name;
        match observed {
            Some(observed) if observed > bound => {
                return Err(Error::RangeTooSmall {
                    node: name,
                    bound,
                    observed,
                    margin: SAMPLE_MARGIN,
                });
            }
            _ => ranges.push(Range {
                name,
                bound,
                source,
                observed,
            }),
        }
    }
    let notes = notes(&ranges, samples.len());
    let output = ranges.pop().expect("the logits are a target");
    Ok(Ranges {
        input,
        activations: ranges,
        output,
        notes,
    })
}

/// A value that needs a bound.
struct Target {
    /// The value that is bounded: an activation's operand, or the logits.
    value: ValueId,
    /// The node that needs the bound.
    name: String,
}

/// The operands of all activations in order, then the logits.
fn targets(model: &Model) -> Vec<Target> {
    let graph = &model.graph;
    let name = |value: ValueId| graph.node(value).name.clone();
    graph
        .values()
        .filter(|value| matches!(graph.node(*value).op, Op::Activation(_)))
        .map(|value| Target {
            value: graph.operands(value)[0],
            name: name(value),
        })
        .chain([Target {
            value: model.output(),
            name: name(model.output()),
        }])
        .collect()
}

/// The largest |value| of every target over all samples; `None` without samples.
fn observe(
    model: &Model,
    samples: &[Vec<f32>],
    targets: &[Target],
    observer: &dyn Observer,
) -> Result<Option<Vec<f64>>, Error> {
    if samples.is_empty() {
        return Ok(None);
    }
    let mut is_target = vec![false; model.graph.len()];
    targets
        .iter()
        .for_each(|target| is_target[target.value.index()] = true);
    let done = AtomicUsize::new(0);
    let per_sample = |(image, sample): (usize, &Vec<f32>)| -> Result<Vec<f64>, Error> {
        let mut largest = vec![0.0_f32; model.graph.len()];
        let mut broken = None;
        run_with(model, sample, |value, elements| {
            if is_target[value.index()] {
                largest[value.index()] = elements.iter().fold(0.0, |max, x| x.abs().max(max));
                if broken.is_none() && !elements.iter().all(|x| x.is_finite()) {
                    broken = Some(value);
                }
            }
        })?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        observer.images_calibrated(done, samples.len());
        match broken {
            Some(value) => Err(Error::NotFinite {
                image,
                node: model.graph.node(value).name.clone(),
            }),
            None => {
                let of_target = |target: &Target| f64::from(largest[target.value.index()]);
                Ok(targets.iter().map(of_target).collect())
            }
        }
    };
    // Collecting in order makes the error that of the first sample that fails.
    let all: Vec<Result<Vec<f64>, Error>> =
        samples.par_iter().enumerate().map(per_sample).collect();
    let mut largest = vec![0.0_f64; targets.len()];
    for sample in all {
        largest
            .iter_mut()
            .zip(sample?)
            .for_each(|(max, x)| *max = max.max(x));
    }
    Ok(Some(largest))
}

/// The median of the positive values, or `default` when there are none.
fn median(values: impl Iterator<Item = f64>, default: f64) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(default)
}

fn notes(ranges: &[Range], samples: usize) -> Vec<Note> {
    let mut notes = Vec::new();
    if (1..FEW_SAMPLES).contains(&samples) {
        notes.push(Note::FewImages {
            images: samples,
            least: FEW_SAMPLES,
        });
    }
    let from = |source: Source| ranges.iter().filter(move |range| range.source == source);
    let statistical = from(Source::Statistics).count();
    if statistical > 0 {
        notes.push(Note::EstimatedRanges {
            ranges: statistical,
        });
    }
    notes.extend(
        from(Source::WorstCase)
            .take(1)
            .map(|range| Note::WorstCaseRange {
                node: range.name.clone(),
                bound: range.bound,
            }),
    );
    for range in ranges {
        if let Some(used) = range.used().filter(|used| *used > LITTLE_ROOM) {
            notes.push(Note::LittleMargin {
                node: range.name.clone(),
                bound: range.bound,
                used,
            });
        }
    }
    notes.extend(from(Source::Floor).map(|range| Note::NearlyDead {
        node: range.name.clone(),
        bound: range.bound,
    }));
    notes
}
