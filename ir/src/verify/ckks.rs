//! Verification of the schedule against the target that it is made for.

use heddle_params::scale::same_log_scale;

use super::maps::{check_map, check_polynomial, layouts_are_sound};
use super::{Violation, Violations, at, check_dead, check_ends};
use crate::ckks::{CiphertextType, LinearMapId, Op, Schedule, Target, TransformSteps};
use crate::graph::ValueId;
use crate::linear::parallel::ParallelConvolution;
use crate::linear::siso::SisoConvolution;
use crate::linear::{LinearMap, ProductPhase};
use crate::weights::Weights;

mod diagonals;
mod parallel;
mod siso;

pub use diagonals::{verify_diagonals, verify_expanded_diagonals};

/// Everything that is wrong with a schedule: operands, levels and scales by each operation's rule,
/// unknown maps and polynomials, keys that cannot be made, an output that may hold more than the
/// logits. Chains of linear maps are followed only when the weights are given. [`verify_diagonals`]
/// checks that the rotations of transforms reach every diagonal. Empty for a valid schedule.
pub fn verify(schedule: &Schedule, target: Target<'_>, weights: Option<&Weights>) -> Violations {
    let graph = &schedule.graph;
    let mut violations = Violations::new();
    let mut complain = |message: String| {
        violations.push(Violation {
            value: None,
            message,
        })
    };
    if let Err(error) = target.bootstrap.check(target.parameters) {
        // Nothing can be derived from parameters out of range.
        complain(error.to_string());
        return violations;
    }
    for (index, map) in schedule.linear_maps.iter().enumerate() {
        for message in check_map(map, weights, target.parameters.n() / 2) {
            complain(format!("m{index} {message}"));
        }
    }
    for (index, polynomial) in schedule.polynomials.iter().enumerate() {
        if let Err(message) = check_polynomial(polynomial) {
            complain(format!("p{index} {message}"));
        }
    }
    check_ends(graph, |op| matches!(op, Op::Input), &mut violations);
    if graph.outputs().len() > 1 {
        // The check for dead values looks each value up among the outputs, so there must be few.
        return violations;
    }
    check_dead(graph, |op| matches!(op, Op::Input), &mut violations);
    // Later rules look at operands of operands, so every operation must have the right number
    // first.
    let before = violations.count();
    for value in graph.values() {
        let found = graph.operand_count(value);
        if let Some(expected) = fixed_arity(schedule, &graph.node(value).op)
            && found != expected
        {
            let message = format!("expected {expected} operands, found {found}");
            violations.push_at(graph, value, &message);
        }
    }
    if violations.count() > before {
        return violations;
    }
    let maps = Maps::of(schedule, target.parameters.n() / 2);
    let sound: Vec<bool> = graph
        .values()
        .map(|value| {
            let wrong = target.check_type(graph.ty(value));
            violations.extend(
                wrong
                    .as_ref()
                    .err()
                    .map(|message| at(graph, value, message)),
            );
            wrong.is_ok()
        })
        .collect();
    violations.absorb(parallel::check_uses(schedule));
    for value in graph.values() {
        let operands = graph.operands(value);
        if operands
            .iter()
            .chain([&value])
            .all(|value| sound[value.index()])
        {
            let operation = Operation::of(schedule, target, &maps, value, &operands);
            violations.extend(
                operation
                    .check()
                    .iter()
                    .map(|message| at(graph, value, message)),
            );
        }
    }
    // Keys follow from the operations, so these must be valid first.
    if violations.is_empty()
        && let Err(error) = schedule.required_keys(target.parameters, target.bootstrap)
    {
        violations.push(Violation {
            value: None,
            message: error.to_string(),
        });
    }
    for output in graph
        .outputs()
        .iter()
        .filter(|output| output.index() < graph.len())
    {
        if output_map(schedule, *output).is_none() {
            let message = "the output must be a linear map's result, its shares added up, at most rescaled since";
            violations.push_at(graph, *output, message);
        }
    }
    violations
}

/// The linear map whose result an output is, through rescales, dropped levels, all doublings of its
/// shares and its own bias; `None` if something else comes between or a doubling is missing, which
/// might leave more than the map's result in the slots.
pub fn output_map(schedule: &Schedule, output: ValueId) -> Option<&LinearMap> {
    let graph = &schedule.graph;
    let mut value = output;
    let mut bias = None;
    let mut doublings = 0;
    loop {
        let operands = graph.operands(value);
        match &graph.node(value).op {
            Op::Rescale | Op::DropLevel => {}
            Op::Add if graph.ty(value).log_slots < graph.ty(*operands.first()?).log_slots => {
                doublings += 1;
            }
            // At most one bias, that of the same map.
            Op::AddBias { .. } if bias.is_some() => return None,
            Op::AddBias { map } => bias = Some(*map),
            Op::LinearTransform { map, .. } => {
                let complete = bias.is_none_or(|bias| bias == *map);
                return schedule
                    .linear_map(*map)
                    .filter(|map| complete && map.log_shares == doublings);
            }
            _ => return None,
        }
        // A doubling adds a value and its rotation, which comes after it.
        value = *operands.iter().min()?;
    }
}

