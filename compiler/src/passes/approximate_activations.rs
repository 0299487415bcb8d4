//! Activation approximation: every activation of the tensor graph as polynomials on its range.

use heddle_ir::Note;
use heddle_ir::nn::{Model, Op};
use heddle_ir::slot::Chebyshev;

use crate::analysis::ranges::Ranges;
use crate::approx::activation::{Approximation, SMOOTH_BITS, approximate};

/// The pass's name.
pub const NAME: &str = "approximate-activations";

/// The polynomials of every activation, in the order of the activations; `sign` is the composition
/// that piecewise functions are made of.
pub fn run(model: &Model, ranges: &Ranges, sign: &[Chebyshev]) -> Vec<Approximation> {
    let mut known: Vec<Approximation> = Vec::new();
    let functions = model
        .graph
        .values()
        .filter_map(|value| match model.graph.node(value).op {
            Op::Activation(function) => Some(function),
            _ => None,
        });
    for (function, bound) in functions.zip(ranges.activations()) {
        let same = |other: &&Approximation| {
            other.activation.function == function && other.operand_bound == *bound
        };
        let approximation = match known.iter().find(same) {
            Some(known) => known.clone(),
            None => approximate(function, *bound, sign),
        };
        known.push(approximation);
    }
    known
}

/// What the user should know: activations whose polynomial falls short of the precision of the
/// others, by name.
pub fn notes(ranges: &Ranges, approximations: &[Approximation]) -> Vec<Note> {
    let short = |approximation: &Approximation| {
        approximation.activation.terms.is_empty()
            && approximation.activation.precision_bits() < f64::from(SMOOTH_BITS)
    };
    ranges
        .details()
        .zip(approximations)
        .filter(|(_, approximation)| short(approximation))
        .map(|(range, approximation)| Note::Imprecise {
            node: range.name.clone(),
            function: approximation.activation.function,
            bound: approximation.operand_bound,
            bits: approximation.activation.precision_bits(),
        })
        .collect()
}
