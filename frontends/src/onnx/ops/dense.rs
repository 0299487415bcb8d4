//! Matrix products with constant matrices.

use heddle_ir::nn::{Gemm, LinearOp, Op, TensorType};

use crate::onnx::build::{AxisMatrix, Graph, offset_in};
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::tensor::Const;
use crate::onnx::view::{View, merged};

pub(super) fn gemm(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let weight = call.constant(1, "the matrix")?;
    if call.attributes.flag("transA", false)? && x.view.dims().iter().any(|extent| *extent != 1) {
        return Err("`transA` is not supported on the image's side".into());
    }
    let transposed = call.attributes.flag("transB", false)?;
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let beta = call.attributes.float("beta")?.unwrap_or(1.0);
    let rows = if transposed {
        Rows::Outputs
    } else {
        Rows::Inputs
    };
    let bias = call
        .optional_constant(2, "the bias")?
        .map(|bias| (&**bias, beta));
    dense(graph, call, (x, Side::Left), (weight, rows), alpha, bias)
}

pub(super) fn matmul(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let (vector, matrix) = match (call.input(0)?, call.input(1)?) {
        (Value::Traced(x), Value::Const(weight)) => ((x, Side::Left), (&**weight, Rows::Inputs)),
        (Value::Const(weight), Value::Traced(x)) => ((x, Side::Right), (&**weight, Rows::Outputs)),
        _ => {
            return Err(
                "a matrix product is supported of an image-dependent vector and a constant matrix \
                 only"
                    .into(),
            );
        }
    };
    dense(graph, call, vector, matrix, 1.0, None)
}

/// On which side of the matrix the vector stands, and so along which axis it runs.
#[derive(Clone, Copy)]
enum Side {
    /// `x·W`, along the last axis.
    Left,
    /// `W·x`, along the last but one.
    Right,
}

/// What the rows of the model's matrix stand for.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    Inputs,
    Outputs,
}

fn dense(
    graph: &mut Graph,
    call: &Call<'_>,
    (x, side): (&Traced, Side),
    (weight, rows): (&Const, Rows),
    alpha: f32,
    bias: Option<(&Const, f32)>,
) -> Result<Value, String> {
    let [first, second] = weight.shape[..] else {
        return Err(format!(
            "the matrix `{}` has shape {:?}",
            weight.name, weight.shape
        ));
    };
    if weight.len() == 0 {
        return Err(format!("the matrix `{}` is empty", weight.name));
    }
    let (inputs, outputs) = if rows == Rows::Inputs {
        (first, second)
    } else {
        (second, first)
    };
    let dims = x.view.dims();
    let from_the_back = match side {
        Side::Left => 1,
        Side::Right => 2,
    };
    let others = |axis: usize| [&dims[..axis], &dims[axis + 1..]].concat();
    let axis = dims
        .len()
        .checked_sub(from_the_back)
        .filter(|axis| dims[*axis] == inputs && others(*axis).iter().all(|extent| *extent == 1));
    let Some(axis) = axis else {
        return along(graph, call, (x, from_the_back), (weight, rows), alpha, bias);
    };
    // An ONNX vector may run through the axes in another order than the graph's flattening.
    graph.room(inputs)?;
    let runs = merged(&x.view.runs(graph.ty(x.id)).concat());
    let columns: Vec<usize> = (0..inputs)
        .map(|position| offset_in(&runs, position).map(|offset| offset as usize))
        .collect::<Result<_, String>>()?;
    let elements = weight.to_weights()?;
    let mut matrix = vec![0.0; elements.len()];
    for output in 0..outputs {
        for (position, column) in columns.iter().enumerate() {
            let index = match rows {
                Rows::Inputs => position * outputs + output,
                Rows::Outputs => output * inputs + position,
            };
            matrix[output * inputs + column] = alpha * elements[index];
        }
    }
    let name = match (rows, x.view.is_natural(), alpha == 1.0) {
        (Rows::Outputs, true, true) => weight.name.clone(),
        (Rows::Inputs, true, true) => format!("{}.transposed", weight.name),
        _ => format!("{}.reordered", weight.name),
    };
    let weight = graph.push_weight(&name, vec![outputs, inputs], matrix)?;
    let bias = match bias {
        Some((bias, beta)) => {
            let vector = bias.expanded(outputs)?;
            let vector: Vec<f32> = vector.into_iter().map(|x| beta * x).collect();
            Some(graph.push_weight(&bias.name, vec![outputs], vector)?)
        }
        None => None,
    };
    let operand = graph.flat(x.id, call.name)?;
    let id = graph.emit(
        Op::Linear(LinearOp::Gemm(Gemm { weight, bias })),
        &[operand],
        call.name,
    )?;
    let ty = TensorType::new([outputs]);
    let mut dims = dims.to_vec();
    dims[axis] = outputs;
    let view = View::standard(&ty).reshaped(&ty, &dims)?;
    Ok(Value::Traced(Traced { id, view }))
}

/// A matrix product at every position of the other axes, as a convolution of 1×1 in a channels-last
/// network is written.
fn along(
    graph: &mut Graph,
    call: &Call<'_>,
    (x, from_the_back): (&Traced, usize),
    (weight, rows): (&Const, Rows),
    alpha: f32,
    bias: Option<(&Const, f32)>,
) -> Result<Value, String> {
    let dims = x.view.dims();
    let [inputs, results] = match (rows, &weight.shape[..]) {
        (Rows::Inputs, [inputs, results]) | (Rows::Outputs, [results, inputs]) => {
            [*inputs, *results]
        }
        _ => return Err(format!("a matrix of shape {:?}", weight.shape)),
    };
    let axis = dims.len().checked_sub(from_the_back);
    let Some(axis) = axis.filter(|axis| dims[*axis] == inputs) else {
        return Err(format!(
            "multiplies {dims:?} with a matrix for {inputs} features; flatten to [1, {inputs}] first"
        ));
    };
    graph.room(weight.len())?;
    let elements = weight.to_weights()?;
    let mut data = Vec::with_capacity(elements.len());
    for result in 0..results {
        for input in 0..inputs {
            let index = match rows {
                Rows::Inputs => input * results + result,
                Rows::Outputs => result * inputs + input,
            };
            data.push(alpha * elements[index]);
        }
    }
    let matrix = AxisMatrix {
        name: format!("{}.along", weight.name),
        results,
        data,
    };
    let product = graph.mapped(x, axis, matrix, call.name)?;
    let product = graph.settled(&product, call.name)?;
    let Some((bias, beta)) = bias else {
        return graph.flattened(product, call.name);
    };
    let shift = graph.coefficients(&product, bias)?;
    let shift = shift.into_iter().map(|x| beta * x).collect();
    let id = graph.scale_and_shift(product.id, [None, Some(shift)], &bias.name, call.name)?;
    let view = product.view;
    graph.flattened(Traced { id, view }, call.name)
}
