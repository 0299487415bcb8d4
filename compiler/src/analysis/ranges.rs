//! Range calibration: a bound for every activation's operand, for both operands of every product,
//! for the image and for the logits.
//!
//! The polynomial that stands for an activation diverges outside [−1, 1]; slots hold x / bound, and
//! a bound that is too small ruins the result while one that is too large costs precision. Bounds
//! come, in this order of preference, from the user, from calibration images, or from batch-norm
//! statistics. They belong to activations by id: a node's name matters only where the user picks
//! nodes by name.

mod overrides;
mod policy;
mod statistics;

use std::sync::atomic::{AtomicUsize, Ordering};

use heddle_ir::eval::nn::run_with;
use heddle_ir::nn::{ActivationId, ActivationMap, Model, Op, ProductId};
use heddle_ir::{Note, ValueId};
use rayon::prelude::*;

pub use heddle_ir::nn::linear::SIGMAS;
pub use overrides::RangeOverride;
pub use policy::{InputBound, MARGINS, Policy};

use crate::error::Error;
use crate::observer::Observer;

use overrides::Given;

/// The pass's name.
pub const NAME: &str = "calibrate-ranges";

/// Unless the user says otherwise, a bound is this factor times the largest |value| among the
/// calibration images. Other images go further, and one that leaves a range has no result: of 417 ranges of twelve networks, each
/// calibrated with 1,000 training images, 2,000 to 5,000 test images exceed 1.2 times the
/// calibration images in 48, 1.3 times in 11, 1.4 times in 4 and 1.5 times in 1. If they go on to
/// fall like that, by two thirds per tenth, one network in thousands has an image beyond 2; that
/// costs 0.4 bits against 1.5.
pub const IMAGE_MARGIN: f64 = 2.0;

/// Bounds are at least this fraction of the median bound, since networks have activations that are
/// nearly dead: dividing by a range close to 0 would blow up noise.
pub const FLOOR: f64 = 1.0 / 64.0;

/// A range of which the calibration images use more than this fraction carries a note.
const LITTLE_MARGIN: f64 = 0.8;

/// With fewer calibration images than this, the ranges carry a note.
const FEW_IMAGES: usize = 100;

/// Where a bound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundOrigin {
    /// The largest |value| among calibration images, times the margin of the [`Policy`].
    Images,
    /// Batch-norm statistics: |mean| plus [`SIGMAS`] standard deviations.
    Statistics,
    /// `--range`.
    User,
    /// [`FLOOR`], because the images or statistics gave less.
    Floor,
    /// What the bounds of the activations in front allow at most.
    WorstCase,
}

/// The bound of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Name of the activation's node; for an operand of a product, that of the product and the
    /// operand's place; for the logits, that of the last node.
    pub name: String,
    /// |x| ≤ bound, positive and finite.
    pub bound: f64,
    /// Where the bound comes from.
    pub origin: BoundOrigin,
    /// The largest |x| among the calibration images; `None` without any.
    pub observed: Option<f64>,
}

impl Range {
    /// The fraction of the bound that the calibration images use; `None` without any.
    pub fn used(&self) -> Option<f64> {
        self.observed.map(|observed| observed / self.bound)
    }
}

/// The bounds of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    input: f64,
    activations: ActivationMap<Range>,
    products: Vec<[Range; 2]>,
    logits: Range,
    notes: Vec<Note>,
}

impl Ranges {
    /// Bound of the image's elements.
    pub fn input(&self) -> f64 {
        self.input
    }

    /// Bound of every activation's operand.
    pub fn activations(&self) -> &ActivationMap<Range> {
        &self.activations
    }

    /// Bound of one activation's operand.
    ///
    /// # Panics
    /// If the calibrated model has no such activation.
    pub fn activation(&self, id: ActivationId) -> &Range {
        &self.activations[id]
    }

