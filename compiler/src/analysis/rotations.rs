//! The diagonals of every linear map and the baby and giant steps that evaluate them.

use heddle_ir::ckks::TransformSteps;
use heddle_ir::linear::LinearTerm;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_ir::weights::Weights;
use heddle_params::bsgs::{BsgsCost, BsgsPlan};
use rayon::prelude::*;

use super::cost::TransformCounts;
use crate::error::Error;

/// The steps of every linear map's terms, by value; empty for other operations. Rotations count
/// modulo `slots`, all the slots of a ciphertext, so that maps of different periods share keys.
///
/// # Errors
/// If a weight is missing or its shape does not fit.
pub fn steps(
    graph: &SlotGraph,
    weights: &Weights,
    slots: usize,
) -> Result<Vec<Vec<TransformSteps>>, Error> {
    let values: Vec<_> = graph.values().collect();
    values
        .into_par_iter()
        .map(|value| {
            let Op::Linear(map) = &graph.node(value).op else {
                return Ok(Vec::new());
            };
            let of_term = |(index, term): (usize, &LinearTerm)| {
                let indices = map.diagonal_indices(index, weights)?;
                of_diagonals(&indices, term.input.period(), slots)
            };
            map.terms.iter().enumerate().map(of_term).collect()
        })
        .collect()
}

/// The steps for diagonals modulo `period`.
///
/// # Errors
/// As [`BsgsPlan::for_diagonals`].
pub fn of_diagonals(
    indices: &[usize],
    period: usize,
    slots: usize,
) -> Result<TransformSteps, Error> {
    let plan = BsgsPlan::for_diagonals(indices, period, slots, BsgsCost::default())?;
    Ok(TransformSteps {
        diagonals: indices.len(),
        giant: plan.giants.iter().map(|giant| giant.shift).collect(),
        baby: plan.baby,
    })
}

/// What a term's steps cost in rotations; a rotation by nothing is free.
pub fn counts(steps: &TransformSteps) -> TransformCounts {
    let keyed = |rotations: &[usize]| rotations.iter().filter(|by| **by != 0).count();
    TransformCounts {
        diagonals: steps.diagonals,
        baby: keyed(&steps.baby),
        giant: keyed(&steps.giant),
    }
}
