//! Multiplexed parallel convolutions as rotations, products with plaintexts and additions, in the
//! order of Lee et al., ICML 2022.

use heddle_ir::ValueId;
use heddle_ir::ckks::{CiphertextType, LinearMapId, Op};
use heddle_ir::linear::parallel::{ParallelConvolution, SlotSum, SumRotation};
use heddle_ir::linear::{LinearMap, ProductPhase};
use heddle_ir::weights::Weights;

use super::Scheduler;
use crate::error::Error;

impl Scheduler<'_> {
    /// The convolution of one operand, bias included, two levels below it.
    pub(super) fn parallel_convolution(
        &mut self,
        map: &LinearMap,
        slots: usize,
        operand: ValueId,
        weights: &Weights,
        name: &str,
    ) -> Result<ValueId, Error> {
        let convolution = ParallelConvolution::of(map, slots)?;
        let id = LinearMapId(self.linear_maps.len() as u32);
        self.linear_maps.push(map.clone());
        let taps: Vec<ValueId> = convolution
            .tap_rotations()
            .into_iter()
            .map(|by| self.rotate(operand, by, name))
            .collect();
        let mut total: Option<ValueId> = None;
        for round in 0..convolution.rounds() {
            let products = self.products((id, ProductPhase::Weights, round), &taps, slots, name);
            let mut sum = self.rescale(products, name);
            for over in convolution.sums() {
                sum = self.slot_sum(sum, over, name);
            }
            let placed: Vec<ValueId> = convolution
                .channels(round)
                .map(|channel| self.rotate(sum, convolution.selection_rotation(channel), name))
                .collect();
            let selected =
                self.products((id, ProductPhase::Selection, round), &placed, slots, name);
            total = Some(match total {
                Some(total) => self.sum(total, selected, name),
                None => selected,
            });
        }
        let total = total.unwrap_or(operand);
        let mut result = self.rescale(total, name);
        for by in convolution.replication() {
            result = self.halve_period(result, by, name);
        }
        self.add_bias(id, map, result, weights, name)
    }

    /// The operands times the plaintexts of a phase of a convolution's round, not rescaled.
    fn products(
        &mut self,
        (map, phase, round): (LinearMapId, ProductPhase, usize),
        operands: &[ValueId],
        slots: usize,
        name: &str,
    ) -> ValueId {
        let level = self.graph.ty(operands[0]).level;
        let ty = CiphertextType {
            log_slots: slots.trailing_zeros(),
            level,
            log_scale: self.log_scale + self.log_q(level),
        };
        let op = Op::MultiplyAccumulate {
            map,
            part: phase,
            round,
        };
        self.push(op, operands, ty, name)
    }

    fn slot_sum(&mut self, value: ValueId, sum: SlotSum, name: &str) -> ValueId {
        let mut doubled = vec![value];
        let mut total = value;
        for rotation in sum.rotations() {
            match rotation {
                SumRotation::Double { by } => {
                    total = self.add_rotated(total, by, name);
                    doubled.push(total);
                }
                SumRotation::Remainder { doublings, by } => {
                    let rotated = self.rotate(doubled[doublings], by, name);
                    total = self.sum(total, rotated, name);
                }
            }
        }
        total
    }
}
