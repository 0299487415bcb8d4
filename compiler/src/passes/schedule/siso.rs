//! SISO convolutions: every rotation of an input channel once, then for each output channel one sum
//! of products. Source: arXiv 2106.07229.

use heddle_ir::ValueId;
use heddle_ir::ckks::{CiphertextType, LinearMapId, Op};
use heddle_ir::linear::siso::SisoConvolution;
use heddle_ir::linear::{LinearMap, ProductPhase};
use heddle_ir::weights::Weights;

use super::Scheduler;
use crate::error::Error;

/// What output channels share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shared {
    /// The value at a level below its own.
    Level(usize),
    /// The value rotated.
    Rotation(usize),
}

impl Scheduler<'_> {
    /// The value at a level, dropped there once.
    pub(super) fn shared_drop(&mut self, value: ValueId, level: usize, name: &str) -> ValueId {
        let key = (value, Shared::Level(level));
        if let Some(known) = self.shared.get(&key) {
            return *known;
        }
        let dropped = self.drop_to(value, level, name);
        self.shared.insert(key, dropped);
        dropped
    }

    fn shared_rotation(&mut self, value: ValueId, by: usize, name: &str) -> ValueId {
        let key = (value, Shared::Rotation(by));
        if let Some(known) = self.shared.get(&key) {
            return *known;
        }
        let rotated = self.rotate(value, by, name);
        self.shared.insert(key, rotated);
        rotated
    }

    /// One output channel, bias included, a level below its operands.
    pub(super) fn siso_convolution(
        &mut self,
        map: &LinearMap,
        operands: &[ValueId],
        weights: &Weights,
        name: &str,
    ) -> Result<ValueId, Error> {
        let convolution = SisoConvolution::of(map)?;
        let id = LinearMapId(self.linear_maps.len() as u32);
        self.linear_maps.push(map.clone());
        let slots = self.target.parameters.n() / 2;
        let mut rotated = Vec::with_capacity(convolution.products());
        for (term, operand) in operands.iter().enumerate() {
            for by in convolution.rotations(term, slots) {
                rotated.push(self.shared_rotation(*operand, by, name));
            }
        }
        let level = self.graph.ty(operands[0]).level;
        let ty = CiphertextType {
            log_slots: map.output.period().trailing_zeros(),
            level,
            log_scale: self.log_scale + self.log_q(level),
        };
        let op = Op::MultiplyAccumulate {
            map: id,
            part: ProductPhase::Taps,
            round: 0,
        };
        let sum = self.push(op, &rotated, ty, name);
        let rescaled = self.rescale(sum, name);
        self.add_bias(id, map, rescaled, weights, name)
    }
}
