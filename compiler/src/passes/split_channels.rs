//! Channel splitting: a feature map that one ciphertext cannot hold becomes several pieces, each
//! with a run of its channels.
//!
//! The pass rewrites the tensor graph, so that later passes see ordinary operations. A convolution
//! becomes one sum per run of its output channels: the convolutions of all pieces of its operand,
//! which linear-map fusion turns into one map of several operands. Channel-wise operations and
//! activations act on each piece. The layouts that [`pack`](super::pack) assigns say which maps are
//! too large.

use std::collections::BTreeSet;
use std::ops::Range;

use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::nn::linear::OnChannels;
use heddle_ir::nn::{
    Conv, Gemm, LinearOp, Model, Op, Pad, Rearrange, Slice, TensorType, Window, referenced_weights,
};
use heddle_ir::{Graph, Tensor, ValueId, Weights};

use super::pack::output_layout;
use crate::pass::Changed;

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

/// Splits feature maps so that each piece fits `slots` slots. The image and single channels cannot
/// be split; [`pack`](super::pack) refuses those that are too large.
pub fn run(model: Model, splitting: Splitting, slots: usize) -> (Model, Changed) {
    let mut splitter = Splitter {
        model: &model,
        splitting,
        slots,
        zeros: BTreeSet::new(),
        graph: Graph::new(),
        weights: model.weights.clone(),
        maps: Vec::with_capacity(model.graph.len()),
    };
    for value in model.graph.values() {
        let map = splitter.value(value);
        splitter.maps.push(map);
    }
    let outputs = model.graph.outputs().to_vec();
    let outputs = outputs.iter().map(|output| splitter.whole(*output));
    let outputs = outputs.collect();
    let Splitter {
        mut graph,
        mut weights,
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
        ..model
    };
    (split, changed)
}

/// A run of channels.
type Run = Range<usize>;

/// A feature map and the values that hold it.
#[derive(Clone)]
struct SplitMap {
    /// Where the map would lie if a ciphertext had as many slots.
    layout: MultiplexedLayout,
    /// By ascending channels.
    pieces: Vec<Piece>,
}

/// A value that holds a run of the channels of a feature map.
#[derive(Clone)]
struct Piece {
    run: Run,
    value: ValueId,
}

struct Splitter<'a> {
    model: &'a Model,
    splitting: Splitting,
    slots: usize,
    /// Values of the result that are zero throughout.
    zeros: BTreeSet<ValueId>,
    graph: Graph<Op, TensorType>,
    weights: Weights,
    /// By value of the model.
    maps: Vec<SplitMap>,
}

