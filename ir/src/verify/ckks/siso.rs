//! The rules of SISO convolutions: operands are, term by term, one value rotated by what the
//! plaintexts are made for.

use crate::ckks::LinearMapId;

use super::Operation;

impl Operation<'_> {
    /// Checks the sum of products of an output channel; the map exists and its layouts are sound.
    pub(super) fn check_taps(&self, id: LinearMapId, round: usize) -> Vec<String> {
        let Some(map) = self.schedule.linear_map(id) else {
            return Vec::new();
        };
        let convolution = match &self.maps.siso[id.0 as usize] {
            Some(Ok(convolution)) => convolution,
            Some(Err(error)) => return vec![format!("m{}: {error}", id.0)],
            None => return Vec::new(),
        };
        if round != 0 {
            return vec![format!("round {round} of a convolution of 1")];
        }
        let arity = convolution.products();
        if self.operands.len() != arity {
            let found = self.operands.len();
            return vec![format!("expected {arity} operands, found {found}")];
        }
        let mut wrong = self.check_product_types();
        self.check_period("result", map.output.period(), &mut wrong);
        if self.result.slots() != map.output.period() {
            let (found, expected) = (self.result.slots(), map.output.period());
            wrong.push(format!("a result of {found} slots; expected {expected}"));
        }
        let operands = self.schedule.graph.operands(self.value);
        let (mut operands, mut types) = (&operands[..], &self.operands[..]);
        let all = self.target.parameters.n() / 2;
        for (index, term) in map.terms.iter().enumerate() {
            let count = convolution.products_of(index);
            let expected = term.input.period();
            if let Some(other) = types[..count].iter().find(|ty| ty.slots() != expected) {
                let found = other.slots();
                wrong.push(format!("an operand of {found} slots; expected {expected}"));
            }
            let rotations = convolution.rotations(index, all);
            wrong.extend(self.check_rotations(&operands[..count], &rotations));
            (operands, types) = (&operands[count..], &types[count..]);
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use crate::ckks::{CiphertextType, Op, Schedule};
    use crate::linear::{LinearMap, LinearTerm, ProductPhase};
    use crate::nn::{Conv, LinearOp, Window};
    use crate::test_support::{siso_schedule, violations};

    /// What the verifier says of the schedule after an edit.
    fn after(edit: impl FnOnce(&mut Schedule)) -> Vec<String> {
        let (mut schedule, weights) = siso_schedule();
        edit(&mut schedule);
        violations(&schedule, &weights)
    }

    fn edit_products(
        edit: impl FnOnce(&mut ProductPhase, &mut usize, &mut CiphertextType),
    ) -> impl FnOnce(&mut Schedule) {
        move |schedule| {
            let graph = &mut schedule.graph;
            let is_product = |op: &Op| matches!(op, Op::MultiplyAccumulate { .. });
            let value = graph
                .values()
                .find(|value| is_product(&graph.node(*value).op));
            let node = graph.node_mut(value.expect("it has products"));
            if let Op::MultiplyAccumulate { part, round, .. } = &mut node.op {
                edit(part, round, &mut node.ty);
            }
        }
    }

    fn edit_map(edit: impl FnOnce(&mut LinearMap)) -> impl FnOnce(&mut Schedule) {
        move |schedule| edit(&mut schedule.linear_maps[0])
    }

    fn edit_term(edit: impl FnOnce(&mut LinearTerm, &mut Window)) -> impl FnOnce(&mut Schedule) {
        edit_map(|map| {
            let term = &mut map.terms[1];
            if let LinearOp::Conv(Conv { window, .. }) = &mut term.ops[0].clone() {
                let mut window = *window;
                edit(term, &mut window);
                if let LinearOp::Conv(Conv {
                    window: changed, ..
                }) = &mut term.ops[0]
                {
                    *changed = window;
                }
            }
        })
    }

    #[track_caller]
    fn assert_has(messages: &[String], expected: &str) {
        let found = messages.iter().any(|message| message.contains(expected));
        assert!(found, "{expected}: {messages:#?}");
    }

    #[test]
    fn operands_rotate_their_terms_value() {
        assert_eq!(after(|_| {}), [""; 0]);
        let is_rotation = |op: &Op| matches!(op, Op::Rotate { .. });
        let messages = after(|schedule| {
            let graph = &mut schedule.graph;
            let rotation = graph
                .values()
                .find(|value| is_rotation(&graph.node(*value).op));
            graph.node_mut(rotation.expect("taps rotate")).op = Op::Rotate { by: 7 };
        });
        assert_has(&messages, "is not rotated by");
    }

    #[test]
    fn products_fit_the_map() {
        assert_has(
            &after(edit_products(|_, round, _| *round = 1)),
            "round 1 of",
        );
        let other = |part: &mut ProductPhase, _: &mut usize, _: &mut CiphertextType| {
            *part = ProductPhase::Weights;
        };
        assert_has(&after(edit_products(other)), "multiplexed parallel");
        let level = |_: &mut ProductPhase, _: &mut usize, ty: &mut CiphertextType| ty.level -= 1;
        assert_has(&after(edit_products(level)), "for operands at");
        let slots =
            |_: &mut ProductPhase, _: &mut usize, ty: &mut CiphertextType| ty.log_slots += 1;
        assert_has(&after(edit_products(slots)), "expected 16");
        assert_has(
            &after(edit_map(|map| map.terms.truncate(1))),
            "operands, found",
        );
        assert_has(
            &after(edit_term(|_, window| window.dilation = [2; 2])),
            "is not rotated by",
        );
    }

    #[test]
    fn a_kernel_of_any_size_takes_no_memory() {
        for kernel in [[1 << 40, 1], [usize::MAX, usize::MAX], [1 << 9, 1 << 9]] {
            let messages = after(edit_term(|_, window| window.kernel = kernel));
            assert_has(&messages, "taps");
        }
    }
}
