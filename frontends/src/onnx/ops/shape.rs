//! Operators that change how a value is seen, not what it holds.

use std::rc::Rc;

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Value};
use crate::onnx::dims;
use crate::onnx::tensor::{Const, Elements};

pub(super) fn reshape(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let target = call.ints(1, "the shape")?;
    let keep_zeros = call.attributes.flag("allowzero", false)?;
    let dims = dims::reshape(x.view.dims(), &target, keep_zeros)?;
    graph.reshaped(x, &dims, call.name)
}

pub(super) fn flatten(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let axis = call.attributes.int("axis")?.unwrap_or(1);
    let dims = dims::flatten(x.view.dims(), axis)?;
    graph.reshaped(x, &dims, call.name)
}

pub(super) fn squeeze(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let dims = dims::squeeze(x.view.dims(), call.axes_since(13, 1)?.as_deref())?;
    graph.reshaped(x, &dims, call.name)
}

pub(super) fn unsqueeze(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let axes = call.axes_since(13, 1)?.ok_or("the axes are missing")?;
    let dims = dims::unsqueeze(x.view.dims(), &axes)?;
    graph.reshaped(x, &dims, call.name)
}

pub(super) fn transpose(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let permutation = dims::permutation(call.attributes.ints("perm")?, x.view.dims().len())?;
    let mut x = x.clone();
    x.view = x.view.permuted(&permutation);
    graph.flattened(x, call.name)
}

/// The shape of any value is a constant.
pub(super) fn shape(_: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let dims = call.input(0)?.dims();
    let rank = dims.len() as i64;
    // Unlike other axes these are clamped, not refused.
    let clamp = |bound: i64| {
        let bound = if bound < 0 {
            bound.saturating_add(rank)
        } else {
            bound
        };
        bound.clamp(0, rank) as usize
    };
    let start = clamp(call.attributes.int("start")?.unwrap_or(0));
    let end = clamp(call.attributes.int("end")?.unwrap_or(rank)).max(start);
    let extents = dims[start..end]
        .iter()
        .map(|extent| *extent as i64)
        .collect();
    Ok(Value::Const(Rc::new(Const::ints(extents))))
}

/// The number of elements of any value is a constant.
pub(super) fn size(_: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let count = call.input(0)?.dims().iter().product::<usize>() as i64;
    Ok(Value::Const(Rc::new(Const::new(
        Vec::new(),
        Elements::Int(vec![count]),
    ))))
}
