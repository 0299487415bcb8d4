//! Concatenation: every operand is padded with zeros to the whole extent, and the sum is taken.
//! Constants among them are added at the end.

use heddle_ir::ValueId;
use heddle_ir::nn::{LinearOp, Op, Pad};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;
use crate::onnx::tensor::{Const, Elements, element_count};

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
    let inner = graph_axis(graph, axis, operands.iter().map(|(_, x)| *x))?;
    let mut sum: Option<Traced> = None;
    for (index, (offset, x)) in operands.iter().enumerate() {
        let extent = x.view.dims()[axis];
        let (mut before, mut after) = ([0; 3], [0; 3]);
        (before[inner], after[inner]) = (*offset, total - offset - extent);
        let op = Op::Linear(LinearOp::Pad(Pad { before, after }));
        let name = match operands.len() {
            1 => call.name.to_owned(),
            _ => format!("{}/operand.{index}", call.name),
        };
        let id = graph.emit(op, &[x.id], &name)?;
        let view = x.view.grown(axis, inner, graph.ty(id));
        sum = Some(match sum {
            None => Traced { id, view },
            Some(sum) if sum.view == view => {
                let id = graph.emit(Op::Add, &[sum.id, id], call.name)?;
                Traced { id, view }
            }
            Some(_) => {
                return Err("concatenates values whose axes come in different orders".into());
            }
        });
    }
    let sum = sum.ok_or("constants that were not folded")?;
    if constants.is_empty() {
        return Ok(Value::Traced(sum));
    }
    let shift = spread(graph, axis, sum.view.dims(), &constants)?;
    let shift = graph.coefficients(&sum, &shift)?;
    let stem = format!("{}.constant", call.name);
    let id = graph.scale_and_shift(sum.id, [None, Some(shift)], &stem, call.name)?;
    let view = sum.view;
    Ok(Value::Traced(Traced { id, view }))
}

/// A tensor of extents `dims` with each constant from its place along `axis` on, and zeros between.
fn spread(
    graph: &mut Graph,
    axis: usize,
    dims: &[usize],
    constants: &[(usize, &Const)],
) -> Result<Const, String> {
    let count = element_count(dims)?;
    graph.room(count)?;
    let inner: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    let mut data = vec![0.0; count];
    for (offset, constant) in constants {
        let weights = constant.to_weights()?;
        let width = constant.shape[axis] * inner;
        for (row, part) in weights.chunks_exact(width.max(1)).enumerate().take(outer) {
            let start = (row * dims[axis] + offset) * inner;
            data[start..][..width].copy_from_slice(part);
        }
    }
    Ok(Const::new(dims.to_vec(), Elements::Float(data)))
}

/// The graph's axis behind an ONNX axis that all operands have; one of extent 1 leaves it open.
fn graph_axis<'a>(
    graph: &Graph,
    axis: usize,
    operands: impl Iterator<Item = &'a Traced> + Clone,
) -> Result<usize, String> {
    let known = operands.clone().find(|x| !x.view.axes(axis).is_empty());
    let is_one = |id: ValueId, inner: usize| graph.chw(id)[inner] == 1;
    let inner = match known.map(|x| x.view.axes(axis)) {
        Some([inner]) => Some(*inner),
        Some(_) => None,
        // All of extent 1: channels, if there is only one, else whatever is left.
        None => (0..3).find(|inner| operands.clone().all(|x| is_one(x.id, *inner))),
    };
    let fits = |inner: usize| {
        operands
            .clone()
            .all(|x| x.view.axes(axis) == [inner] || is_one(x.id, inner))
    };
    inner.filter(|inner| fits(*inner)).ok_or_else(|| {
        format!("concatenates along axis {axis}, which mixes channels, height and width")
    })
}
