//! Softmax behind the logits, so that a client learns probabilities.
//!
//! The logits are centred first, as part of the last linear map: softmax does not change, and the
//! mean of their exponentials is at least 1. Behind the map they lie in neighbouring slots and go
//! through the steps of [`crate::approx::softmax`]. A last linear map keeps one slot per class and
//! zeroes all others.

use std::mem;

use heddle_ir::Note;
use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::nn::{Gemm, LinearOp, Model, Op as NnOp, Slice, TensorType};
use heddle_ir::slot::{Op, SlotGraph, SlotType};
use heddle_ir::weights::{Tensor, Weights};

use crate::approx::softmax::{self, LEAST_RANGE, PADDING, Softmax};

/// The pass's name.
pub const NAME: &str = "append-softmax";

/// The name of the nodes that are appended.
const NODE: &str = "softmax";

/// The model with the mean subtracted from its logits. Their range is then calibrated like that of
/// any logits.
pub fn centred(mut model: Model) -> Model {
    let logits = model.output();
    let shape = model.graph.ty(logits).clone();
    let classes = shape.elements();
    let mut data = vec![-1.0 / classes as f32; classes * classes];
    for class in 0..classes {
        data[class * (classes + 1)] += 1.0;
    }
    let weight = Tensor::new("softmax.centre", vec![classes, classes], data);
    let weight = model.weights.push(weight);
    let vector = TensorType::new([classes]);
    let mut operand = logits;
    if shape != vector {
        let op = NnOp::Linear(LinearOp::Flatten);
        operand = model.graph.add(op, &[operand], vector.clone(), NODE);
    }
    let op = NnOp::Linear(LinearOp::Gemm(Gemm { weight, bias: None }));
    let output = model.graph.add(op, &[operand], vector, NODE);
    model.graph.set_outputs(vec![output]);
    model
}

/// The packed graph of a [`centred`] model with softmax behind it; new weights go to `weights`.
pub fn run(mut graph: SlotGraph, weights: &mut Weights) -> (SlotGraph, Softmax) {
    let logits = graph.outputs()[0];
    let SlotType { layout, range } = graph.ty(logits).clone();
    let classes = layout.channels * layout.height * layout.width;
    let slots = classes.next_power_of_two();
    let wide = range.max(LEAST_RANGE);
    let softmax = softmax::design(classes, wide);
    let row = MultiplexedLayout {
        gap: [1; 2],
        channels: 1,
        height: 1,
        width: slots,
        grid_height: 1,
        grid_width: slots,
    };

    let mut ops = Vec::new();
    if slots > classes {
        let mut identity = vec![0.0; slots * classes];
        (0..classes).for_each(|class| identity[class * (classes + 1)] = 1.0);
        let mut bias = vec![0.0; slots];
        bias[classes..].fill((PADDING * wide) as f32);
        let identity = Tensor::new("softmax.pad", vec![slots, classes], identity);
        ops.push(LinearOp::Gemm(Gemm {
            weight: weights.push(identity),
            bias: Some(weights.push(Tensor::new("softmax.padding", vec![slots], bias))),
        }));
    }
    let ty = SlotType {
        layout: row,
        range: wide,
    };
    let map = map(layout, ops, row, range / wide, 1.0 / wide);
    let mut value = graph.add(map, &[logits], ty, NODE);
    for (index, step) in softmax.steps.iter().enumerate() {
        let name = match index {
            0 => format!("{NODE}.exponential"),
            square => format!("{NODE}.square{square}"),
        };
        let ty = SlotType {
            layout: row,
            range: 1.0,
        };
        value = graph.add(Op::Normalise(step.clone()), &[value], ty, name);
    }
    let kept = MultiplexedLayout {
        width: classes,
        ..row
    };
    let ops = vec![LinearOp::Slice(Slice {
        start: [0; 3],
        end: [1, 1, classes],
        step: [1; 3],
    })];
    let ty = SlotType {
        layout: kept,
        range: 1.0,
    };
    let output = graph.add(self::map(row, ops, kept, 1.0, 1.0), &[value], ty, NODE);
    graph.set_outputs(vec![output]);
    (graph, softmax)
}

/// Tells the user what the results are now: the layers that import cut off are evaluated after all.
pub fn note(softmax: &Softmax, notes: &mut Vec<Note>) {
    for note in notes.iter_mut() {
        if let Note::FinalCut { op, node } = note {
            *note = Note::FinalReplaced {
                op: mem::take(op),
                node: mem::take(node),
            };
        }
    }
    notes.push(Note::Probabilities {
        error_log2: softmax.error.log2(),
    });
}

fn map(
    input: MultiplexedLayout,
    ops: Vec<LinearOp>,
    output: MultiplexedLayout,
    factor: f64,
    bias_factor: f64,
) -> Op {
    Op::Linear(LinearMap::new(
        vec![LinearTerm { input, ops, factor }],
        output,
        bias_factor,
    ))
}
