//! Batch normalisation, kept as it is; folding it is the compiler's business.

use heddle_ir::nn::{BatchNorm, LinearOp, Op};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Value};

pub(super) fn batch_normalization(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (x, view) = call.channels_second(graph, 0)?;
    if call.attributes.flag("training_mode", false)? {
        return Err("batch norm in training mode; export the network in evaluation mode".into());
    }
    if !call.attributes.flag("spatial", true)? {
        return Err("batch norm per pixel (`spatial` = 0); per channel is supported".into());
    }
    call.attributes.ignore(&["momentum"]);
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    let channels = graph.chw(x)[0];
    let mut parameters = Vec::with_capacity(4);
    for (index, role) in ["scale", "bias", "mean", "variance"]
        .into_iter()
        .enumerate()
    {
        let tensor = call.constant(index + 1, role)?;
        parameters.push(graph.vector_weight(tensor, channels)?);
    }
    let op = LinearOp::BatchNorm(BatchNorm {
        scale: parameters[0],
        bias: parameters[1],
        mean: parameters[2],
        variance: parameters[3],
        // The decimal that the exporter meant, not the binary expansion of its 32-bit float.
        epsilon: epsilon.to_string().parse().unwrap_or(f64::from(epsilon)),
    });
    graph.traced(Op::Linear(op), &[x], view, call.name)
}
