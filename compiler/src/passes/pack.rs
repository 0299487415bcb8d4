//! Layout assignment and convolution lowering: from tensors to packed slots.
//!
//! Every feature map lies on the network's grid. A stride multiplies the gap of its axis, and the
//! channels
//! move into the gaps (multiplexed packing, Lee et al., ICML 2022). A convolution becomes one
//! sparse linear map with a multiplexed result, or a multiplexed parallel convolution if the
//! options ask for it. An addition becomes a linear map of two identity terms, and a mean over the
//! whole map a sum by rotations. Flattening moves nothing: both sides count the same elements in
//! row-major order.

use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::nn::{
    ActivationId, ActivationMap, LinearOp, Model, Op as NnOp, ProductId, Rearrange,
};
use heddle_ir::slot::{Op, SlotGraph, SlotType};
use heddle_ir::{Graph, ValueId};

use crate::analysis::grid::Grid;
use crate::analysis::ranges::Ranges;
use crate::approx::activation::Approximation;
use crate::error::Error;
use crate::options::Convolution;

mod parallel;
mod product;

/// The pass's name.
pub const NAME: &str = "pack";

/// Lowers a tensor graph; `approximations` are those of its activations, `convolution` says how
/// convolutions are evaluated, and the maps lie on `grid`.
///
/// # Errors
/// If a feature map does not fit one ciphertext.
///
/// # Panics
/// If an activation has no approximation.
pub fn run(
    model: &Model,
    ranges: &Ranges,
    approximations: &ActivationMap<Approximation>,
    convolution: Convolution,
    grid: &Grid,
) -> Result<SlotGraph, Error> {
    let mut packer = Packer {
        model,
        bounds: bounds(model, ranges, approximations),
        graph: Graph::new(),
        convolution,
        grid: *grid,
        slots: grid.slots,
    };
    let mut packed: Vec<Option<ValueId>> = vec![None; model.graph.len()];
    // The pieces of the image come first, so that they are neighbours like those of other maps.
    let is_input = |value: &ValueId| matches!(model.graph.node(*value).op, NnOp::Input);
    let others = model.graph.values().filter(|value| !is_input(value));
    for value in model.inputs().chain(others) {
        let node = model.graph.node(value);
        let operands: Vec<ValueId> = model
            .graph
            .operands(value)
            .iter()
            .filter_map(|operand| packed[operand.index()])
            .collect();
        packed[value.index()] = Some(match &node.op {
            NnOp::Input => {
                let layout = packer.grid.image(node.ty.chw());
                packer.add(Op::Input, &[], layout, value)?
            }
            NnOp::Identity | NnOp::Linear(LinearOp::Flatten) => operands[0],
            NnOp::Linear(op) => packer.linear(op, operands[0], value)?,
            NnOp::Add => packer.add_terms(&operands, value)?,
            NnOp::Multiply { id } => {
                packer.multiply([operands[0], operands[1]], of_product(ranges, *id), value)?
            }
            NnOp::MaxPool { .. } => {
                unreachable!("an earlier pass turns max pools into ReLUs")
            }
            NnOp::Activation { id, .. } => {
                packer.activation(of_activation(approximations, *id), operands[0], value)?
            }
        });
    }
    let mut outputs = Vec::new();
    for output in model.graph.outputs() {
        let holder = packed[output.index()].unwrap_or(*output);
        outputs.push(packer.masked(holder, *output, ranges)?);
    }
    let mut graph = packer.graph;
    graph.set_outputs(outputs);
    Ok(graph.pruned(|op| matches!(op, Op::Input)))
}

/// How many convolutions were lowered in which way, where any is multiplexed parallel.
pub fn remarks(packed: &SlotGraph) -> Vec<String> {
    let (mut parallel, mut single) = (0, 0);
    for value in packed.values() {
        match &packed.node(value).op {
            Op::ParallelConvolution { .. } => parallel += 1,
            Op::Linear(map) => {
                let mut ops = map.terms.iter().flat_map(|term| &term.ops);
                single += usize::from(ops.any(|op| matches!(op, LinearOp::Conv(_))));
            }
            Op::Input
            | Op::SisoConvolution(_)
            | Op::Add
            | Op::Multiply
            | Op::Activation(_)
            | Op::RotateSum { .. }
            | Op::Normalise(_) => {}
        }
    }
    if parallel == 0 {
        return Vec::new();
    }
    vec![format!(
        "{parallel} multiplexed parallel convolutions, {single} at a single level"
    )]
}

fn of_activation(
    approximations: &ActivationMap<Approximation>,
    id: Option<ActivationId>,
) -> &Approximation {
    let approximation = id.and_then(|id| approximations.get(id));
    approximation.expect("every activation is approximated")
}

/// The calibrated bounds of a product's operands.
fn of_product(ranges: &Ranges, id: Option<ProductId>) -> [f64; 2] {
    let product = id.and_then(|id| ranges.products().get(id.index()));
    let product = product.expect("every product is calibrated");
    product.each_ref().map(|range| range.bound)
}

