//! Level consumption and bootstrap placement: the cheapest way to give every operation a level.
//!
//! A state is the level of every value that is still needed; operations are taken in order, and
//! each may first refresh its operands and then runs at any level that its operands reach. The
//! cheapest path from the encrypted image to the logits is found exactly, residual joins included,
//! since a value that stays alive keeps its level in the state. The parts of one feature map, where
//! it takes several ciphertexts, run at one level.

use std::collections::BTreeMap;

use heddle_ir::ValueId;
use heddle_ir::ckks::TransformSteps;
use heddle_ir::linear::LinearMap;
use heddle_ir::linear::parallel::ParallelConvolution;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

use crate::analysis::cost::CostModel;
use crate::analysis::rotations::counts;
use crate::error::Error;

/// The pass's name.
pub const NAME: &str = "place-bootstraps";

/// Where every operation runs and which of its operands are refreshed before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// By value: the level of the operands when the operation runs; for the input, its own.
    pub levels: Vec<usize>,
    /// By value: the operands that are refreshed just before the operation.
    pub refreshed: Vec<Vec<ValueId>>,
    /// The cost of the whole, in limb transforms.
    pub cost: f64,
    /// The least cost and its number of bootstraps for every level that the image could have been
    /// encrypted at, the chosen one included.
    pub alternatives: Vec<Alternative>,
}

/// The best placement for one level of the encrypted image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alternative {
    /// The image's level.
    pub input_level: usize,
    /// Number of bootstraps.
    pub bootstraps: usize,
    /// Cost, in limb transforms.
    pub cost: f64,
}

impl Placement {
    /// Number of bootstraps.
    pub fn bootstraps(&self) -> usize {
        self.refreshed.iter().map(Vec::len).sum()
    }

    /// The choice and the alternatives that it beat, one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = vec![format!(
            "{} bootstraps, cost {:.0} limb transforms",
            self.bootstraps(),
            self.cost
        )];
        remarks.extend(self.alternatives.iter().map(|alternative| {
            format!(
                "image at level {}: {} bootstraps, cost {:.0} ({:+.1} %)",
                alternative.input_level,
                alternative.bootstraps,
                alternative.cost,
                100.0 * (alternative.cost / self.cost - 1.0)
            )
        }));
        remarks
    }
}

/// Places bootstraps under the given parameters; `steps` are the linear maps' rotations, by value.
///
/// # Errors
/// If an operation is deeper than the levels between two bootstraps.
pub fn run(
    graph: &SlotGraph,
    steps: &[Vec<TransformSteps>],
    parameters: &Parameters,
    bootstrap: &BootstrapParameters,
) -> Result<Placement, Error> {
    let search = Search {
        graph,
        steps,
        cost: CostModel::new(parameters, bootstrap),
        refresh_from: bootstrap.input_level(),
        refreshed: bootstrap.output_level(parameters),
        top: parameters.max_level(),
        matched: matched_level(parameters, bootstrap),
        live: live_sets(graph),
        siblings: siblings(graph),
    };
    let mut best: Option<Placement> = None;
    let mut alternatives = Vec::new();
    for input_level in 1..=search.top {
        let Some(placement) = search.encrypted_at(input_level) else {
            continue;
        };
        alternatives.push(Alternative {
            input_level,
            bootstraps: placement.bootstraps(),
            cost: placement.cost,
        });
        if best.as_ref().is_none_or(|best| placement.cost < best.cost) {
            best = Some(placement);
        }
    }
    let mut best = best.ok_or_else(|| search.deepest_operation())?;
    best.alternatives = alternatives;
    Ok(best)
}

/// By value: the values that are needed when its operation runs or later, ascending.
fn live_sets(graph: &SlotGraph) -> Vec<Vec<ValueId>> {
    let last_uses = graph.last_uses();
    graph
        .values()
        .map(|at| {
            (0..at.0)
                .map(ValueId)
                .filter(|value| last_uses[value.index()].is_none_or(|last| last >= at))
                .collect()
        })
        .collect()
}

/// By value: the value just before it, where both are parts of one feature map: equal operations whose
/// operands are the same, or parts of one map themselves.
fn siblings(graph: &SlotGraph) -> Vec<Option<ValueId>> {
    let mut siblings: Vec<Option<ValueId>> = Vec::with_capacity(graph.len());
    for value in graph.values() {
        let alike = value.0.checked_sub(1).map(ValueId).filter(|before| {
            let (left, right) = (graph.node(*before), graph.node(value));
            let operands = [graph.operands(*before), graph.operands(value)];
            let follow = || {
                let mut pairs = operands[0].iter().zip(&operands[1]);
                operands[0].len() == operands[1].len()
                    && pairs.all(|(left, right)| siblings[right.index()] == Some(*left))
            };
            match (&left.op, &right.op) {
                (Op::Linear(left), Op::Linear(right)) => {
                    let grid = |map: &LinearMap| {
                        let layout = map.output;
                        (layout.gap, layout.height, layout.width)
                    };
                    grid(left) == grid(right) && (operands[0] == operands[1] || follow())
                }
                (Op::Activation(left), Op::Activation(right)) => left == right && follow(),
                (Op::RotateSum { steps: left }, Op::RotateSum { steps: right }) => {
                    left == right && follow()
                }
                _ => false,
            }
        });
        siblings.push(alike);
    }
    siblings
}

