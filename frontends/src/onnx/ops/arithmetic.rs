//! Sums of values, and arithmetic with constants.

use heddle_ir::ValueId;
use heddle_ir::nn::{Gemm, LinearOp, Op};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;
use crate::onnx::tensor::Const;

pub(super) fn add(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    match (call.input(0)?, call.input(1)?) {
        (Value::Traced(x), Value::Traced(y)) => sum_of(graph, call, x, y),
        (Value::Traced(x), Value::Const(shift)) | (Value::Const(shift), Value::Traced(x)) => {
            let x = spread(graph, call, x, shift)?;
            shifted(graph, call, &x, shift)
        }
        (Value::Const(_), Value::Const(_)) => Err("constants that were not folded".into()),
    }
}

/// `Sum` of any number of values and constants.
pub(super) fn sum(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (mut total, mut constants): (Option<Traced>, Vec<&Const>) = (None, Vec::new());
    for index in 0..call.inputs.len() {
        total = match (call.input(index)?, total) {
            (Value::Const(constant), total) => {
                constants.push(constant);
                total
            }
            (Value::Traced(x), None) => Some(x.clone()),
            (Value::Traced(x), Some(total)) => Some(added(graph, call, &total, x)?),
        };
    }
    let mut total = total.ok_or("constants that were not folded")?;
    if call.inputs.len() == 1 {
        return super::identity::identity(graph, call);
    }
    for constant in constants {
        let x = spread(graph, call, &total, constant)?;
        let Value::Traced(shifted) = shifted(graph, call, &x, constant)? else {
            return Err("constants that were not folded".into());
        };
        total = shifted;
    }
    Ok(Value::Traced(total))
}

/// `Mean` of any number of values and constants.
pub(super) fn mean(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let total = sum(graph, call)?;
    match (total, call.inputs.len()) {
        (Value::Traced(total), count) if count > 1 => {
            graph.scaled(&total, 1.0 / count as f64, call.name)
        }
        (total, _) => Ok(total),
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
            let x = &spread(graph, call, x, shift)?;
            let shift = graph
                .coefficients(x, shift)?
                .into_iter()
                .map(|x| -x)
                .collect();
            affine(graph, call, x, None, Some(shift))
        }
        (Value::Const(minuend), Value::Traced(x)) => {
            let x = &spread(graph, call, x, minuend)?;
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
            let x = &spread(graph, call, x, scale)?;
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
    let x = &spread(graph, call, x, divisor)?;
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
    added(graph, call, x, y).map(Value::Traced)
}

/// The sum of two values that are broadcast to one shape.
fn added(graph: &mut Graph, call: &Call<'_>, x: &Traced, y: &Traced) -> Result<Traced, String> {
    let [x, y] = graph.alike(x, y, call.name)?;
    let id = graph.emit(Op::Add, &[x.id, y.id], call.name)?;
    let view = x.view;
    Ok(Traced { id, view })
}

/// `x` repeated along the axes that a constant has more elements on.
pub(super) fn spread(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    constant: &Const,
) -> Result<Traced, String> {
    match dims::broadcast(x.view.dims(), &constant.shape) {
        Ok(dims) => graph.broadcast(x, &dims, call.name),
        // The constant's reader says what does not fit.
        Err(_) => Ok(x.clone()),
    }
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
