//! Slices of values, strided ones included, as option-A shortcuts use them.

use heddle_ir::nn::{LinearOp, Op, Slice};

use crate::onnx::build::{Call, Graph, Value};
use crate::onnx::dims::{self, Span};

pub(super) fn slice(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let extents = graph.chw(x.id);
    let (mut start, mut end, mut step) = ([0; 3], extents, [1; 3]);
    let spans = spans(call, x.view.dims())?;
    for (axis, span) in spans.into_iter().enumerate() {
        let extent = x.view.dims()[axis];
        if span
            == (Span {
                start: 0,
                step: 1,
                len: extent,
            })
        {
            continue;
        }
        if span.len == 0 {
            return Err(format!("the slice keeps nothing of axis {axis}"));
        }
        let [inner] = x.view.axes(axis) else {
            if extent == 1 {
                continue;
            }
            return Err(format!("axis {axis} mixes channels, height and width"));
        };
        let stride = usize::try_from(span.step)
            .map_err(|_| format!("axis {axis} is sliced backwards (step {})", span.step))?;
        start[*inner] = span.start;
        step[*inner] = stride.min(extent);
        end[*inner] = span.start + (span.len - 1) * step[*inner] + 1;
    }
    if (start, end, step) == ([0; 3], extents, [1; 3]) {
        return super::identity::identity(graph, call);
    }
    let op = Op::Linear(LinearOp::Slice(Slice { start, end, step }));
    graph.resized(op, x, call.name)
}

/// What is kept of every axis, from attributes before opset 10 and from inputs since.
pub(in crate::onnx) fn spans(call: &Call<'_>, extents: &[usize]) -> Result<Vec<Span>, String> {
    let list = |name: &str, index: usize| -> Result<Option<Vec<i64>>, String> {
        if call.opset < 10 {
            return Ok(call.attributes.ints(name)?.map(<[i64]>::to_vec));
        }
        call.optional_ints(index, name)
    };
    let starts = list("starts", 1)?.ok_or("the starts are missing")?;
    let ends = list("ends", 2)?.ok_or("the ends are missing")?;
    let axes = list("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if call.opset < 10 {
        None
    } else {
        list("steps", 4)?
    }
    .unwrap_or(vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps differ in length".into());
    }
    dims::axis_set(&axes, extents.len())?;
    let mut spans: Vec<Span> = extents
        .iter()
        .map(|extent| Span {
            start: 0,
            step: 1,
            len: *extent,
        })
        .collect();
    for (index, axis) in axes.iter().enumerate() {
        let axis = dims::axis(*axis, extents.len())?;
        spans[axis] = dims::span(extents[axis], starts[index], ends[index], steps[index])?;
    }
    Ok(spans)
}
