//! Shared sums: in how many shares the sums of each linear map are computed, and by which
//! rotations.
//!
//! Where a map's result has a shorter period than its operands, every copy of the result would be
//! computed anew. With shares, each copy computes a part of every sum, on fewer diagonals.
//! Rotations and additions complete the sums, one for every halving of the number of shares; see
//! [`heddle_ir::linear`]. The pass tries every number of shares and keeps the cheapest. It is the
//! only one that looks for diagonals: it keeps those of every map, with the rotations, for later
//! passes and the verifier.

use heddle_ir::ckks::TransformSteps;
use heddle_ir::linear::{DiagonalResidues, ExpandedMaps, LinearMap};
use heddle_ir::slot::{Op, SlotGraph};
use heddle_ir::weights::Weights;
use rayon::prelude::*;

use crate::analysis::cost::{CostModel, TransformCounts};
use crate::analysis::rotations::{RotationSearch, Rotations, counts};
use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "share-sums";

/// A graph with its shares chosen.
#[derive(Clone, Debug)]
pub struct SharedSums {
    /// The graph.
    pub graph: SlotGraph,
    /// Whether any number of shares changed.
    pub changed: Changed,
    /// What was found out about the linear maps.
    pub transforms: Transforms,
}

/// What was found out about linear maps by expanding them.
#[derive(Clone, Debug)]
pub struct Transforms {
    /// The rotations that evaluate the maps.
    pub rotations: Rotations,
    /// The maps with their diagonals.
    pub expanded: ExpandedMaps,
}

/// Chooses the shares of every linear map, in ciphertexts of `slots` slots, by its cost at `level`.
///
/// # Errors
/// If a weight is missing or its shape does not fit.
pub fn run(
    graph: SlotGraph,
    weights: &Weights,
    cost: CostModel<'_>,
    level: usize,
    slots: usize,
) -> Result<SharedSums, Error> {
    let choice = Choice {
        weights,
        cost,
        level,
        search: RotationSearch::new(slots),
    };
    let values: Vec<_> = graph.values().collect();
    let chosen: Vec<Option<Chosen>> = values
        .par_iter()
        .map(|value| match &graph.node(*value).op {
            Op::Linear(map) => choice.cheapest(map).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<_, Error>>()?;
    let mut graph = graph;
    let mut changed = Changed::No;
    let mut rotations = Vec::with_capacity(values.len());
    let mut expanded = ExpandedMaps::default();
    for (value, chosen) in values.into_iter().zip(chosen) {
        let Some(chosen) = chosen else {
            rotations.push(Vec::new());
            continue;
        };
        rotations.push(chosen.rotations);
        let Op::Linear(map) = &mut graph.node_mut(value).op else {
            continue;
        };
        if map.log_shares != chosen.log_shares {
            map.log_shares = chosen.log_shares;
            changed = Changed::Yes;
        }
        expanded.push(map.clone(), chosen.residues);
    }
    Ok(SharedSums {
        graph,
        changed,
        transforms: Transforms {
            rotations,
            expanded,
        },
    })
}

/// The shares of one map, the rotations and the diagonals of its terms.
struct Chosen {
    log_shares: u32,
    rotations: Vec<TransformSteps>,
    residues: Vec<DiagonalResidues>,
}

struct Choice<'a> {
    weights: &'a Weights,
    cost: CostModel<'a>,
    level: usize,
    search: RotationSearch,
}

impl Choice<'_> {
    /// The shares of least cost, the most among equals.
    fn cheapest(&self, map: &LinearMap) -> Result<Chosen, Error> {
        // Few maps of a network with many branches take most of the time, so terms run in parallel.
        let residues: Vec<DiagonalResidues> = (0..map.terms.len())
            .into_par_iter()
            .map(|term| map.diagonal_residues(term, self.weights))
            .collect::<Result<_, _>>()?;
        let longest = map.terms.iter().map(|term| term.input.period()).max();
        let ratio = longest.unwrap_or(1) / map.output.period();
        let mut best: Option<(f64, u32, Vec<TransformSteps>)> = None;
        for log_shares in (0..=ratio.max(1).ilog2()).rev() {
            let bound = best.as_ref().map_or(f64::INFINITY, |(cost, ..)| *cost);
            if let Some((cost, rotations)) = self.below(bound, map, log_shares, &residues)? {
                best = Some((cost, log_shares, rotations));
            }
        }
        let (log_shares, rotations) = match best {
            Some((_, log_shares, rotations)) => (log_shares, rotations),
            // At this level nothing can run; placement says so.
            None => (0, self.rotations(map, diagonals(map, 0, &residues))?),
        };
        Ok(Chosen {
            log_shares,
            rotations,
            residues,
        })
    }

    /// The cost and the rotations of a map in some shares, if it costs less than `bound`.
    fn below(
        &self,
        bound: f64,
        map: &LinearMap,
        log_shares: u32,
        residues: &[DiagonalResidues],
    ) -> Result<Option<(f64, Vec<TransformSteps>)>, Error> {
        let diagonals = diagonals(map, log_shares, residues);
        // Without rotations: less is impossible, and the search for these takes long where
        // diagonals are many.
        let products = diagonals.iter().map(|diagonals| TransformCounts {
            diagonals: diagonals.len(),
            baby: 0,
            giant: 0,
        });
        let products: Vec<TransformCounts> = products.collect();
        if self.cost.linear(self.level, &products, log_shares) >= bound {
            return Ok(None);
        }
        let rotations = self.rotations(map, diagonals)?;
        let terms: Vec<TransformCounts> = rotations.iter().map(counts).collect();
        let cost = self.cost.linear(self.level, &terms, log_shares);
        Ok((cost < bound).then_some((cost, rotations)))
    }

    fn rotations(
        &self,
        map: &LinearMap,
        diagonals: Vec<Vec<usize>>,
    ) -> Result<Vec<TransformSteps>, Error> {
        let terms = diagonals.into_iter().zip(&map.terms);
        terms
            .map(|(diagonals, term)| self.search.of_diagonals(diagonals, term.input.period()))
            .collect()
    }
}

/// The diagonals of every term of a map in some shares.
fn diagonals(map: &LinearMap, log_shares: u32, residues: &[DiagonalResidues]) -> Vec<Vec<usize>> {
    let shared = LinearMap {
        log_shares,
        ..map.clone()
    };
    let terms = residues.iter().enumerate();
    terms
        .map(|(term, residues)| shared.diagonal_indices(term, residues))
        .collect()
}

/// How many maps are computed in shares.
pub fn remarks(graph: &SlotGraph) -> Vec<String> {
    let shared = graph
        .values()
        .filter(|value| matches!(&graph.node(*value).op, Op::Linear(map) if map.log_shares > 0));
    match shared.count() {
        0 => Vec::new(),
        count => vec![format!("{count} linear maps sum in shares")],
    }
}
