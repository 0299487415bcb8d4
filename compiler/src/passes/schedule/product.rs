//! Products of two values in the schedule.

use heddle_ir::ValueId;
use heddle_ir::ckks::Op;
use heddle_ir::slot::Chebyshev;
use heddle_params::scale::same_log_scale;

use super::Scheduler;

impl Scheduler<'_> {
    /// `x·y` from operands at `level`, rescaled to the network's scale. Unless one operand comes at
    /// the scale that makes it so, the one with the most levels is multiplied by one on its way
    /// down, which brings it there.
    ///
    /// # Panics
    /// If no operand has a level to spare where one is needed, which the placement rules out.
    pub(super) fn product(&mut self, operands: [ValueId; 2], level: usize, name: &str) -> ValueId {
        let [x, y] = operands.map(|operand| *self.graph.ty(operand));
        let wanted = self.log_scale + self.log_q(level);
        let factors = if same_log_scale(x.log_scale + y.log_scale, wanted) {
            operands.map(|operand| self.drop_to(operand, level, name))
        } else {
            let (moved, other) = match x.level > y.level {
                true => (operands[0], operands[1]),
                false => (operands[1], operands[0]),
            };
            let log_scale = wanted - self.graph.ty(other).log_scale;
            let above = self.drop_to(moved, level + 1, name);
            let fitted = self.polynomial(Chebyshev::identity(), above, level, log_scale, name);
            [self.drop_to(other, level, name), fitted]
        };
        let product = self.derive(Op::Multiply, &factors, name);
        self.rescale(product, name)
    }
}
