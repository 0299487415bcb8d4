//! How products of two values come to the network's scale.
//!
//! The product of two values at the network's scale Δ rescales to Δ²/q, which drifts from Δ. So one
//! operand is brought to the scale q first: by the linear map that makes it, if the product is its
//! only user and it is not refreshed in between; or by a multiplication with a constant, if it has a
//! level to spare.

use heddle_ir::ValueId;
use heddle_ir::slot::{Op, SlotGraph};

use super::Search;
use super::channel_groups::ChannelGroups;

/// By value: the operands of a product whose linear maps have no other user, their whole channel
/// group included; empty for other operations.
pub(super) fn fitting(graph: &SlotGraph, groups: &ChannelGroups) -> Vec<Vec<ValueId>> {
    let is_fitting = |product: ValueId, operand: ValueId| {
        let maker = groups.group_of(operand);
        matches!(graph.node(operand).op, Op::Linear(_))
            && graph.users(operand) == [product]
            && groups.graph.users(maker) == [groups.group_of(product)]
            && !groups.graph.outputs().contains(&maker)
    };
    let of = |value: ValueId| match graph.node(value).op {
        Op::Multiply => {
            let operands = graph.operands(value).into_iter();
            operands.filter(|x| is_fitting(value, *x)).collect()
        }
        _ => Vec::new(),
    };
    graph.values().map(of).collect()
}

impl Search<'_> {
    /// The operand of a product whose linear map can end at any scale, when the groups `refreshed`
    /// are refreshed before the product; `None` for other operations.
    pub(super) fn fitted(&self, value: ValueId, refreshed: &[ValueId]) -> Option<ValueId> {
        let fitting = self.fitting[value.index()].iter().copied();
        let mut fitting = fitting.filter(|x| !refreshed.contains(&self.groups.group_of(*x)));
        fitting.next()
    }

    /// The highest level that the products of a group can run at, as far as their scale goes.
    pub(super) fn product_ceiling(
        &self,
        group: ValueId,
        refreshed: &[ValueId],
        level_of: impl Fn(ValueId) -> usize,
    ) -> usize {
        let ceiling = |value: ValueId| {
            if self.fitted(value, refreshed).is_some() {
                return self.top;
            }
            let operands = self.graph.operands(value).into_iter();
            let levels = operands.map(|operand| level_of(self.groups.group_of(operand)));
            // The constant's level, too, is one whose prime matches the scale.
            let highest = levels.max().unwrap_or(0).min(self.refreshed);
            highest.saturating_sub(1)
        };
        let ceilings = self.groups.members(group).map(ceiling);
        ceilings.min().unwrap_or(self.top)
    }
}
