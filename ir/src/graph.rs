//! The graph that every stage is built on: single-result operations with ordered operands.
//!
//! Values are numbered in the order in which they are added, and an operand must exist before its
//! user, so that ascending ids are a topological order in every stage. Passes build a new graph
//! rather than edit one in place.

use std::fmt;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};

/// The result of an operation. Printed as `%3`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The id as an index into a dense table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Debug for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One operation with the type of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<O, T> {
    /// What is computed.
    pub op: O,
    /// The type of the result.
    pub ty: T,
    /// The name of the ONNX node that this operation comes from.
    pub name: String,
}

/// A directed acyclic graph of operations `O` with results of type `T`.
#[derive(Clone, Debug)]
pub struct Graph<O, T> {
    graph: DiGraph<Node<O, T>, u32>,
    outputs: Vec<ValueId>,
}

impl<O, T> Default for Graph<O, T> {
    fn default() -> Self {
        Self {
            graph: DiGraph::new(),
            outputs: Vec::new(),
        }
    }
}

impl<O, T> Graph<O, T> {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an operation and returns its result.
    ///
    /// # Panics
    /// If an operand does not exist yet.
    pub fn add(&mut self, op: O, operands: &[ValueId], ty: T, name: impl Into<String>) -> ValueId {
        let node = self.graph.add_node(Node {
            op,
            ty,
            name: name.into(),
        });
        for (position, operand) in operands.iter().enumerate() {
            assert!(
                operand.index() < node.index(),
                "operand {operand} does not exist yet"
            );
            self.graph
                .add_edge(NodeIndex::new(operand.index()), node, position as u32);
        }
        ValueId(node.index() as u32)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether the graph has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The operation that defines `value`.
    ///
    /// # Panics
    /// If `value` is not of this graph.
    pub fn node(&self, value: ValueId) -> &Node<O, T> {
        &self.graph[NodeIndex::new(value.index())]
    }

    /// The operation that defines `value`, for in-place edits of its op, type or name.
    ///
    /// # Panics
    /// If `value` is not of this graph.
    pub fn node_mut(&mut self, value: ValueId) -> &mut Node<O, T> {
        &mut self.graph[NodeIndex::new(value.index())]
    }

    /// The type of `value`.
    pub fn ty(&self, value: ValueId) -> &T {
        &self.node(value).ty
    }

    /// The operands of the operation that defines `value`, in order.
    pub fn operands(&self, value: ValueId) -> Vec<ValueId> {
        let mut operands: Vec<(u32, ValueId)> = self
            .graph
            .edges_directed(NodeIndex::new(value.index()), Direction::Incoming)
            .map(|edge| (*edge.weight(), ValueId(edge.source().index() as u32)))
            .collect();
        operands.sort_unstable();
        operands.into_iter().map(|(_, operand)| operand).collect()
    }

    /// The operands of `value` in a graph that is made of this one: `renumbered` tells for each
    /// value of this graph which of that graph stands for it.
    ///
    /// # Panics
    /// If `renumbered` does not reach an operand.
    pub fn renumbered_operands(&self, value: ValueId, renumbered: &[ValueId]) -> Vec<ValueId> {
        let operands = self.operands(value).into_iter();
        operands
            .map(|operand| renumbered[operand.index()])
            .collect()
    }

    /// How many operands the operation that defines `value` has.
    pub fn operand_count(&self, value: ValueId) -> usize {
        let node = NodeIndex::new(value.index());
        self.graph.edges_directed(node, Direction::Incoming).count()
    }

    /// The operations that use `value`, ascending; one that uses it twice is listed twice.
    pub fn users(&self, value: ValueId) -> Vec<ValueId> {
        let mut users: Vec<ValueId> = self
            .graph
            .neighbors_directed(NodeIndex::new(value.index()), Direction::Outgoing)
            .map(|user| ValueId(user.index() as u32))
            .collect();
        users.sort_unstable();
        users
    }

    /// All values in topological order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<O, T> {
        (0..self.len() as u32).map(ValueId)
    }

    /// The values whose operation satisfies `holds`, in topological order.
    pub fn select(&self, holds: impl Fn(&O) -> bool) -> impl Iterator<Item = ValueId> {
        self.values()
            .filter(move |value| holds(&self.node(*value).op))
    }

    /// The results of the whole graph.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Declares the results of the whole graph.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// The last user of every value, in topological order; an output lives to the end (`None`),
    /// and so does a value that nobody uses.
    pub fn last_uses(&self) -> Vec<Option<ValueId>> {
        self.values()
            .map(|value| {
                if self.outputs.contains(&value) {
                    None
                } else {
                    self.users(value).last().copied()
                }
            })
            .collect()
    }

    /// The graph without the values that no output depends on, ids renumbered densely. Nodes for
    /// which `keep` holds stay in any case.
    pub fn pruned(&self, keep: impl Fn(&O) -> bool) -> Self
    where
        O: Clone,
        T: Clone,
    {
        let mut live = vec![false; self.len()];
        for output in &self.outputs {
            live[output.index()] = true;
        }
        for value in self.values().rev() {
            if keep(&self.node(value).op) {
                live[value.index()] = true;
            }
            if live[value.index()] {
                for operand in self.operands(value) {
                    live[operand.index()] = true;
                }
            }
        }
        let mut pruned = Self::new();
        let mut renumbered = vec![None; self.len()];
        for value in self.values().filter(|value| live[value.index()]) {
            let operands: Vec<ValueId> = self
                .operands(value)
                .iter()
                .filter_map(|operand| renumbered[operand.index()])
                .collect();
            let node = self.node(value);
            let id = pruned.add(
                node.op.clone(),
                &operands,
                node.ty.clone(),
                node.name.clone(),
            );
            renumbered[value.index()] = Some(id);
        }
        pruned.outputs = self
            .outputs
            .iter()
            .filter_map(|output| renumbered[output.index()])
            .collect();
        pruned
    }
}

impl<O: PartialEq, T: PartialEq> PartialEq for Graph<O, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.outputs == other.outputs
            && self.values().all(|value| {
                self.node(value) == other.node(value)
                    && self.operands(value) == other.operands(value)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ascending ids are a topological order because nothing refers ahead.
    #[test]
    #[should_panic(expected = "operand %1 does not exist yet")]
    fn an_operand_exists_before_its_user() {
        let mut graph = Graph::new();
        let x = graph.add('x', &[], (), "");
        graph.add('y', &[x, ValueId(1)], (), "");
    }

    #[test]
    fn operands_keep_their_order_and_repeats() {
        let mut graph: Graph<&str, ()> = Graph::new();
        let a = graph.add("a", &[], (), "");
        let b = graph.add("b", &[], (), "");
        let c = graph.add("c", &[b, a, b], (), "");
        assert_eq!(graph.operands(c), [b, a, b]);
        assert_eq!(graph.users(b), [c, c]);
    }

    #[test]
    fn pruning_drops_dead_values_and_renumbers() {
        let mut graph: Graph<&str, ()> = Graph::new();
        let a = graph.add("a", &[], (), "");
        graph.add("dead", &[a], (), "");
        let c = graph.add("c", &[a], (), "");
        graph.set_outputs(vec![c]);
        let pruned = graph.pruned(|_| false);
        assert_eq!(pruned.len(), 2);
        assert_eq!(pruned.outputs(), [ValueId(1)]);
        assert_eq!(pruned.last_uses(), [Some(ValueId(1)), None]);
    }
}
