//! Convolution.

use heddle_ir::nn::{Conv, LinearOp, Op, Window};

use crate::onnx::attr::Attributes;
use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Value};

pub(super) fn conv(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let weight = call.constant(1, "the kernel")?;
    let [m, _, height, width] = weight.shape[..] else {
        let name = &weight.name;
        return Err(match weight.shape.len() {
            3 => format!(
                "`{name}` is the kernel of a 1-D convolution; 2-D ones are supported: give the \
                 signal a height of 1"
            ),
            5 => format!("`{name}` is the kernel of a 3-D convolution; 2-D ones are supported"),
            _ => format!(
                "the kernel `{name}` has shape {:?}; 2-D convolutions need four axes",
                weight.shape
            ),
        });
    };
    let x = call.feature_map(graph, 0)?;
    let kernel = [height, width];
    if let Some(declared) = call.attributes.extents::<2>("kernel_shape", 1)?
        && declared != kernel
    {
        return Err(format!(
            "`kernel_shape` {declared:?} differs from the kernel's {kernel:?}"
        ));
    }
    let dilation = call.attributes.extents("dilations", 1)?.unwrap_or([1, 1]);
    let window = window(&call.attributes, kernel, dilation, graph.chw(x))?;
    let groups = call.attributes.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups).map_err(|_| format!("`group` is {groups}"))?;
    let bias = match call.optional_constant(2, "the bias")? {
        Some(bias) => Some(graph.vector_weight(bias, m)?),
        None => None,
    };
    let op = LinearOp::Conv(Conv {
        weight: graph.weight(weight)?,
        bias,
        window,
        groups,
    });
    graph.standard(Op::Linear(op), &[x], call.name)
}

/// The window of a convolution or a pool, explicit or automatic padding resolved.
pub(super) fn window(
    attributes: &Attributes<'_>,
    kernel: [usize; 2],
    dilation: [usize; 2],
    [_, height, width]: [usize; 3],
) -> Result<Window, String> {
    let stride = attributes.extents("strides", 1)?.unwrap_or([1, 1]);
    let explicit = attributes.extents::<4>("pads", 0)?;
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
