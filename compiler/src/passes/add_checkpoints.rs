//! Checkpoints: where a linear join would make the maps behind it read too many ciphertexts, its
//! value gets a calibrated range, so that it can be refreshed and fusion stops there.
//!
//! Between an activation and the next bootstrap lies one level, so linear maps that follow each
//! other are fused, and a map reads every ciphertext that any of them reads. Behind a max pool or a
//! chain of joins without activations these can be hundreds, where maps take several ciphertexts
//! each. A [`Activation::Checkpoint`] costs a bootstrap for each ciphertext of the value, and no
//! level.

use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::nn::{Activation, Conv, LinearOp, Model, Op};
use heddle_ir::{Graph, ValueId};

use super::pack::whole_layout;
use crate::analysis::grid::Grid;
use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "add-checkpoints";

/// Ciphertexts that the operations behind an activation may read for one ciphertext of their
/// result, as far as shapes tell, without a checkpoint.
pub const MAX_READ: usize = 64;

/// Adds checkpoints to a model whose maps lie on `grid`.
///
/// # Errors
/// None; the signature is that of every pass of its stage.
pub fn run(mut model: Model, grid: &Grid) -> Result<(Model, Changed), Error> {
    let graph = &model.graph;
    let mut reads = Reads {
        model: &model,
        grid,
        layouts: Vec::with_capacity(graph.len()),
        counts: Vec::with_capacity(graph.len()),
    };
    let mut is_checked = vec![false; graph.len()];
    for value in graph.values() {
        let operands = graph.operands(value);
        let layout = reads.layout(value, &operands);
        reads.layouts.push(layout);
        let mut count = reads.count(value, &operands);
        if count > MAX_READ {
            for operand in &operands {
                if reads.counts[operand.index()] > 1 {
                    is_checked[operand.index()] = true;
                    reads.counts[operand.index()] = 1;
                }
            }
            count = reads.count(value, &operands);
        }
        reads.counts.push(count);
    }
    if !is_checked.contains(&true) {
        return Ok((model, Changed::No));
    }
    let mut rebuilt = Graph::new();
    let mut renumbered: Vec<ValueId> = Vec::with_capacity(graph.len());
    for value in graph.values() {
        let node = graph.node(value);
        let operands = graph.renumbered_operands(value, &renumbered);
        let mut id = rebuilt.add(node.op.clone(), &operands, node.ty.clone(), &node.name);
        if is_checked[value.index()] {
            let op = Op::activation(Activation::Checkpoint);
            let name = format!("{}/checkpoint", node.name);
            id = rebuilt.add(op, &[id], node.ty.clone(), name);
        }
        renumbered.push(id);
    }
    let outputs = graph.outputs().iter();
    rebuilt.set_outputs(outputs.map(|output| renumbered[output.index()]).collect());
    model.graph = rebuilt;
    Ok((model, Changed::Yes))
}

struct Reads<'a> {
    model: &'a Model,
    grid: &'a Grid,
    /// By value: where it would lie if a ciphertext had as many slots.
    layouts: Vec<MultiplexedLayout>,
    /// By value: the ciphertexts of activations and images that one ciphertext of it is made of.
    counts: Vec<usize>,
}

impl Reads<'_> {
    fn layout(&self, value: ValueId, operands: &[ValueId]) -> MultiplexedLayout {
        let node = self.model.graph.node(value);
        let operand = operands
            .first()
            .map(|operand| self.layouts[operand.index()]);
        whole_layout(&node.op, node.ty.chw(), operand, self.grid)
    }

    /// Ciphertexts of a value, as runs of channels and bands of rows.
    fn pieces(&self, value: ValueId) -> [usize; 2] {
        let regions = self.grid.regions(&self.layouts[value.index()]);
        let first = &regions[0].channels;
        let bands = regions
            .iter()
            .filter(|region| region.channels == *first)
            .count();
        [regions.len() / bands.max(1), bands]
    }

    fn count(&self, value: ValueId, operands: &[ValueId]) -> usize {
        let of = |operand: &ValueId| self.counts[operand.index()];
        let sum = || operands.iter().map(of).fold(0, usize::saturating_add);
        match &self.model.graph.node(value).op {
            Op::Input | Op::Activation { .. } | Op::Multiply { .. } | Op::MaxPool { .. } => 1,
            Op::Add | Op::Identity => sum(),
            Op::Linear(op) => {
                let [runs, bands] = self.pieces(operands[0]);
                let [own_runs, own_bands] = self.pieces(value);
                let mixes = match op {
                    LinearOp::Conv(Conv { groups, .. }) => runs.div_ceil(*groups),
                    LinearOp::Gemm(_) => runs,
                    _ => runs.div_ceil(own_runs),
                };
                // A band reads itself and a few rows of its neighbours.
                let rows = match bands > 1 && op.as_operation().window().is_some() {
                    true => (bands.div_ceil(own_bands) + 1).min(bands),
                    false => bands.div_ceil(own_bands),
                };
                sum().saturating_mul(mixes).saturating_mul(rows)
            }
        }
    }
}
