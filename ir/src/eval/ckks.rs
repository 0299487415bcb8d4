//! The schedule on plain numbers: same layouts, same linear maps, same polynomials, and the sine
//! that stands for modular reduction in a bootstrap, with its inverse where one was chosen, so that
//! an encrypted run differs from it by noise alone.
//!
//! A value is one period of slots. Several images are interleaved, so that every entry of a linear
//! map is made once for all of them and the loops over images become vector instructions.

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::sine_fit::Reduction;
use rayon::prelude::*;

use crate::ckks::{LinearMapId, Op, Schedule};
use crate::error::Error;
use crate::graph::ValueId;
use crate::linear::ProductPhase;
use crate::slot::Chebyshev;
use crate::weights::Weights;

use super::maps::{ExpandedMap, MatricesAllowed, MatrixBudget};

mod ranges;

pub use ranges::RangeStatistic;
use ranges::watched;

/// Images that are computed together in a batch.
const LANES: usize = 8;

/// A period of slots of `L` interleaved images.
type Lanes<const L: usize> = Vec<[f64; L]>;

/// A schedule with its linear maps prepared, ready to run on plain numbers.
#[derive(Clone, Debug)]
pub struct ClearInterpreter {
    schedule: Schedule,
    weights: Weights,
    maps: Vec<ExpandedMap>,
    frees: Vec<Vec<ValueId>>,
    watched: Vec<ValueId>,
    /// Of the watched values, before anything was seen.
    fresh: Vec<RangeStatistic>,
    reduction: Reduction,
}

/// For every map, one phase and the slots of the convolution that it is used as.
fn convolutions(schedule: &Schedule) -> Vec<Option<(ProductPhase, usize)>> {
    let mut uses = vec![None; schedule.linear_maps.len()];
    let graph = &schedule.graph;
    for value in graph.values() {
        if let Op::MultiplyAccumulate { map, part, .. } = &graph.node(value).op
            && let Some(found) = uses.get_mut(map.0 as usize)
        {
            *found = Some((*part, graph.ty(value).slots()));
        }
    }
    uses
}

/// Results of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchResult {
    /// One period of the output's slots for every image.
    pub outputs: Vec<Vec<f64>>,
    /// One entry for every non-linear function, in schedule order.
    pub ranges: Vec<RangeStatistic>,
}

impl ClearInterpreter {
    /// Prepares every linear map once, in 300 MiB besides the schedule and the weights at most;
    /// `schedule` has passed its verifier with these weights.
    ///
    /// # Errors
    /// If a weight is missing or does not fit, or an operation refers to an unknown map or
    /// polynomial.
    pub fn new(
        schedule: &Schedule,
        weights: &Weights,
        bootstrap: &BootstrapParameters,
    ) -> Result<Self, Error> {
        let graph = &schedule.graph;
        for value in graph.values() {
            let known = match &graph.node(value).op {
                Op::LinearTransform { map, .. }
                | Op::MultiplyAccumulate { map, .. }
                | Op::AddBias { map } => schedule.linear_map(*map).is_some(),
                Op::Polynomial { polynomial } => schedule.polynomial(*polynomial).is_some(),
                _ => true,
            };
            if !known {
                let violations = format!("{value}: refers to a map or polynomial that is missing");
                return Err(Error::Invalid {
                    stage: "ckks",
                    violations,
                });
            }
        }
        let mut budget = MatrixBudget::new();
        let matrices: Vec<MatricesAllowed> = schedule
            .linear_maps
            .iter()
            .map(|map| MatricesAllowed::of(map, weights, &mut budget))
            .collect();
        let maps = schedule
            .linear_maps
            .par_iter()
            .zip(convolutions(schedule))
            .zip(&matrices)
            .map(|((map, used), matrices)| match used {
                Some((part, slots)) => ExpandedMap::by_products(map, part, slots, weights),
                None => ExpandedMap::new(map, weights, matrices),
            })
            .collect::<Result<_, _>>()?;
        let watched = watched(schedule);
        Ok(Self {
            weights: weights.clone(),
            maps,
            frees: schedule.frees(),
            fresh: RangeStatistic::fresh(schedule, &watched),
            watched,
            reduction: Reduction::new(bootstrap),
            schedule: schedule.clone(),
        })
    }

