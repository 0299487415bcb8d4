//! Operators that move or repeat elements.

use crate::onnx::build::{AxisMatrix, Graph, Picks};
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;

/// Blocks of channels become blocks of pixels.
pub(super) fn depth_to_space(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let block = block(call)?;
    let [batch, channels, height, width] = map_dims(x)?;
    let depth = block
        .checked_mul(block)
        .filter(|cells| channels.is_multiple_of(*cells))
        .map(|cells| channels / cells)
        .ok_or_else(|| format!("blocks of {block}×{block} do not divide {channels} channels"))?;
    let (split, order) = match call.attributes.string("mode")?.unwrap_or("DCR") {
        "DCR" => (
            [batch, block, block, depth, height, width],
            [0, 3, 4, 1, 5, 2],
        ),
        "CRD" => (
            [batch, depth, block, block, height, width],
            [0, 1, 4, 2, 5, 3],
        ),
        other => {
            return Err(format!(
                "attribute `mode` is `{other}`; DCR and CRD are known"
            ));
        }
    };
    let result = [batch, depth, height * block, width * block];
    shuffled(graph, call, x, &split, &order, &result)
}

/// Blocks of pixels become channels.
pub(super) fn space_to_depth(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let block = block(call)?;
    let [batch, channels, height, width] = map_dims(x)?;
    if !height.is_multiple_of(block) || !width.is_multiple_of(block) {
        return Err(format!(
            "blocks of {block}×{block} do not divide {height}×{width}"
        ));
    }
    let [rows, columns] = [height / block, width / block];
    let split = [batch, channels, rows, block, columns, block];
    let result = [batch, block * block * channels, rows, columns];
    shuffled(graph, call, x, &split, &[0, 3, 5, 1, 2, 4], &result)
}

fn block(call: &Call<'_>) -> Result<usize, String> {
    let block = call.attributes.int("blocksize")?;
    let block = block.ok_or("attribute `blocksize` is missing")?;
    usize::try_from(block)
        .ok()
        .filter(|block| *block > 0)
        .ok_or_else(|| format!("attribute `blocksize` is {block}"))
}

fn map_dims(x: &Traced) -> Result<[usize; 4], String> {
    let dims = x.view.dims();
    dims.try_into()
        .map_err(|_| format!("expects [batch, channels, height, width], found {dims:?}"))
}

/// A reshape, a transpose and another reshape.
fn shuffled(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    split: &[usize],
    order: &[usize],
    result: &[usize],
) -> Result<Value, String> {
    let mut seen = graph.regrouped(x, split, call.name)?;
    seen.view = seen.view.permuted(order);
    graph.reshaped(&seen, result, call.name)
}

/// `Expand`: axes of extent 1 are repeated.
pub(super) fn expand(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let target = call.ints(1, "the shape")?;
    let target: Vec<usize> = target
        .iter()
        .map(|extent| {
            let extent = usize::try_from(*extent).ok().filter(|extent| *extent > 0);
            extent.ok_or_else(|| format!("cannot expand {:?} to {target:?}", x.view.dims()))
        })
        .collect::<Result<_, String>>()?;
    let dims = dims::broadcast(x.view.dims(), &target)?;
    let expanded = graph.broadcast(x, &dims, call.name)?;
    graph.flattened(expanded, call.name)
}

/// `Tile`: the whole value, several times along each axis.
pub(super) fn tile(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let repeats = call.ints(1, "the repeats")?;
    let extents = x.view.dims();
    if repeats.len() != extents.len() {
        return Err(format!("{} repeats for {extents:?}", repeats.len()));
    }
    let mut picks: Vec<Option<Picks>> = Vec::with_capacity(extents.len());
    for (extent, count) in extents.iter().zip(&repeats) {
        let all = usize::try_from(*count)
            .ok()
            .filter(|count| *count > 0)
            .and_then(|count| count.checked_mul(*extent))
            .ok_or_else(|| format!("repeats an axis of {extent} {count} times"))?;
        graph.room(all)?;
        picks.push(match *count {
            1 => None,
            _ => Some((0..all).map(|position| Some(position % extent)).collect()),
        });
    }
    let tiled = graph.picked(x, &picks, call.name)?;
    graph.flattened(tiled, call.name)
}

/// `CumSum`: the sum of all elements up to each along one axis.
pub(super) fn cum_sum(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let axis = match call.ints(1, "the axis")?[..] {
        [axis] => dims::axis(axis, x.view.dims().len())?,
        _ => return Err("the axis should be one number".into()),
    };
    let is_exclusive = call.attributes.flag("exclusive", false)?;
    let is_reverse = call.attributes.flag("reverse", false)?;
    let extent = x.view.dims()[axis];
    graph.room(extent.saturating_mul(extent))?;
    let mut data = vec![0.0; extent * extent];
    for (result, row) in data.chunks_exact_mut(extent).enumerate() {
        for (operand, entry) in row.iter_mut().enumerate() {
            let is_before = match is_reverse {
                true => operand > result,
                false => operand < result,
            };
            if is_before || (operand == result && !is_exclusive) {
                *entry = 1.0;
            }
        }
    }
    let matrix = AxisMatrix {
        name: format!("{}.sums", call.name),
        results: extent,
        data,
    };
    let summed = graph.mapped(x, axis, matrix, call.name)?;
    graph.flattened(summed, call.name)
}
