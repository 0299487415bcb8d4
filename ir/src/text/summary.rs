//! The schedule of a whole network as a table: one line for every step of the network rather than
//! for every operation, and totals.

use std::collections::BTreeMap;
use std::fmt::Write;

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::sine_fit::{Reduction, SineFit};

use crate::ckks::{CiphertextType, Op, Schedule, TransformSteps};
use crate::error::Error;
use crate::graph::ValueId;
use crate::linear::ProductPhase;
use crate::linear::parallel::ParallelRotations;
use crate::plan::Plan;
use crate::printable;

/// What one line of the table stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Input,
    Linear,
    Parallel,
    Siso,
    RotateSum,
    Activation,
    Bootstrap,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Linear => "linear",
            Self::Parallel => "parallel",
            Self::Siso => "siso",
            Self::RotateSum => "rotate-sum",
            Self::Activation => "activation",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// Consecutive operations that make one step of the network.
#[derive(Debug)]
struct Step<'a> {
    name: &'a str,
    kind: Kind,
    level_in: usize,
    /// What its first operation starts from.
    source: ValueId,
    out: CiphertextType,
    diagonals: usize,
    baby: usize,
    giant: usize,
    /// Additions of rotations that add up the shares of a linear map's sums; each halves the
    /// period.
    halvings: usize,
    /// Rotations of a SISO convolution.
    siso: usize,
    /// Of a multiplexed parallel convolution.
    parallel: ParallelRotations,
    degrees: Vec<String>,
    /// How many ciphertexts it is done for, alike.
    ciphertexts: usize,
}

fn is_rotation(by: &&usize) -> bool {
    **by != 0
}

impl Step<'_> {
    fn count_rotations(&mut self, steps: &[TransformSteps]) {
        for term in steps {
            self.diagonals = self.diagonals.saturating_add(term.diagonals);
            self.baby += term.baby.iter().filter(is_rotation).count();
            self.giant += term.giant.iter().filter(is_rotation).count();
        }
    }

    /// Whether both are the same step of different pieces of a feature map.
    fn is_like(&self, other: &Self) -> bool {
        (self.name, self.kind, self.level_in) == (other.name, other.kind, other.level_in)
            && self.out == other.out
            && self.degrees == other.degrees
    }

    /// Takes in the same step of another piece of the feature map.
    fn take_in(&mut self, other: &Self) {
        self.ciphertexts += other.ciphertexts;
        self.diagonals = self.diagonals.saturating_add(other.diagonals);
        self.baby += other.baby;
        self.giant += other.giant;
        self.halvings += other.halvings;
        self.siso += other.siso;
        self.parallel.taps += other.parallel.taps;
        self.parallel.sums += other.parallel.sums;
        self.parallel.selection += other.parallel.selection;
        self.parallel.replication += other.parallel.replication;
    }

    /// Counts one of its operations.
    fn count(&mut self, schedule: &Schedule, value: ValueId) {
        let graph = &schedule.graph;
        self.out = *graph.ty(value);
        match &graph.node(value).op {
            Op::LinearTransform { steps, .. } => self.count_rotations(steps),
            Op::MultiplyAccumulate { part, .. } => {
                self.diagonals += graph.operands(value).len();
                if *part == ProductPhase::Taps {
                    self.ciphertexts += 1;
                }
            }
            Op::Rotate { .. } => self.count_rotation(schedule, value),
            Op::Polynomial { polynomial } => {
                let known = schedule.polynomial(*polynomial);
                let degree = known.map_or(0, |known| known.degree());
                self.degrees.push(degree.to_string());
            }
            _ => {}
        }
    }

    /// Counts a rotation by what becomes of its result.
    fn count_rotation(&mut self, schedule: &Schedule, rotation: ValueId) {
        let graph = &schedule.graph;
        let users = graph.users(rotation);
        let part = users.iter().find_map(|user| match graph.node(*user).op {
            Op::MultiplyAccumulate { part, .. } => Some(part),
            _ => None,
        });
        let halves = halves_period(schedule, rotation);
        match (self.kind, part) {
            (Kind::Parallel, Some(ProductPhase::Weights)) => self.parallel.taps += 1,
            (Kind::Parallel, Some(ProductPhase::Selection)) => self.parallel.selection += 1,
            (Kind::Parallel, None) if halves => self.parallel.replication += 1,
            (Kind::Parallel, None) => self.parallel.sums += 1,
            (Kind::Linear, _) => self.halvings += 1,
            (Kind::Siso, _) => self.siso += 1,
            _ => self.giant += 1,
        }
    }

    /// Its line of the table.
    fn row(&self) -> [String; 8] {
        let ty = self.out;
        [
            self.name.to_owned(),
            match self.ciphertexts {
                1 => self.kind.name().to_owned(),
                count => format!("{} ×{count}", self.kind.name()),
            },
            match self.kind {
                Kind::Input => ty.level.to_string(),
                _ => format!("{}→{}", self.level_in, ty.level),
            },
            format!("2^{:.2}", ty.log_scale),
            format!("2^{}", ty.log_slots),
            match self.diagonals {
                0 => String::new(),
                count => count.to_string(),
            },
            self.rotations(),
            self.degrees.join(","),
        ]
    }

    /// Rotations: those of a transform as `baby + giant`, and `+ sums of shares` where there are
    /// any; those of a multiplexed parallel convolution as `taps + sums + selection + replication`;
    /// the number alone of a SISO convolution or a rotate-and-sum.
    fn rotations(&self) -> String {
        let ParallelRotations {
            taps,
            sums,
            selection,
            replication,
        } = self.parallel;
        match (self.baby, self.giant, self.parallel.total()) {
            (0, 0, 0) if self.siso > 0 => self.siso.to_string(),
            (0, 0, 0) if self.halvings == 0 => String::new(),
            (baby, giant, 0) if self.halvings > 0 => {
                format!("{baby}+{giant}+{}", self.halvings)
            }
            (0, giant, 0) => giant.to_string(),
            (baby, giant, 0) => format!("{baby}+{giant}"),
            _ => format!("{taps}+{sums}+{selection}+{replication}"),
        }
    }
}