    /// The schedule that runs.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The values whose slots must lie in [−1, 1]: what bootstraps and the first polynomial of
    /// every chain take.
    pub fn watched(&self) -> &[ValueId] {
        &self.watched
    }

    /// The result of one operation, one period of slots, from those of its operands; the input's
    /// result is its only operand.
    ///
    /// # Errors
    /// [`Error::Shape`] if an operand does not have its type's number of slots.
    pub fn apply(&self, value: ValueId, operands: &[&[f64]]) -> Result<Vec<f64>, Error> {
        let operands: Vec<&[[f64; 1]]> = operands
            .iter()
            .map(|operand| operand.as_chunks().0)
            .collect();
        let graph = &self.schedule.graph;
        let ids = match graph.node(value).op {
            Op::Input => vec![value],
            _ => graph.operands(value),
        };
        if operands.len() != ids.len() {
            return Err(self.misfit(value, "operands", ids.len(), operands.len()));
        }
        for (id, operand) in ids.into_iter().zip(&operands) {
            let slots = graph.ty(id).slots();
            if operand.len() != slots {
                return Err(self.misfit(value, "slots", slots, operand.len()));
            }
        }
        Ok(self.apply_lanes(value, &operands).into_flattened())
    }

    /// The output's slots for one image: one period of every input's slots, in the order of the
    /// schedule. `observe` sees every value.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are more or fewer inputs, or one does not have its type's number of
    /// slots; [`Error::Invalid`] if nothing is an input or output.
    pub fn run<I: AsRef<[f64]>>(
        &self,
        image: &[I],
        mut observe: impl FnMut(ValueId, &[f64]),
    ) -> Result<Vec<f64>, Error> {
        self.check_image(image)?;
        let inputs: Vec<&[[f64; 1]]> = image
            .iter()
            .map(|input| input.as_ref().as_chunks().0)
            .collect();
        let output = self.run_lanes(&inputs, |value, slots| observe(value, slots.as_flattened()));
        Ok(output.into_flattened())
    }

    /// The output's slots for every one of several images, eight at a time on every thread, with
    /// the slots' ranges before every non-linear function. An image is as in [`run`](Self::run).
    ///
    /// # Errors
    /// As in [`run`](Self::run).
    pub fn run_batch(&self, images: &[Vec<Vec<f64>>]) -> Result<BatchResult, Error> {
        for image in images {
            self.check_image(image)?;
        }
        let results: Vec<_> = images
            .par_chunks(LANES)
            .map(|images| self.run_chunk(images))
            .collect();
        let mut ranges = self.fresh_statistics();
        let mut outputs = Vec::with_capacity(images.len());
        for (chunk, statistics) in results {
            outputs.extend(chunk);
            for (range, statistic) in ranges.iter_mut().zip(&statistics) {
                range.merge(statistic);
            }
        }
        Ok(BatchResult { outputs, ranges })
    }

    /// A statistic for every watched value, before anything was seen.
    pub fn fresh_statistics(&self) -> Vec<RangeStatistic> {
        self.fresh.clone()
    }

    /// At most [`LANES`] images.
    fn run_chunk(&self, images: &[Vec<Vec<f64>>]) -> (Vec<Vec<f64>>, Vec<RangeStatistic>) {
        let interleaved = |piece: usize| {
            let mut packed: Lanes<LANES> = vec![[0.0; LANES]; images[0][piece].len()];
            for (lane, image) in images.iter().enumerate() {
                for (slot, value) in packed.iter_mut().zip(&image[piece]) {
                    slot[lane] = *value;
                }
            }
            packed
        };
        let inputs: Vec<Lanes<LANES>> = (0..images[0].len()).map(interleaved).collect();
        let inputs: Vec<&[[f64; LANES]]> = inputs.iter().map(Vec::as_slice).collect();
        let mut statistics = self.fresh_statistics();
        let output = self.run_lanes(&inputs, |value, slots| {
            if let Ok(index) = self.watched.binary_search(&value) {
                statistics[index].observe(slots.as_flattened());
            }
        });
        let lane = |lane: usize| output.iter().map(|slot| slot[lane]).collect();
        ((0..images.len()).map(lane).collect(), statistics)
    }

