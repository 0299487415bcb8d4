//! Padding removal: zeros around a feature map become part of the window that slides over them, so
//! that the padded map, which may not fit the image's grid, is never packed.
//!
//! A convolution and a mean that counts its padding take them as they are. A maximum leaves padding
//! out, but behind a ReLU no element is below the zeros.

use heddle_ir::nn::{Activation, AveragePool, Conv, LinearOp, Model, Op, Pad, PaddingInMean};
use heddle_ir::{Graph, ValueId};

use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "fold-padding";

/// Rebuilds the graph with every [`LinearOp::Pad`] of height and width folded into the windows
/// behind it. A padded map stays where something else uses it.
///
/// # Errors
/// None; the signature is that of every pass of its stage.
pub fn run(mut model: Model) -> Result<(Model, Changed), Error> {
    let graph = &model.graph;
    let mut changed = Changed::No;
    let mut rebuilt = Graph::new();
    for value in graph.values() {
        let node = graph.node(value);
        let mut op = node.op.clone();
        let mut operands = graph.operands(value);
        while let [padded] = operands[..]
            && let Some(folded) = folded(&model, &op, padded)
        {
            op = folded;
            operands = graph.operands(padded);
            changed = Changed::Yes;
        }
        rebuilt.add(op, &operands, node.ty.clone(), node.name.clone());
    }
    if changed == Changed::No {
        return Ok((model, changed));
    }
    rebuilt.set_outputs(graph.outputs().to_vec());
    model.graph = rebuilt.pruned(|op| matches!(op, Op::Input));
    Ok((model, changed))
}

/// `op` on the operand of the padding `padded`, if it can take the padding over.
fn folded(model: &Model, op: &Op, padded: ValueId) -> Option<Op> {
    let graph = &model.graph;
    let Op::Linear(LinearOp::Pad(Pad { before, after })) = &graph.node(padded).op else {
        return None;
    };
    if (before[0], after[0]) != (0, 0) {
        return None;
    }
    let mut op = op.clone();
    let (window, can_take): (_, fn(usize, usize) -> bool) = match &mut op {
        Op::Linear(LinearOp::Conv(Conv { window, .. })) => (window, |_, _| true),
        // The divisor is the same, as long as the pads are such that the pool accepts them.
        Op::Linear(LinearOp::AveragePool(AveragePool {
            window,
            padding: PaddingInMean::Counted,
        })) => (window, |pad, kernel| pad < kernel),
        Op::MaxPool { window } if window.pads == [0; 4] && is_rectified(model, padded) => {
            (window, |pad, kernel| pad < kernel)
        }
        _ => return None,
    };
    let added = [before[1], before[2], after[1], after[2]];
    for (side, added) in added.into_iter().enumerate() {
        window.pads[side] = window.pads[side].checked_add(added)?;
        if !can_take(window.pads[side], window.kernel[side % 2]) {
            return None;
        }
    }
    Some(op)
}

/// Whether no element in front of a padding is negative.
fn is_rectified(model: &Model, padded: ValueId) -> bool {
    let operand = model.graph.operands(padded)[0];
    matches!(
        model.graph.node(operand).op,
        Op::Activation {
            function: Activation::Relu,
            ..
        }
    )
}
