//! What non-linear functions take, and how close it comes to the ends of their intervals.

use serde::{Deserialize, Serialize};

use crate::ckks::{Op, Schedule};
use crate::graph::ValueId;

/// How far the slots before one non-linear function stay from its interval's ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeStatistic {
    /// The value that the function takes.
    pub value: ValueId,
    /// The name of the node that made it.
    pub name: String,
    /// The name of the activation that takes it, by which `heddlec --range` widens its range;
    /// `None` where it is bootstrapped for linear maps alone.
    pub function: Option<String>,
    /// Largest magnitude of a slot; above 1 the approximation no longer holds.
    pub worst: f64,
    /// Slots of magnitude above 1, over all images.
    pub overflows: u64,
}

impl RangeStatistic {
    /// Of watched values, before anything was seen.
    pub(super) fn fresh(schedule: &Schedule, watched: &[ValueId]) -> Vec<Self> {
        let functions = functions(schedule);
        let fresh = |value: &ValueId| Self {
            value: *value,
            name: schedule.graph.node(*value).name.clone(),
            function: functions[value.index()].map(|by| schedule.graph.node(by).name.clone()),
            worst: 0.0,
            overflows: 0,
        };
        watched.iter().map(fresh).collect()
    }

    /// Takes in what another run saw of the same value.
    pub fn merge(&mut self, other: &Self) {
        self.raise(other.worst);
        self.overflows += other.overflows;
    }

    /// Takes in the slots of one run.
    pub fn observe(&mut self, slots: &[f64]) {
        for slot in slots {
            let magnitude = slot.abs();
            if magnitude > 1.0 || magnitude.is_nan() {
                self.overflows += 1;
            }
            self.raise(magnitude);
        }
    }

    /// As `max`, but keeps a NaN, which is the worst of all.
    fn raise(&mut self, magnitude: f64) {
        if magnitude > self.worst || magnitude.is_nan() {
            self.worst = magnitude;
        }
    }
}

/// By value: the first polynomial that takes it, perhaps bootstrapped or at a lower level.
fn functions(schedule: &Schedule) -> Vec<Option<ValueId>> {
    let graph = &schedule.graph;
    let mut functions = vec![None; graph.len()];
    // Users come after what they use.
    for user in graph.values().rev() {
        let function = match graph.node(user).op {
            Op::Polynomial { .. } => Some(user),
            Op::Bootstrap { .. } | Op::DropLevel => functions[user.index()],
            _ => continue,
        };
        for operand in graph.operands(user) {
            functions[operand.index()] = function.or(functions[operand.index()]);
        }
    }
    functions
}

/// What bootstraps take, and polynomials that do not follow on a bootstrap or another polynomial.
pub(super) fn watched(schedule: &Schedule) -> Vec<ValueId> {
    let graph = &schedule.graph;
    // Whether a value lies behind a non-linear function's range check already.
    let mut inside = vec![false; graph.len()];
    // A value's slots are those of what it was dropped from; once is enough to look at them.
    let mut seen = vec![false; graph.len()];
    let mut root: Vec<ValueId> = graph.values().collect();
    let mut watched = Vec::new();
    let mut watch = |operand: ValueId, root: &[ValueId]| {
        let seen = &mut seen[root[operand.index()].index()];
        if !*seen {
            watched.push(operand);
        }
        *seen = true;
    };
    for value in graph.values() {
        let operands = graph.operands(value);
        let follows = operands.iter().any(|operand| inside[operand.index()]);
        if let (Op::DropLevel, [operand]) = (&graph.node(value).op, &operands[..]) {
            root[value.index()] = root[operand.index()];
        }
        match graph.node(value).op {
            Op::Bootstrap { .. } => {
                operands.iter().for_each(|operand| watch(*operand, &root));
                inside[value.index()] = true;
            }
            Op::Polynomial { .. } => {
                if !follows {
                    operands.iter().for_each(|operand| watch(*operand, &root));
                }
                inside[value.index()] = true;
            }
            Op::Input | Op::LinearTransform { .. } | Op::MultiplyAccumulate { .. } => {}
            _ => inside[value.index()] = follows,
        }
    }
    watched.sort_unstable();
    watched.dedup();
    watched
}
