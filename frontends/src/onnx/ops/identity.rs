//! Operators that do nothing at inference.

use std::rc::Rc;

use heddle_ir::nn::Op;

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Value};
use crate::onnx::fold::cast_target;

pub(super) fn identity(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    graph.traced(Op::Identity, &[x.id], x.view.clone(), call.name)
}

/// Dropout in evaluation mode.
pub(super) fn dropout(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    call.attributes.ignore(&["ratio", "seed", "is_test"]);
    if let Some(mode) = call.optional_constant(2, "`training_mode`")?
        && !mode.is_all(0.0)
    {
        return Err("dropout in training mode; export the network in evaluation mode".into());
    }
    identity(graph, call)
}

/// A cast between float types, or of a constant to the type of a value.
pub(super) fn cast(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let to = cast_target(call)?;
    if let Value::Const(constant) = call.input(0)? {
        graph.budget.work(constant.len())?;
        let bytes = constant.len().saturating_mul(size_of::<f64>());
        graph.budget.take(bytes)?;
        return Ok(Value::Const(Rc::new(constant.cast(to)?)));
    }
    if !to.is_float() {
        return Err("a cast to integers or booleans is supported on constants only".into());
    }
    identity(graph, call)
}
