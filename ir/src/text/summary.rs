//! The schedule of a whole network as a table: one line for every step of the network rather than
//! for every operation, and totals.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::eval_mod::{Reduction, SineFit};

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
    /// Additions of rotations that complete a linear map's shares.
    doublings: usize,
    /// Rotations of a SISO convolution.
    siso: usize,
    /// Of a multiplexed parallel convolution.
    parallel: ParallelRotations,
    degrees: Vec<String>,
    /// How many ciphertexts it is done for, alike.
    parts: usize,
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

    /// Whether both are the same step of different parts of a feature map.
    fn is_like(&self, other: &Self) -> bool {
        (self.name, self.kind, self.level_in) == (other.name, other.kind, other.level_in)
            && self.out == other.out
            && self.degrees == other.degrees
    }

    /// Takes in the same step of another part of the feature map.
    fn take_in(&mut self, other: &Self) {
        self.parts += other.parts;
        self.diagonals = self.diagonals.saturating_add(other.diagonals);
        self.baby += other.baby;
        self.giant += other.giant;
        self.doublings += other.doublings;
        self.siso += other.siso;
        self.parallel.taps += other.parallel.taps;
        self.parallel.sums += other.parallel.sums;
        self.parallel.selection += other.parallel.selection;
        self.parallel.replication += other.parallel.replication;
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
            (Kind::Linear, _) => self.doublings += 1,
            (Kind::Siso, _) => self.siso += 1,
            _ => self.giant += 1,
        }
    }

    /// Rotations: baby + giant of a transform, + doublings where there are any; taps + sums + selection +
    /// replication of a multiplexed parallel convolution; the number alone of a SISO convolution or a
    /// rotate-and-sum.
    fn rotations(&self) -> String {
        let ParallelRotations {
            taps,
            sums,
            selection,
            replication,
        } = self.parallel;
        match (self.baby, self.giant, self.parallel.total()) {
            (0, 0, 0) if self.siso > 0 => self.siso.to_string(),
            (0, 0, 0) if self.doublings == 0 => String::new(),
            (baby, giant, 0) if self.doublings > 0 => {
                format!("{baby}+{giant}+{}", self.doublings)
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

/// The steps with those brought together that the parts of one feature map take alike: one after the other, or in turns
/// with one other step.
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

/// Groups the operations of a schedule into steps.
fn steps(schedule: &Schedule) -> Vec<Step<'_>> {
    let graph = &schedule.graph;
    let products = product_operations(schedule);
    let mut steps: Vec<Step<'_>> = Vec::new();
    // By value: what it was dropped from, and the number of steps with the one that it belongs to.
    let mut roots: Vec<ValueId> = graph.values().collect();
    let mut homes = vec![0; graph.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let starts = match &node.op {
            _ if products[value.index()].is_some() => products[value.index()],
            Op::Input => Some(Kind::Input),
            Op::LinearTransform { .. } => Some(Kind::Linear),
            Op::Bootstrap { .. } => Some(Kind::Bootstrap),
            // Shares of a linear map's sums.
            Op::Rotate { .. } if halves_period(schedule, value) => None,
            Op::Rotate { .. } => Some(Kind::RotateSum),
            Op::Polynomial { .. } => Some(Kind::Activation),
            // What drops levels belongs to whoever needs the lower level; the gap shows it.
            Op::DropLevel => {
                if let Some(operand) = graph.operands(value).first() {
                    roots[value.index()] = roots[operand.index()];
                }
                continue;
            }
            Op::MultiplyAccumulate { .. }
            | Op::AddBias { .. }
            | Op::Add
            | Op::Multiply
            | Op::Rescale => None,
        };
        let operands = graph.operands(value);
        let current = steps.len();
        let continues = |step: &Step<'_>| {
            let grows = match step.kind {
                Kind::Parallel | Kind::Siso => true,
                // Of another part of a feature map, an operation starts from another value.
                Kind::Activation | Kind::RotateSum => operands.iter().any(|operand| {
                    let root = roots[operand.index()];
                    root == step.source || homes[root.index()] == current
                }),
                Kind::Input | Kind::Linear | Kind::Bootstrap => false,
            };
            starts.is_none_or(|kind| grows && kind == step.kind && step.name == node.name)
        };
        if !steps.last().is_some_and(continues) {
            let operand = operands.first().copied().unwrap_or(value);
            steps.push(Step {
                source: roots[operand.index()],
                name: &node.name,
                kind: starts.unwrap_or(Kind::Linear),
                level_in: graph.ty(operand).level,
                out: *graph.ty(value),
                // A SISO convolution's are counted by its sums of products.
                parts: usize::from(starts != Some(Kind::Siso)),
                diagonals: 0,
                baby: 0,
                giant: 0,
                doublings: 0,
                siso: 0,
                parallel: ParallelRotations::default(),
                degrees: Vec::new(),
            });
        }
        homes[value.index()] = steps.len();
        let Some(step) = steps.last_mut() else {
            continue;
        };
        step.out = *graph.ty(value);
        match &node.op {
            Op::LinearTransform { steps, .. } => step.count_rotations(steps),
            Op::MultiplyAccumulate { part, .. } => {
                step.diagonals += graph.operands(value).len();
                if *part == ProductPhase::Taps {
                    step.parts += 1;
                }
            }
            Op::Rotate { .. } => step.count_rotation(schedule, value),
            Op::Polynomial { polynomial } => {
                let degree = schedule
                    .polynomial(*polynomial)
                    .map_or(0, |known| known.degree());
                step.degrees.push(degree.to_string());
            }
            _ => {}
        }
    }
    together(steps)
}

/// A schedule as a table: for every step the ONNX node, what it is, its levels, the log2 of its
/// result's scale and slots, the diagonals and rotations (baby + giant + doublings of shares) of a linear map, the
/// plaintext products and rotations (taps + sums + selection + replication) of a multiplexed
/// parallel convolution, the products and rotations of a SISO convolution, or the degrees of an
/// activation's polynomials; then totals, and the evaluation keys by level. What several parts of a feature map take
/// alike is one line, with their number.
pub fn summary(schedule: &Schedule) -> String {
    let steps = steps(schedule);
    let header = [
        "node",
        "step",
        "levels",
        "scale",
        "slots",
        "diagonals",
        "rotations",
        "degrees",
    ];
    let mut rows: Vec<[String; 8]> = vec![header.map(str::to_owned)];
    let optional = |count: usize| {
        if count == 0 {
            String::new()
        } else {
            count.to_string()
        }
    };
    let (mut consumed, mut baby, mut giant, mut doublings) = (0, 0, 0, 0);
    let (mut parallel, mut siso) = (0, 0);
    for step in &steps {
        let ty = step.out;
        rows.push([
            step.name.to_owned(),
            match step.parts {
                1 => step.kind.name().to_owned(),
                parts => format!("{} ×{parts}", step.kind.name()),
            },
            match step.kind {
                Kind::Input => ty.level.to_string(),
                _ => format!("{}→{}", step.level_in, ty.level),
            },
            format!("2^{:.2}", ty.log_scale),
            format!("2^{}", ty.log_slots),
            optional(step.diagonals),
            step.rotations(),
            step.degrees.join(","),
        ]);
        consumed += step.parts * step.level_in.saturating_sub(ty.level);
        baby += step.baby;
        giant += step.giant;
        doublings += step.doublings;
        parallel += step.parallel.total();
        siso += step.siso;
    }
    let shares_note = match doublings {
        0 => String::new(),
        count => format!(", {count} doublings of shares"),
    };
    let note = |kind: &str, count: usize| match count {
        0 => String::new(),
        _ => format!(", {count} in {kind} convolutions"),
    };
    let (parallel_note, siso_note) = (note("parallel", parallel), note("SISO", siso));
    let mut out = table(&rows);
    let bootstraps = schedule.bootstraps();
    let _ = writeln!(
        out,
        "\n{} steps, {} operations; {consumed} levels consumed, {bootstraps} bootstraps, \
         {} rotations ({baby} baby, {giant} giant{shares_note}{parallel_note}{siso_note}) outside them",
        steps.len(),
        schedule.graph.len(),
        baby + giant + doublings + parallel + siso,
    );
    out
}

/// [`summary`] of a plan's schedule, with its evaluation keys, how its bootstraps reduce modulo `q_0`, at what error and depth, and how
/// likely they fail.
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

/// Left-aligned columns, two spaces apart, without trailing spaces.
fn table(rows: &[[String; 8]]) -> String {
    let rows: Vec<[Cow<'_, str>; 8]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| printable::cell(cell)))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
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
