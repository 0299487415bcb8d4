//! Level consumption and bootstrap placement: the cheapest way to give every operation a level.
//!
//! A state is the level of every value that is still needed; operations are taken in order, and
//! each may first refresh its operands and then runs at any level that its operands reach. The
//! cheapest path from the encrypted image to the logits is found exactly, residual joins included,
//! since a value that stays alive keeps its level in the state. The parts of one feature map, where
//! it takes several ciphertexts, run at one level: they are one node of the graph that is searched.

use std::collections::BTreeMap;

use heddle_ir::ValueId;
use heddle_ir::ckks::TransformSteps;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

use crate::analysis::cost::CostModel;
use crate::error::Error;

mod costs;
mod families;

use families::Families;

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
    let families = Families::of(graph);
    let cost = CostModel::new(parameters, bootstrap);
    let top = parameters.max_level();
    let search = Search {
        graph,
        costs: costs::by_level(graph, &families, steps, &cost, top),
        cost,
        refresh_from: bootstrap.input_level(),
        refreshed: bootstrap.output_level(parameters),
        top,
        matched: matched_level(parameters, bootstrap),
        least: least_level(parameters, bootstrap),
        live: families.live_sets(),
        families,
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

/// Bits by which a modulus exceeds the scale at least.
const HEAD_ROOM_BITS: f64 = 4.0;

/// The lowest level whose modulus has room for a message at the network's scale.
fn least_level(parameters: &Parameters, bootstrap: &BootstrapParameters) -> usize {
    let needed = f64::from(bootstrap.log_scale) + HEAD_ROOM_BITS;
    let mut bits = 0.0;
    let below = parameters.q().iter().take_while(|prime| {
        bits += (**prime as f64).log2();
        bits < needed
    });
    below.count()
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
    families: Families,
    cost: CostModel<'a>,
    /// By family and level: what its operations cost there.
    costs: Vec<Vec<f64>>,
    /// The least level of a value that can be refreshed.
    refresh_from: usize,
    /// The level after a bootstrap.
    refreshed: usize,
    top: usize,
    /// The least level that polynomials may end at.
    matched: usize,
    /// The least level of any result.
    least: usize,
    /// By family: the families that are needed when its operations run or later, ascending.
    live: Vec<Vec<ValueId>>,
}

impl Search<'_> {
    /// The families that a state after those operations gives levels for.
    fn live_after(&self, family: ValueId) -> Vec<ValueId> {
        match self.live.get(family.index() + 1) {
            Some(live) => live.clone(),
            None => self.families.graph.outputs().to_vec(),
        }
    }

    /// The operation that stands for a family.
    fn op(&self, family: ValueId) -> &Op {
        &self.graph.node(self.families.first(family)).op
    }

    /// The best placement when the image is encrypted at `input_level`, if there is one.
    fn encrypted_at(&self, input_level: usize) -> Option<Placement> {
        let mut history: Vec<States> = Vec::with_capacity(self.families.graph.len());
        for family in self.families.graph.values() {
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
                self.advance(family, &state, cost, input_level, &mut states);
            }
            history.push(undominated(states));
        }
        self.trace_back(&history)
    }

    fn advance(
        &self,
        family: ValueId,
        state: &[usize],
        cost: f64,
        input_level: usize,
        states: &mut States,
    ) {
        let live = &self.live[family.index()];
        let operands = self.families.graph.operands(family);
        let level_of = |levels: &[usize], family: ValueId| {
            levels[live.binary_search(&family).expect("operands are alive")]
        };
        let after = self.live_after(family);
        if matches!(self.op(family), Op::Input) {
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
                for value in self.families.needed(*operand, family) {
                    let period = self.graph.ty(value).layout.period();
                    refresh_cost += self.cost.bootstrap(period.trailing_zeros());
                }
            }
            let reach = operands
                .iter()
                .map(|operand| level_of(&levels, *operand))
                .min()
                .unwrap_or(0);
            let (depth, ceiling) = self.depth_and_ceiling(family);
            let floor = match self.op(family) {
                Op::Activation(_) => self.matched,
                _ => 0,
            };
            for level in depth + floor.max(self.least)..=reach.min(ceiling) {
                let mut reached: Vec<usize> = after
                    .iter()
                    .filter(|alive| **alive != family)
                    .map(|alive| level_of(&levels, *alive))
                    .collect();
                if after.contains(&family) {
                    reached.push(level - depth);
                }
                let step = Step {
                    cost: cost + refresh_cost + self.costs[family.index()][level],
                    before: state.to_vec(),
                    level,
                    refreshed: refreshed.clone(),
                };
                record(states, reached, step);
            }
        }
    }

    /// Only what an activation or a quotient bounds lies within [−1, 1].
    fn can_refresh(&self, family: ValueId) -> bool {
        let is_bounded = |value: ValueId| {
            let op = &self.graph.node(value).op;
            matches!(op, Op::Activation(_) | Op::Normalise(_))
        };
        self.families.members(family).all(|value| {
            is_bounded(value)
                || matches!(self.graph.node(value).op, Op::Input)
                || self.graph.users(value).into_iter().any(is_bounded)
        })
    }

    /// Levels that an operation of a family consumes, and the highest that it can start from: polynomials keep
    /// to the levels whose primes match the scale.
    fn depth_and_ceiling(&self, family: ValueId) -> (usize, usize) {
        match self.op(family) {
            Op::Input | Op::Add | Op::RotateSum { .. } => (0, self.top),
            Op::Linear(_) | Op::SisoConvolution(_) => (1, self.top),
            Op::ParallelConvolution { .. } => (2, self.top),
            Op::Activation(activation) => (activation.depth(), self.refreshed),
            Op::Normalise(division) => (division.depth(), self.refreshed),
        }
    }

    fn trace_back(&self, history: &[States]) -> Option<Placement> {
        let (state, last) = history
            .last()?
            .iter()
            .min_by(|(_, left), (_, right)| left.cost.total_cmp(&right.cost))?;
        let mut placement = Placement {
            levels: vec![0; self.graph.len()],
            refreshed: vec![Vec::new(); self.graph.len()],
            cost: last.cost,
            alternatives: Vec::new(),
        };
        let mut state = state.clone();
        for (index, states) in history.iter().enumerate().rev() {
            let step = &states[&state];
            let family = ValueId(index as u32);
            for value in self.families.members(family) {
                placement.levels[value.index()] = step.level;
            }
            for (value, operand) in self.families.refreshes(self.graph, family, &step.refreshed) {
                placement.refreshed[value.index()].push(operand);
            }
            state = step.before.clone();
        }
        Some(placement)
    }

    /// The error for a graph that no placement fits: its deepest operation is to blame.
    fn deepest_operation(&self) -> Error {
        let families = self.families.graph.values();
        let deepest = families.max_by_key(|family| self.depth_and_ceiling(*family).0);
        let (node, depth) = deepest.map_or_else(Default::default, |family| {
            let value = self.families.first(family);
            let depth = self.depth_and_ceiling(family).0;
            (self.graph.node(value).name.clone(), depth)
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
