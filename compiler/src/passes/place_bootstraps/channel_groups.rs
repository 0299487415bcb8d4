//! Channel groups: the pieces of one feature map, which run at one level. They are neighbours in
//! the order of execution.

use std::collections::BTreeSet;
use std::ops::Range;

use heddle_ir::linear::LinearMap;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_ir::{Graph, ValueId};

/// A packed graph by channel groups; a value that is not split is a group of its own.
pub(super) struct ChannelGroups {
    /// One value for every group, in order; its operands are those of all members, once each.
    pub(super) graph: Graph<Range<u32>, ()>,
    /// By value: the last operation that uses it; the end of the graph for an output.
    last_uses: Vec<u32>,
    /// By value: its group.
    of: Vec<ValueId>,
}

impl ChannelGroups {
    /// The groups of a packed graph.
    pub(super) fn of(graph: &SlotGraph) -> Self {
        let mut of: Vec<ValueId> = Vec::with_capacity(graph.len());
        let mut members: Vec<Range<u32>> = Vec::new();
        for value in graph.values() {
            let before = value.0.checked_sub(1).map(ValueId);
            let alike = before.is_some_and(|before| are_pieces(graph, before, value, &of));
            match members.last_mut() {
                Some(last) if alike => last.end = value.0 + 1,
                _ => members.push(value.0..value.0 + 1),
            }
            of.push(ValueId(members.len() as u32 - 1));
        }
        let mut quotient = Graph::new();
        for members in members {
            let operands = members
                .clone()
                .flat_map(|value| graph.operands(ValueId(value)));
            let operands: BTreeSet<ValueId> = operands.map(|operand| of[operand.index()]).collect();
            let operands: Vec<ValueId> = operands.into_iter().collect();
            quotient.add(members, &operands, (), "");
        }
        let outputs = graph.outputs().iter().map(|output| of[output.index()]);
        quotient.set_outputs(outputs.collect());
        let last_uses = graph.last_uses().into_iter();
        Self {
            graph: quotient,
            last_uses: last_uses
                .map(|last| last.map_or(u32::MAX, |last| last.0))
                .collect(),
            of,
        }
    }

    /// The group of a value.
    pub(super) fn group_of(&self, value: ValueId) -> ValueId {
        self.of[value.index()]
    }

    /// The values of a group, in order.
    pub(super) fn members(&self, group: ValueId) -> impl Iterator<Item = ValueId> + use<> {
        self.graph.node(group).op.clone().map(ValueId)
    }

    /// The first value of a group.
    pub(super) fn first(&self, group: ValueId) -> ValueId {
        ValueId(self.graph.node(group).op.start)
    }

    /// The values of a group that somebody uses when `user` runs or later.
    pub(super) fn needed(
        &self,
        group: ValueId,
        user: ValueId,
    ) -> impl Iterator<Item = ValueId> + '_ {
        let from = self.first(user).0;
        let members = self.members(group);
        members.filter(move |value| self.last_uses[value.index()] >= from)
    }

    /// By group: the groups that are needed when its operations run or later, ascending.
    pub(super) fn live_sets(&self) -> Vec<Vec<ValueId>> {
        let last_uses = self.graph.last_uses();
        let all = self.graph.values();
        all.map(|at| {
            (0..at.0)
                .map(ValueId)
                .filter(|group| last_uses[group.index()].is_none_or(|last| last >= at))
                .collect()
        })
        .collect()
    }

    /// Where the members of `group` refresh the groups `refreshed`: each value before the first
    /// member that uses it, or before the first of all where it is not used until later.
    pub(super) fn refreshes(
        &self,
        graph: &SlotGraph,
        group: ValueId,
        refreshed: &[ValueId],
    ) -> Vec<(ValueId, ValueId)> {
        let mut found = Vec::new();
        let mut done = BTreeSet::new();
        for value in self.members(group) {
            let mut operands = graph.operands(value);
            operands.sort_unstable();
            for operand in operands {
                if refreshed.contains(&self.of[operand.index()]) && done.insert(operand) {
                    found.push((value, operand));
                }
            }
        }
        let first = self.first(group);
        for operand in refreshed
            .iter()
            .flat_map(|other| self.needed(*other, group))
        {
            if done.insert(operand) {
                found.push((first, operand));
            }
        }
        found
    }
}

/// Whether two neighbours are pieces of one feature map: equal operations whose operands are the
/// same, or pieces of one map themselves. For output channels of SISO convolutions it is enough
/// that some operands are pieces of one map, since the terms of a join may differ between channels.
/// `of` has the groups of all values before `value`.
fn are_pieces(graph: &SlotGraph, before: ValueId, value: ValueId, of: &[ValueId]) -> bool {
    let operands = [graph.operands(before), graph.operands(value)];
    let groups = operands.each_ref().map(|operands| -> Vec<ValueId> {
        let groups = operands.iter().map(|operand| of[operand.index()]);
        groups.collect()
    });
    if groups[1].contains(&of[before.index()]) {
        return false;
    }
    let follow = || groups[0] == groups[1];
    let overlap = || {
        let left: BTreeSet<ValueId> = groups[0].iter().copied().collect();
        groups[1].iter().any(|group| left.contains(group))
    };
    let grid = |map: &LinearMap| {
        let layout = map.output;
        (layout.gap, layout.height, layout.width)
    };
    match (&graph.node(before).op, &graph.node(value).op) {
        (Op::Linear(left), Op::Linear(right)) => {
            grid(left) == grid(right) && (operands[0] == operands[1] || follow())
        }
        (Op::SisoConvolution(left), Op::SisoConvolution(right)) => {
            grid(left) == grid(right) && overlap()
        }
        (Op::Activation(left), Op::Activation(right)) => left == right && follow(),
        (Op::Multiply, Op::Multiply) => follow(),
        (Op::RotateSum { rotations: left }, Op::RotateSum { rotations: right }) => {
            left == right && follow()
        }
        _ => false,
    }
}