impl Splitter<'_> {
    /// The runs of channels that fit a ciphertext each; a single one where splitting does not help.
    fn runs(&self, layout: &MultiplexedLayout) -> Vec<Run> {
        let planes = self.slots / layout.plane();
        if layout.period() <= self.slots || planes == 0 {
            let all = 0..layout.channels;
            return vec![all];
        }
        let size = planes * layout.gap * layout.gap;
        (0..layout.channels)
            .step_by(size)
            .map(|start| start..layout.channels.min(start + size))
            .collect()
    }

    fn value(&mut self, value: ValueId) -> SplitMap {
        let node = self.model.graph.node(value);
        let operands = self.model.graph.operands(value);
        let layout = self.layout(value, &operands);
        let is_whole = operands
            .iter()
            .all(|operand| self.maps[operand.index()].pieces.len() == 1);
        let runs = self.runs_of_result(&node.op, &layout, is_whole);
        let pieces = match &node.op {
            op if is_whole && runs.len() == 1 => vec![self.copied(op, &operands, value, &layout)],
            Op::Input => unreachable!("an input has one run and no operands"),
            Op::MaxPool { .. } => unreachable!("an earlier pass turns max pools into ReLUs"),
            Op::Linear(op) => self.linear(op, operands[0], value, runs),
            Op::Add => self.add_runs([operands[0], operands[1]], value, runs),
            Op::Multiply { .. } => self.multiply_runs([operands[0], operands[1]], value, runs),
            op @ (Op::Activation { .. } | Op::Identity) => {
                let apply = |Piece { run, value: piece }: Piece| {
                    let ty = self.graph.ty(piece).clone();
                    let value = self.graph.add(op.clone(), &[piece], ty, &node.name);
                    Piece { run, value }
                };
                let operand = self.maps[operands[0].index()].pieces.clone();
                operand.into_iter().map(apply).collect()
            }
        };
        SplitMap { layout, pieces }
    }

    /// Where a result would lie if a ciphertext had as many slots.
    fn layout(&self, value: ValueId, operands: &[ValueId]) -> MultiplexedLayout {
        let node = self.model.graph.node(value);
        let operand = operands
            .first()
            .map(|operand| self.maps[operand.index()].layout);
        match (&node.op, operand) {
            (Op::Linear(op), Some(operand)) if *op != LinearOp::Flatten => {
                output_layout(op, &operand, node.ty.chw())
            }
            (_, Some(operand)) => operand,
            (_, None) => {
                let [channels, height, width] = node.ty.chw();
                MultiplexedLayout::dense(channels, height, width)
            }
        }
    }

    /// The runs of channels that an operation's result is to have; `is_whole` says whether its
    /// operands are of one piece each.
    fn runs_of_result(&self, op: &Op, layout: &MultiplexedLayout, is_whole: bool) -> Vec<Run> {
        let all = 0..layout.channels;
        let each = |channels: usize| (0..channels).map(|channel| channel..channel + 1).collect();
        match (op, self.splitting) {
            (Op::Input, _) => vec![all],
            (Op::Linear(LinearOp::Gemm(_)), _) => self.runs(layout),
            (Op::Linear(LinearOp::Rearrange(Rearrange { to, .. })), _) if to.len() == 1 => {
                self.runs(layout)
            }
            (Op::Linear(LinearOp::Conv(_)), Splitting::EveryChannel) => each(layout.channels),
            (_, Splitting::EveryChannel) if !is_whole => each(layout.channels),
            _ => self.runs(layout),
        }
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
            run: 0..layout.channels,
            value: copied,
        }
    }

    /// A sum, run by run; what is zero is not added.
    fn add_runs(&mut self, operands: [ValueId; 2], value: ValueId, runs: Vec<Run>) -> Vec<Piece> {
        let add = |run: Run| {
            let operands = operands.map(|operand| {
                let pieces = self.pieces(operand);
                self.assemble(&run, &pieces, value)
            });
            let ty = self.ty_of(operands[0]);
            let value = match operands.map(|operand| self.zeros.contains(&operand)) {
                [true, false] => operands[1],
                [false, true] => operands[0],
                _ => {
                    let name = &self.model.graph.node(value).name;
                    self.graph.add(Op::Add, &operands, ty, name)
                }
            };
            Piece { run, value }
        };
        runs.into_iter().map(add).collect()
    }

    /// A product, run by run.
    fn multiply_runs(
        &mut self,
        operands: [ValueId; 2],
        value: ValueId,
        runs: Vec<Run>,
    ) -> Vec<Piece> {
        let node = self.model.graph.node(value);
        // The pieces of one operand come first, so that they are neighbours in the graph.
        let [left, right] = operands.map(|operand| {
            let pieces = self.pieces(operand);
            let of_run = |run: &Run| self.assemble(run, &pieces, value);
            runs.iter().map(of_run).collect::<Vec<_>>()
        });
        let multiply = |(run, operands): (Run, [ValueId; 2])| {
            let ty = self.ty_of(operands[0]);
            let op = node.op.clone();
            let value = self.graph.add(op, &operands, ty, &node.name);
            Piece { run, value }
        };
        let pairs = left.into_iter().zip(right).map(<[ValueId; 2]>::from);
        runs.into_iter().zip(pairs).map(multiply).collect()
    }

    fn linear(
        &mut self,
        op: &LinearOp,
        operand: ValueId,
        value: ValueId,
        runs: Vec<Run>,
    ) -> Vec<Piece> {
        match op {
            LinearOp::Conv(conv) => runs
                .into_iter()
                .map(|run| {
                    let value = self.conv(conv, operand, &run, value);
                    Piece { run, value }
                })
                .collect(),
            LinearOp::Gemm(gemm) => vec![Piece {
                run: 0..runs[0].end,
                value: self.gemm(gemm, operand, value),
            }],
            LinearOp::Rearrange(rearrange) => runs
                .into_iter()
                .map(|run| {
                    let value = self.rearranged(rearrange, operand, &run, value);
                    Piece { run, value }
                })
                .collect(),
            // Nothing is gained by bringing the runs together here.
            LinearOp::Flatten | LinearOp::GlobalAveragePool => {
                let pieces = self.pieces(operand);
                let apply = |Piece { run, value: piece }: Piece| {
                    let [_, height, width] = self.graph.ty(piece).chw();
                    let ty = match op {
                        LinearOp::Flatten => TensorType::new([run.len() * height * width]),
                        _ => TensorType::new([run.len(), 1, 1]),
                    };
                    let value = self.add(op.clone(), piece, ty, value);
                    Piece { run, value }
                };
                pieces.into_iter().map(apply).collect()
            }
            _ => {
                let pieces = self.restricted(op, operand, value);
                runs.into_iter()
                    .map(|run| {
                        let value = self.assemble(&run, &pieces, value);
                        Piece { run, value }
                    })
                    .collect()
            }
        }
    }

    /// What an operation that keeps channels apart makes of every piece of its operand.
    fn restricted(&mut self, op: &LinearOp, operand: ValueId, value: ValueId) -> Vec<Piece> {
        let [_, height, width] = self.model.graph.ty(value).chw();
        let mut pieces = Vec::new();
        for Piece { run, value: piece } in self.pieces(operand) {
            match op.as_operation().on_channels(&run, &mut self.weights) {
                OnChannels::Dropped => {}
                OnChannels::Moved(run) => pieces.push(Piece { run, value: piece }),
                OnChannels::Applied(op, run) => {
                    let ty = TensorType::new([run.len(), height, width]);
                    let value = self.add(op, piece, ty, value);
                    pieces.push(Piece { run, value });
                }
                OnChannels::Mixed => {
                    unreachable!("convolutions and matrix products have methods of their own")
                }
            }
        }
        pieces
    }

    /// The output channels `run` of a convolution: the sum over the operand's pieces.
    fn conv(&mut self, conv: &Conv, operand: ValueId, run: &Run, value: ValueId) -> ValueId {
        let bias = conv.bias.map(|id| {
            let tensor = self.weights.get(id);
            let (name, data) = (tensor.name.clone(), tensor.data[run.clone()].to_vec());
            self.weights.push(Tensor::new(name, vec![run.len()], data))
        });
        let [_, height, width] = self.model.graph.ty(value).chw();
        let ty = TensorType::new([run.len(), height, width]);
        let mut sum: Option<ValueId> = None;
        let pieces = self.pieces(operand);
        for (i, piece) in pieces.iter().enumerate() {
            let filter = conv.filter_between(&piece.run, run, &self.weights);
            let is_last = i + 1 == pieces.len();
            if filter.data.iter().all(|tap| *tap == 0.0) && !(is_last && sum.is_none()) {
                continue;
            }
            let op = LinearOp::Conv(Conv {
                weight: self.weights.push(filter),
                bias: bias.filter(|_| sum.is_none()),
                window: conv.window,
                groups: 1,
            });
            let term = self.add(op, piece.value, ty.clone(), value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one piece")
    }

    /// The channels `run` of a rearrangement: the sum over the operand's pieces.
    fn rearranged(
        &mut self,
        rearrange: &Rearrange,
        operand: ValueId,
        run: &Run,
        value: ValueId,
    ) -> ValueId {
        // A flattened map has pieces by channel, each with several features.
        let channels = self.maps[operand.index()].layout.channels;
        let per_channel = rearrange.from[0] / channels.max(1);
        let mut sum: Option<ValueId> = None;
        let pieces = self.pieces(operand);
        for (i, piece) in pieces.iter().enumerate() {
            let held = piece.run.start * per_channel..piece.run.end * per_channel;
            let part = rearrange.between(&held, run);
            let is_last = i + 1 == pieces.len();
            if part.is_zero() && !(is_last && sum.is_none()) {
                continue;
            }
            let ty = TensorType::new(part.to.clone());
            let term = self.add(part.into(), piece.value, ty, value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one piece")
    }

    /// A matrix product: the sum over the operand's pieces.
    fn gemm(&mut self, gemm: &Gemm, operand: ValueId, value: ValueId) -> ValueId {
        let columns = self.weights.get(gemm.weight).shape[1];
        let ty = self.model.graph.ty(value).clone();
        let channels = self.maps[operand.index()].layout.channels;
        let per_channel = columns / channels.max(1);
        let mut sum: Option<ValueId> = None;
        for piece in self.pieces(operand) {
            let features = piece.run.start * per_channel..piece.run.end * per_channel;
            let matrix = gemm.columns(&features, &self.weights);
            let op = LinearOp::Gemm(Gemm {
                weight: self.weights.push(matrix),
                bias: gemm.bias.filter(|_| sum.is_none()),
            });
            let term = self.add(op, piece.value, ty.clone(), value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one piece")
    }

    /// The channels `run` of a result that lies in pieces; channels that no piece has are zero.
    fn assemble(&mut self, run: &Run, pieces: &[Piece], value: ValueId) -> ValueId {
        let [_, height, width] = self.graph.ty(pieces[0].value).chw();
        let mut sum = None;
        for piece in pieces {
            let common = run.start.max(piece.run.start)..run.end.min(piece.run.end);
            if common.is_empty() {
                continue;
            }
            let mut held = piece.value;
            if common != piece.run {
                let op = LinearOp::Slice(Slice {
                    start: [common.start - piece.run.start, 0, 0],
                    end: [common.end - piece.run.start, height, width],
                    step: [1; 3],
                });
                let ty = TensorType::new([common.len(), height, width]);
                held = self.add(op, held, ty, value);
            }
            if common != *run {
                let op = LinearOp::Pad(Pad {
                    before: [common.start - run.start, 0, 0],
                    after: [run.end - common.end, 0, 0],
                });
                let ty = TensorType::new([run.len(), height, width]);
                held = self.add(op, held, ty, value);
            }
            sum = Some(self.sum(sum, held, value));
        }
        sum.unwrap_or_else(|| {
            let shape = vec![run.len(), pieces[0].run.len(), 1, 1];
            let zeros = vec![0.0; shape.iter().product()];
            let op = LinearOp::Conv(Conv {
                weight: self.weights.push(Tensor::new("zero", shape, zeros)),
                bias: None,
                window: Window::plain([1; 2]),
                groups: 1,
            });
            let ty = TensorType::new([run.len(), height, width]);
            let zero = self.add(op, pieces[0].value, ty, value);
            if self.splitting == Splitting::EveryChannel {
                self.zeros.insert(zero);
            }
            zero
        })
    }

    /// A value of the model in one piece.
    fn whole(&mut self, value: ValueId) -> ValueId {
        let SplitMap { layout, pieces } = self.maps[value.index()].clone();
        match &pieces[..] {
            [piece] => piece.value,
            _ => self.assemble(&(0..layout.channels), &pieces, value),
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
}
