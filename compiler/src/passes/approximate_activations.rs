//! Activation approximation: every activation of the tensor graph as polynomials on its range.

use heddle_ir::Note;
use heddle_ir::nn::{ActivationMap, Model, Op};
use heddle_ir::plan::{ActivationRecord, RangeRecord};
use heddle_ir::slot::Chebyshev;

use crate::analysis::ranges::{Range, Ranges};
use crate::approx::activation::{Approximation, SMOOTH_BITS, approximate_used};
use crate::error::Error;

/// The pass's name.
pub const NAME: &str = "approximate-activations";

/// Precision in bits of a smooth function with a kink below which the user is told.
const LEAST_KINK_BITS: f64 = 10.0;

/// The polynomials of every activation of a calibrated model; `sign` is the composition that
/// piecewise functions are made of.
///
/// # Errors
/// [`Error::Activation`] if a function is not defined on all of its range, or its results on the
/// calibration images vanish beside those elsewhere in the range.
pub fn run(
    model: &Model,
    ranges: &Ranges,
    sign: &[Chebyshev],
) -> Result<ActivationMap<Approximation>, Error> {
    let mut known: Vec<(Approximation, f64)> = Vec::new();
    for value in model.activations() {
        let Op::Activation { function, id } = model.graph.node(value).op else {
            continue;
        };
        let id = id.expect("a calibrated model numbers its activations");
        let range = ranges.activation(id);
        let used = range.used().unwrap_or(1.0);
        let refused = |reason| Error::Activation {
            node: range.name.clone(),
            function: function.to_string(),
            bound: range.bound,
            reason,
        };
        let same = |(other, of_used): &&(Approximation, f64)| {
            other.activation.function == function
                && other.operand_bound == range.bound
                && *of_used == used
        };
        let approximation = match known.iter().find(same) {
            Some((known, _)) => known.clone(),
            None => approximate_used(function, range.bound, used, sign).map_err(refused)?,
        };
        known.push((approximation, used));
    }
    Ok(known
        .into_iter()
        .map(|(approximation, _)| approximation)
        .collect())
}

/// What a plan records of ranges and polynomials: every activation, the operands of the products,
/// then the logits.
pub fn records(ranges: &Ranges, approximations: &ActivationMap<Approximation>) -> Vec<RangeRecord> {
    let record = |range: &Range, activation: Option<ActivationRecord>| RangeRecord {
        name: range.name.clone(),
        bound: range.bound,
        observed: range.observed,
        activation,
    };
    let activations = ranges.activations().iter().map(|(id, range)| {
        let activation = approximations
            .get(id)
            .map(|approximation| ActivationRecord {
                function: approximation.activation.function.to_string(),
                precision_bits: approximation.activation.precision_bits(),
                depth: approximation.activation.depth(),
            });
        record(range, activation)
    });
    let others = ranges.products().iter().flatten().chain([ranges.logits()]);
    let others = others.map(|range| record(range, None));
    activations.chain(others).collect()
}

/// What the user should know: activations whose polynomial falls short of the precision of the
/// others, and those that jump, by name.
pub fn notes(ranges: &Ranges, approximations: &ActivationMap<Approximation>) -> Vec<Note> {
    let of_one = |(id, approximation): (_, &Approximation)| {
        let node = ranges.activation(id).name.clone();
        let Approximation {
            activation,
            operand_bound,
            ..
        } = approximation;
        let function = activation.function;
        if let Some(width) = approximation.jump_width() {
            return Some(Note::Jump {
                node,
                function,
                width,
            });
        }
        let least = match (&activation.terms[..], &activation.free) {
            ([], _) => f64::from(SMOOTH_BITS),
            // A kink beside a smooth function.
            (_, Some(free)) if free.degree() > 2 => LEAST_KINK_BITS,
            _ => return None,
        };
        let bits = activation.precision_bits();
        (bits < least).then_some(Note::Imprecise {
            node,
            function,
            bound: *operand_bound,
            bits,
        })
    };
    approximations.iter().filter_map(of_one).collect()
}
