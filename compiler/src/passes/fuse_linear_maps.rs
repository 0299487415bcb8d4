//! Linear-map fusion: a linear map that feeds nothing but linear maps becomes part of them, so
//! that a chain of affine operations, a residual join and its shortcut take one level together.

use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::nn::LinearOp;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_ir::{Graph, ValueId};

use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "fuse-linear-maps";

/// Fuses until nothing is left to fuse.
pub fn run(mut graph: SlotGraph) -> (SlotGraph, Changed) {
    let mut changed = Changed::No;
    while let Some(fused) = fuse_once(&graph) {
        graph = fused;
        changed = Changed::Yes;
    }
    (graph, changed)
}

/// Rebuilds the graph with the first fusible map substituted into its user.
fn fuse_once(graph: &SlotGraph) -> Option<SlotGraph> {
    let (inner, outer) = graph.values().find_map(|outer| {
        let inner = graph
            .operands(outer)
            .into_iter()
            .enumerate()
            .find(|(position, inner)| is_fusible(graph, *inner, outer, *position))?;
        Some((inner.1, outer))
    })?;
    let mut fused = Graph::new();
    for value in graph.values() {
        let node = graph.node(value);
        let (op, operands) = match &node.op {
            Op::Linear(map) if value == outer => substitute(graph, map, inner, outer),
            op => (op.clone(), graph.operands(value)),
        };
        fused.add(op, &operands, node.ty.clone(), node.name.clone());
    }
    fused.set_outputs(graph.outputs().to_vec());
    Some(fused.pruned(|op| matches!(op, Op::Input)))
}

/// Whether `inner` is a linear map used by `outer` alone, and the substitution counts every bias
/// once: a term with a bias of its own takes the place of one term only.
fn is_fusible(graph: &SlotGraph, inner: ValueId, outer: ValueId, position: usize) -> bool {
    let (Op::Linear(inner_map), Op::Linear(outer_map)) =
        (&graph.node(inner).op, &graph.node(outer).op)
    else {
        return false;
    };
    let single_use = graph.users(inner) == [outer] && !graph.outputs().contains(&inner);
    let outer_ops = &outer_map.terms[position].ops;
    single_use && (inner_map.terms.len() == 1 || !outer_ops.iter().any(has_bias))
}

fn has_bias(op: &LinearOp) -> bool {
    match op {
        LinearOp::Conv { bias, .. } | LinearOp::Gemm { bias, .. } => bias.is_some(),
        LinearOp::BatchNorm { .. } => true,
        LinearOp::ChannelAffine { shift, .. } => shift.is_some(),
        LinearOp::AveragePool { .. }
        | LinearOp::GlobalAveragePool
        | LinearOp::Flatten
        | LinearOp::Slice { .. }
        | LinearOp::Pad { .. } => false,
    }
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
        for (inner_term, inner_operand) in inner_map.terms.iter().zip(graph.operands(inner)) {
            terms.push(LinearTerm {
                input: inner_term.input,
                ops: [inner_term.ops.clone(), term.ops.clone()].concat(),
                factor: inner_term.factor * term.factor,
            });
            operands.push(inner_operand);
        }
    }
    let fused = LinearMap {
        terms,
        output: map.output,
        bias_factor: map.bias_factor,
    };
    (Op::Linear(fused), operands)
}