/// Whether a rotation's sum with what it rotates repeats with half the period.
fn halves_period(schedule: &Schedule, rotation: ValueId) -> bool {
    let graph = &schedule.graph;
    let slots = graph.ty(rotation).slots();
    let mut users = graph.users(rotation).into_iter();
    users.any(|user| graph.ty(user).slots() < slots)
}

/// By value: the kind of the convolution by products that an operation is part of.
fn product_operations(schedule: &Schedule) -> Vec<Option<Kind>> {
    let graph = &schedule.graph;
    let mut kinds = vec![None; graph.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let of = |user: ValueId| match graph.node(user).op {
            Op::MultiplyAccumulate {
                part: ProductPhase::Taps,
                ..
            } => Some(Kind::Siso),
            Op::MultiplyAccumulate { .. } => Some(Kind::Parallel),
            _ => None,
        };
        let follows = || -> Option<Kind> {
            let operand = *graph.operands(value).first()?;
            kinds[operand.index()].filter(|_| graph.node(operand).name == node.name)
        };
        kinds[value.index()] = match node.op {
            Op::MultiplyAccumulate { .. } => of(value),
            Op::Rotate { .. } => follows().or_else(|| graph.users(value).into_iter().find_map(of)),
            Op::Add | Op::Rescale | Op::AddBias { .. } => follows(),
            _ => None,
        };
    }
    kinds
}

/// Merges the equal steps of the pieces of one feature map, which come one after the other or in
/// turns with one other step.
fn together(steps: Vec<Step<'_>>) -> Vec<Step<'_>> {
    let mut found: Vec<Step<'_>> = Vec::new();
    for step in steps {
        let recent = found.len().saturating_sub(2);
        match found[recent..]
            .iter_mut()
            .find(|known| known.is_like(&step))
        {
            Some(known) => known.take_in(&step),
            None => found.push(step),
        }
    }
    found
}

/// Groups the operations of a schedule into steps of the network.
fn steps(schedule: &Schedule) -> Vec<Step<'_>> {
    let mut grouping = Grouping {
        schedule,
        products: product_operations(schedule),
        roots: schedule.graph.values().collect(),
        homes: vec![0; schedule.graph.len()],
        steps: Vec::new(),
    };
    for value in schedule.graph.values() {
        grouping.add(value);
    }
    together(grouping.steps)
}

/// Steps while their operations are gone through in order.
struct Grouping<'a> {
    schedule: &'a Schedule,
    /// By value: the kind of the convolution by products that an operation is part of.
    products: Vec<Option<Kind>>,
    /// By value: what it was dropped from.
    roots: Vec<ValueId>,
    /// By value: the number of steps with the one that it belongs to.
    homes: Vec<usize>,
    steps: Vec<Step<'a>>,
}

