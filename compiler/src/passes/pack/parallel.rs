//! Multiplexed parallel convolutions, and the joins behind them: an addition of its own, since a
//! linear map would cost the convolution a third level.

use heddle_ir::ValueId;
use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::linear::parallel::ParallelConvolution;
use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::slot::{Op, SlotType};

use super::Packer;
use crate::error::Error;
use crate::options::Convolution;

impl Packer<'_> {
    /// The map of a multiplexed parallel convolution, if they are asked for and the term is one
    /// that the algorithm can express.
    pub(super) fn parallel_map(
        &self,
        term: &LinearTerm,
        output: MultiplexedLayout,
        value: ValueId,
    ) -> Option<LinearMap> {
        let map = LinearMap::new(vec![term.clone()], output, 1.0 / self.bounds[value.index()]);
        let expressible = self.convolution == Convolution::MultiplexedParallel
            && output.is_consistent()
            && ParallelConvolution::of(&map, self.slots).is_ok();
        expressible.then_some(map)
    }

    /// Whether a packed value is the result of a multiplexed parallel convolution, or a sum of
    /// such.
    pub(super) fn is_parallel(&self, value: ValueId) -> bool {
        matches!(
            self.graph.node(value).op,
            Op::ParallelConvolution { .. } | Op::Add
        )
    }

    /// The sum of two operands, of which one at least is a convolution's result and stays as it is;
    /// the other is brought to its layout and range.
    pub(super) fn add_in_place(
        &mut self,
        operands: &[ValueId],
        value: ValueId,
    ) -> Result<ValueId, Error> {
        let bound = self.bounds[value.index()];
        let stays = operands
            .iter()
            .find(|operand| self.is_parallel(**operand))
            .unwrap_or(&operands[0]);
        let output = self.graph.ty(*stays).layout;
        let mut aligned = Vec::with_capacity(operands.len());
        for operand in operands {
            let SlotType { layout, range } = *self.graph.ty(*operand);
            aligned.push(if layout == output && range == bound {
                *operand
            } else {
                let term = LinearTerm {
                    input: layout,
                    ops: Vec::new(),
                    factor: range / bound,
                };
                self.linear_map(vec![term], &[*operand], output, value)?
            });
        }
        self.add(Op::Add, &aligned, output, value)
    }
}