/// The range of every tensor value. An activation's operand has the calibrated bound, unless it is
/// another activation's result, and a result the bound that its own polynomials have. A linear
/// operation in front of a product has the bound calibrated for it. A value that is followed by
/// linear operations alone has
/// the bound of what they lead to, so that fusing them changes no scale.
fn bounds(
    model: &Model,
    ranges: &Ranges,
    approximations: &ActivationMap<Approximation>,
) -> Vec<f64> {
    let graph = &model.graph;
    let mut bounds = vec![None; graph.len()];
    bounds[model.output().index()] = Some(ranges.logits().bound);
    for input in model.inputs() {
        bounds[input.index()] = Some(ranges.input());
    }
    for value in graph.values() {
        if let NnOp::Activation { id, .. } = graph.node(value).op {
            let approximation = of_activation(approximations, id);
            bounds[value.index()] = Some(approximation.result_bound);
            let operand = graph.operands(value)[0];
            if !matches!(graph.node(operand).op, NnOp::Activation { .. }) {
                bounds[operand.index()] = Some(approximation.operand_bound);
            }
        }
    }
    for value in graph.values() {
        if let NnOp::Multiply { id } = graph.node(value).op {
            let factors = graph.operands(value).into_iter();
            for (factor, bound) in factors.zip(of_product(ranges, id)) {
                if matches!(graph.node(factor).op, NnOp::Linear(_) | NnOp::Add) {
                    bounds[factor.index()].get_or_insert(bound);
                }
            }
        }
    }
    for value in graph.values().rev() {
        if bounds[value.index()].is_none() {
            let users = graph.users(value);
            bounds[value.index()] = users.iter().find_map(|user| bounds[user.index()]);
        }
    }
    bounds
        .into_iter()
        .map(|bound| bound.unwrap_or(1.0))
        .collect()
}

struct Packer<'a> {
    model: &'a Model,
    /// The range of every tensor value.
    bounds: Vec<f64>,
    graph: SlotGraph,
    convolution: Convolution,
    grid: Grid,
    slots: usize,
}

impl Packer<'_> {
    fn name(&self, value: ValueId) -> &str {
        &self.model.graph.node(value).name
    }

    fn add(
        &mut self,
        op: Op,
        operands: &[ValueId],
        layout: MultiplexedLayout,
        value: ValueId,
    ) -> Result<ValueId, Error> {
        if layout.period() > self.slots || !layout.is_consistent() {
            return Err(Error::Unsplit {
                node: self.name(value).to_owned(),
                shape: self.model.graph.ty(value).to_string(),
                slots: self.slots,
            });
        }
        let range = self.bounds[value.index()];
        let name = self.name(value).to_owned();
        Ok(self
            .graph
            .add(op, operands, SlotType { layout, range }, name))
    }

    fn linear(
        &mut self,
        op: &LinearOp,
        operand: ValueId,
        value: ValueId,
    ) -> Result<ValueId, Error> {
        let SlotType { layout, range } = self.graph.ty(operand).clone();
        let from = self.model.graph.operands(value)[0];
        let shape = self.model.graph.ty(from).chw();
        let [channels, height, width] = self.model.graph.ty(value).chw();
        let pools = op.as_operation().is_whole_mean(shape) && height == 1 && width == 1;
        if pools
            && shape == chw(&layout)
            && let Some(pooled) = self.rotate_sum(operand, value)?
        {
            return Ok(pooled);
        }
        let output = output_layout(op, &layout, [channels, height, width], &self.grid);
        let mut ops = Vec::new();
        if shape != chw(&layout) {
            ops.push(LinearOp::Flatten);
        }
        ops.push(op.clone());
        let factor = range / self.bounds[value.index()];
        let term = LinearTerm {
            input: layout,
            ops,
            factor,
        };
        if let Some(map) = self.parallel_map(&term, output, value) {
            let slots = self.slots;
            return self.add(
                Op::ParallelConvolution { map, slots },
                &[operand],
                output,
                value,
            );
        }
        self.linear_map(vec![term], &[operand], output, value)
    }

    fn linear_map(
        &mut self,
        terms: Vec<LinearTerm>,
        operands: &[ValueId],
        output: MultiplexedLayout,
        value: ValueId,
    ) -> Result<ValueId, Error> {
        let bias_factor = 1.0 / self.bounds[value.index()];
        let map = LinearMap::new(terms, output, bias_factor);
        self.add(Op::Linear(map), operands, output, value)
    }

    /// The value with zero in every slot but the output's elements. The result of a linear map has
    /// that already; all other results would show the client what their other slots hold. A product
    /// comes out far below its range, so it is brought to that of the logits.
    fn masked(
        &mut self,
        holder: ValueId,
        value: ValueId,
        ranges: &Ranges,
    ) -> Result<ValueId, Error> {
        if matches!(self.graph.node(holder).op, Op::Linear(_)) {
            return Ok(holder);
        }
        let SlotType { layout, range } = self.graph.ty(holder).clone();
        let bound = match self.graph.node(holder).op {
            Op::Multiply => ranges.logits().bound,
            _ => range,
        };
        self.bounds[value.index()] = bound;
        let term = LinearTerm {
            input: layout,
            ops: Vec::new(),
            factor: range / bound,
        };
        self.linear_map(vec![term], &[holder], layout, value)
    }

    fn add_terms(&mut self, operands: &[ValueId], value: ValueId) -> Result<ValueId, Error> {
        if operands.iter().any(|operand| self.is_parallel(*operand)) {
            return self.add_in_place(operands, value);
        }
        let bound = self.bounds[value.index()];
        let terms = operands
            .iter()
            .map(|operand| {
                let SlotType { layout, range } = self.graph.ty(*operand);
                LinearTerm {
                    input: *layout,
                    ops: Vec::new(),
                    factor: range / bound,
                }
            })
            .collect();
        let output = self.graph.ty(operands[0]).layout;
        self.linear_map(terms, operands, output, value)
    }

    fn activation(
        &mut self,
        approximation: &Approximation,
        operand: ValueId,
        value: ValueId,
    ) -> Result<ValueId, Error> {
        let SlotType { layout, range } = self.graph.ty(operand).clone();
        let bound = approximation.operand_bound;
        let scaled = if range == bound {
            operand
        } else {
            // The operand feeds something else at another range; bring it to this one's.
            let term = LinearTerm {
                input: layout,
                ops: Vec::new(),
                factor: range / bound,
            };
            self.bounds[value.index()] = bound;
            let scaled = self.linear_map(vec![term], &[operand], layout, value)?;
            self.bounds[value.index()] = approximation.result_bound;
            scaled
        };
        let op = Op::Activation(approximation.activation.clone());
        self.add(op, &[scaled], layout, value)
    }

    /// The mean over a whole map by rotations and additions alone. Element (0, 0) of every channel
    /// ends up with the sum of its plane; the division joins the range.
    fn rotate_sum(&mut self, operand: ValueId, value: ValueId) -> Result<Option<ValueId>, Error> {
        let SlotType { layout, range } = self.graph.ty(operand).clone();
        if !layout.height.is_power_of_two() || !layout.width.is_power_of_two() {
            return Ok(None);
        }
        let doubled = |extent: usize, distance: usize| {
            (0..extent.trailing_zeros()).map(move |halving| distance << halving)
        };
        let rotations: Vec<usize> = doubled(layout.width, layout.gap[1])
            .chain(doubled(layout.height, layout.gap[0] * layout.grid_width))
            .collect();
        let pooled = layout.on_same_grid(layout.gap, layout.channels, 1, 1);
        self.bounds[value.index()] = range / (layout.height * layout.width) as f64;
        self.add(Op::RotateSum { rotations }, &[operand], pooled, value)
            .map(Some)
    }
}