    fn misfit(&self, value: ValueId, what: &str, expected: usize, found: usize) -> Error {
        Error::Shape {
            what: format!("{value} `{}`", self.schedule.graph.node(value).name),
            expected: format!("{expected} {what}"),
            found: found.to_string(),
        }
    }

    fn check_image<I: AsRef<[f64]>>(&self, image: &[I]) -> Result<(), Error> {
        let graph = &self.schedule.graph;
        let expected: Vec<ValueId> = self.schedule.inputs().collect();
        let Some(first) = expected.first().filter(|_| !graph.outputs().is_empty()) else {
            let violations = "a schedule needs an input and an output".to_owned();
            return Err(Error::Invalid {
                stage: "ckks",
                violations,
            });
        };
        if expected.len() != image.len() {
            return Err(self.misfit(*first, "inputs", expected.len(), image.len()));
        }
        for (value, input) in expected.into_iter().zip(image) {
            let (slots, found) = (graph.ty(value).slots(), input.as_ref().len());
            if found != slots {
                return Err(self.misfit(value, "slots", slots, found));
            }
        }
        Ok(())
    }

    fn run_lanes<const L: usize>(
        &self,
        inputs: &[&[[f64; L]]],
        mut observe: impl FnMut(ValueId, &[[f64; L]]),
    ) -> Lanes<L> {
        let graph = &self.schedule.graph;
        let mut inputs = inputs.iter();
        let mut values: Vec<Lanes<L>> = vec![Vec::new(); graph.len()];
        for value in graph.values() {
            let operands = graph.operands(value);
            let slots = match graph.node(value).op {
                Op::Input => {
                    let input = inputs.next().expect("the image has passed its check");
                    self.apply_lanes(value, &[input])
                }
                _ => {
                    let operands: Vec<&[[f64; L]]> = operands
                        .iter()
                        .map(|operand| &*values[operand.index()])
                        .collect();
                    self.apply_lanes(value, &operands)
                }
            };
            observe(value, &slots);
            values[value.index()] = slots;
            for freed in &self.frees[value.index()] {
                values[freed.index()] = Vec::new();
            }
        }
        std::mem::take(&mut values[graph.outputs()[0].index()])
    }

    fn expanded(&self, map: LinearMapId) -> &ExpandedMap {
        &self.maps[map.0 as usize]
    }

    fn apply_lanes<const L: usize>(&self, value: ValueId, operands: &[&[[f64; L]]]) -> Lanes<L> {
        let node = self.schedule.graph.node(value);
        let elementwise = |f: fn(f64, f64) -> f64| -> Lanes<L> {
            let pairs = operands[0].iter().zip(operands[1]);
            pairs
                .map(|(a, b)| std::array::from_fn(|lane| f(a[lane], b[lane])))
                .collect()
        };
        match &node.op {
            Op::Input | Op::Rescale | Op::DropLevel => operands[0].to_vec(),
            Op::LinearTransform { map, .. } => {
                let sum = self.expanded(*map).apply_lanes(&self.weights, operands);
                repeated(sum, node.ty.slots())
            }
            Op::MultiplyAccumulate { map, part, round } => {
                let mut sum = vec![[0.0; L]; node.ty.slots()];
                if let Some(convolution) = &self.expanded(*map).products {
                    let plaintexts = convolution.plaintexts(*part, *round);
                    for (plaintext, operand) in plaintexts.iter().zip(operands) {
                        multiply_add(&mut sum, plaintext, operand);
                    }
                }
                sum
            }
            Op::AddBias { map } => {
                let mut sum = operands[0].to_vec();
                if let Some(bias) = &self.expanded(*map).bias {
                    for (slot, bias) in sum.iter_mut().zip(bias.iter().cycle()) {
                        slot.iter_mut().for_each(|value| *value += bias);
                    }
                }
                sum
            }
            Op::Rotate { by } => {
                let mut rotated = operands[0].to_vec();
                let by = by % rotated.len();
                rotated.rotate_left(by);
                rotated
            }
            Op::Add => {
                let mut sum = elementwise(|a, b| a + b);
                sum.truncate(node.ty.slots());
                sum
            }
            Op::Multiply => elementwise(|a, b| a * b),
            Op::Polynomial { polynomial } => {
                let mut slots = operands[0].to_vec();
                let polynomial = &self.schedule.polynomials[polynomial.0 as usize];
                eval_polynomial(polynomial, slots.as_flattened_mut());
                slots
            }
            Op::Bootstrap { .. } => {
                let reduced = |slot: &f64| self.reduction.apply(*slot);
                operands[0]
                    .iter()
                    .map(|slot| slot.each_ref().map(reduced))
                    .collect()
            }
        }
    }
}