    /// Bounds of both operands of every product, by [`ProductId`].
    pub fn products(&self) -> &[[Range; 2]] {
        &self.products
    }

    /// Bounds of both operands of one product.
    ///
    /// # Panics
    /// If the calibrated model has no such product.
    pub fn product(&self, id: ProductId) -> &[Range; 2] {
        &self.products[id.index()]
    }

    /// Bound of the logits.
    pub fn logits(&self) -> &Range {
        &self.logits
    }

    /// All bounds with names and margins: the activations by id, the products' operands, the logits.
    pub fn details(&self) -> impl Iterator<Item = &Range> {
        let products = self.products.iter().flatten();
        self.activations
            .values()
            .chain(products)
            .chain([&self.logits])
    }

    /// What the user should know.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// The bounds of `model`, which must pass its verifier. An activation's id is its place in the
/// model, as [`Model::number_activations`] gives it.
///
/// `images` are preprocessed, row-major `C, H, W`; without any, batch-norm statistics are used, for
/// which `model` must still have its batch normalisations. `policy` says how far bounds go beyond
/// the images; a number stands for pixels of that bound with the margin [`IMAGE_MARGIN`].
/// `observer` is told of every image.
///
/// # Errors
/// If an override matches nothing or is below what the images show, if an image has the wrong size
/// or leads to a value that is not finite, if an activation's range cannot be told, or if the
/// margin is not within [`MARGINS`].
pub fn calibrate(
    model: &Model,
    images: &[Vec<f32>],
    overrides: &[RangeOverride],
    policy: impl Into<Policy>,
    observer: &dyn Observer,
) -> Result<Ranges, Error> {
    let policy: Policy = policy.into();
    policy.check()?;
    let targets = Targets::of(model);
    let Given {
        targets: given,
        input: given_input,
    } = overrides::resolve(overrides, model, &targets)?;
    let observed = observe(model, images, &targets, observer)?;
    let input = policy.input_range(model, images, given_input)?;
    let estimated: Vec<Option<Bound>> = match &observed {
        Some(observed) => targets
            .iter()
            .zip(observed)
            .map(|(target, max)| Some(Bound::of_images(*max, policy.margin, target.pole)))
            .collect(),
        None => statistics::bounds(model, &targets),
    };
    let floor = FLOOR * median(estimated.iter().flatten().map(|bound| bound.value), input);
    let mut bounds: Vec<Option<Bound>> = given
        .into_iter()
        .zip(estimated)
        .zip(targets.iter())
        .map(|((given, estimated), target)| match (given, estimated) {
            (Some(value), _) => Some(Bound {
                value,
                origin: BoundOrigin::User,
            }),
            (None, Some(bound)) if bound.value < target.floor(floor) => Some(Bound {
                value: target.floor(floor),
                origin: BoundOrigin::Floor,
            }),
            (None, estimated) => estimated,
        })
        .collect();
    let logits = bounds.pop().expect("the logits are a target");
    let factors = bounds.split_off(targets.activations);
    let activations = all_known(&targets, bounds)?;
    let mut bounds: Vec<Option<Bound>> = activations.into_iter().map(Some).collect();
    bounds.extend(factors);
    bounds.push(logits);
    // Statistics may tell nothing of a gate, and without images, of the logits.
    let worst = match bounds.iter().all(Option::is_some) {
        true => Vec::new(),
        false => statistics::worst_case(model, input, &targets, &bounds),
    };
    let at_worst = |target: &Target| Bound {
        value: worst[target.bounded.index()],
        origin: BoundOrigin::WorstCase,
    };
    let mut ranges: Vec<Range> = Vec::with_capacity(targets.len());
    let bounds = targets.iter().zip(bounds);
    let bounds = bounds.map(|(target, bound)| bound.unwrap_or_else(|| at_worst(target)));
    for (i, (target, bound)) in targets.iter().zip(bounds).enumerate() {
        let observed = observed.as_ref().map(|observed| observed[i]);
        ranges.push(bound.checked(target.name.clone(), observed, policy.margin)?);
    }
    let notes = notes(&ranges, images.len());
    let logits = ranges.pop().expect("the logits are a target");
    let factors = ranges.split_off(targets.activations);
    let products = factors.chunks_exact(2);
    let products = products.map(|pair| [pair[0].clone(), pair[1].clone()]);
    Ok(Ranges {
        input,
        activations: ranges.into_iter().collect(),
        products: products.collect(),
        logits,
        notes,
    })
}

/// The bounds of all activations.
///
/// # Errors
/// [`Error::UnknownRange`] if one cannot be told.
fn all_known(targets: &Targets, bounds: Vec<Option<Bound>>) -> Result<Vec<Bound>, Error> {
    let named = targets.iter().zip(&bounds);
    let unknown: Vec<&str> = named
        .filter(|(_, bound)| bound.is_none())
        .map(|(target, _)| target.name.as_str())
        .collect();
    match unknown.first() {
        Some(first) => Err(Error::UnknownRange {
            node: (*first).to_owned(),
            affected: overrides::abbreviate(&unknown),
        }),
        None => Ok(bounds.into_iter().flatten().collect()),
    }
}

/// A bound and where it comes from.
#[derive(Clone, Copy, Debug)]
struct Bound {
    value: f64,
    origin: BoundOrigin,
}

impl Bound {
    /// The bound of an operand that has no room beyond `pole`: half of the way there is left.
    fn of_images(largest: f64, margin: f64, pole: Option<f64>) -> Self {
        let wanted = margin * largest;
        let room = pole.map(|pole| (largest + pole.abs()) / 2.0);
        let value = room.map_or(wanted, |room| wanted.min(room).max(largest));
        Self {
            value,
            origin: BoundOrigin::Images,
        }
    }