/// Where a value would lie if a ciphertext had as many slots; `operand` is that of its first
/// operand. A flattened map keeps the layout that it had.
pub(super) fn whole_layout(
    op: &NnOp,
    shape: [usize; 3],
    operand: Option<MultiplexedLayout>,
    grid: &Grid,
) -> MultiplexedLayout {
    match (op, operand) {
        (_, None) => grid.dense(shape),
        (NnOp::Linear(op), Some(operand)) if *op != LinearOp::Flatten => {
            output_layout(op, &operand, shape, grid)
        }
        (_, Some(operand)) => operand,
    }
}

/// Where the result of an operation on a value of the given layout lies; `shape` is the result's.
pub(super) fn output_layout(
    op: &LinearOp,
    layout: &MultiplexedLayout,
    [channels, height, width]: [usize; 3],
    grid: &Grid,
) -> MultiplexedLayout {
    match op {
        // A vector leaves the grid: the shorter its period, the fewer diagonals lead to it.
        LinearOp::Gemm(_) => MultiplexedLayout::dense(channels, 1, 1),
        LinearOp::Rearrange(Rearrange { to, .. }) if to.len() == 1 => {
            MultiplexedLayout::dense(channels, 1, 1)
        }
        // Features of a flattened map stay where its elements are.
        _ if height * width == 1
            && layout.height * layout.width > 1
            && channels == chw(layout).iter().product::<usize>() =>
        {
            *layout
        }
        _ if layout.plane() == 1 && height * width > 1 => grid.image([channels, height, width]),
        _ => {
            let largest = [
                (layout.grid_height / height).min(grid.band),
                layout.grid_width / width,
            ];
            let strides = op.as_operation().strides();
            let mut gap = [0, 1].map(|axis| {
                let strided = layout.gap[axis].saturating_mul(strides[axis]);
                strided.min(largest[axis].max(1))
            });
            // Axes that were treated alike stay alike, so that later pixels keep their places.
            if strides[0] == strides[1] && layout.gap[0] == layout.gap[1] {
                gap = [gap[0].min(gap[1]); 2];
            }
            layout.on_same_grid(gap, channels, height, width)
        }
    }
}

fn chw(layout: &MultiplexedLayout) -> [usize; 3] {
    [layout.channels, layout.height, layout.width]
}