/// `sum += plaintext·operand` slot by slot, the operand repeated.
fn multiply_add<const L: usize>(sum: &mut [[f64; L]], plaintext: &[f64], operand: &[[f64; L]]) {
    let periods = sum.chunks_mut(operand.len().max(1));
    let weights = plaintext.chunks(operand.len().max(1));
    for (sum, weights) in periods.zip(weights) {
        for ((sum, weight), operand) in sum.iter_mut().zip(weights).zip(operand) {
            for lane in 0..L {
                sum[lane] += weight * operand[lane];
            }
        }
    }
}

/// The vector repeated up to `slots`; both lengths are powers of two.
fn repeated<const L: usize>(mut period: Lanes<L>, slots: usize) -> Lanes<L> {
    while period.len() < slots {
        period.extend_from_within(..);
    }
    period
}

/// Slots that Clenshaw's recurrence takes at once; its state stays in the first-level cache.
const BLOCK: usize = 128;

/// Replaces every element by the polynomial's value, by Clenshaw's recurrence; an odd polynomial
/// takes half the terms, by the recurrence `T_{k+2} = 2·T_2·T_k − T_{k−2}`.
fn eval_polynomial(polynomial: &Chebyshev, elements: &mut [f64]) {
    let coefficients = &polynomial.coefficients;
    let is_odd = coefficients.iter().step_by(2).all(|even| *even == 0.0);
    let odd: Vec<f64> = coefficients.iter().skip(1).step_by(2).copied().collect();
    for block in elements.chunks_mut(BLOCK) {
        let (mut twice, mut b1, mut b2) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        let (twice, b1, b2) = (
            &mut twice[..block.len()],
            &mut b1[..block.len()],
            &mut b2[..block.len()],
        );
        if is_odd {
            for (twice, x) in twice.iter_mut().zip(&*block) {
                *twice = 4.0 * x * x - 2.0;
            }
            clenshaw(&odd, twice, b1, b2);
            for ((x, b1), b2) in block.iter_mut().zip(b1).zip(b2) {
                *x *= *b1 - *b2;
            }
        } else {
            for (twice, x) in twice.iter_mut().zip(&*block) {
                *twice = 2.0 * x;
            }
            clenshaw(coefficients, twice, b1, b2);
            for ((x, b1), b2) in block.iter_mut().zip(b1).zip(b2) {
                *x = *b1 - *x * *b2;
            }
        }
    }
}

/// Runs `b_k = c_k + twice·b_{k+1} − b_{k+2}` down to 0, so that `b1` ends as `b_0` and `b2` as
/// `b_1`.
fn clenshaw(coefficients: &[f64], twice: &[f64], b1: &mut [f64], b2: &mut [f64]) {
    for coefficient in coefficients.iter().rev() {
        for ((twice, b1), b2) in twice.iter().zip(&mut *b1).zip(&mut *b2) {
            let next = coefficient + twice * *b1 - *b2;
            *b2 = *b1;
            *b1 = next;
        }
    }
}

#[cfg(test)]
mod tests;
