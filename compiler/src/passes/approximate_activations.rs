//! Activation approximation: every activation of the tensor graph as polynomials on its range.

use heddle_ir::Note;
use heddle_ir::nn::{ActivationMap, Model, Op};
use heddle_ir::plan::{ActivationRecord, RangeRecord};
use heddle_ir::slot::Chebyshev;

use crate::analysis::ranges::{Range, Ranges};
use crate::approx::activation::{Approximation, SMOOTH_BITS, approximate};

/// The pass's name.
pub const NAME: &str = "approximate-activations";

/// The polynomials of every activation of a calibrated model; `sign` is the composition that
/// piecewise functions are made of.
pub fn run(model: &Model, ranges: &Ranges, sign: &[Chebyshev]) -> ActivationMap<Approximation> {
    let mut known: Vec<Approximation> = Vec::new();
    for value in model.activations() {
        let Op::Activation { function, id } = model.graph.node(value).op else {
            continue;
        };
        let id = id.expect("a calibrated model numbers its activations");
        let bound = ranges.activation(id).bound;
        let same = |other: &&Approximation| {
            other.activation.function == function && other.operand_bound == bound
        };
        let approximation = match known.iter().find(same) {
            Some(known) => known.clone(),
            None => approximate(function, bound, sign),
        };
        known.push(approximation);
    }
    known.into_iter().collect()
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
/// others, by name.
pub fn notes(ranges: &Ranges, approximations: &ActivationMap<Approximation>) -> Vec<Note> {
    let short = |approximation: &Approximation| {
        approximation.activation.terms.is_empty()
            && approximation.activation.precision_bits() < f64::from(SMOOTH_BITS)
    };
    approximations
        .iter()
        .filter(|(_, approximation)| short(approximation))
        .map(|(id, approximation)| Note::Imprecise {
            node: ranges.activation(id).name.clone(),
            function: approximation.activation.function,
            bound: approximation.operand_bound,
            bits: approximation.activation.precision_bits(),
        })
        .collect()
}
