//! Slices of values, strided ones included, as option-A shortcuts use them.

use heddle_ir::nn::{LinearOp, Op, Slice};

use crate::onnx::build::{Graph, Picks};
use crate::onnx::call::{Call, Value};
use crate::onnx::dims::Span;

pub(super) fn slice(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let extents = graph.chw(x.id);
    let (mut start, mut end, mut step) = ([0; 3], extents, [1; 3]);
    let spans = call.spans(x.view.dims())?;
    let mut is_plain = x.view.is_whole();
    let mut picks: Vec<Option<Picks>> = Vec::with_capacity(spans.len());
    for (axis, span) in spans.into_iter().enumerate() {
        let extent = x.view.dims()[axis];
        let whole = Span {
            start: 0,
            step: 1,
            len: extent,
        };
        if span.len == 0 {
            return Err(format!("the slice keeps nothing of axis {axis}"));
        }
        if span == whole || extent == 1 {
            picks.push(None);
            continue;
        }
        graph.room(span.len)?;
        let position = |index: usize| {
            span.start
                .wrapping_add_signed(index as isize * stride(span))
        };
        picks.push(Some(
            (0..span.len).map(|index| Some(position(index))).collect(),
        ));
        match (x.view.axes(axis), usize::try_from(span.step)) {
            ([inner], Ok(stride)) => {
                start[*inner] = span.start;
                step[*inner] = stride.min(extent);
                end[*inner] = span.start + (span.len - 1) * step[*inner] + 1;
            }
            _ => is_plain = false,
        }
    }
    if picks.iter().all(Option::is_none) {
        return super::identity::identity(graph, call);
    }
    if is_plain {
        let op = Op::Linear(LinearOp::Slice(Slice { start, end, step }));
        return graph.resized(op, x, call.name);
    }
    let picked = graph.picked(x, &picks, call.name)?;
    graph.flattened(picked, call.name)
}

/// The step between two positions; it is of no use where there is one position only.
fn stride(span: Span) -> isize {
    match span.len {
        1 => 0,
        _ => span.step as isize,
    }
}
