//! Concatenation: every operand is padded with zeros to the whole extent, and the sum is taken.
//! Constants are what is added to it.

use heddle_ir::ValueId;
use heddle_ir::nn::{LinearOp, Op, Pad};

use crate::onnx::build::{Graph, Picks};
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;
use crate::onnx::tensor::Const;

pub(super) fn concat(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let axis = call
        .attributes
        .int("axis")?
        .ok_or("attribute `axis` is missing")?;
    let mut operands: Vec<(usize, &Traced)> = Vec::new();
    let mut constants: Vec<(usize, &Const)> = Vec::new();
    let (mut rank, mut total) = (None, 0_usize);
    for index in 0..call.inputs.len() {
        let input = call.input(index)?;
        let extents = input.dims();
        let axis = dims::axis(axis, extents.len())?;
        if *rank.get_or_insert(extents.len()) != extents.len() {
            return Err("concatenates values of different ranks".into());
        }
        match input {
            Value::Traced(x) => operands.push((total, x)),
            Value::Const(zeros) if zeros.is_all(0.0) => {}
            Value::Const(constant) => constants.push((total, constant)),
        }
        total = total
            .checked_add(extents[axis])
            .ok_or("the result is too large")?;
    }
    let [(_, first), ..] = operands[..] else {
        return Err("constants that were not folded".into());
    };
    let axis = dims::axis(axis, first.view.dims().len())?;
    for index in 0..call.inputs.len() {
        let others = call.input(index)?.dims();
        let fits = (0..others.len())
            .all(|other| other == axis || others[other] == first.view.dims()[other]);
        if !fits {
            return Err(format!(
                "concatenates {others:?} and {:?} along axis {axis}",
                first.view.dims()
            ));
        }
    }
    if let ([(_, x)], true) = (&operands[..], total == first.view.dims()[axis]) {
        return graph.traced(Op::Identity, &[x.id], x.view.clone(), call.name);
    }
    let inner = graph_axis(graph, axis, operands.iter().map(|(_, x)| *x));
    let mut sum: Option<Traced> = None;
    for (index, (offset, x)) in operands.iter().enumerate() {
        let name = match operands.len() {
            1 => call.name.to_owned(),
            _ => format!("{}/operand.{index}", call.name),
        };
        let padded = padded(graph, x, (axis, inner), [*offset, total], &name)?;
        sum = Some(match sum {
            None => padded,
            Some(sum) => {
                let [sum, padded] = graph.alike(&sum, &padded, call.name)?;
                let id = graph.emit(Op::Add, &[sum.id, padded.id], call.name)?;
                let view = sum.view;
                Traced { id, view }
            }
        });
    }
    let mut sum = sum.ok_or("constants that were not folded")?;
    if !constants.is_empty() {
        let numbers = numbers(graph, &sum, axis, &constants)?;
        let stem = format!("{}.constants", call.name);
        sum = graph.shifted(&sum, numbers, &stem, call.name)?;
    }
    graph.flattened(sum, call.name)
}

/// An operand with zeros before and after it, so that it reaches the whole extent.
fn padded(
    graph: &mut Graph,
    x: &Traced,
    (axis, inner): (usize, Option<usize>),
    [offset, total]: [usize; 2],
    name: &str,
) -> Result<Traced, String> {
    let extent = x.view.dims()[axis];
    if let Some(inner) = inner {
        let (mut before, mut after) = ([0; 3], [0; 3]);
        (before[inner], after[inner]) = (offset, total - offset - extent);
        let op = Op::Linear(LinearOp::Pad(Pad { before, after }));
        let id = graph.emit(op, &[x.id], name)?;
        let view = x.view.grown(axis, inner, graph.ty(id));
        return Ok(Traced { id, view });
    }
    graph.room(total)?;
    let mut picks: Vec<Option<Picks>> = vec![None; x.view.dims().len()];
    let position = |index: usize| index.checked_sub(offset).filter(|at| *at < extent);
    picks[axis] = Some((0..total).map(position).collect());
    graph.picked(x, &picks, name)
}

/// The constants in their places, and zeros elsewhere, in the order of the ONNX tensor.
fn numbers(
    graph: &mut Graph,
    sum: &Traced,
    axis: usize,
    constants: &[(usize, &Const)],
) -> Result<Vec<f32>, String> {
    let dims = sum.view.dims();
    let elements = graph.ty(sum.id).elements();
    graph.room(elements)?;
    let mut numbers = vec![0.0; elements];
    let inner: usize = dims[axis + 1..].iter().product();
    let row = dims[axis] * inner;
    for (offset, constant) in constants {
        let held = constant.shape[axis] * inner;
        let weights = constant.to_weights()?;
        if held == 0 {
            continue;
        }
        for (values, row) in weights
            .chunks_exact(held)
            .zip(numbers.chunks_exact_mut(row))
        {
            row[offset * inner..][..held].copy_from_slice(values);
        }
    }
    Ok(numbers)
}

/// The graph's axis behind an ONNX axis, if all operands have the same; one of extent 1 leaves it
/// open.
fn graph_axis<'a>(
    graph: &Graph,
    axis: usize,
    operands: impl Iterator<Item = &'a Traced> + Clone,
) -> Option<usize> {
    if !operands.clone().all(|x| x.view.is_whole()) {
        return None;
    }
    let known = operands.clone().find(|x| !x.view.axes(axis).is_empty());
    let is_one = |id: ValueId, inner: usize| graph.chw(id)[inner] == 1;
    let inner = match known.map(|x| x.view.axes(axis)) {
        Some([inner]) => Some(*inner),
        Some(_) => return None,
        // All of extent 1: channels, if there is only one, else whatever is left.
        None => (0..3).find(|inner| operands.clone().all(|x| is_one(x.id, *inner))),
    };
    let fits = |inner: usize| {
        operands
            .clone()
            .all(|x| x.view.axes(axis) == [inner] || is_one(x.id, inner))
    };
    inner.filter(|inner| fits(*inner))
}
