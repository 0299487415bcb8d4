//! Convolution.

use heddle_ir::nn::{Conv, LinearOp, Op, Window};

use crate::onnx::attr::Attributes;
use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Value};
use crate::onnx::plane::Plane;

pub(super) fn conv(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let weight = call.constant(1, "the kernel")?;
    let of_kernel = &weight.shape[2.min(weight.shape.len())..];
    if !(1..=2).contains(&of_kernel.len()) {
        let name = &weight.name;
        return Err(match of_kernel.len() {
            3 => format!(
                "`{name}` is the kernel of a 3-D convolution; 1-D and 2-D ones are supported"
            ),
            _ => format!(
                "the kernel `{name}` has shape {:?}; 1-D convolutions need three axes, 2-D ones four",
                weight.shape
            ),
        });
    }
    let (x, plane) = call.spatial(graph, 0)?;
    if of_kernel.len() != plane.rank() {
        return Err(format!(
            "the kernel `{}` has shape {:?}, but is applied to {:?}",
            weight.name,
            weight.shape,
            call.traced(0)?.view.dims()
        ));
    }
    let kernel = plane.spread(of_kernel, 1);
    if let Some(declared) = plane.extents(&call.attributes, "kernel_shape", 1)?
        && declared != kernel
    {
        return Err(format!(
            "`kernel_shape` {declared:?} differs from the kernel's {kernel:?}"
        ));
    }
    let dilation = plane.extents(&call.attributes, "dilations", 1)?;
    let dilation = dilation.unwrap_or([1, 1]);
    let window = window(&call.attributes, plane, kernel, dilation, graph.chw(x))?;
    let groups = call.attributes.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups).map_err(|_| format!("`group` is {groups}"))?;
    let bias = match call.optional_constant(2, "the bias")? {
        Some(bias) => Some(graph.vector_weight(bias, weight.shape[0])?),
        None => None,
    };
    let stored = match plane {
        Plane::Image => graph.weight(weight)?,
        Plane::Signal(_) => {
            let shape = [&weight.shape[..2], &kernel].concat();
            graph.push_weight(&weight.name, shape, weight.to_weights()?)?
        }
    };
    let op = LinearOp::Conv(Conv {
        weight: stored,
        bias,
        window,
        groups,
    });
    graph.on_plane(Op::Linear(op), x, plane, call.name)
}

/// The window of a convolution or a pool, explicit or automatic padding resolved.
pub(super) fn window(
    attributes: &Attributes<'_>,
    plane: Plane,
    kernel: [usize; 2],
    dilation: [usize; 2],
    [_, height, width]: [usize; 3],
) -> Result<Window, String> {
    let stride = plane.extents(attributes, "strides", 1)?.unwrap_or([1, 1]);
    let explicit = plane.pads(attributes)?;
    let automatic = |put_odd: Odd| -> Result<[usize; 4], String> {
        let mut pads = [0; 4];
        for (axis, input) in [height, width].into_iter().enumerate() {
            let reach = reach(kernel[axis], dilation[axis])?;
            let covered = (input.div_ceil(stride[axis]) - 1)
                .checked_mul(stride[axis])
                .and_then(|covered| covered.checked_add(reach))
                .ok_or("stride and kernel are too large")?;
            let total = covered.saturating_sub(input);
            let small = total / 2;
            (pads[axis], pads[axis + 2]) = match put_odd {
                Odd::After => (small, total - small),
                Odd::Before => (total - small, small),
            };
        }
        Ok(pads)
    };
    let pads = match attributes.string("auto_pad")?.unwrap_or("NOTSET") {
        "" | "NOTSET" => explicit.unwrap_or([0; 4]),
        "VALID" => [0; 4],
        "SAME_UPPER" => automatic(Odd::After)?,
        "SAME_LOWER" => automatic(Odd::Before)?,
        other => return Err(format!("attribute `auto_pad` is `{other}`")),
    };
    Ok(Window {
        kernel,
        stride,
        pads,
        dilation,
    })
}

/// How many elements a dilated kernel extends over.
pub(super) fn reach(kernel: usize, dilation: usize) -> Result<usize, &'static str> {
    let steps = kernel.checked_sub(1).ok_or("the kernel is empty")?;
    let reach = steps.checked_mul(dilation);
    reach
        .and_then(|reach| reach.checked_add(1))
        .ok_or("dilation and kernel are too large")
}

/// Where automatic padding puts an odd zero.
#[derive(Clone, Copy)]
enum Odd {
    Before,
    After,
}
