//! Whether the rotations of linear transforms suffice for their diagonals.

use rayon::prelude::*;

use crate::ckks::{LinearMapId, Op, Schedule, TransformSteps};
use crate::graph::ValueId;
use crate::linear::LinearMap;
use crate::verify::{Violation, Violations, at};
use crate::weights::Weights;

/// Checks of every transform that its baby and giant steps reach each non-zero diagonal, and that
/// it states their number. Expands every linear map, about 50 ms for a convolution of a large
/// network; `schedule` has passed [`verify`](super::verify) with these weights.
pub fn verify_diagonals(schedule: &Schedule, weights: &Weights) -> Violations {
    let graph = &schedule.graph;
    let transforms: Vec<_> = graph
        .values()
        .filter_map(|value| match &graph.node(value).op {
            Op::LinearTransform { map, steps } => Some((value, *map, steps)),
            _ => None,
        })
        .collect();
    let check = |(value, id, steps): &(ValueId, LinearMapId, &Vec<TransformSteps>)| {
        let Some(map) = schedule.linear_map(*id) else {
            return Vec::new();
        };
        (0..map.terms.len().min(steps.len()))
            .filter_map(|term| match missed(map, term, weights, &steps[term]) {
                Ok(()) => None,
                Err(message) => Some(at(graph, *value, &format!("term {term}: {message}"))),
            })
            .collect()
    };
    let all: Vec<Violation> = transforms.par_iter().flat_map_iter(check).collect();
    all.into_iter().collect()
}

fn missed(
    map: &LinearMap,
    term: usize,
    weights: &Weights,
    steps: &TransformSteps,
) -> Result<(), String> {
    let residues = map
        .diagonal_residues(term, weights)
        .map_err(|error| error.to_string())?;
    let diagonals = map.diagonal_indices(term, &residues);
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
