//! Zeros around a value.

use heddle_ir::nn::{LinearOp, Op, Pad};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;

pub(super) fn pad(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let mode = call.attributes.string("mode")?.unwrap_or("constant");
    if mode != "constant" {
        return Err(format!(
            "padding mode `{mode}` is not supported; `constant` is"
        ));
    }
    let (pads, value) = if call.opset < 11 {
        let pads = call
            .attributes
            .ints("pads")?
            .ok_or("attribute `pads` is missing")?;
        (
            pads.to_vec(),
            call.attributes.float("value")?.map(f64::from),
        )
    } else {
        let value = call.optional_constant(2, "the padding value")?;
        (
            call.ints(1, "the pads")?,
            value.map(|value| value.scalar()).transpose()?,
        )
    };
    if value.is_some_and(|value| value != 0.0) {
        return Err("padding with a value other than 0".into());
    }
    let rank = x.view.dims().len();
    let axes = match call.optional_ints(3, "the axes")? {
        Some(axes) => axes,
        None => (0..rank as i64).collect(),
    };
    dims::axis_set(&axes, rank)?;
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let (before, after) = pads.split_at(axes.len());
    let mut padding = Vec::with_capacity(axes.len());
    for ((axis, before), after) in axes.iter().zip(before).zip(after) {
        let count = |pad: i64| {
            usize::try_from(pad).map_err(|_| format!("axis {axis} is padded by {pad} (cropped)"))
        };
        padding.push((dims::axis(*axis, rank)?, count(*before)?, count(*after)?));
    }
    padded(graph, call, x, &padding)
}

/// Pads ONNX axes by zeros before and after.
pub(super) fn padded(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    padding: &[(usize, usize, usize)],
) -> Result<Value, String> {
    let (mut before, mut after) = ([0; 3], [0; 3]);
    for (axis, zeros_before, zeros_after) in padding {
        if (*zeros_before, *zeros_after) == (0, 0) {
            continue;
        }
        let [inner] = x.view.axes(*axis) else {
            return Err(format!(
                "pads axis {axis} of {:?}; channels, height and width of more than 1 can be padded",
                x.view.dims()
            ));
        };
        (before[*inner], after[*inner]) = (*zeros_before, *zeros_after);
    }
    if (before, after) == ([0; 3], [0; 3]) {
        return super::identity::identity(graph, call);
    }
    graph.resized(
        Op::Linear(LinearOp::Pad(Pad { before, after })),
        x,
        call.name,
    )
}
