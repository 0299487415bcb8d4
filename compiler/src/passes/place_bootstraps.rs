//! Level consumption and bootstrap placement: the cheapest way to give every operation a level.
//!
//! A state is the level of every value that is still needed; operations are taken in order, and
//! each may first refresh its operands and then runs at any level that its operands reach. The
//! cheapest path from the encrypted image to the logits is found exactly, residual joins included,
//! since a value that stays alive keeps its level in the state. A feature map that takes several
//! ciphertexts is one channel group, which runs at one level: one node of the graph that is
//! searched.
//!
//! One search finds the best path for every level that the image could be encrypted at: a path
//! needs the image at some level, and all images at that level or above allow it. Where many
//! branches are alive at once there are too many states; then only the [`STATES`] most promising
//! ones after each operation are searched, and the placement says so.

use heddle_ir::ValueId;
use heddle_ir::ckks::TransformSteps;
use heddle_ir::slot::{Op, SlotGraph};
use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

use crate::analysis::cost::CostModel;
use crate::error::Error;

mod channel_groups;
mod costs;
mod frontier;
mod products;

use channel_groups::ChannelGroups;
use frontier::{State, pareto_frontier};

/// The pass's name.
pub const NAME: &str = "place-bootstraps";

/// States that the search goes on from after each operation. Residual networks have dozens; four
/// branches between two activations have thousands.
pub const STATES: usize = 4096;

/// Where there are more states: the fraction of a bootstrap's cost that its levels are worth in
/// choosing the most promising, tried in turn until there is a placement. Small fractions keep
/// cheap states, large ones those that can go on.
const WORTHS: [f64; 3] = [0.25, 1.0, 4.0];

/// Where every operation runs and which of its operands are refreshed before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// By value: the level of the operands when the operation runs; for the input, its own.
    pub levels: Vec<usize>,
    /// By value: the operands that are refreshed just before the operation.
    pub refreshed: Vec<Vec<ValueId>>,
    /// By value: the operand of a product whose linear map ends at the scale that makes the product
    /// rescale to the network's. Products without one take an operand that has a level to spare.
    pub fitted: Vec<Option<ValueId>>,
    /// The cost of the whole, in limb transforms.
    pub cost: f64,
    /// The least cost and its number of bootstraps for every level that the image could have been
    /// encrypted at, the chosen one included.
    pub alternatives: Vec<Alternative>,
    /// Which placements it is the cheapest of.
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

    /// The choice and its alternatives, one sentence each.
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
    let groups = ChannelGroups::of(graph);
    let cost = CostModel::new(parameters, bootstrap);
    let top = parameters.max_level();
    let search = Search {
        graph,
        costs: costs::by_level(graph, &groups, steps, &cost, top),
        cost,
        refresh_from: bootstrap.input_level(),
        refreshed: bootstrap.output_level(parameters),
        top,
        matched: matched_level(parameters, bootstrap),
        least: least_level(parameters, bootstrap),
        live: groups.live_sets(),
        fitting: products::fitting(graph, &groups),
        groups,
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

/// The lowest level above which every prime up to a refreshed ciphertext's has the size of the
/// scale: SlotToCoeff's primes may be smaller.
fn matched_level(parameters: &Parameters, bootstrap: &BootstrapParameters) -> usize {
    let log_scale = f64::from(bootstrap.log_scale);
    let matches = |limb: &usize| ((parameters.q()[*limb] as f64).log2() - log_scale).abs() < 0.5;
    let matching = (1..=bootstrap.output_level(parameters))
        .rev()
        .take_while(matches);
    matching.last().map_or(0, |lowest| lowest - 1)
}

/// Least margin in bits between a modulus and the scale.
const MARGIN_BITS: f64 = 4.0;

/// The lowest level whose modulus leaves that margin above the network's scale.
fn least_level(parameters: &Parameters, bootstrap: &BootstrapParameters) -> usize {
    let needed = f64::from(bootstrap.log_scale) + MARGIN_BITS;
    let mut bits = 0.0;
    let below = parameters.q().iter().take_while(|prime| {
        bits += (**prime as f64).log2();
        bits < needed
    });
    below.count()
}

/// How a state was reached: the place of the state before it, the operation's level, the refreshed
/// operands.
#[derive(Clone, Debug)]
struct Step {
    before: usize,
    level: usize,
    refreshed: Vec<ValueId>,
}

/// States after an operation: the levels of the groups that live on, ascending by group, and last
/// by how many levels below the top the image may be encrypted.
type States = Vec<State<Step>>;

/// What a search went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    /// The whole Pareto frontier, so that no placement is cheaper.
    All,
    /// The [`STATES`] most promising states of the frontier after each operation.
    MostPromising,
}

