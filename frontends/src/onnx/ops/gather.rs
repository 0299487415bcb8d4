//! Selections by constant indices.

use crate::onnx::build::{Graph, Picks, offset_in};
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;
use crate::onnx::tensor::{Const, element_count};
use crate::onnx::view::merged;

/// `Gather`: positions along one axis, in any order.
pub(super) fn gather(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let indices = call.constant(1, "the indices")?;
    let shape = x.view.dims().to_vec();
    let axis = dims::axis(call.attributes.int("axis")?.unwrap_or(0), shape.len())?;
    graph.room(indices.len())?;
    let along: Vec<usize> = wrapped(indices, shape[axis])?;
    let mut picks: Vec<Option<Picks>> = vec![None; shape.len()];
    picks[axis] = Some(along.into_iter().map(Some).collect());
    let picked = graph.picked(x, &picks, call.name)?;
    let result = [&shape[..axis], &indices.shape, &shape[axis + 1..]].concat();
    graph.reshaped(&picked, &result, call.name)
}

/// `GatherElements`: for every element of the indices one of the value, which differs from it in
/// its position along one axis.
pub(super) fn gather_elements(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let indices = call.constant(1, "the indices")?;
    let shape = x.view.dims().to_vec();
    let axis = dims::axis(call.attributes.int("axis")?.unwrap_or(0), shape.len())?;
    let fits = indices.shape.len() == shape.len()
        && (0..shape.len()).all(|other| other == axis || indices.shape[other] <= shape[other]);
    if !fits {
        return Err(format!(
            "indices of shape {:?} do not fit a value of shape {shape:?}",
            indices.shape
        ));
    }
    let grid = indices.shape.clone();
    graph.room(indices.len().saturating_mul(grid.len() + 1))?;
    let along = wrapped(indices, shape[axis])?;
    let mut offsets = Vec::with_capacity(along.len());
    let mut at = vec![0; grid.len()];
    let runs = x.view.runs(graph.ty(x.id));
    for index in along {
        let mut offset = 0;
        for (other, runs) in runs.iter().enumerate() {
            let position = if other == axis { index } else { at[other] };
            offset += offset_in(runs, position)?;
        }
        offsets.push(offset);
        advance(&mut at, &grid);
    }
    by_offsets(graph, call, x, &grid, offsets, grid.len())
}

/// `GatherND`: positions along several axes at once.
pub(super) fn gather_nd(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let indices = call.constant(1, "the indices")?;
    let shape = x.view.dims().to_vec();
    let batch = call.attributes.int("batch_dims")?.unwrap_or(0);
    let misfit = || {
        format!(
            "indices of shape {:?} with {batch} batch axes do not fit a value of shape {shape:?}",
            indices.shape
        )
    };
    let (tuple, grid) = indices.shape.split_last().ok_or_else(misfit)?;
    let batch = usize::try_from(batch).map_err(|_| misfit())?;
    let end = batch.checked_add(*tuple).ok_or_else(misfit)?;
    if *tuple == 0 || end > shape.len() || batch > grid.len() || grid[..batch] != shape[..batch] {
        return Err(misfit());
    }
    graph.room(
        indices
            .len()
            .saturating_add(element_count(grid)?.saturating_mul(grid.len() + 1)),
    )?;
    let runs = x.view.runs(graph.ty(x.id));
    let mut offsets = Vec::with_capacity(indices.len() / tuple);
    let mut at = vec![0; grid.len()];
    for tuple in indices.as_ints()?.chunks_exact(*tuple) {
        let mut offset = 0;
        for (runs, position) in runs.iter().zip(&at[..batch]) {
            offset += offset_in(runs, *position)?;
        }
        for (axis, index) in (batch..end).zip(tuple) {
            let position = dims::axis(*index, shape[axis])
                .map_err(|_| format!("the index {index} is outside of axis {axis} of {shape:?}"))?;
            offset += offset_in(&runs[axis], position)?;
        }
        offsets.push(offset);
        advance(&mut at, grid);
    }
    by_offsets(graph, call, x, grid, offsets, end)
}

