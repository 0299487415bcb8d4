//! ReLU, and what exporters write for it.

use heddle_ir::nn::{Activation, Op};

use crate::onnx::build::{Call, Graph, Value};

pub(super) fn relu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    rectified(graph, call, 0)
}

/// `Clip` from 0 upward.
pub(super) fn clip(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let bound = |index: usize, name: &str| -> Result<Option<f64>, String> {
        if call.opset < 11 {
            return Ok(call.attributes.float(name)?.map(f64::from));
        }
        call.optional_constant(index, name)?
            .map(|bound| bound.scalar())
            .transpose()
    };
    let low = bound(1, "min")?.unwrap_or(f64::NEG_INFINITY);
    let high = bound(2, "max")?.unwrap_or(f64::INFINITY);
    if low != 0.0 || high < f64::from(f32::MAX) {
        return Err(format!(
            "clipping to {low}…{high} is not supported; clipping at 0 from below (Relu) is"
        ));
    }
    rectified(graph, call, 0)
}

/// The maximum of a value and 0.
pub(super) fn max(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let position = match &call.inputs[..] {
        [Some(Value::Traced(_)), Some(Value::Const(zero))] if zero.is_all(0.0) => 0,
        [Some(Value::Const(zero)), Some(Value::Traced(_))] if zero.is_all(0.0) => 1,
        _ => return Err("a maximum is supported of one value and zero only (Relu)".into()),
    };
    rectified(graph, call, position)
}

fn rectified(graph: &mut Graph, call: &Call<'_>, position: usize) -> Result<Value, String> {
    let x = call.traced(position)?;
    graph.traced(
        Op::Activation(Activation::Relu),
        &[x.id],
        x.view.clone(),
        call.name,
    )
}
