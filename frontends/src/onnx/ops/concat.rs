//! Concatenation: every operand is padded with zeros to the whole extent, and the sum is taken.

use heddle_ir::ValueId;
use heddle_ir::nn::{LinearOp, Op, Pad};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;

pub(super) fn concat(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let axis = call
        .attributes
        .int("axis")?
        .ok_or("attribute `axis` is missing")?;
    let mut operands: Vec<(usize, &Traced)> = Vec::new();
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
            Value::Const(constant) => {
                return Err(format!(
                    "concatenates the constant `{}` with the image; zeros and values that depend \
                     on the image are supported",
                    constant.name
                ));
            }
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
    sum.map(Value::Traced)
        .ok_or_else(|| "constants that were not folded".into())
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
