//! Shared sums: how many shares the sums of each linear map are computed in.
//!
//! A map whose result has a shorter period than its operands would be evaluated anew for every copy of the result. With
//! shares, each copy takes part of the sums' entries, on fewer diagonals, and a rotation and an addition for every
//! doubling complete them, see [`heddle_ir::linear`]. Every number of doublings is tried, and the cheapest kept.

use heddle_ir::linear::{AffineMatrix, LinearMap};
use heddle_ir::slot::{Op, SlotGraph};
use heddle_ir::weights::Weights;
use rayon::prelude::*;

use crate::analysis::cost::{CostModel, TransformCounts};
use crate::analysis::rotations::{counts, of_diagonals};
use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "share-sums";

/// Chooses the doublings of every linear map, in ciphertexts of `slots` slots, by its cost at `level`.
///
/// # Errors
/// If a weight is missing or its shape does not fit.
pub fn run(
    graph: SlotGraph,
    weights: &Weights,
    cost: CostModel<'_>,
    level: usize,
    slots: usize,
) -> Result<(SlotGraph, Changed), Error> {
    let values: Vec<_> = graph.values().collect();
    let chosen: Vec<Option<u32>> = values
        .into_par_iter()
        .map(|value| match &graph.node(value).op {
            Op::Linear(map) => cheapest(map, weights, cost, level, slots).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<_, Error>>()?;
    let mut shared = graph;
    let mut changed = Changed::No;
    for (value, chosen) in shared.values().zip(chosen).collect::<Vec<_>>() {
        if let (Op::Linear(map), Some(doublings)) = (&mut shared.node_mut(value).op, chosen)
            && map.doublings != doublings
        {
            map.doublings = doublings;
            changed = Changed::Yes;
        }
    }
    Ok((shared, changed))
}

/// The doublings of least cost, the most among equals.
fn cheapest(
    map: &LinearMap,
    weights: &Weights,
    cost: CostModel<'_>,
    level: usize,
    slots: usize,
) -> Result<u32, Error> {
    let longest = map.terms.iter().map(|term| term.input.period()).max();
    let ratio = longest.unwrap_or(1) / map.output.period();
    if ratio <= 1 {
        return Ok(0);
    }
    let matrices: Vec<AffineMatrix> = (0..map.terms.len())
        .map(|term| map.slot_matrix(term, weights))
        .collect::<Result<_, _>>()?;
    let mut best = (f64::INFINITY, 0);
    for doublings in (0..=ratio.ilog2()).rev() {
        let shared = LinearMap {
            doublings,
            ..map.clone()
        };
        let indices: Vec<Vec<usize>> = matrices
            .iter()
            .enumerate()
            .map(|(term, whole)| shared.diagonal_indices_of(term, whole))
            .collect();
        // Without rotations: less is impossible, and the search for these takes long where diagonals are many.
        let products = indices.iter().map(|indices| TransformCounts {
            diagonals: indices.len(),
            baby: 0,
            giant: 0,
        });
        if cost.linear(level, &products.collect::<Vec<_>>(), doublings) >= best.0 {
            continue;
        }
        let terms: Vec<TransformCounts> = indices
            .iter()
            .zip(&map.terms)
            .map(|(indices, term)| {
                of_diagonals(indices, term.input.period(), slots).map(|steps| counts(&steps))
            })
            .collect::<Result<_, _>>()?;
        let found = cost.linear(level, &terms, doublings);
        if found < best.0 {
            best = (found, doublings);
        }
    }
    Ok(best.1)
}

/// How many maps are computed in shares.
pub fn remarks(graph: &SlotGraph) -> Vec<String> {
    let shared = graph
        .values()
        .filter(|value| matches!(&graph.node(*value).op, Op::Linear(map) if map.doublings > 0));
    match shared.count() {
        0 => Vec::new(),
        count => vec![format!("{count} linear maps sum in shares")],
    }
}