/// Indices from 0, wrapped once where they are negative.
fn wrapped(indices: &Const, extent: usize) -> Result<Vec<usize>, String> {
    let indices = indices.as_ints()?.iter();
    indices
        .map(|index| {
            dims::axis(*index, extent)
                .map_err(|_| format!("the index {index} is outside of an axis of {extent}"))
        })
        .collect()
}

/// The next position of a grid in row-major order.
fn advance(at: &mut [usize], grid: &[usize]) {
    for (position, extent) in at.iter_mut().zip(grid).rev() {
        *position += 1;
        if *position < *extent {
            return;
        }
        *position = 0;
    }
}

/// A grid of positions, each with its offset in `x`, and behind it the axes of `x` from `rest` on.
fn by_offsets(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    grid: &[usize],
    offsets: Vec<u32>,
    rest: usize,
) -> Result<Value, String> {
    if offsets.is_empty() {
        return Err("gathers nothing".into());
    }
    graph.room(offsets.len().saturating_mul(2 * grid.len() + 2))?;
    let mut axes = separate(grid, &offsets);
    let mut shape = grid.to_vec();
    shape.extend(&x.view.dims()[rest..]);
    let inner = x.view.runs(graph.ty(x.id))[rest..].concat();
    axes.extend(graph.tables(&merged(&inner))?);
    let placed = graph.placed(x.id, axes, shape, call.name)?;
    graph.flattened(placed, call.name)
}

/// Offsets at the positions of a grid as sums of one offset for each of as many groups of
/// neighbouring axes as possible: windows of a pool are rows plus columns.
fn separate(grid: &[usize], offsets: &[u32]) -> Vec<Vec<Option<u32>>> {
    let least = offsets.iter().copied().min().unwrap_or(0);
    let at = |index: usize| i64::from(offsets[index]);
    let mut axes = Vec::new();
    // The first axis that has no table yet, and the positions of the axes behind the one at hand.
    let mut start = 0;
    let mut behind = offsets.len();
    for (axis, extent) in grid.iter().enumerate() {
        behind /= extent;
        let is_last = axis + 1 == grid.len();
        // Whether what is behind this axis adds the same wherever the axes before are.
        let is_sum = || {
            (0..offsets.len()).all(|index| {
                let (outer, rest) = (index / behind * behind, index % behind);
                at(index) == at(outer) + at(rest) - at(0)
            })
        };
        if !is_last && !is_sum() {
            continue;
        }
        let positions = grid[start..=axis].iter().product::<usize>();
        let own: Vec<i64> = (0..positions).map(|index| at(index * behind)).collect();
        let lowest = own.iter().copied().min().unwrap_or(0);
        let table = own.iter().map(|offset| offset - lowest);
        axes.push(table.map(|offset| u32::try_from(offset).ok()).collect());
        start = axis + 1;
    }
    // The sums begin at 0 now.
    if let Some(first) = axes.first_mut() {
        let first: &mut Vec<Option<u32>> = first;
        for offset in first.iter_mut().flatten() {
            *offset += least;
        }
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(grid: &[usize], axes: &[Vec<Option<u32>>]) -> Vec<u32> {
        let mut sums = vec![0];
        for axis in axes {
            let next = sums
                .iter()
                .flat_map(|sum| axis.iter().flatten().map(move |x| sum + x));
            sums = next.collect();
        }
        assert_eq!(sums.len(), grid.iter().product::<usize>());
        sums
    }

    #[test]
    fn offsets_are_split_into_as_many_tables_as_possible() {
        let grid = [2, 2, 3];
        // Axes 0 and 1 belong together; axis 2 runs backwards.
        let pairs = [10, 17, 20, 34];
        let offsets: Vec<u32> = pairs
            .iter()
            .flat_map(|pair| [2, 1, 0].map(|last| pair + last))
            .collect();
        let axes = separate(&grid, &offsets);
        assert_eq!(axes.len(), 2);
        assert_eq!(sums(&grid, &axes), offsets);
        let odd = [5, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];
        let axes = separate(&grid, &odd);
        assert_eq!(axes.len(), 1);
        assert_eq!(sums(&grid, &axes), odd);
    }
}
