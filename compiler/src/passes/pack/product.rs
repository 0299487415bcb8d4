//! Products of two values: both operands in one layout, and in ranges that are close to what they
//! reach, since the product's range is that of the operands multiplied.

use heddle_ir::ValueId;
use heddle_ir::linear::LinearTerm;
use heddle_ir::slot::{Op, SlotType};

use super::Packer;
use crate::error::Error;

/// An operand is taken as it is if its range is at most this many times its calibrated bound. A
/// linear map that brings it closer takes a level; the range costs the product its logarithm in
/// bits.
const MAX_EXCESS: f64 = 16.0;

impl Packer<'_> {
    /// The product of two operands whose calibrated bounds are `calibrated`, in the layout of the
    /// first.
    pub(super) fn multiply(
        &mut self,
        operands: [ValueId; 2],
        calibrated: [f64; 2],
        value: ValueId,
    ) -> Result<ValueId, Error> {
        let output = self.graph.ty(operands[0]).layout;
        let mut factors = Vec::with_capacity(2);
        for (operand, calibrated) in operands.into_iter().zip(calibrated) {
            let SlotType { layout, range } = *self.graph.ty(operand);
            let op = &self.graph.node(operand).op;
            // Slots of these stay within [−1, 1], all of them.
            let is_bounded = matches!(
                op,
                Op::Input | Op::Activation(_) | Op::Normalise(_) | Op::Multiply
            );
            // The slots beside its elements hold partial sums.
            let is_partial = matches!(op, Op::RotateSum { .. });
            let fits = layout == output
                && !is_partial
                && (is_bounded || range >= calibrated)
                && range <= MAX_EXCESS * calibrated;
            if fits {
                factors.push(operand);
                continue;
            }
            let bound = match is_bounded {
                true => range.min(calibrated),
                false => calibrated,
            };
            let term = LinearTerm {
                input: layout,
                ops: Vec::new(),
                factor: range / bound,
            };
            self.bounds[value.index()] = bound;
            factors.push(self.linear_map(vec![term], &[operand], output, value)?);
        }
        let ranges = factors.iter().map(|factor| self.graph.ty(*factor).range);
        self.bounds[value.index()] = ranges.product();
        self.add(Op::Multiply, &factors, output, value)
    }
}
