//! Splitting: a feature map that one ciphertext cannot hold becomes several pieces, each with a run
//! of its channels and, where a ciphertext cannot hold even a plane, a band of its rows.
//!
//! The pass rewrites the tensor graph, so that later passes see ordinary operations. A convolution
//! becomes one sum for every piece of its result: the convolutions of all pieces of its operand
//! that the piece reads, which linear-map fusion turns into one map of several operands.
//! Channel-wise operations and activations act on each piece. The layouts that
//! [`pack`](super::pack) assigns say which maps are too large, and the [`Grid`] says how they are
//! cut.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::nn::{
    Conv, LinearOp, Model, Op, Pad, Rearrange, Region, Slice, TensorType, Window,
    referenced_weights,
};
use heddle_ir::{Graph, Tensor, ValueId, WeightId, Weights};

use super::pack::whole_layout;
use crate::analysis::grid::Grid;
use crate::error::Error;
use crate::pass::Changed;

mod axes;
mod band_window;
mod linear;

/// The pass's name.
pub const NAME: &str = "split-channels";

/// Which feature maps are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splitting {
    /// Those that one ciphertext cannot hold, into as few pieces as possible.
    WhereNeeded,
    /// All results of convolutions and what follows from them, into single channels; vectors behind
    /// matrix products as they need.
    EveryChannel,
}

/// Splits feature maps so that each piece fits a ciphertext of the grid.
///
/// # Errors
/// [`Error::Unsplit`] if an operation on a map of several pieces cannot be had piece by piece.
pub fn run(model: Model, splitting: Splitting, grid: &Grid) -> Result<(Model, Changed), Error> {
    let mut splitter = Splitter {
        model: &model,
        splitting,
        grid: *grid,
        zeros: BTreeSet::new(),
        graph: Graph::new(),
        weights: model.weights.clone(),
        filters: BTreeMap::new(),
        input_regions: Vec::new(),
        maps: Vec::with_capacity(model.graph.len()),
    };
    for value in model.graph.values() {
        let map = splitter.value(value)?;
        splitter.maps.push(map);
    }
    let outputs = model.graph.outputs().iter();
    let outputs = outputs
        .map(|output| splitter.whole(*output))
        .collect::<Result<_, _>>()?;
    let Splitter {
        mut graph,
        mut weights,
        input_regions,
        ..
    } = splitter;
    graph.set_outputs(outputs);
    let changed = match graph == model.graph {
        true => Changed::No,
        false => Changed::Yes,
    };
    if changed == Changed::Yes {
        graph = graph.pruned(|op| matches!(op, Op::Input));
        weights = referenced_weights(&mut graph, &weights);
    }
    let split = Model {
        graph,
        weights,
        input_regions,
        ..model
    };
    Ok((split, changed))
}

/// A feature map and the values that hold it.
#[derive(Clone)]
struct SplitMap {
    /// Where the map would lie if a ciphertext had as many slots. A flattened map keeps the layout
    /// and the shape that it had.
    layout: MultiplexedLayout,
    /// By ascending channels, then rows.
    pieces: Vec<Piece>,
}

impl SplitMap {
    /// Channels, height and width.
    fn shape(&self) -> [usize; 3] {
        [self.layout.channels, self.layout.height, self.layout.width]
    }
}

/// A value that holds a region of a feature map.
#[derive(Clone)]
struct Piece {
    region: Region,
    value: ValueId,
}

/// What two ranges have in common.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// A convolution's whole filter and the first and last channels of a run of its operand's and of
/// its result's.
type FilterKey = (WeightId, [usize; 4]);

/// A filter between runs of channels.
#[derive(Clone, Copy)]
struct Filter {
    weight: WeightId,
    /// Whether all its elements are zero.
    is_zero: bool,
}