    /// The range of the node `name`.
    ///
    /// # Errors
    /// [`Error::RangeTooSmall`] if the calibration images exceed the bound.
    fn checked(self, name: String, observed: Option<f64>, margin: f64) -> Result<Range, Error> {
        let bound = self.value;
        match observed {
            Some(observed) if observed > bound => Err(Error::RangeTooSmall {
                node: name,
                bound,
                observed,
                margin,
            }),
            _ => Ok(Range {
                name,
                bound,
                origin: self.origin,
                observed,
            }),
        }
    }
}

/// A value that needs a bound.
struct Target {
    /// The value that is bounded: an operand of an activation or a product, or the logits.
    bounded: ValueId,
    /// The node that needs the bound: an activation, a product, or the last node.
    node: ValueId,
    /// The name of that node, for a product's operand with its place.
    name: String,
    /// What the bounded value must stay above, see [`pole`](heddle_ir::nn::Activation::pole).
    pole: Option<f64>,
    /// Which operand of a product this is.
    factor: Option<usize>,
}

/// The activations by id, both operands of every product, then the logits.
struct Targets {
    all: Vec<Target>,
    /// How many of them are activations.
    activations: usize,
}

impl std::ops::Deref for Targets {
    type Target = [Target];

    fn deref(&self) -> &[Target] {
        &self.all
    }
}

impl Target {
    /// The least bound, as far as there is room in front of a pole.
    fn floor(&self, floor: f64) -> f64 {
        self.pole.map_or(floor, |pole| floor.min(pole.abs() / 2.0))
    }