/// The lowest level above which every prime up to a refreshed ciphertext's has the size of the scale:
/// SlotToCoeff's primes may be smaller.
fn matched_level(parameters: &Parameters, bootstrap: &BootstrapParameters) -> usize {
    let log_scale = f64::from(bootstrap.log_scale);
    let matches = |limb: &usize| ((parameters.q()[*limb] as f64).log2() - log_scale).abs() < 0.5;
    let matching = (1..=bootstrap.output_level(parameters))
        .rev()
        .take_while(matches);
    matching.last().map_or(0, |lowest| lowest - 1)
}

/// How a state was reached: the state before, the operation's level, the refreshed operands.
#[derive(Clone, Debug)]
struct Step {
    cost: f64,
    before: Vec<usize>,
    level: usize,
    refreshed: Vec<ValueId>,
}

/// States after an operation: the levels of the values that live on, and the cheapest way there.
type States = BTreeMap<Vec<usize>, Step>;

struct Search<'a> {
    graph: &'a SlotGraph,
    steps: &'a [Vec<TransformSteps>],
    cost: CostModel<'a>,
    /// The least level of a value that can be refreshed.
    refresh_from: usize,
    /// The level after a bootstrap.
    refreshed: usize,
    top: usize,
    /// The least level that polynomials may end at.
    matched: usize,
    live: Vec<Vec<ValueId>>,
    /// By value: the part of the same feature map that comes before it.
    siblings: Vec<Option<ValueId>>,
}

