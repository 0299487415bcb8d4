//! The rules of multiplexed parallel convolutions: operands are the rotations that the algorithm
//! multiplies by each part's plaintexts.

use crate::ckks::{LinearMapId, Op, Schedule};
use crate::graph::ValueId;
use crate::linear::ProductPhase;
use crate::verify::Violations;

use super::Operation;

impl Operation<'_> {
    /// Checks a sum of products; the map exists and its layouts are sound.
    pub(super) fn check_products(
        &self,
        id: LinearMapId,
        part: ProductPhase,
        round: usize,
    ) -> Vec<String> {
        let Some(map) = self.schedule.linear_map(id) else {
            return Vec::new();
        };
        let convolution = match &self.maps.parallel[id.0 as usize] {
            Some((slots, Ok(convolution))) if *slots == self.result.slots() => convolution,
            Some((_, Err(error))) => return vec![format!("m{}: {error}", id.0)],
            // Reported as another use of the map.
            _ => return Vec::new(),
        };
        if round >= convolution.rounds() {
            let rounds = convolution.rounds();
            return vec![format!("round {round} of a convolution of {rounds}")];
        }
        let arity = convolution.operands(part, round);
        if self.operands.len() != arity {
            let found = self.operands.len();
            return vec![format!("expected {arity} operands, found {found}")];
        }
        let mut wrong = self.check_product_types();
        let (least, most) = match part {
            ProductPhase::Weights => (map.terms[0].input.period(), self.result.slots()),
            ProductPhase::Selection | ProductPhase::Taps => {
                (self.result.slots(), self.result.slots())
            }
        };
        for operand in &self.operands {
            if !(least..=most).contains(&operand.slots()) {
                let slots = operand.slots();
                wrong.push(format!(
                    "an operand of {slots} slots; expected {least} to {most}"
                ));
            }
        }
        let operands = self.schedule.graph.operands(self.value);
        wrong.extend(self.check_rotations(&operands, &convolution.operand_rotations(part, round)));
        wrong
    }

    /// Operands of one type, and a result at their level that leaves scale for the plaintexts.
    pub(super) fn check_product_types(&self) -> Vec<String> {
        if let Some(message) = self.operands_disagree() {
            return vec![message];
        }
        let mut wrong = Vec::new();
        let Some(operand) = self.operands.first() else {
            return wrong;
        };
        let (level, log_scale) = (self.result.level, self.result.log_scale);
        if self.expected_type().is_ok_and(|ty| ty.level != level) {
            wrong.push(format!("level {level} for operands at {}", operand.level));
        }
        if log_scale <= operand.log_scale {
            wrong.push(format!(
                "scale 2^{log_scale} leaves none for the plaintexts"
            ));
        }
        wrong
    }

    /// Every operand is one value rotated by what its plaintext is made for.
    pub(super) fn check_rotations(
        &self,
        operands: &[ValueId],
        rotations: &[usize],
    ) -> Option<String> {
        let graph = &self.schedule.graph;
        let mut source = None;
        for (operand, by) in operands.iter().zip(rotations) {
            let of = match graph.node(*operand).op {
                _ if by.is_multiple_of(graph.ty(*operand).slots()) => Some(*operand),
                Op::Rotate { by: found } if found == *by => {
                    graph.operands(*operand).first().copied()
                }
                _ => None,
            };
            let Some(of) = of else {
                return Some(format!("{operand} is not rotated by {by}"));
            };
            let source = *source.get_or_insert(of);
            if of != source {
                return Some(format!("{operand} rotates {of}, others {source}"));
            }
        }
        None
    }
}

/// Every map is used as a transform alone, or as a convolution of one kind in ciphertexts of one
/// size alone.
pub(super) fn check_uses(schedule: &Schedule) -> Violations {
    let graph = &schedule.graph;
    // By map: whether its convolution is SISO and its slots, or none for a transform.
    let mut uses: Vec<Option<Option<(bool, u32)>>> = vec![None; schedule.linear_maps.len()];
    let mut violations = Violations::new();
    for value in graph.values() {
        let (map, found): (&LinearMapId, _) = match &graph.node(value).op {
            Op::LinearTransform { map, .. } => (map, None),
            Op::MultiplyAccumulate { map, part, .. } => {
                let is_siso = *part == ProductPhase::Taps;
                (map, Some((is_siso, graph.ty(value).log_slots)))
            }
            _ => continue,
        };
        let Some(used) = uses.get_mut(map.0 as usize) else {
            continue;
        };
        if *used.get_or_insert(found) != found {
            let message = format!("m{} is used in another way elsewhere", map.0);
            violations.push_at(graph, value, &message);
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv, LinearOp};
    use crate::test_support::{parallel_schedule, violations};

    /// What the verifier says of the schedule after an edit.
    fn after(edit: impl FnOnce(&mut Schedule)) -> Vec<String> {
        let (mut schedule, weights) = parallel_schedule();
        edit(&mut schedule);
        violations(&schedule, &weights)
    }

    #[test]
    fn a_kernel_of_any_size_takes_no_memory() {
        for kernel in [[1 << 40, 1], [usize::MAX, usize::MAX], [1 << 9, 1 << 9]] {
            let messages = after(|schedule| {
                if let LinearOp::Conv(Conv { window, .. }) =
                    &mut schedule.linear_maps[0].terms[0].ops[0]
                {
                    window.kernel = kernel;
                }
            });
            let refused = messages.iter().any(|message| message.contains("taps"));
            assert!(refused, "{messages:?}");
        }
    }

    #[test]
    fn operands_rotate_one_value() {
        assert_eq!(after(|_| {}), [""; 0]);
        let messages = after(|schedule| {
            let rotation = schedule
                .graph
                .values()
                .find(|value| matches!(schedule.graph.node(*value).op, Op::Rotate { .. }));
            let rotation = rotation.expect("the kernel rotates");
            schedule.graph.node_mut(rotation).op = Op::DropLevel;
        });
        let found = messages
            .iter()
            .any(|message| message.contains("is not rotated by"));
        assert!(found, "{messages:?}");
    }
}
