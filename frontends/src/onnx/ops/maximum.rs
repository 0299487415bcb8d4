//! Maxima and minima: of a value and numbers, and of several values by
//! `max(a, b) = a + relu(b − a)`.

use heddle_ir::ValueId;
use heddle_ir::nn::{Activation, Op};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::tensor::Const;

use super::activation::{clipped, uniform};
use super::pair::Pair;

/// Which of several numbers is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extremum {
    Max,
    Min,
}

pub(super) fn max(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    of_all(graph, call, Extremum::Max)
}

pub(super) fn min(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    of_all(graph, call, Extremum::Min)
}

/// The largest or smallest of all inputs: values by a tree, then one constant after another.
fn of_all(graph: &mut Graph, call: &Call<'_>, which: Extremum) -> Result<Value, String> {
    let mut values: Vec<Traced> = Vec::new();
    let mut constants: Vec<&Const> = Vec::new();
    for index in 0..call.inputs.len() {
        match call.input(index)? {
            Value::Traced(x) => values.push(x.clone()),
            Value::Const(constant) => constants.push(constant),
        }
    }
    while values.len() > 1 {
        let mut halved = Vec::with_capacity(values.len().div_ceil(2));
        for pair in values.chunks(2) {
            halved.push(match pair {
                [x, y] => of_two(graph, call.name, x, y, which)?,
                _ => pair[0].clone(),
            });
        }
        values = halved;
    }
    let mut result = values.pop().ok_or("constants that were not folded")?;
    for constant in &constants {
        result = with_constant(graph, call, &result, constant, which)?;
    }
    match constants.is_empty() && call.inputs.len() == 1 {
        true => graph.traced(Op::Identity, &[result.id], result.view.clone(), call.name),
        false => Ok(Value::Traced(result)),
    }
}

/// `a + relu(b − a)`, or `a − relu(a − b)`; a value and a multiple of it are a leaky ReLU.
fn of_two(
    graph: &mut Graph,
    name: &str,
    x: &Traced,
    y: &Traced,
    which: Extremum,
) -> Result<Traced, String> {
    if x.view == y.view
        && let Some(ratio) = graph.multiple(y.id, x.id)
    {
        let id = of_multiple(graph, name, x.id, ratio, which)?;
        let view = x.view.clone();
        return Ok(Traced { id, view });
    }
    let Pair { left, right, view } = graph.pair(x, y, name)?;
    let (upper, lower) = match which {
        Extremum::Max => (right, left),
        Extremum::Min => (left, right),
    };
    let negative = graph.affine(lower, -1.0, 0.0, name)?;
    let difference = graph.emit(Op::Add, &[upper, negative], name)?;
    let mut excess = graph.emit(Op::activation(Activation::Relu), &[difference], name)?;
    if which == Extremum::Min {
        excess = graph.affine(excess, -1.0, 0.0, name)?;
    }
    let id = graph.emit(Op::Add, &[left, excess], name)?;
    Ok(Traced { id, view })
}

/// The larger or smaller of `x` and `ratio·x`: one of these factors where x is positive and the
/// other where it is negative.
fn of_multiple(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    ratio: f64,
    which: Extremum,
) -> Result<ValueId, String> {
    let (large, small) = (ratio.max(1.0), ratio.min(1.0));
    if large == small {
        return Ok(x);
    }
    let sign = match which {
        Extremum::Max => 1.0,
        Extremum::Min => -1.0,
    };
    let argument = graph.affine(x, sign, 0.0, name)?;
    let function = match small / large {
        0.0 => Activation::Relu,
        slope => Activation::LeakyRelu { slope },
    };
    let rectified = graph.emit(Op::activation(function), &[argument], name)?;
    graph.affine(rectified, sign * large, 0.0, name)
}

/// The larger or smaller of a value and a constant. One number clips; several shift the value so
/// that a ReLU can do it.
fn with_constant(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    constant: &Const,
    which: Extremum,
) -> Result<Traced, String> {
    let bounds = graph.coefficients(x, constant)?;
    if let Some(bound) = uniform(&bounds) {
        let (low, high) = match which {
            Extremum::Max => (Some(bound), None),
            Extremum::Min => (None, Some(bound)),
        };
        return match clipped(graph, call, x, low, high)? {
            Value::Traced(clipped) => Ok(clipped),
            Value::Const(_) => Err("constants that were not folded".into()),
        };
    }
    // max(x, c) = c + relu(x − c), min(x, c) = c − relu(c − x).
    let sign = match which {
        Extremum::Max => 1.0,
        Extremum::Min => -1.0,
    };
    let stem = &constant.name;
    let negative: Vec<f32> = bounds.iter().map(|bound| -sign * bound).collect();
    let scale = |graph: &mut Graph| match which {
        Extremum::Max => Ok(None),
        Extremum::Min => graph.of_channels(x.id, -1.0).map(Some),
    };
    let before = scale(graph)?;
    let shifted = graph.scale_and_shift(x.id, [before, Some(negative)], stem, call.name)?;
    let rectified = graph.emit(Op::activation(Activation::Relu), &[shifted], call.name)?;
    let behind = scale(graph)?;
    let id = graph.scale_and_shift(rectified, [behind, Some(bounds)], stem, call.name)?;
    let view = x.view.clone();
    Ok(Traced { id, view })
}