impl Search<'_> {
    /// The values that a state after operation `value` gives levels for.
    fn live_after(&self, value: ValueId) -> Vec<ValueId> {
        match self.live.get(value.index() + 1) {
            Some(live) => live.clone(),
            None => self.graph.outputs().to_vec(),
        }
    }

    /// The best placement when the image is encrypted at `input_level`, if there is one.
    fn encrypted_at(&self, input_level: usize) -> Option<Placement> {
        let mut history: Vec<States> = Vec::with_capacity(self.graph.len());
        for value in self.graph.values() {
            let mut states = States::new();
            let start = BTreeMap::from([(Vec::new(), 0.0)]);
            let before = match history.last() {
                Some(previous) => previous
                    .iter()
                    .map(|(state, step)| (state.clone(), step.cost))
                    .collect(),
                None => start,
            };
            for (state, cost) in before {
                self.advance(value, &state, cost, input_level, &mut states);
            }
            history.push(undominated(states));
        }
        self.trace_back(&history)
    }

    fn advance(
        &self,
        value: ValueId,
        state: &[usize],
        cost: f64,
        input_level: usize,
        states: &mut States,
    ) {
        let live = &self.live[value.index()];
        let mut operands = self.graph.operands(value);
        operands.dedup();
        let level_of = |levels: &[usize], value: ValueId| {
            levels[live.binary_search(&value).expect("operands are alive")]
        };
        let after = self.live_after(value);
        if matches!(self.graph.node(value).op, Op::Input) {
            let mut reached = state.to_vec();
            reached.push(input_level);
            let step = Step {
                cost,
                before: state.to_vec(),
                level: input_level,
                refreshed: Vec::new(),
            };
            record(states, reached, step);
            return;
        }
        // Refreshing an operand helps only when every lower one is refreshed too, and can wait otherwise.
        let mut thresholds: Vec<usize> = operands
            .iter()
            .map(|operand| level_of(state, *operand) + 1)
            .chain([0])
            .collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        let required = self.siblings[value.index()]
            .and_then(|sibling| live.binary_search(&sibling).ok())
            .map(|position| state[position] + self.depth_and_ceiling(value).0);
        for threshold in thresholds {
            let refreshed: Vec<ValueId> = operands
                .iter()
                .copied()
                .filter(|operand| level_of(state, *operand) < threshold)
                .collect();
            let possible = refreshed.iter().all(|operand| {
                let level = level_of(state, *operand);
                self.can_refresh(*operand) && (self.refresh_from..self.refreshed).contains(&level)
            });
            if !possible {
                continue;
            }
            let mut levels = state.to_vec();
            let mut refresh_cost = 0.0;
            for operand in &refreshed {
                let position = live.binary_search(operand).expect("operands are alive");
                levels[position] = self.refreshed;
                let period = self.graph.ty(*operand).layout.period();
                refresh_cost += self.cost.bootstrap(period.trailing_zeros());
            }
            let reach = operands
                .iter()
                .map(|operand| level_of(&levels, *operand))
                .min()
                .unwrap_or(0);
            let (depth, ceiling) = self.depth_and_ceiling(value);
            let floor = match self.graph.node(value).op {
                Op::Activation(_) => self.matched,
                _ => 0,
            };
            for level in depth + floor..=reach.min(ceiling) {
                if required.is_some_and(|required| required != level) {
                    continue;
                }
                let mut reached: Vec<usize> = after
                    .iter()
                    .filter(|alive| **alive != value)
                    .map(|alive| level_of(&levels, *alive))
                    .collect();
                if after.contains(&value) {
                    reached.push(level - depth);
                }
                let step = Step {
                    cost: cost + refresh_cost + self.cost_at(value, level),
                    before: state.to_vec(),
                    level,
                    refreshed: refreshed.clone(),
                };
                record(states, reached, step);
            }
        }
    }

    /// Only what an activation or a quotient bounds lies within [−1, 1].
    fn can_refresh(&self, value: ValueId) -> bool {
        let is_bounded = |value: ValueId| {
            let op = &self.graph.node(value).op;
            matches!(op, Op::Activation(_) | Op::Normalise(_))
        };
        is_bounded(value)
            || matches!(self.graph.node(value).op, Op::Input)
            || self.graph.users(value).into_iter().any(is_bounded)
    }

    /// Levels that an operation consumes, and the highest that it can start from: polynomials keep
    /// to the levels whose primes match the scale.
    fn depth_and_ceiling(&self, value: ValueId) -> (usize, usize) {
        match &self.graph.node(value).op {
            Op::Input | Op::Add | Op::RotateSum { .. } => (0, self.top),
            Op::Linear(_) => (1, self.top),
            Op::ParallelConvolution { .. } => (2, self.top),
            Op::Activation(activation) => (activation.depth(), self.refreshed),
            Op::Normalise(division) => (division.depth(), self.refreshed),
        }
    }

    fn cost_at(&self, value: ValueId, level: usize) -> f64 {
        match &self.graph.node(value).op {
            Op::Input | Op::Add => 0.0,
            Op::ParallelConvolution { map, slots } => ParallelConvolution::of(map, *slots)
                .map_or(f64::INFINITY, |convolution| {
                    self.cost.parallel(level, &convolution)
                }),
            Op::Linear(map) => {
                let terms: Vec<_> = self.steps[value.index()].iter().map(counts).collect();
                self.cost.linear(level, &terms, map.doublings)
            }
            Op::Activation(activation) => self.cost.activation(level, activation),
            Op::RotateSum { steps } => self.cost.rotate_sum(level, steps.len()),
            Op::Normalise(division) => self.cost.normalise(level, division),
        }
    }

    fn trace_back(&self, history: &[States]) -> Option<Placement> {
        let (state, last) = history
            .last()?
            .iter()
            .min_by(|(_, left), (_, right)| left.cost.total_cmp(&right.cost))?;
        let mut placement = Placement {
            levels: vec![0; history.len()],
            refreshed: vec![Vec::new(); history.len()],
            cost: last.cost,
            alternatives: Vec::new(),
        };
        let mut state = state.clone();
        for (index, states) in history.iter().enumerate().rev() {
            let step = &states[&state];
            placement.levels[index] = step.level;
            placement.refreshed[index] = step.refreshed.clone();
            state = step.before.clone();
        }
        Some(placement)
    }

    /// The error for a graph that no placement fits: its deepest operation is to blame.
    fn deepest_operation(&self) -> Error {
        let deepest = self
            .graph
            .values()
            .max_by_key(|value| self.depth_and_ceiling(*value).0);
        let (node, depth) = deepest.map_or_else(Default::default, |value| {
            (
                self.graph.node(value).name.clone(),
                self.depth_and_ceiling(value).0,
            )
        });
        Error::TooDeep {
            node,
            depth,
            levels: self.refreshed - self.refresh_from,
        }
    }
}

/// The states that no other state betters: one that costs no more and leaves every value at least
/// as high can do all that the other can.
fn undominated(states: States) -> States {
    let mut by_cost: Vec<(Vec<usize>, Step)> = states.into_iter().collect();
    by_cost.sort_by(|(_, left), (_, right)| left.cost.total_cmp(&right.cost));
    let mut kept: Vec<(Vec<usize>, Step)> = Vec::new();
    for (state, step) in by_cost {
        let dominates = |(other, _): &(Vec<usize>, Step)| {
            other
                .iter()
                .zip(&state)
                .all(|(other, level)| other >= level)
        };
        if !kept.iter().any(dominates) {
            kept.push((state, step));
        }
    }
    kept.into_iter().collect()
}

fn record(states: &mut States, state: Vec<usize>, step: Step) {
    match states.get_mut(&state) {
        Some(known) if known.cost <= step.cost => {}
        Some(known) => *known = step,
        None => {
            states.insert(state, step);
        }
    }
}