/// A state before an operation and its place among those there.
#[derive(Clone, Copy)]
struct Place<'a> {
    state: &'a State<Step>,
    place: usize,
}

/// The place of a value among the live ones.
fn position(live: &[ValueId], value: ValueId) -> usize {
    live.binary_search(&value).expect("operands are alive")
}

/// How the levels in a state change when the operations of a group have run.
struct Transition<'a> {
    group: ValueId,
    /// The groups that are alive before, ascending.
    live: &'a [ValueId],
    /// Places among them of those that live on.
    kept: Vec<usize>,
    /// Whether the group itself is needed later.
    gives: bool,
}

impl Transition<'_> {
    fn position(&self, operand: ValueId) -> usize {
        position(self.live, operand)
    }

    fn level(&self, levels: &[u16], operand: ValueId) -> usize {
        usize::from(levels[self.position(operand)])
    }

    /// The levels below the top at which the image may be encrypted.
    fn below_top(&self, state: &State<Step>) -> u16 {
        state.levels[self.live.len()]
    }

    /// The levels after the operations, whose results are at `result`.
    fn levels_after(&self, levels: &[u16], result: usize, below_top: u16) -> Vec<u16> {
        let kept = self.kept.iter().map(|at| levels[*at]);
        let given = self.gives.then_some(result as u16);
        kept.chain(given).chain([below_top]).collect()
    }
}

struct Search<'a> {
    graph: &'a SlotGraph,
    groups: ChannelGroups,
    cost: CostModel<'a>,
    /// By group and level: what its operations cost there.
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
    /// By group: the groups that are needed when its operations run or later, ascending.
    live: Vec<Vec<ValueId>>,
    /// By value: a product's operands whose linear maps can end at any scale.
    fitting: Vec<Vec<ValueId>>,
}

