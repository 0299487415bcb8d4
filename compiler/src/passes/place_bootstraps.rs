//! Level consumption and bootstrap placement: the cheapest way to give every operation a level.
//!
//! A state is the level of every value that is still needed; operations are taken in order, and
//! each may first refresh its operands and then runs at any level that its operands reach. The
//! cheapest path from the encrypted image to the logits is found exactly, residual joins included,
//! since a value that stays alive keeps its level in the state. The parts of one feature map, where
//! it takes several ciphertexts, run at one level: they are one node of the graph that is searched.
//!
//! One search finds the best path for every level that the image could be encrypted at: a path needs
//! the image at some level, and all images at that level or above allow it. Where many branches are
//! alive at once there are more states than can be gone through; the most promising
//! [`STATES`] after each operation are then searched, and the placement says so.

use heddle_ir::ValueId;
use heddle_ir::ckks::TransformSteps;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

use crate::analysis::cost::CostModel;
use crate::error::Error;

mod costs;
mod families;
mod frontier;

use families::Families;
use frontier::{State, undominated};

/// The pass's name.
pub const NAME: &str = "place-bootstraps";

/// States that the search goes on from after each operation. Residual networks have dozens; four branches between two
/// activations have thousands.
pub const STATES: usize = 4096;

/// Where there are more: shares of a bootstrap's cost that its levels count for in choosing the most promising, tried in
/// turn until there is a placement. Small ones keep cheap states, large ones those that can go on.
const WORTHS: [f64; 3] = [0.25, 1.0, 4.0];

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
    /// What it is the cheapest of.
    pub searched: Searched,
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
        if self.searched == Searched::MostPromising {
            remarks.push(format!(
                "the cheapest among the {STATES} most promising states after each operation"
            ));
        }
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
    for worth in WORTHS {
        match search.cheapest(worth) {
            (Some(placement), _) => return Ok(placement),
            (None, Searched::All) => break,
            (None, Searched::MostPromising) => {}
        }
    }
    Err(search.deepest_operation())
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

/// How a state was reached: the one before, by its place among those after the operation before; the operation's level,
/// the refreshed operands.
#[derive(Clone, Debug)]
struct Step {
    before: usize,
    level: usize,
    refreshed: Vec<ValueId>,
}

/// States after an operation: the levels of the families that live on, ascending by family, and last the levels below the
/// top at which the image may be encrypted.
type States = Vec<State<Step>>;

