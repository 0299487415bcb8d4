//! Means and maxima over windows and over whole planes.

use heddle_ir::nn::{AveragePool, LinearOp, Op, PaddingInMean, Separable, Window};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Value};
use crate::onnx::ops::conv::{reach, window};
use crate::onnx::plane::Plane;

pub(super) fn global_average_pool(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (x, plane) = call.spatial(graph, 0)?;
    graph.on_plane(Op::Linear(LinearOp::GlobalAveragePool), x, plane, call.name)
}

pub(super) fn average_pool(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (x, plane) = call.spatial(graph, 0)?;
    let chw = graph.chw(x);
    let mut window = pool_window(call, plane, chw)?;
    let padding = if call.attributes.flag("count_include_pad", false)? {
        PaddingInMean::Counted
    } else {
        PaddingInMean::Excluded
    };
    let declared = window.pads;
    if call.attributes.flag("ceil_mode", false)? {
        extend(&mut window, chw)?;
    }
    let op = if window.dilation != [1, 1]
        || (window.pads != declared && padding == PaddingInMean::Counted)
    {
        weighted_mean(graph, call.name, &window, declared, chw, padding)?
    } else if window.kernel == [chw[1], chw[2]] && window.pads == [0; 4] {
        LinearOp::GlobalAveragePool
    } else {
        LinearOp::AveragePool(AveragePool { window, padding })
    };
    graph.on_plane(Op::Linear(op), x, plane, call.name)
}

/// The window that a pool's attributes describe, before `ceil_mode`.
fn pool_window(call: &Call<'_>, plane: Plane, chw: [usize; 3]) -> Result<Window, String> {
    let attributes = &call.attributes;
    let kernel = plane
        .extents(attributes, "kernel_shape", 1)?
        .ok_or("attribute `kernel_shape` is missing")?;
    let dilation = plane.extents(attributes, "dilations", 1)?;
    window(attributes, plane, kernel, dilation.unwrap_or([1, 1]), chw)
}

/// Largest extent that a matrix is written out for.
const LARGEST: usize = 1 << 12;

/// A mean whose divisors no plain average pool has, as a matrix along height and one along width.
/// Counted padding is that of the model, `declared`; what `ceil_mode` adds behind never counts.
fn weighted_mean(
    graph: &mut Graph,
    name: &str,
    window: &Window,
    declared: [usize; 4],
    [_, height, width]: [usize; 3],
    padding: PaddingInMean,
) -> Result<LinearOp, String> {
    let numbers = [window.kernel, window.stride, window.dilation];
    let numbers = numbers.iter().flatten().chain(&window.pads);
    if numbers
        .chain(&[height, width])
        .any(|number| *number > LARGEST)
    {
        return Err(format!(
            "a mean with an extent above {LARGEST} whose divisors differ"
        ));
    }
    let [rows, columns] = window
        .output(height, width)
        .ok_or("the window does not fit")?;
    let mut along = |axis: usize, extent: usize, results: usize, what: &str| {
        let end = declared[axis] + extent + declared[axis + 2];
        let taps = results.saturating_mul(extent.saturating_add(window.kernel[axis]));
        graph.room(taps)?;
        let mut data = vec![0.0; results * extent];
        for (result, row) in data.chunks_exact_mut(extent).enumerate() {
            let taps: Vec<usize> = (0..window.kernel[axis])
                .filter_map(|tap| window.input_index(axis, result, tap, extent))
                .collect();
            if taps.is_empty() {
                return Err("a window that lies in the padding alone".into());
            }
            let start = result * window.stride[axis];
            let divisor = match padding {
                PaddingInMean::Excluded => taps.len(),
                PaddingInMean::Counted => (0..window.kernel[axis])
                    .filter(|tap| start + tap * window.dilation[axis] < end)
                    .count(),
            };
            for tap in taps {
                row[tap] += (1.0 / divisor as f64) as f32;
            }
        }
        graph.push_weight(&format!("{name}.{what}"), vec![results, extent], data)
    };
    Ok(LinearOp::Separable(Separable {
        rows: Some(along(0, height, rows, "rows")?),
        columns: Some(along(1, width, columns, "columns")?),
        stride: window.stride,
    }))
}

pub(super) fn max_pool(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (x, plane) = call.spatial(graph, 0)?;
    call.attributes.ignore(&["storage_order"]);
    let chw = graph.chw(x);
    let mut window = pool_window(call, plane, chw)?;
    if call.attributes.flag("ceil_mode", false)? {
        extend(&mut window, chw)?;
    }
    // Every position and every tap in the padding is looked at.
    for axis in [0, 1] {
        let padding = window.pads[axis].saturating_add(window.pads[axis + 2]);
        let taps = padding.saturating_mul(window.kernel[axis]);
        graph.budget.work(chw[axis + 1].saturating_add(taps))?;
    }
    graph.on_plane(Op::MaxPool { window }, x, plane, call.name)
}

pub(super) fn global_max_pool(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (x, plane) = call.spatial(graph, 0)?;
    let [_, height, width] = graph.chw(x);
    let window = Window::plain([height, width]);
    graph.on_plane(Op::MaxPool { window }, x, plane, call.name)
}

/// Turns `ceil_mode` into padding at the end, for one more position where the last is cut off.
fn extend(window: &mut Window, [_, height, width]: [usize; 3]) -> Result<(), String> {
    for (axis, input) in [height, width].into_iter().enumerate() {
        let (kernel, stride) = (window.kernel[axis], window.stride[axis]);
        let reach = reach(kernel, window.dilation[axis])?;
        let padded = input
            .saturating_add(window.pads[axis])
            .saturating_add(window.pads[axis + 2]);
        let room = padded.checked_sub(reach).ok_or("the window does not fit")?;
        let mut steps = room.div_ceil(stride);
        // A last window that would start behind the data is left out.
        if steps.saturating_mul(stride) >= input.saturating_add(window.pads[axis]) {
            steps -= 1;
        }
        let added = steps.saturating_mul(stride).saturating_sub(room);
        window.pads[axis + 2] = window.pads[axis + 2].saturating_add(added);
    }
    Ok(())
}