impl<'a> Grouping<'a> {
    /// Adds an operation to the last step, or to a new one.
    fn add(&mut self, value: ValueId) {
        let graph = &self.schedule.graph;
        if matches!(graph.node(value).op, Op::DropLevel) {
            // It belongs to whoever needs the lower level; the gap between levels shows it.
            if let Some(operand) = graph.operands(value).first() {
                self.roots[value.index()] = self.roots[operand.index()];
            }
            return;
        }
        let starts = self.kind_started(value);
        if !self.continues(value, starts) {
            let begun = self.begin(value, starts);
            self.steps.push(begun);
        }
        self.homes[value.index()] = self.steps.len();
        if let Some(step) = self.steps.last_mut() {
            step.count(self.schedule, value);
        }
    }

    /// The kind of step that an operation can start; `None` for one that belongs to the step
    /// before.
    fn kind_started(&self, value: ValueId) -> Option<Kind> {
        let product = self.products[value.index()];
        match &self.schedule.graph.node(value).op {
            _ if product.is_some() => product,
            Op::Input => Some(Kind::Input),
            Op::LinearTransform { .. } => Some(Kind::Linear),
            Op::Bootstrap { .. } => Some(Kind::Bootstrap),
            // It adds up shares of a linear map's sums.
            Op::Rotate { .. } if halves_period(self.schedule, value) => None,
            Op::Rotate { .. } => Some(Kind::RotateSum),
            Op::Polynomial { .. } => Some(Kind::Activation),
            Op::MultiplyAccumulate { .. }
            | Op::AddBias { .. }
            | Op::Add
            | Op::Multiply
            | Op::Rescale
            | Op::DropLevel => None,
        }
    }

    /// Whether an operation, which could start a step of the given kind, continues the last step.
    fn continues(&self, value: ValueId, starts: Option<Kind>) -> bool {
        let Some(last) = self.steps.last() else {
            return false;
        };
        let Some(kind) = starts else {
            return true;
        };
        let graph = &self.schedule.graph;
        let grows = match last.kind {
            Kind::Parallel | Kind::Siso => true,
            // For another piece of a feature map, an operation starts from another value.
            Kind::Activation | Kind::RotateSum => graph.operands(value).iter().any(|operand| {
                let root = self.roots[operand.index()];
                root == last.source || self.homes[root.index()] == self.steps.len()
            }),
            Kind::Input | Kind::Linear | Kind::Bootstrap => false,
        };
        grows && kind == last.kind && last.name == graph.node(value).name
    }

    /// A step that an operation starts, with nothing counted.
    fn begin(&self, value: ValueId, starts: Option<Kind>) -> Step<'a> {
        let graph = &self.schedule.graph;
        let operand = graph.operands(value).first().copied().unwrap_or(value);
        Step {
            source: self.roots[operand.index()],
            name: &graph.node(value).name,
            kind: starts.unwrap_or(Kind::Linear),
            level_in: graph.ty(operand).level,
            out: *graph.ty(value),
            // Those of a SISO convolution are counted by its sums of products.
            ciphertexts: usize::from(starts != Some(Kind::Siso)),
            diagonals: 0,
            baby: 0,
            giant: 0,
            halvings: 0,
            siso: 0,
            parallel: ParallelRotations::default(),
            degrees: Vec::new(),
        }
    }
}

/// A schedule as a table: for every step the ONNX node, what it is, its levels, the log2 of its
/// result's scale and slots, the diagonals and rotations (baby + giant + sums of shares) of a
/// linear map, the plaintext products and rotations (taps + sums + selection + replication) of a
/// multiplexed parallel convolution, the products and rotations of a SISO convolution, or the
/// degrees of an activation's polynomials; then totals, and the evaluation keys by level. Equal
/// steps of several pieces of a feature map are one line, with their number.
pub fn summary(schedule: &Schedule) -> String {
    let steps = steps(schedule);
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(steps.iter().map(Step::row));
    let mut totals = Totals::default();
    steps.iter().for_each(|step| totals.add(step));
    let mut out = printable::table(&rows);
    let _ = writeln!(
        out,
        "\n{} steps, {} operations; {} levels consumed, {} bootstraps, {} outside them",
        steps.len(),
        schedule.graph.len(),
        totals.levels,
        schedule.bootstraps(),
        totals.rotations(),
    );
    out
}

