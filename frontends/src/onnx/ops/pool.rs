//! Means over windows and over whole planes.

use heddle_ir::nn::{LinearOp, Op, PaddingInMean, TensorType, Window};

use crate::onnx::build::{Call, Graph, Traced, Value};
use crate::onnx::ops::conv::window;
use crate::onnx::view::KeepDims;

pub(super) fn global_average_pool(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.feature_map(graph, 0)?;
    graph.standard(Op::Linear(LinearOp::GlobalAveragePool), &[x], call.name)
}

pub(super) fn average_pool(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.feature_map(graph, 0)?;
    let kernel = call
        .attributes
        .extents("kernel_shape", 1)?
        .ok_or("attribute `kernel_shape` is missing")?;
    let dilation = call.attributes.extents("dilations", 1)?.unwrap_or([1, 1]);
    let chw = graph.chw(x);
    let mut window = window(&call.attributes, kernel, dilation, chw)?;
    let padding = if call.attributes.flag("count_include_pad", false)? {
        PaddingInMean::Counted
    } else {
        PaddingInMean::Excluded
    };
    if call.attributes.flag("ceil_mode", false)? {
        extend(&mut window, chw, padding)?;
    }
    let whole = window.kernel == [chw[1], chw[2]] && window.pads == [0; 4];
    let op = if whole && dilation == [1, 1] {
        LinearOp::GlobalAveragePool
    } else {
        LinearOp::AveragePool { window, padding }
    };
    graph.standard(Op::Linear(op), &[x], call.name)
}

/// Turns `ceil_mode` into padding at the end, which a mean over real elements does not see.
fn extend(
    window: &mut Window,
    [_, height, width]: [usize; 3],
    padding: PaddingInMean,
) -> Result<(), String> {
    for (axis, input) in [height, width].into_iter().enumerate() {
        let (kernel, stride) = (window.kernel[axis], window.stride[axis]);
        let padded = input
            .saturating_add(window.pads[axis])
            .saturating_add(window.pads[axis + 2]);
        let room = padded
            .checked_sub(kernel)
            .ok_or("the window does not fit")?;
        let mut steps = room.div_ceil(stride);
        // A last window that would start behind the data is left out.
        if steps * stride >= input + window.pads[axis] {
            steps -= 1;
        }
        let missing = (steps * stride).saturating_sub(room);
        if missing > 0 && padding == PaddingInMean::Counted {
            return Err("`ceil_mode` together with `count_include_pad`".into());
        }
        window.pads[axis + 2] += missing;
    }
    Ok(())
}

/// `ReduceMean` over height, width or both.
pub(super) fn reduce_mean(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let axes = call.axes_since(18, 1)?;
    let no_axes_is_identity = call.attributes.flag("noop_with_empty_axes", false)?;
    let keep = if call.attributes.flag("keepdims", true)? {
        KeepDims::Yes
    } else {
        KeepDims::No
    };
    let rank = x.view.dims().len();
    let reduced = match axes {
        Some(axes) if !axes.is_empty() => crate::onnx::dims::axis_set(&axes, rank)?,
        _ if no_axes_is_identity => return super::identity::identity(graph, call),
        _ => vec![true; rank],
    };
    let mut over = [false; 3];
    for axis in (0..rank).filter(|axis| reduced[*axis]) {
        for axis in x.view.axes(axis) {
            over[*axis] = true;
        }
    }
    if over[0] {
        return Err("a mean over channels or features; over height and width is supported".into());
    }
    let [_, height, width] = graph.chw(x.id);
    let op = match over {
        [_, false, false] => Op::Identity,
        [_, rows, columns] if (rows || height == 1) && (columns || width == 1) => {
            Op::Linear(LinearOp::GlobalAveragePool)
        }
        [_, rows, _] => Op::Linear(LinearOp::AveragePool {
            window: Window {
                kernel: if rows { [height, 1] } else { [1, width] },
                stride: [1, 1],
                pads: [0; 4],
                dilation: [1, 1],
            },
            padding: PaddingInMean::Counted,
        }),
    };
    let view = x.view.reduced(&reduced, keep);
    let id = graph.emit(op, &[x.id], call.name)?;
    debug_assert_eq!(
        view.dims().iter().product::<usize>(),
        TensorType::elements(graph.ty(id))
    );
    graph.flattened(Traced { id, view }, call.name)
}