impl Search<'_> {
    /// The groups that a state after those operations gives levels for.
    fn live_after(&self, group: ValueId) -> Vec<ValueId> {
        match self.live.get(group.index() + 1) {
            Some(live) => live.clone(),
            None => self.groups.graph.outputs().to_vec(),
        }
    }

    /// The operation that stands for a group.
    fn op(&self, group: ValueId) -> &Op {
        &self.graph.node(self.groups.first(group)).op
    }

    /// The cheapest placement among the states searched, if there is one, and which these were.
    fn cheapest(&self, worth: f64) -> (Option<Placement>, Searched) {
        let mut searched = Searched::All;
        let mut history: Vec<States> = Vec::with_capacity(self.groups.graph.len());
        let start = vec![State {
            levels: vec![self.top as u16],
            cost: 0.0,
            step: Step {
                before: 0,
                level: 0,
                refreshed: Vec::new(),
            },
        }];
        for group in self.groups.graph.values() {
            let mut states = States::new();
            let transition = self.transition(group);
            for (place, state) in history.last().unwrap_or(&start).iter().enumerate() {
                self.advance(&transition, Place { state, place }, &mut states);
            }
            let live = self.live_after(group);
            let worths = live.iter().map(|alive| worth * self.level_worth(*alive));
            let worths: Vec<f64> = worths.chain([0.0]).collect();
            let frontier = pareto_frontier(states, &worths, STATES);
            if frontier.is_cut {
                searched = Searched::MostPromising;
            }
            history.push(frontier.states);
        }
        let last = history.last().unwrap_or(&start);
        // Ties: prefer the lowest input level.
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

    /// A bootstrap's cost per level, if it gives back as many as it can.
    fn level_worth(&self, group: ValueId) -> f64 {
        let levels = self.refreshed.saturating_sub(self.refresh_from).max(1);
        self.refresh_cost(self.groups.members(group)) / levels as f64
    }

    /// What refreshing values costs.
    fn refresh_cost(&self, values: impl Iterator<Item = ValueId>) -> f64 {
        let period = |value: ValueId| self.graph.ty(value).layout.period();
        values
            .map(|value| self.cost.bootstrap(period(value).trailing_zeros()))
            .sum()
    }

    /// What the operations of a group do to the levels of live values.
    fn transition(&self, group: ValueId) -> Transition<'_> {
        let live = &self.live[group.index()];
        let after = self.live_after(group);
        let others = after.iter().filter(|alive| **alive != group);
        let kept: Vec<usize> = others.map(|alive| position(live, *alive)).collect();
        Transition {
            group,
            live,
            gives: kept.len() < after.len(),
            kept,
        }
    }

    /// Adds the states that the operations of a group lead to from `from`.
    fn advance(&self, transition: &Transition<'_>, from: Place<'_>, states: &mut States) {
        if matches!(self.op(transition.group), Op::Input) {
            return self.encrypt_image(transition, from, states);
        }
        for refreshed in self.refresh_choices(transition, from.state) {
            self.run_at_every_level(transition, from, &refreshed, states);
        }
    }

    /// Adds a state for every level that the image can be encrypted at.
    fn encrypt_image(&self, transition: &Transition<'_>, from: Place<'_>, states: &mut States) {
        let state = from.state;
        for level in 1..=self.top {
            let below_top = transition.below_top(state).min((self.top - level) as u16);
            states.push(State {
                levels: transition.levels_after(&state.levels, level, below_top),
                cost: state.cost,
                step: Step {
                    before: from.place,
                    level,
                    refreshed: Vec::new(),
                },
            });
        }
    }

    /// Every set of operands that may be refreshed before a group's operations. Refreshing an
    /// operand helps only when every lower one is refreshed too, and can wait otherwise.
    fn refresh_choices(
        &self,
        transition: &Transition<'_>,
        state: &State<Step>,
    ) -> Vec<Vec<ValueId>> {
        let operands = self.groups.graph.operands(transition.group);
        let level_of = |operand: ValueId| transition.level(&state.levels, operand);
        let above = operands.iter().map(|operand| level_of(*operand) + 1);
        let mut thresholds: Vec<usize> = above.chain([0]).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        let below = |threshold: usize| -> Vec<ValueId> {
            let operands = operands.iter().copied();
            operands.filter(|x| level_of(*x) < threshold).collect()
        };
        let is_possible = |refreshed: &Vec<ValueId>| {
            refreshed.iter().all(|operand| {
                let levels = self.refresh_from..self.refreshed;
                self.can_refresh(*operand) && levels.contains(&level_of(*operand))
            })
        };
        thresholds
            .into_iter()
            .map(below)
            .filter(is_possible)
            .collect()
    }

    /// Adds a state for every level that a group's operations can run at once `refreshed` are.
    fn run_at_every_level(
        &self,
        transition: &Transition<'_>,
        from: Place<'_>,
        refreshed: &[ValueId],
        states: &mut States,
    ) {
        let group = transition.group;
        let mut levels = from.state.levels.clone();
        let mut cost = from.state.cost;
        for operand in refreshed {
            levels[transition.position(*operand)] = self.refreshed as u16;
            cost += self.refresh_cost(self.groups.needed(*operand, group));
        }
        let operands = self.groups.graph.operands(group);
        let reached = operands.iter().map(|x| transition.level(&levels, *x));
        let highest = reached.min().unwrap_or(0);
        let (depth, mut ceiling) = self.depth_and_ceiling(group);
        if matches!(self.op(group), Op::Multiply) {
            let level_of = |operand: ValueId| transition.level(&levels, operand);
            ceiling = ceiling.min(self.product_ceiling(group, refreshed, level_of));
        }
        let floor = match self.op(group) {
            Op::Activation(_) | Op::Multiply => self.matched,
            _ => 0,
        };
        let below_top = transition.below_top(from.state);
        for level in depth + floor.max(self.least)..=highest.min(ceiling) {
            states.push(State {
                levels: transition.levels_after(&levels, level - depth, below_top),
                cost: cost + self.costs[group.index()][level],
                step: Step {
                    before: from.place,
                    level,
                    refreshed: refreshed.to_vec(),
                },
            });
        }
    }

    /// Whether the values of a group lie within [−1, 1], as those do that an activation, a product or
    /// a quotient bounds.
    fn can_refresh(&self, group: ValueId) -> bool {
        let is_bounded = |value: ValueId| {
            let op = &self.graph.node(value).op;
            matches!(op, Op::Activation(_) | Op::Normalise(_) | Op::Multiply)
        };
        self.groups.members(group).all(|value| {
            is_bounded(value)
                || matches!(self.graph.node(value).op, Op::Input)
                || self.graph.users(value).into_iter().any(is_bounded)
        })
    }

    /// Levels that an operation of a group consumes, and the highest that it can start from:
    /// polynomials keep to the levels whose primes match the scale.
    fn depth_and_ceiling(&self, group: ValueId) -> (usize, usize) {
        match self.op(group) {
            Op::Input | Op::Add | Op::RotateSum { .. } => (0, self.top),
            Op::Linear(_) | Op::SisoConvolution(_) => (1, self.top),
            Op::ParallelConvolution { .. } => (2, self.top),
            Op::Multiply => (1, self.refreshed),
            Op::Activation(activation) => (activation.depth(), self.refreshed),
            Op::Normalise(division) => (division.depth(), self.refreshed),
        }
    }

    /// The placement that ends in the last operation's state at `place`.
    fn trace_back(&self, history: &[States], mut place: usize) -> Placement {
        let mut placement = Placement {
            levels: vec![0; self.graph.len()],
            refreshed: vec![Vec::new(); self.graph.len()],
            fitted: vec![None; self.graph.len()],
            cost: history.last().map_or(0.0, |last| last[place].cost),
            alternatives: Vec::new(),
            searched: Searched::All,
        };
        for (index, states) in history.iter().enumerate().rev() {
            let step = &states[place].step;
            let group = ValueId(index as u32);
            for value in self.groups.members(group) {
                placement.levels[value.index()] = step.level;
                placement.fitted[value.index()] = self.fitted(value, &step.refreshed);
            }
            for (value, operand) in self.groups.refreshes(self.graph, group, &step.refreshed) {
                placement.refreshed[value.index()].push(operand);
            }
            place = step.before;
        }
        placement
    }

    /// The error for a graph that no placement fits: its deepest operation is to blame.
    fn deepest_operation(&self) -> Error {
        let groups = self.groups.graph.values();
        let deepest = groups.max_by_key(|group| self.depth_and_ceiling(*group).0);
        let (node, depth) = deepest.map_or_else(Default::default, |group| {
            let value = self.groups.first(group);
            let depth = self.depth_and_ceiling(group).0;
            (self.graph.node(value).name.clone(), depth)
        });
        Error::TooDeep {
            node,
            depth,
            levels: self.refreshed - self.refresh_from,
        }
    }
}
