//! A value cut into parts along one axis.

use heddle_ir::nn::{LinearOp, Op, Slice};

use crate::onnx::build::{Graph, Picks};
use crate::onnx::call::{Call, Value};
use crate::onnx::dims;

/// One value for every output, in order.
pub(super) fn split(graph: &mut Graph, call: &Call<'_>) -> Result<Vec<Value>, String> {
    let x = call.traced(0)?;
    let axis = call.attributes.int("axis")?.unwrap_or(0);
    let axis = dims::axis(axis, x.view.dims().len())?;
    let extent = x.view.dims()[axis];
    let sizes = sizes(call, extent)?;
    let inner = match x.view.axes(axis) {
        [inner] if x.view.is_whole() => *inner,
        _ if sizes == [extent] => 0,
        _ => return parts_of_any_axis(graph, call, axis, &sizes),
    };
    let mut parts = Vec::with_capacity(sizes.len());
    let mut from = 0;
    for (index, size) in sizes.iter().enumerate() {
        let (mut start, mut end) = ([0; 3], graph.chw(x.id));
        if *size != extent {
            (start[inner], end[inner]) = (from, from + size);
        }
        from += size;
        let step = [1; 3];
        let op = Op::Linear(LinearOp::Slice(Slice { start, end, step }));
        parts.push(graph.resized(op, x, &format!("{}/part.{index}", call.name))?);
    }
    Ok(parts)
}

/// The parts along an axis that is not one of the graph's.
fn parts_of_any_axis(
    graph: &mut Graph,
    call: &Call<'_>,
    axis: usize,
    sizes: &[usize],
) -> Result<Vec<Value>, String> {
    let x = call.traced(0)?;
    let (mut parts, mut from) = (Vec::with_capacity(sizes.len()), 0);
    for (index, size) in sizes.iter().enumerate() {
        graph.room(*size)?;
        let mut picks: Vec<Option<Picks>> = vec![None; x.view.dims().len()];
        picks[axis] = Some((from..from + size).map(Some).collect());
        from += size;
        let name = format!("{}/part.{index}", call.name);
        let part = graph.picked(x, &picks, &name)?;
        parts.push(graph.flattened(part, &name)?);
    }
    Ok(parts)
}

/// The extents of the parts: an attribute before opset 13, an input since, or equal parts.
fn sizes(call: &Call<'_>, extent: usize) -> Result<Vec<usize>, String> {
    let given = if call.opset < 13 {
        call.attributes.ints("split")?.map(<[i64]>::to_vec)
    } else {
        call.optional_ints(1, "the sizes")?
    };
    let count = call.outputs;
    if let Some(declared) = call.attributes.int("num_outputs")?
        && usize::try_from(declared) != Ok(count)
    {
        return Err(format!(
            "`num_outputs` is {declared}, but there are {count}"
        ));
    }
    let Some(given) = given else {
        let part = extent.div_ceil(count.max(1));
        let sizes: Vec<usize> = (0..count)
            .map(|index| extent.saturating_sub(index * part).min(part))
            .collect();
        if sizes.contains(&0) || (call.opset < 18 && !extent.is_multiple_of(count.max(1))) {
            return Err(format!("splits {extent} into {count} equal parts"));
        }
        return Ok(sizes);
    };
    let sizes: Vec<usize> = given
        .iter()
        .filter_map(|size| usize::try_from(*size).ok().filter(|size| *size > 0))
        .collect();
    let total = sizes
        .iter()
        .try_fold(0_usize, |sum, size| sum.checked_add(*size));
    if sizes.len() != given.len() || sizes.len() != count || total != Some(extent) {
        return Err(format!(
            "splits {extent} into {:?} for {count} outputs; parts must be positive and add up",
            &given[..given.len().min(32)]
        ));
    }
    Ok(sizes)
}
