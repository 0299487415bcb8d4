//! Sums of values, and arithmetic with constants.

use heddle_ir::ValueId;
use heddle_ir::nn::{Gemm, LinearOp, Op};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::tensor::Const;

pub(super) fn add(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    match (call.input(0)?, call.input(1)?) {
        (Value::Traced(x), Value::Traced(y)) => sum_of(graph, call, x, y),
        (Value::Traced(x), Value::Const(shift)) | (Value::Const(shift), Value::Traced(x)) => {
            shifted(graph, call, x, shift)
        }
        (Value::Const(_), Value::Const(_)) => Err("constants that were not folded".into()),
    }
}

/// `Sum` of one or two values.
pub(super) fn sum(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    match call.inputs.len() {
        1 => super::identity::identity(graph, call),
        2 => add(graph, call),
        count => Err(format!(
            "a sum of {count} values; chains of two are supported"
        )),
    }
}

pub(super) fn sub(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    match (call.input(0)?, call.input(1)?) {
        (Value::Traced(x), Value::Traced(y)) => {
            let negative = negated(graph, call, y, None)?;
            let negative = Traced {
                id: negative,
                view: y.view.clone(),
            };
            sum_of(graph, call, x, &negative)
        }
        (Value::Traced(x), Value::Const(shift)) => {
            let shift = graph
                .coefficients(x, shift)?
                .into_iter()
                .map(|x| -x)
                .collect();
            affine(graph, call, x, None, Some(shift))
        }
        (Value::Const(minuend), Value::Traced(x)) => {
            let minuend = graph.coefficients(x, minuend)?;
            let id = negated(graph, call, x, Some(minuend))?;
            Ok(Value::Traced(Traced {
                id,
                view: x.view.clone(),
            }))
        }
        (Value::Const(_), Value::Const(_)) => Err("constants that were not folded".into()),
    }
}

pub(super) fn neg(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let id = negated(graph, call, x, None)?;
    Ok(Value::Traced(Traced {
        id,
        view: x.view.clone(),
    }))
}

pub(super) fn mul(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    match (call.input(0)?, call.input(1)?) {
        (Value::Traced(x), Value::Const(scale)) | (Value::Const(scale), Value::Traced(x)) => {
            let scale = graph.coefficients(x, scale)?;
            affine(graph, call, x, Some(scale), None)
        }
        (Value::Traced(x), Value::Traced(y)) => super::gated::product(graph, call, x, y),
        (Value::Const(_), Value::Const(_)) => Err("constants that were not folded".into()),
    }
}

pub(super) fn div(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (x, divisor) = match (call.input(0)?, call.input(1)?) {
        (Value::Traced(x), Value::Const(divisor)) => (x, divisor),
        (Value::Const(dividend), Value::Traced(x)) => {
            let scale = graph.coefficients(x, dividend)?;
            let id = super::activation::reciprocal_of(graph, call, x)?;
            let view = x.view.clone();
            return affine(graph, call, &Traced { id, view }, Some(scale), None);
        }
        (Value::Traced(x), Value::Traced(y)) => {
            let softsign = super::activation::softsign_written_out(graph, call, x, y)?;
            if let Some(softsign) = softsign {
                return Ok(softsign);
            }
            let reciprocal = Traced {
                id: super::activation::reciprocal_of(graph, call, y)?,
                view: y.view.clone(),
            };
            return super::gated::product(graph, call, x, &reciprocal);
        }
        (Value::Const(_), Value::Const(_)) => return Err("constants that were not folded".into()),
    };
    let divisor = graph.coefficients(x, divisor)?;
    if divisor.contains(&0.0) {
        return Err("a division by zero".into());
    }
    let scale = divisor
        .into_iter()
        .map(|x| (1.0 / f64::from(x)) as f32)
        .collect();
    affine(graph, call, x, Some(scale), None)
}

fn sum_of(graph: &mut Graph, call: &Call<'_>, x: &Traced, y: &Traced) -> Result<Value, String> {
    if x.view != y.view {
        return Err(format!(
            "adds {:?} and {:?}; sums need two values of the same shape and axis order",
            x.view.dims(),
            y.view.dims()
        ));
    }
    graph.traced(Op::Add, &[x.id, y.id], x.view.clone(), call.name)
}

/// Adds a constant; a matrix product without a bias takes it as its own.
fn shifted(graph: &mut Graph, call: &Call<'_>, x: &Traced, shift: &Const) -> Result<Value, String> {
    let vector = graph.coefficients(x, shift)?;
    if let Some((weight, operand)) = graph.unbiased_gemm(x.id) {
        let bias = Some(graph.push_weight(&shift.name, vec![vector.len()], vector)?);
        let op = Op::Linear(LinearOp::Gemm(Gemm { weight, bias }));
        let name = graph.name(x.id).to_string();
        return graph.traced(op, &[operand], x.view.clone(), &name);
    }
    affine(graph, call, x, None, Some(vector))
}

fn negated(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    shift: Option<Vec<f32>>,
) -> Result<ValueId, String> {
    let scale = graph.of_channels(x.id, -1.0)?;
    scaled_and_shifted(graph, call, x, Some(scale), shift)
}

fn affine(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    scale: Option<Vec<f32>>,
    shift: Option<Vec<f32>>,
) -> Result<Value, String> {
    let id = scaled_and_shifted(graph, call, x, scale, shift)?;
    Ok(Value::Traced(Traced {
        id,
        view: x.view.clone(),
    }))
}

fn scaled_and_shifted(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    scale: Option<Vec<f32>>,
    shift: Option<Vec<f32>>,
) -> Result<ValueId, String> {
    // The constant's name says more than the node's where there is one.
    let constant = call.inputs.iter().flatten().find_map(|input| match input {
        Value::Const(constant) => Some(constant.name.as_str()),
        Value::Traced(_) => None,
    });
    let stem = constant.unwrap_or(call.name);
    graph.scale_and_shift(x.id, [scale, shift], stem, call.name)
}
