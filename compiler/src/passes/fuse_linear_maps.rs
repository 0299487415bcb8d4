//! Linear-map fusion: a linear map that feeds nothing but linear maps becomes part of them, so
//! that a chain of affine operations, a residual join and its shortcut take one level together.

use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::nn::LinearOp;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_ir::{Graph, ValueId};

use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "fuse-linear-maps";

/// Most terms of a fused map; keeps maps that share others from growing without bound.
const MAX_TERMS: usize = 64;

/// Fuses until nothing is left to fuse.
pub fn run(mut graph: SlotGraph) -> (SlotGraph, Changed) {
    let mut changed = Changed::No;
    while let Some(fused) = fuse_once(&graph) {
        graph = fused;
        changed = Changed::Yes;
    }
    (graph, changed)
}

/// Rebuilds the graph with the first fusible map substituted into its users.
fn fuse_once(graph: &SlotGraph) -> Option<SlotGraph> {
    let inner = graph
        .values()
        .find(|value| !graph.users(*value).is_empty() && is_fusible(graph, *value))?;
    let mut fused = Graph::new();
    for value in graph.values() {
        let node = graph.node(value);
        let (op, operands) = match &node.op {
            Op::Linear(map) if graph.operands(value).contains(&inner) => {
                substitute(graph, map, inner, value)
            }
            op => (op.clone(), graph.operands(value)),
        };
        fused.add(op, &operands, node.ty.clone(), node.name.clone());
    }
    fused.set_outputs(graph.outputs().to_vec());
    Some(fused.pruned(|op| matches!(op, Op::Input)))
}

/// Whether the linear map `inner` can become part of every one of its users. A map that several
/// linear maps share is copied into each: a few more diagonals are cheaper than the level that it
/// would take, since one level lies between an activation and the next bootstrap.
fn is_fusible(graph: &SlotGraph, inner: ValueId) -> bool {
    let Op::Linear(inner_map) = &graph.node(inner).op else {
        return false;
    };
    let fits = |user: ValueId| {
        let Op::Linear(map) = &graph.node(user).op else {
            return false;
        };
        let operands = graph.operands(user);
        let (mut terms, mut can_split) = (0, true);
        for (term, operand) in map.terms.iter().zip(operands) {
            if operand == inner {
                terms += inner_map.terms.len();
                can_split &= !term.ops.iter().any(is_batch_norm);
            } else {
                terms += 1;
            }
        }
        terms <= MAX_TERMS && (inner_map.terms.len() == 1 || can_split)
    };
    !graph.outputs().contains(&inner) && graph.users(inner).into_iter().all(fits)
}

/// A batch normalisation's offset cannot be left out.
fn is_batch_norm(op: &LinearOp) -> bool {
    matches!(op, LinearOp::BatchNorm { .. })
}

/// The operation without its offset.
fn without_bias(op: &LinearOp) -> LinearOp {
    let mut op = op.clone();
    match &mut op {
        LinearOp::Conv { bias, .. } | LinearOp::Gemm { bias, .. } => *bias = None,
        LinearOp::ChannelAffine { shift, .. } => *shift = None,
        LinearOp::BatchNorm { .. }
        | LinearOp::AveragePool { .. }
        | LinearOp::GlobalAveragePool
        | LinearOp::Flatten
        | LinearOp::Slice { .. }
        | LinearOp::Separable { .. }
        | LinearOp::Pad { .. } => {}
    }
    op
}

fn substitute(
    graph: &SlotGraph,
    map: &LinearMap,
    inner: ValueId,
    outer: ValueId,
) -> (Op, Vec<ValueId>) {
    let Op::Linear(inner_map) = &graph.node(inner).op else {
        unreachable!("only linear maps are fusible");
    };
    let mut terms = Vec::new();
    let mut operands = Vec::new();
    for (term, operand) in map.terms.iter().zip(graph.operands(outer)) {
        if operand != inner {
            terms.push(term.clone());
            operands.push(operand);
            continue;
        }
        let inner_terms = inner_map.terms.iter().zip(graph.operands(inner));
        for (position, (inner_term, inner_operand)) in inner_terms.enumerate() {
            // Every offset counts once: the first term keeps those of the operations behind.
            let behind = term.ops.iter().map(|op| match position {
                0 => op.clone(),
                _ => without_bias(op),
            });
            terms.push(LinearTerm {
                input: inner_term.input,
                ops: inner_term.ops.iter().cloned().chain(behind).collect(),
                factor: inner_term.factor * term.factor,
            });
            operands.push(inner_operand);
        }
    }
    let fused = LinearMap {
        terms,
        output: map.output,
        bias_factor: map.bias_factor,
        doublings: map.doublings,
    };
    (Op::Linear(fused), operands)
}