/// How many operands an operation has; `None` where its rule counts them.
fn fixed_arity(schedule: &Schedule, op: &Op) -> Option<usize> {
    Some(match op {
        Op::Input => 0,
        // A missing map is reported with the operation.
        Op::LinearTransform { map, .. } => schedule.linear_map(*map)?.terms.len(),
        Op::Add | Op::Multiply => 2,
        Op::AddBias { .. }
        | Op::Rotate { .. }
        | Op::Rescale
        | Op::DropLevel
        | Op::Polynomial { .. }
        | Op::Bootstrap { .. } => 1,
        Op::MultiplyAccumulate { .. } => return None,
    })
}

/// What many operations ask of a linear map, computed once per map.
struct Maps {
    /// Whether all layouts of a map are sound.
    sound: Vec<bool>,
    /// A map as a SISO convolution, or why it is none; `None` where no operation asks.
    siso: Vec<Option<Result<SisoConvolution, String>>>,
    /// A map as a parallel convolution in ciphertexts of some slots, or why it is none.
    parallel: Vec<Option<(usize, Result<ParallelConvolution, String>)>>,
}

impl Maps {
    fn of(schedule: &Schedule, slots: usize) -> Self {
        let maps = &schedule.linear_maps;
        let sound: Vec<bool> = maps
            .iter()
            .map(|map| layouts_are_sound(map, slots))
            .collect();
        let mut siso: Vec<_> = maps.iter().map(|_| None).collect();
        let mut parallel: Vec<_> = maps.iter().map(|_| None).collect();
        let graph = &schedule.graph;
        for value in graph.values() {
            let Op::MultiplyAccumulate { map: id, part, .. } = &graph.node(value).op else {
                continue;
            };
            let index = id.0 as usize;
            let Some(map) = maps.get(index).filter(|_| sound[index]) else {
                continue;
            };
            if *part == ProductPhase::Taps {
                siso[index].get_or_insert_with(|| {
                    SisoConvolution::of(map).map_err(|error| error.to_string())
                });
            } else {
                // Every use of a map must be in ciphertexts of one size.
                let slots = graph.ty(value).slots();
                parallel[index].get_or_insert_with(|| {
                    let convolution = ParallelConvolution::of(map, slots);
                    (slots, convolution.map_err(|error| error.to_string()))
                });
            }
        }
        Self {
            sound,
            siso,
            parallel,
        }
    }
}

/// One operation with what its rule depends on.
struct Operation<'a> {
    value: ValueId,
    schedule: &'a Schedule,
    target: Target<'a>,
    maps: &'a Maps,
    op: &'a Op,
    result: CiphertextType,
    operands: Vec<CiphertextType>,
}

impl<'a> Operation<'a> {
    fn of(
        schedule: &'a Schedule,
        target: Target<'a>,
        maps: &'a Maps,
        value: ValueId,
        operands: &[ValueId],
    ) -> Self {
        let graph = &schedule.graph;
        let node = graph.node(value);
        let operands = operands.iter().map(|operand| *graph.ty(*operand)).collect();
        Self {
            value,
            schedule,
            target,
            maps,
            op: &node.op,
            result: node.ty,
            operands,
        }
    }

    fn check(&self) -> Vec<String> {
        if let Op::LinearTransform { map, .. }
        | Op::MultiplyAccumulate { map, .. }
        | Op::AddBias { map } = self.op
        {
            match self.schedule.linear_map(*map) {
                // Reported with the map itself; its periods cannot be computed.
                Some(_) if !self.maps.sound[map.0 as usize] => return Vec::new(),
                Some(_) => {}
                None => return vec![format!("m{} is not defined", map.0)],
            }
        }
        match self.op {
            Op::MultiplyAccumulate {
                map,
                part: ProductPhase::Taps,
                round,
            } => return self.check_taps(*map, *round),
            Op::MultiplyAccumulate { map, part, round } => {
                return self.check_products(*map, *part, *round);
            }
            _ => {}
        }
        if let Some(message) = self.operands_disagree() {
            return vec![message];
        }
        let mut wrong: Vec<String> = self.check_level_of_operand().into_iter().collect();
        match self.expected_type() {
            Ok(expected) => wrong.extend(self.differs_from(expected)),
            Err(message) => wrong.push(message),
        }
        match self.op {
            Op::LinearTransform { map, steps } => self.check_transform(*map, steps, &mut wrong),
            Op::AddBias { map } => {
                if let Some(map) = self.schedule.linear_map(*map) {
                    self.check_period("result", map.output.period(), &mut wrong);
                }
            }
            Op::Rotate { by } => {
                let all = self.target.parameters.n() / 2;
                if *by >= all || by.is_multiple_of(self.result.slots()) {
                    wrong.push(format!("rotates {} slots by {by}", self.result.slots()));
                }
            }
            _ => {}
        }
        wrong
    }

