//! Whether the rotations of linear transforms suffice for their diagonals.

use rayon::prelude::*;

use crate::ckks::{Op, Schedule, TransformSteps};
use crate::linear::{DiagonalResidues, ExpandedMaps, LinearMap};
use crate::verify::{Violation, Violations, at};
use crate::weights::Weights;

/// Checks of every transform that its baby and giant steps reach each non-zero diagonal, and that
/// it states their number. Expands every linear map, about 50 ms for a convolution of a large
/// network; `schedule` has passed [`verify`](super::verify) with these weights.
pub fn verify_diagonals(schedule: &Schedule, weights: &Weights) -> Violations {
    verify_expanded_diagonals(schedule, weights, &ExpandedMaps::default())
}

/// [`verify_diagonals`] that expands only the maps that are not in `expanded`; these were expanded
/// with the same weights.
pub fn verify_expanded_diagonals(
    schedule: &Schedule,
    weights: &Weights,
    expanded: &ExpandedMaps,
) -> Violations {
    let graph = &schedule.graph;
    let transforms: Vec<_> = graph
        .values()
        .filter_map(|value| match &graph.node(value).op {
            Op::LinearTransform { map, steps } => Some((value, *map, steps)),
            _ => None,
        })
        .collect();
    // Few maps have most of the entries, so the terms of each run in parallel too.
    let all: Vec<Violation> = transforms
        .par_iter()
        .filter_map(|(value, id, steps)| Some((value, schedule.linear_map(*id)?, *steps)))
        .flat_map(|(value, map, steps)| {
            let known = expanded.residues(map);
            let terms = (0..map.terms.len().min(steps.len())).into_par_iter();
            terms.filter_map(move |term| {
                let known = known.and_then(|known| known.get(term));
                let missed = missed(map, term, known, weights, &steps[term]).err()?;
                Some(at(graph, *value, &format!("term {term}: {missed}")))
            })
        })
        .collect();
    all.into_iter().collect()
}

fn missed(
    map: &LinearMap,
    term: usize,
    known: Option<&DiagonalResidues>,
    weights: &Weights,
    steps: &TransformSteps,
) -> Result<(), String> {
    let diagonals = match known {
        Some(residues) => map.diagonal_indices(term, residues),
        None => {
            let residues = map
                .diagonal_residues(term, weights)
                .map_err(|error| error.to_string())?;
            map.diagonal_indices(term, &residues)
        }
    };
    let period = map.terms[term].input.period();
    let mut reached = vec![false; period];
    for giant in &steps.giant {
        for baby in &steps.baby {
            reached[(giant % period + baby % period) % period] = true;
        }
    }
    if let Some(diagonal) = diagonals.iter().find(|diagonal| !reached[**diagonal]) {
        return Err(format!("no baby and giant step reach diagonal {diagonal}"));
    }
    if diagonals.len() == steps.diagonals {
        Ok(())
    } else {
        Err(format!(
            "{} diagonals, the steps are for {}",
            diagonals.len(),
            steps.diagonals
        ))
    }
}