/// What a search went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    /// Every state that no other betters, so that no placement is cheaper.
    All,
    /// Of these, [`STATES`] after each operation.
    MostPromising,
}

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

    /// The cheapest placement among the states searched, if there is one, and which these were.
    fn cheapest(&self, worth: f64) -> (Option<Placement>, Searched) {
        let mut searched = Searched::All;
        let mut history: Vec<States> = Vec::with_capacity(self.families.graph.len());
        let start = vec![State {
            levels: vec![self.top as u16],
            cost: 0.0,
            step: Step {
                before: 0,
                level: 0,
                refreshed: Vec::new(),
            },
        }];
        for family in self.families.graph.values() {
            let mut states = States::new();
            for (place, state) in history.last().unwrap_or(&start).iter().enumerate() {
                self.advance(family, state, place, &mut states);
            }
            let live = self.live_after(family);
            let worths = live.iter().map(|alive| worth * self.level_worth(*alive));
            let worths: Vec<f64> = worths.chain([0.0]).collect();
            let frontier = undominated(states, &worths, STATES);
            if frontier.is_cut {
                searched = Searched::MostPromising;
            }
            history.push(frontier.states);
        }
        let last = history.last().unwrap_or(&start);
        // Of equally cheap ones that which allows the lowest image.
        let best_at = |input_level: usize| {
            let below_top = |state: &State<Step>| state.levels.last().copied().unwrap_or_default();
            let allowed = last
                .iter()
                .enumerate()
                .filter(|(_, state)| usize::from(below_top(state)) + input_level >= self.top);
            allowed.min_by(|(_, left), (_, right)| {
                let costs = left.cost.total_cmp(&right.cost);
                costs.then_with(|| below_top(right).cmp(&below_top(left)))
            })
        };
        let Some((best, _)) = best_at(self.top) else {
            return (None, searched);
        };
        let alternatives = (1..=self.top).filter_map(|input_level| {
            let (place, state) = best_at(input_level)?;
            Some(Alternative {
                input_level,
                bootstraps: self.trace_back(&history, place).bootstraps(),
                cost: state.cost,
            })
        });
        let placement = Placement {
            alternatives: alternatives.collect(),
            searched,
            ..self.trace_back(&history, best)
        };
        (Some(placement), searched)
    }

    /// A bootstrap's cost by the levels that it gives back at most.
    fn level_worth(&self, family: ValueId) -> f64 {
        let levels = self.refreshed.saturating_sub(self.refresh_from).max(1);
        self.refresh_cost(self.families.members(family)) / levels as f64
    }

    /// What refreshing values costs.
    fn refresh_cost(&self, values: impl Iterator<Item = ValueId>) -> f64 {
        let period = |value: ValueId| self.graph.ty(value).layout.period();
        values
            .map(|value| self.cost.bootstrap(period(value).trailing_zeros()))
            .sum()
    }

    /// Adds the states that an operation leads to from `state`, the one at `place` among those before.
    fn advance(&self, family: ValueId, state: &State<Step>, place: usize, states: &mut States) {
        let live = &self.live[family.index()];
        let operands = self.families.graph.operands(family);
        let lane = |family: ValueId| live.binary_search(&family).expect("operands are alive");
        let after = self.live_after(family);
        // The lanes that live on, without what the operation gives.
        let kept: Vec<usize> = after
            .iter()
            .filter(|alive| **alive != family)
            .map(|alive| lane(*alive))
            .collect();
        let below_top = state.levels[live.len()];
        let mut record = |levels: &[u16], result: usize, below_top: u16, cost: f64, step: Step| {
            let mut reached: Vec<u16> = kept.iter().map(|lane| levels[*lane]).collect();
            if kept.len() < after.len() {
                reached.push(result as u16);
            }
            reached.push(below_top);
            states.push(State {
                levels: reached,
                cost,
                step,
            });
        };
        if matches!(self.op(family), Op::Input) {
            for level in 1..=self.top {
                let step = Step {
                    before: place,
                    level,
                    refreshed: Vec::new(),
                };
                let below_top = below_top.min((self.top - level) as u16);
                record(&state.levels, level, below_top, state.cost, step);
            }
            return;
        }
        let level_of = |levels: &[u16], operand: ValueId| usize::from(levels[lane(operand)]);
        // Refreshing an operand helps only when every lower one is refreshed too, and can wait otherwise.
        let mut thresholds: Vec<usize> = operands
            .iter()
            .map(|operand| level_of(&state.levels, *operand) + 1)
            .chain([0])
            .collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        for threshold in thresholds {
            let refreshed: Vec<ValueId> = operands
                .iter()
                .copied()
                .filter(|operand| level_of(&state.levels, *operand) < threshold)
                .collect();
            let possible = refreshed.iter().all(|operand| {
                let level = level_of(&state.levels, *operand);
                self.can_refresh(*operand) && (self.refresh_from..self.refreshed).contains(&level)
            });
            if !possible {
                continue;
            }
            let mut levels = state.levels.clone();
            let mut cost = state.cost;
            for operand in &refreshed {
                levels[lane(*operand)] = self.refreshed as u16;
                cost += self.refresh_cost(self.families.needed(*operand, family));
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
                let step = Step {
                    before: place,
                    level,
                    refreshed: refreshed.clone(),
                };
                let cost = cost + self.costs[family.index()][level];
                record(&levels, level - depth, below_top, cost, step);
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

    /// The placement that ends in the last operation's state at `place`.
    fn trace_back(&self, history: &[States], mut place: usize) -> Placement {
        let mut placement = Placement {
            levels: vec![0; self.graph.len()],
            refreshed: vec![Vec::new(); self.graph.len()],
            cost: history.last().map_or(0.0, |last| last[place].cost),
            alternatives: Vec::new(),
            searched: Searched::All,
        };
        for (index, states) in history.iter().enumerate().rev() {
            let step = &states[place].step;
            let family = ValueId(index as u32);
            for value in self.families.members(family) {
                placement.levels[value.index()] = step.level;
            }
            for (value, operand) in self.families.refreshes(self.graph, family, &step.refreshed) {
                placement.refreshed[value.index()].push(operand);
            }
            place = step.before;
        }
        placement
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
