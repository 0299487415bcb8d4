//! Reference interpreter of the tensor graph, in 32-bit floats.
//!
//! It defines what the later stages must reproduce. Each affine operation evaluates itself, see
//! [`crate::nn::linear`].

use crate::Error;
use crate::graph::ValueId;
use crate::nn::{Model, Op, TensorType};

mod max_pool;

/// The model's output for one image.
///
/// `input` is the whole image, preprocessed and row-major in the order channels, height and width,
/// whatever axis order the model's file uses. The inputs of the graph take their regions of it.
///
/// # Errors
/// [`Error::Shape`] if `input` does not have the image's number of elements.
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
    let shape = model.image_shape();
    check_image(model, input, shape)?;
    let mut regions = model.input_regions.iter();
    let last_uses = graph.last_uses();
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); graph.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let operands = graph.operands(value);
        let operand = |position: usize| values[operands[position].index()].as_slice();
        let result = match &node.op {
            Op::Input => {
                let region = regions.next().expect("every input has a region");
                region.cut(input, shape)
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

fn check_image(model: &Model, image: &[f32], shape: [usize; 3]) -> Result<(), Error> {
    let expected = TensorType::new(shape);
    if image.len() == expected.elements() {
        return Ok(());
    }
    let first = model.inputs().next();
    let name = first.map_or("", |input| &model.graph.node(input).name);
    Err(Error::Shape {
        what: format!("input `{name}`"),
        expected: expected.to_string(),
        found: format!("{} elements", image.len()),
    })
}