/// The columns of a summary.
const HEADER: [&str; 8] = [
    "node",
    "step",
    "levels",
    "scale",
    "slots",
    "diagonals",
    "rotations",
    "degrees",
];

/// Sums over the steps of a network.
#[derive(Debug, Default)]
struct Totals {
    /// Levels consumed, over all ciphertexts.
    levels: usize,
    baby: usize,
    giant: usize,
    halvings: usize,
    parallel: usize,
    siso: usize,
}

impl Totals {
    fn add(&mut self, step: &Step<'_>) {
        self.levels += step.ciphertexts * step.level_in.saturating_sub(step.out.level);
        self.baby += step.baby;
        self.giant += step.giant;
        self.halvings += step.halvings;
        self.parallel += step.parallel.total();
        self.siso += step.siso;
    }

    /// The rotations and what they are for.
    fn rotations(&self) -> String {
        let Self {
            baby,
            giant,
            halvings,
            parallel,
            siso,
            ..
        } = self;
        let mut text = format!(
            "{} rotations ({baby} baby, {giant} giant",
            baby + giant + halvings + parallel + siso
        );
        for (count, what) in [
            (halvings, "doublings of shares"),
            (parallel, "in parallel convolutions"),
            (siso, "in SISO convolutions"),
        ] {
            if *count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        text + ")"
    }
}

/// [`summary`] of a plan's schedule, with its evaluation keys, how its bootstraps reduce modulo
/// `q_0`, at what error and depth, and how likely they fail.
///
/// # Errors
/// If the plan's parameters are malformed or do not bootstrap.
pub fn plan_summary(plan: &Plan) -> Result<String, Error> {
    let parameters = plan.checked_parameters()?;
    plan.bootstrap.check(&parameters)?;
    let mut out = summary(&plan.schedule);
    let keys = plan.schedule.required_keys(&parameters, &plan.bootstrap)?;
    let mut by_level: BTreeMap<usize, usize> = BTreeMap::new();
    for key in &keys {
        *by_level.entry(key.level).or_default() += 1;
    }
    let by_level: Vec<String> = by_level
        .iter()
        .map(|(level, count)| format!("{level}: {count}"))
        .collect();
    let _ = writeln!(
        out,
        "{} evaluation keys by level: {}",
        keys.len(),
        by_level.join(", ")
    );
    if let Some(failure) = plan.schedule.failure(&parameters, &plan.bootstrap) {
        let _ = writeln!(out, "EvalMod by {}", eval_mod(&plan.bootstrap));
        let _ = writeln!(out, "{failure}");
    }
    Ok(out)
}

/// What EvalMod evaluates, its depth and its errors, for parameters that have passed their check.
pub fn eval_mod(bootstrap: &BootstrapParameters) -> String {
    let fitted = SineFit::new(bootstrap);
    let angles = match bootstrap.double_angles {
        1 => "1 double angle".to_owned(),
        count => format!("{count} double angles"),
    };
    format!(
        "{}: cosine of degree {} with {angles}, K = {}, {} levels; error 2^{:.1} of q0; a message of 1 at q0/2^{} \
         is off by 2^{:.1}",
        bootstrap.eval_mod,
        bootstrap.degree,
        bootstrap.k,
        bootstrap.eval_mod_depth(),
        fitted.error.log2(),
        bootstrap.log_message_ratio,
        Reduction::new(bootstrap).error().log2(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::schedule;

    #[test]
    fn a_step_a_line() {
        let (schedule, _) = schedule();
        let text = summary(&schedule);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["image", "input", "4", "2^40.00", "2^4"]);
        assert_eq!(
            lines[2],
            ["linear", "linear", "4→3", "2^40.00", "2^5", "9", "3+3"]
        );
        assert_eq!(lines[3], ["relu", "bootstrap", "3→18", "2^40.00", "2^5"]);
        assert_eq!(
            lines[4],
            ["relu", "activation", "18→13", "2^40.00", "2^5", "3,3"]
        );
        assert_eq!(lines[5][5..], ["19", "6+14"]);
        assert!(text.contains("8 steps, 24 operations; 13 levels consumed, 2 bootstraps, 36 rot"));
        assert!(text.ends_with('\n'));
    }
}
