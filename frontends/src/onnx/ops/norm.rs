//! Normalisations. A batch normalisation is kept as it is; folding it is the compiler's business.

use heddle_ir::nn::{Activation, BatchNorm, Conv, LinearOp, Op, Window};

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

/// Local response normalisation: `x·(bias + alpha/size·s)^−beta`, where s is the sum of squares over
/// the `size` channels around. The sum is a convolution with a banded 1×1 filter.
pub(super) fn lrn(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.feature_map(graph, 0)?;
    let number = |name: &str, default: f32| -> Result<f64, String> {
        Ok(f64::from(call.attributes.float(name)?.unwrap_or(default)))
    };
    let (alpha, beta) = (number("alpha", 1e-4)?, number("beta", 0.75)?);
    let bias = number("bias", 1.0)?;
    let size = call.attributes.int("size")?;
    let size = size.ok_or("attribute `size` is missing")?;
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    let size = size.ok_or("attribute `size` is not positive")?;
    if alpha < 0.0 || bias <= 0.0 {
        return Err(format!(
            "a normalisation with `alpha` {alpha} and `bias` {bias}; what is raised to a power must \
             stay positive: `alpha` 0 or more and `bias` above 0 are supported"
        ));
    }
    let channels = graph.chw(x)[0];
    graph.room(channels.saturating_mul(channels))?;
    let (before, after) = ((size - 1) / 2, size / 2);
    let filter = (0..channels).flat_map(|to| {
        let window = to.saturating_sub(before)..=to.saturating_add(after);
        let weight = (alpha / size as f64) as f32;
        (0..channels).map(move |from| if window.contains(&from) { weight } else { 0.0 })
    });
    let filter: Vec<f32> = filter.collect();
    let stored = |what: &str| format!("{}.{what}", call.name);
    let shape = vec![channels, channels, 1, 1];
    let weight = graph.push_weight(&stored("window"), shape, filter)?;
    let biases = graph.of_channels(x, bias as f32)?;
    let bias = graph.push_weight(&stored("bias"), vec![channels], biases)?;
    let sum = LinearOp::Conv(Conv {
        weight,
        bias: Some(bias),
        window: Window::plain([1, 1]),
        groups: 1,
    });
    let square = graph.emit(Op::activation(Activation::Square), &[x], call.name)?;
    let sum = graph.emit(Op::Linear(sum), &[square], call.name)?;
    let power = Op::activation(Activation::Power {
        offset: 0.0,
        exponent: -beta,
    });
    let factor = graph.emit(power, &[sum], call.name)?;
    graph.standard(Op::multiply(), &[x, factor], call.name)
}
