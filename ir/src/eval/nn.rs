//! Reference interpreter of the tensor graph, in 32-bit floats.
//!
//! It defines what the later stages must reproduce. Each affine operation evaluates itself, see
//! [`crate::nn::linear`].

use crate::Error;
use crate::graph::ValueId;
use crate::nn::{Model, Op};

mod max_pool;

/// The model's output for one image.
///
/// `input` is preprocessed and row-major in the order of the graph's input, channels, height and
/// width, whatever axis order the model's file uses.
///
/// # Errors
/// [`Error::Shape`] if `input` does not have the input's number of elements.
///
/// # Panics
/// If `model` does not pass [`crate::verify::nn::verify`].
pub fn run(model: &Model, input: &[f32]) -> Result<Vec<f32>, Error> {
    run_with(model, input, |_, _| {})
}

/// Every value of the model for one image, by [`ValueId`]; errors and panics as in [`run`].
pub fn run_all(model: &Model, input: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
    let mut values = Vec::with_capacity(model.graph.len());
    run_with(model, input, |_, elements| values.push(elements.to_vec()))?;
    Ok(values)
}

/// As [`run`], and shows every value to `observe`, in topological order, as soon as it is known.
///
/// # Errors
/// As in [`run`].
///
/// # Panics
/// As in [`run`].
pub fn run_with(
    model: &Model,
    input: &[f32],
    mut observe: impl FnMut(ValueId, &[f32]),
) -> Result<Vec<f32>, Error> {
    let graph = &model.graph;
    let last_uses = graph.last_uses();
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); graph.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let operands = graph.operands(value);
        let operand = |position: usize| values[operands[position].index()].as_slice();
        let result = match &node.op {
            Op::Input => {
                if input.len() != node.ty.elements() {
                    return Err(Error::Shape {
                        what: format!("input `{}`", node.name),
                        expected: node.ty.to_string(),
                        found: format!("{} elements", input.len()),
                    });
                }
                input.to_vec()
            }
            Op::Linear(linear) => linear.as_operation().evaluate(
                operand(0),
                graph.ty(operands[0]).chw(),
                node.ty.chw(),
                &model.weights,
            ),
            Op::Activation {
                function: activation,
                ..
            } => operand(0)
                .iter()
                .map(|x| activation.apply(f64::from(*x)) as f32)
                .collect(),
            Op::Add => operand(0)
                .iter()
                .zip(operand(1))
                .map(|(a, b)| a + b)
                .collect(),
            Op::Multiply { .. } => operand(0)
                .iter()
                .zip(operand(1))
                .map(|(a, b)| a * b)
                .collect(),
            Op::MaxPool { window } => max_pool::max_pool(
                operand(0),
                graph.ty(operands[0]).chw(),
                node.ty.chw(),
                window,
            ),
            Op::Identity => operand(0).to_vec(),
        };
        observe(value, &result);
        values[value.index()] = result;
        for operand in operands {
            if last_uses[operand.index()] == Some(value) {
                values[operand.index()] = Vec::new();
            }
        }
    }
    Ok(std::mem::take(&mut values[model.output().index()]))
}