struct Splitter<'a> {
    model: &'a Model,
    splitting: Splitting,
    grid: Grid,
    /// Values of the result that are zero throughout.
    zeros: BTreeSet<ValueId>,
    graph: Graph<Op, TensorType>,
    weights: Weights,
    /// The filters between runs of channels that were made: bands share them.
    filters: BTreeMap<FilterKey, Filter>,
    /// What the inputs of the result hold of the image.
    input_regions: Vec<Region>,
    /// By value of the model.
    maps: Vec<SplitMap>,
}

impl Splitter<'_> {
    fn value(&mut self, value: ValueId) -> Result<SplitMap, Error> {
        let node = self.model.graph.node(value);
        let operands = self.model.graph.operands(value);
        let layout = self.layout(value, &operands);
        let is_whole = operands
            .iter()
            .all(|operand| self.maps[operand.index()].pieces.len() == 1);
        let regions = self.regions_of_result(&node.op, &layout, is_whole);
        let pieces = match &node.op {
            Op::Input => self.input(value, regions),
            op if is_whole && regions.len() == 1 => {
                vec![self.copied(op, &operands, value, &layout)]
            }
            Op::MaxPool { .. } => unreachable!("an earlier pass turns max pools into ReLUs"),
            Op::Linear(op) => self.linear(op, operands[0], value, regions)?,
            Op::Add => self.add_regions([operands[0], operands[1]], value, regions)?,
            Op::Multiply { .. } => {
                self.multiply_regions([operands[0], operands[1]], value, regions)?
            }
            op @ (Op::Activation { .. } | Op::Identity) => {
                let apply = |Piece {
                                 region,
                                 value: piece,
                             }: Piece| {
                    let ty = self.graph.ty(piece).clone();
                    let value = self.graph.add(op.clone(), &[piece], ty, &node.name);
                    Piece { region, value }
                };
                let operand = self.maps[operands[0].index()].pieces.clone();
                operand.into_iter().map(apply).collect()
            }
        };
        Ok(SplitMap { layout, pieces })
    }

    /// Where a result would lie if a ciphertext had as many slots.
    fn layout(&self, value: ValueId, operands: &[ValueId]) -> MultiplexedLayout {
        let node = self.model.graph.node(value);
        let operand = operands
            .first()
            .map(|operand| self.maps[operand.index()].layout);
        whole_layout(&node.op, node.ty.chw(), operand, &self.grid)
    }

    /// The regions that an operation's result is to have; `is_whole` says whether its operands are
    /// of one piece each.
    fn regions_of_result(
        &self,
        op: &Op,
        layout: &MultiplexedLayout,
        is_whole: bool,
    ) -> Vec<Region> {
        let each_channel = || {
            let one = MultiplexedLayout {
                channels: 1,
                ..*layout
            };
            let of_channel = |channel: usize| {
                let regions = self.grid.regions(&one).into_iter();
                regions.map(move |region| Region {
                    channels: channel..channel + 1,
                    ..region
                })
            };
            (0..layout.channels).flat_map(of_channel).collect()
        };
        match (op, self.splitting) {
            (Op::Input | Op::Linear(LinearOp::Gemm(_)), _) => self.grid.regions(layout),
            (Op::Linear(LinearOp::Rearrange(Rearrange { to, .. })), _) if to.len() == 1 => {
                self.grid.regions(layout)
            }
            (Op::Linear(LinearOp::Conv(_)), Splitting::EveryChannel) => each_channel(),
            (_, Splitting::EveryChannel) if !is_whole => each_channel(),
            _ => self.grid.regions(layout),
        }
    }

    /// One input for every region.
    fn input(&mut self, value: ValueId, regions: Vec<Region>) -> Vec<Piece> {
        let node = self.model.graph.node(value);
        let before = self.model.inputs().take_while(|input| *input < value);
        let held = &self.model.input_regions[before.count()];
        let input = |region: Region| {
            let ty = match node.ty.shape[..] {
                [_, _, width] => TensorType::new(region.shape(width)),
                _ => TensorType::new([region.channels.len()]),
            };
            // The model's input may be a region of the image itself.
            let shifted = |range: &Range<usize>, by: usize| range.start + by..range.end + by;
            self.input_regions.push(Region {
                channels: shifted(&region.channels, held.channels.start),
                rows: shifted(&region.rows, held.rows.start),
            });
            let value = self.graph.add(Op::Input, &[], ty, &node.name);
            Piece { region, value }
        };
        regions.into_iter().map(input).collect()
    }

    /// The operation as it is, on operands of one piece each.
    fn copied(
        &mut self,
        op: &Op,
        operands: &[ValueId],
        value: ValueId,
        layout: &MultiplexedLayout,
    ) -> Piece {
        let node = self.model.graph.node(value);
        let operands: Vec<ValueId> = operands
            .iter()
            .map(|operand| self.maps[operand.index()].pieces[0].value)
            .collect();
        let copied = self
            .graph
            .add(op.clone(), &operands, node.ty.clone(), &node.name);
        Piece {
            region: Region {
                channels: 0..layout.channels,
                rows: 0..layout.height,
            },
            value: copied,
        }
    }

    /// A sum, region by region; what is zero is not added.
    fn add_regions(
        &mut self,
        operands: [ValueId; 2],
        value: ValueId,
        regions: Vec<Region>,
    ) -> Result<Vec<Piece>, Error> {
        let mut sums = Vec::with_capacity(regions.len());
        for region in regions {
            let mut held = [ValueId(0); 2];
            for (held, operand) in held.iter_mut().zip(operands) {
                *held = self.assemble(&region, &self.pieces(operand), value)?;
            }
            let ty = self.ty_of(held[0]);
            let value = match held.map(|operand| self.zeros.contains(&operand)) {
                [true, false] => held[1],
                [false, true] => held[0],
                _ => {
                    let name = &self.model.graph.node(value).name;
                    self.graph.add(Op::Add, &held, ty, name)
                }
            };
            sums.push(Piece { region, value });
        }
        Ok(sums)
    }

    /// A product, region by region.
    fn multiply_regions(
        &mut self,
        operands: [ValueId; 2],
        value: ValueId,
        regions: Vec<Region>,
    ) -> Result<Vec<Piece>, Error> {
        let node = self.model.graph.node(value);
        // The pieces of one operand come first, so that they are neighbours in the graph.
        let mut held = [Vec::new(), Vec::new()];
        for (held, operand) in held.iter_mut().zip(operands) {
            let pieces = self.pieces(operand);
            for region in &regions {
                held.push(self.assemble(region, &pieces, value)?);
            }
        }
        let [left, right] = held;
        let multiply = |(region, operands): (Region, [ValueId; 2])| {
            let ty = self.ty_of(operands[0]);
            let op = node.op.clone();
            let value = self.graph.add(op, &operands, ty, &node.name);
            Piece { region, value }
        };
        let pairs = left.into_iter().zip(right).map(<[ValueId; 2]>::from);
        Ok(regions.into_iter().zip(pairs).map(multiply).collect())
    }

    /// A region of a result that lies in pieces; what no piece has is zero.
    fn assemble(
        &mut self,
        region: &Region,
        pieces: &[Piece],
        value: ValueId,
    ) -> Result<ValueId, Error> {
        if let Some(piece) = pieces.iter().find(|piece| piece.region == *region) {
            return Ok(piece.value);
        }
        let width = match self.graph.ty(pieces[0].value).shape[..] {
            [_, _, width] => width,
            // A run of a vector's features, or what was flattened piece by piece.
            _ if pieces.iter().all(|piece| piece.region.rows == (0..1)) => 1,
            _ => return Err(self.unsplit(value)),
        };
        let shape = |region: &Region| region.shape(width);
        let typed =
            |this: &Self, piece: ValueId, region: &Region| match this.graph.ty(piece).shape.len() {
                1 => TensorType::new([region.channels.len()]),
                _ => TensorType::new(shape(region)),
            };
        let mut sum = None;
        for piece in pieces {
            let held = Region {
                channels: common(&region.channels, &piece.region.channels),
                rows: common(&region.rows, &piece.region.rows),
            };
            if held.channels.is_empty() || held.rows.is_empty() {
                continue;
            }
            let mut part = piece.value;
            if held != piece.region {
                let from = &piece.region;
                let start = [
                    held.channels.start - from.channels.start,
                    held.rows.start - from.rows.start,
                    0,
                ];
                let [channels, rows, columns] = shape(&held);
                let op = LinearOp::Slice(Slice {
                    start,
                    end: [start[0] + channels, start[1] + rows, columns],
                    step: [1; 3],
                });
                let ty = typed(self, part, &held);
                part = self.add(op, part, ty, value);
            }
            if held != *region {
                let op = LinearOp::Pad(Pad {
                    before: [
                        held.channels.start - region.channels.start,
                        held.rows.start - region.rows.start,
                        0,
                    ],
                    after: [
                        region.channels.end - held.channels.end,
                        region.rows.end - held.rows.end,
                        0,
                    ],
                });
                let ty = typed(self, part, region);
                part = self.add(op, part, ty, value);
            }
            sum = Some(self.sum(sum, part, value));
        }
        Ok(sum.unwrap_or_else(|| {
            let [_, rows, _] = shape(&pieces[0].region);
            self.zero(pieces[0].value, rows, region, value)
        }))
    }

    /// A region of zeros, made of some piece of `rows` rows.
    fn zero(&mut self, piece: ValueId, rows: usize, region: &Region, value: ValueId) -> ValueId {
        let [channels, _, width] = self.graph.ty(piece).chw();
        let wanted = region.rows.len();
        // A row of padding for every row that the piece lacks; a stride of one keeps the rest.
        let window = Window {
            kernel: [rows.saturating_sub(wanted) + 1, 1],
            pads: [0, 0, wanted.saturating_sub(rows), 0],
            ..Window::plain([1; 2])
        };
        let shape = vec![region.channels.len(), channels, window.kernel[0], 1];
        let zeros = vec![0.0; shape.iter().product()];
        let op = LinearOp::Conv(Conv {
            weight: self.weights.push(Tensor::new("zero", shape, zeros)),
            bias: None,
            window,
            groups: 1,
        });
        let ty = TensorType::new(region.shape(width));
        let zero = self.add(op, piece, ty, value);
        if self.splitting == Splitting::EveryChannel {
            self.zeros.insert(zero);
        }
        zero
    }

    /// A value of the model in one piece.
    fn whole(&mut self, value: ValueId) -> Result<ValueId, Error> {
        let map = self.maps[value.index()].clone();
        let [channels, height, _] = map.shape();
        let region = Region {
            channels: 0..channels,
            rows: 0..height,
        };
        match &map.pieces[..] {
            [piece] => Ok(piece.value),
            _ if map.layout.period() > self.grid.slots => Err(self.unsplit(value)),
            _ => self.assemble(&region, &map.pieces, value),
        }
    }

    fn pieces(&self, value: ValueId) -> Vec<Piece> {
        self.maps[value.index()].pieces.clone()
    }

    fn sum(&mut self, sum: Option<ValueId>, term: ValueId, value: ValueId) -> ValueId {
        let Some(sum) = sum else { return term };
        let ty = self.ty_of(term);
        let name = &self.model.graph.node(value).name;
        self.graph.add(Op::Add, &[sum, term], ty, name)
    }

    fn ty_of(&self, value: ValueId) -> TensorType {
        self.graph.ty(value).clone()
    }

    /// Adds an operation that comes from `value` of the model.
    fn add(&mut self, op: LinearOp, operand: ValueId, ty: TensorType, value: ValueId) -> ValueId {
        let name = &self.model.graph.node(value).name;
        self.graph.add(Op::Linear(op), &[operand], ty, name)
    }

    fn unsplit(&self, value: ValueId) -> Error {
        let node = self.model.graph.node(value);
        Error::Unsplit {
            node: node.name.clone(),
            shape: node.ty.to_string(),
            slots: self.grid.slots,
        }
    }
}
