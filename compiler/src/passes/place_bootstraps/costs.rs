//! What every channel group's operations cost at each level.

use heddle_ir::ValueId;
use heddle_ir::ckks::TransformSteps;
use heddle_ir::linear::LinearMap;
use heddle_ir::linear::parallel::ParallelConvolution;
use heddle_ir::linear::siso::SisoConvolution;
use heddle_ir::slot::{Op, SlotGraph};

use super::channel_groups::ChannelGroups;
use crate::analysis::cost::CostModel;
use crate::analysis::rotations::counts;

/// By group and level, up to `top`: the sum of its members' costs.
pub(super) fn by_level(
    graph: &SlotGraph,
    groups: &ChannelGroups,
    steps: &[Vec<TransformSteps>],
    cost: &CostModel<'_>,
    top: usize,
) -> Vec<Vec<f64>> {
    let all = groups.graph.values();
    all.map(|group| {
        let mut sums = vec![0.0; top + 1];
        for value in groups.members(group) {
            let at = cost_of(graph, value, &steps[value.index()], cost);
            for (level, sum) in sums.iter_mut().enumerate() {
                *sum += at(level);
            }
        }
        sums
    })
    .collect()
}

/// The cost of one operation by its level.
fn cost_of<'a>(
    graph: &'a SlotGraph,
    value: ValueId,
    steps: &[TransformSteps],
    cost: &'a CostModel<'_>,
) -> Box<dyn Fn(usize) -> f64 + 'a> {
    let impossible = || Box::new(|_| f64::INFINITY);
    match &graph.node(value).op {
        Op::Input | Op::Add => Box::new(|_| 0.0),
        Op::ParallelConvolution { map, slots } => match ParallelConvolution::of(map, *slots) {
            Ok(convolution) => Box::new(move |level| cost.parallel(level, &convolution)),
            Err(_) => impossible(),
        },
        Op::Linear(map) => {
            let terms: Vec<_> = steps.iter().map(counts).collect();
            Box::new(move |level| cost.linear(level, &terms, map.log_shares))
        }
        Op::SisoConvolution(map) => match siso(graph, value, map) {
            Some((products, shared)) => Box::new(move |level| cost.siso(level, products, shared)),
            None => impossible(),
        },
        Op::Multiply => Box::new(|level| cost.multiply(level)),
        Op::Activation(activation) => Box::new(|level| cost.activation(level, activation)),
        Op::RotateSum { rotations } => Box::new(|level| cost.rotate_sum(level, rotations.len())),
        Op::Normalise(division) => Box::new(|level| cost.normalise(level, division)),
    }
}

/// A channel's products, and its fraction of every operand's rotations, which all users of the
/// operand have in common.
fn siso(graph: &SlotGraph, value: ValueId, map: &LinearMap) -> Option<(usize, f64)> {
    let convolution = SisoConvolution::of(map).ok()?;
    let operands = graph.operands(value);
    let fractions = operands.iter().enumerate().map(|(term, operand)| {
        let rotations = convolution.products_of(term).saturating_sub(1);
        rotations as f64 / graph.users(*operand).len().max(1) as f64
    });
    Some((convolution.products(), fractions.sum()))
}
