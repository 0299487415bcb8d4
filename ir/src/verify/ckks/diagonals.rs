//! Whether the rotations of linear transforms suffice for their diagonals.

use rayon::prelude::*;

use crate::ckks::{LinearMapId, Op, Schedule, TransformSteps};
use crate::error::Error;
use crate::graph::ValueId;
use crate::linear::LinearMap;
use crate::verify::{Violation, at};
use crate::weights::Weights;

/// Checks of every transform that its baby and giant steps reach each non-zero diagonal, and that
/// it states their number. Expands every linear map, about 50 ms for a convolution of a large
/// network; `schedule` has passed [`verify`](super::verify) with these weights.
pub fn verify_diagonals(schedule: &Schedule, weights: &Weights) -> Vec<Violation> {
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
    transforms.par_iter().flat_map_iter(check).collect()
}

fn missed(
    map: &LinearMap,
    term: usize,
    weights: &Weights,
    steps: &TransformSteps,
) -> Result<(), String> {
    let diagonals = diagonal_indices(map, term, weights).map_err(|error| error.to_string())?;
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

/// The indices of a term's non-zero diagonals, ascending; the main one of a term that is zero throughout.
fn diagonal_indices(map: &LinearMap, term: usize, weights: &Weights) -> Result<Vec<usize>, Error> {
    let matrix = map.slot_matrix(term, weights)?;
    let period = map.terms[term].input.period();
    let output_period = map.output.period();
    let mut present = vec![false; period];
    // Within the work period, a copy of the result shifts every diagonal by the result's period.
    let copies = period.div_ceil(output_period);
    for row in 0..output_period {
        for (column, _) in matrix.row(row) {
            for copy in 0..copies {
                let slot = (copy * output_period + row) % period;
                present[(column + period - slot) % period] = true;
            }
        }
    }
    present[0] |= !present.contains(&true);
    Ok((0..period).filter(|diagonal| present[*diagonal]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::schedule;

    #[test]
    fn indices_agree_with_the_diagonals() {
        let (schedule, weights) = schedule();
        for map in &schedule.linear_maps {
            for term in 0..map.terms.len() {
                let diagonals = map.diagonals(term, &weights).unwrap();
                let expected: Vec<usize> = diagonals.entries.keys().copied().collect();
                assert_eq!(diagonal_indices(map, term, &weights).unwrap(), expected);
            }
        }
    }
}
