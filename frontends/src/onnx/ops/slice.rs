//! Slices of values, strided ones included, as option-A shortcuts use them.

use heddle_ir::nn::{LinearOp, Op, Slice};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Value};
use crate::onnx::dims::Span;

pub(super) fn slice(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let extents = graph.chw(x.id);
    let (mut start, mut end, mut step) = ([0; 3], extents, [1; 3]);
    let spans = call.spans(x.view.dims())?;
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