    /// The type that the result must have. What the operation leaves open is as it was found.
    fn expected_type(&self) -> Result<CiphertextType, String> {
        let mut chosen = self.result;
        if let (Op::Add, Some(first)) = (self.op, self.operands.first()) {
            // Only a value and its own rotation may give a sum of a smaller period.
            let halves =
                chosen.log_slots < first.log_slots && self.schedule.halves_period(self.value);
            chosen.log_slots = first.log_slots - u32::from(halves);
        }
        let polynomials = &self.schedule.polynomials;
        self.target
            .expected_type(self.op, &self.operands, chosen, polynomials)
    }

    /// What is wrong with the level that an operation starts from, beyond what its result's type
    /// says.
    fn check_level_of_operand(&self) -> Option<String> {
        let level = self.operands.first()?.level;
        match self.op {
            Op::DropLevel if self.result.level >= level => {
                Some(format!("drops from level {level} to {}", self.result.level))
            }
            Op::Bootstrap { .. } => {
                let lowest = self.target.bootstrap.input_level();
                (level < lowest).then(|| {
                    format!("bootstraps at level {level}; SlotToCoeff starts from {lowest}")
                })
            }
            _ => None,
        }
    }

    /// Operands must agree in level; in scale, except for products; in period, except for
    /// transforms and sums of products.
    fn operands_disagree(&self) -> Option<String> {
        let (first, rest) = self.operands.split_first()?;
        rest.iter().find_map(|other| {
            let agrees = first.level == other.level
                && (matches!(self.op, Op::Multiply)
                    || same_log_scale(first.log_scale, other.log_scale))
                && (matches!(
                    self.op,
                    Op::LinearTransform { .. } | Op::MultiplyAccumulate { .. }
                ) || first.log_slots == other.log_slots);
            (!agrees).then(|| format!("operands of type {first} and {other}"))
        })
    }

    /// How the result's type differs from the expected one.
    fn differs_from(&self, expected: CiphertextType) -> Option<String> {
        let found = self.result;
        let agrees = found.level == expected.level
            && found.log_slots == expected.log_slots
            && same_log_scale(found.log_scale, expected.log_scale);
        (!agrees).then(|| format!("expected {expected}, found {found}"))
    }

    /// A value repeats with at least the period of its layout.
    fn check_period(&self, what: &str, period: usize, wrong: &mut Vec<String>) {
        if self.result.slots() < period {
            let slots = self.result.slots();
            wrong.push(format!(
                "{what} of {slots} slots, the map's layout has {period}"
            ));
        }
    }

    fn check_transform(&self, id: LinearMapId, steps: &[TransformSteps], wrong: &mut Vec<String>) {
        let Some(map) = self.schedule.linear_map(id) else {
            return;
        };
        let Some(operand) = self.operands.first() else {
            return;
        };
        let log_scale = self.result.log_scale;
        self.check_period("result", map.shared_period(), wrong);
        if log_scale <= operand.log_scale {
            wrong.push(format!("scale 2^{log_scale} leaves none for the diagonals"));
        }
        if steps.len() != map.terms.len() {
            wrong.push(format!(
                "{} terms, rotations for {}",
                map.terms.len(),
                steps.len()
            ));
        }
        let terms = self.operands.iter().zip(&map.terms).zip(steps);
        for (index, ((operand, term), steps)) in terms.enumerate() {
            let period = term.input.period();
            if operand.slots() < period {
                let slots = operand.slots();
                wrong.push(format!(
                    "operand {index} of {slots} slots, the layout has {period}"
                ));
            }
            // Rotations count modulo all slots, so that maps of different periods share keys.
            let slots = self.target.parameters.n() / 2;
            for (what, rotations) in [("baby", &steps.baby), ("giant", &steps.giant)] {
                if rotations.is_empty()
                    || !rotations.is_sorted_by(|a, b| a < b)
                    || rotations.last().is_some_and(|last| *last >= slots)
                {
                    wrong.push(format!(
                        "term {index}: {what} steps must ascend and stay below {slots}"
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