    /// The names that `--range` may call it by. The result of an activation goes by the product's
    /// name alone, since the activation's own name is that of its operand's range.
    fn names<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a str> {
        let bounded = model.graph.node(self.bounded);
        let is_result = matches!(bounded.op, Op::Activation { .. });
        let followed = (self.factor.is_none() || !is_result).then_some(bounded.name.as_str());
        [self.name.as_str()].into_iter().chain(followed)
    }
}

impl Targets {
    fn of(model: &Model) -> Self {
        let graph = &model.graph;
        let target = |bounded: ValueId, node: ValueId| Target {
            bounded,
            node,
            name: graph.node(node).name.clone(),
            pole: match graph.node(node).op {
                Op::Activation { function, .. } if bounded != node => function.pole(),
                _ => None,
            },
            factor: None,
        };
        let mut all: Vec<Target> = model
            .activations()
            .map(|activation| target(graph.operands(activation)[0], activation))
            .collect();
        let activations = all.len();
        for product in model.products() {
            let operands = graph.operands(product).into_iter().enumerate();
            all.extend(operands.map(|(place, operand)| Target {
                name: format!("{}/operand.{place}", graph.node(product).name),
                factor: Some(place),
                ..target(operand, product)
            }));
        }
        all.push(target(model.output(), model.output()));
        Self { all, activations }
    }
}

/// The largest |value| of every target over all images; `None` without images.
fn observe(
    model: &Model,
    images: &[Vec<f32>],
    targets: &Targets,
    observer: &dyn Observer,
) -> Result<Option<Vec<f64>>, Error> {
    if images.is_empty() {
        return Ok(None);
    }
    let mut is_target = vec![false; model.graph.len()];
    targets
        .iter()
        .for_each(|target| is_target[target.bounded.index()] = true);
    let done = AtomicUsize::new(0);
    let of_image = |(index, image): (usize, &Vec<f32>)| -> Result<Vec<f64>, Error> {
        let mut largest = vec![0.0_f32; model.graph.len()];
        let mut broken = None;
        run_with(model, image, |value, elements| {
            if is_target[value.index()] {
                largest[value.index()] = elements.iter().fold(0.0, |max, x| x.abs().max(max));
                if broken.is_none() && !elements.iter().all(|x| x.is_finite()) {
                    broken = Some(value);
                }
            }
        })?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        observer.images_calibrated(done, images.len());
        match broken {
            Some(value) => Err(Error::NotFinite {
                image: index,
                node: model.graph.node(value).name.clone(),
            }),
            None => {
                let of_target = |target: &Target| f64::from(largest[target.bounded.index()]);
                Ok(targets.iter().map(of_target).collect())
            }
        }
    };
    // Collecting in order makes the error that of the first image that fails.
    let all: Vec<Result<Vec<f64>, Error>> = images.par_iter().enumerate().map(of_image).collect();
    let mut largest = vec![0.0_f64; targets.len()];
    for of_image in all {
        largest
            .iter_mut()
            .zip(of_image?)
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

fn notes(ranges: &[Range], images: usize) -> Vec<Note> {
    let mut notes = Vec::new();
    if (1..FEW_IMAGES).contains(&images) {
        notes.push(Note::FewImages {
            images,
            least: FEW_IMAGES,
        });
    }
    let from = |origin: BoundOrigin| ranges.iter().filter(move |range| range.origin == origin);
    let statistical = from(BoundOrigin::Statistics).count();
    if statistical > 0 {
        notes.push(Note::EstimatedRanges {
            ranges: statistical,
        });
    }
    notes.extend(
        ranges
            .last()
            .filter(|logits| logits.origin == BoundOrigin::WorstCase)
            .map(|range| Note::WorstCaseRange {
                node: range.name.clone(),
                bound: range.bound,
            }),
    );
    // What the user chose as the margin of all ranges needs no note on each.
    let chosen = |range: &&Range| range.origin != BoundOrigin::Images;
    for range in ranges.iter().filter(chosen) {
        if let Some(used) = range.used().filter(|used| *used > LITTLE_MARGIN) {
            notes.push(Note::LittleMargin {
                node: range.name.clone(),
                bound: range.bound,
                used,
            });
        }
    }
    notes.extend(from(BoundOrigin::Floor).map(|range| Note::NearlyDead {
        node: range.name.clone(),
        bound: range.bound,
    }));
    notes
}
