//! Linear-map fusion: a linear map that feeds nothing but linear maps becomes part of them, so
//! that a chain of affine operations, a residual join and its shortcut take one level together.

use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::slot::{Op, SlotGraph};
use heddle_ir::{Graph, ValueId};

use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "fuse-linear-maps";

/// Most terms of a fused map; keeps maps that share others from growing without bound.
pub const MAX_TERMS: usize = 128;

/// [`MAX_TERMS`] where every channel is an operand of its own.
pub const MAX_SISO_TERMS: usize = 1024;

/// Fuses until nothing is left to fuse, into maps of at most `max_terms` terms.
///
/// Operations are visited once, in order: a map's own operands have been substituted when its turn
/// comes, and what becomes of its users does not change whether it fits them.
pub fn run(graph: SlotGraph, max_terms: usize) -> (SlotGraph, Changed) {
    let mut fusion = Fusion {
        nodes: graph.values().map(|v| Node::of(&graph, v)).collect(),
        max_terms,
    };
    let mut changed = Changed::No;
    for inner in graph.values() {
        let mut users = graph.users(inner);
        users.dedup();
        if users.is_empty() || graph.outputs().contains(&inner) || !fusion.fits(inner, &users) {
            continue;
        }
        fusion.substitute(inner, &users);
        changed = Changed::Yes;
    }
    if changed == Changed::No {
        return (graph, changed);
    }
    let mut fused = Graph::new();
    for (value, Node { op, operands }) in graph.values().zip(fusion.nodes) {
        let node = graph.node(value);
        fused.add(op, &operands, node.ty.clone(), node.name.clone());
    }
    fused.set_outputs(graph.outputs().to_vec());
    (fused.pruned(|op| matches!(op, Op::Input)), changed)
}

/// An operation as fused so far.
struct Node {
    op: Op,
    operands: Vec<ValueId>,
}

impl Node {
    fn of(graph: &SlotGraph, value: ValueId) -> Self {
        Self {
            op: graph.node(value).op.clone(),
            operands: graph.operands(value),
        }
    }
}

struct Fusion {
    /// By value.
    nodes: Vec<Node>,
    max_terms: usize,
}

impl Fusion {
    /// Whether the linear map `inner` can become part of every one of its users. A map that several
    /// linear maps share is copied into each: a few more diagonals are cheaper than the level that
    /// it would take, since one level lies between an activation and the next bootstrap.
    fn fits(&self, inner: ValueId, users: &[ValueId]) -> bool {
        let Op::Linear(inner_map) = &self.nodes[inner.index()].op else {
            return false;
        };
        users.iter().all(|user| {
            let Node { op, operands } = &self.nodes[user.index()];
            let Op::Linear(map) = op else {
                return false;
            };
            let (mut terms, mut can_split) = (0, true);
            for (term, operand) in map.terms.iter().zip(operands) {
                if *operand == inner {
                    terms += inner_map.terms.len();
                    can_split &= term.ops.iter().all(|op| op.without_offset().is_some());
                } else {
                    terms += 1;
                }
            }
            terms <= self.max_terms && (inner_map.terms.len() == 1 || can_split)
        })
    }

    /// Makes `inner` part of its users; nobody uses it any more.
    fn substitute(&mut self, inner: ValueId, users: &[ValueId]) {
        let gone = Node {
            op: Op::Add,
            operands: Vec::new(),
        };
        let inner_node = std::mem::replace(&mut self.nodes[inner.index()], gone);
        let Op::Linear(inner_map) = &inner_node.op else {
            unreachable!("only linear maps are fusible");
        };
        for user in users {
            let Node { op, operands } = &mut self.nodes[user.index()];
            if let Op::Linear(map) = op {
                substitute(map, operands, inner, (inner_map, &inner_node.operands));
            }
        }
    }
}

/// Replaces the terms of `map` that read `inner` by those of the inner map behind it.
fn substitute(
    map: &mut LinearMap,
    operands: &mut Vec<ValueId>,
    inner: ValueId,
    (inner_map, inner_operands): (&LinearMap, &[ValueId]),
) {
    let terms = std::mem::take(&mut map.terms);
    let old = std::mem::take(operands);
    for (term, operand) in terms.into_iter().zip(old) {
        if operand != inner {
            map.terms.push(term);
            operands.push(operand);
            continue;
        }
        for (position, inner_term) in inner_map.terms.iter().enumerate() {
            // Every offset counts once: the first term keeps those of the operations behind.
            let behind = term.ops.iter().map(|op| match position {
                0 => op.clone(),
                _ => op.without_offset().unwrap_or_else(|| op.clone()),
            });
            map.terms.push(LinearTerm {
                input: inner_term.input,
                ops: inner_term.ops.iter().cloned().chain(behind).collect(),
                factor: inner_term.factor * term.factor,
            });
        }
        operands.extend(inner_operands);
    }
}
