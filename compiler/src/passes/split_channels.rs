//! Channel splitting: a feature map that one ciphertext cannot hold becomes several, each with a run of its channels.
//!
//! The tensor graph is rewritten, so that later passes need not know: a convolution becomes, for every run of its output
//! channels, the sum of the convolutions of the input's runs, which linear-map fusion makes one map of several
//! operands; channel-wise operations and activations act on each run. Which maps are too large follows from the layouts that
//! [`pack`](super::pack) assigns.

use std::collections::BTreeSet;
use std::ops::Range;

use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::nn::{LinearOp, Model, Op, TensorType, Window};
use heddle_ir::{Graph, Tensor, ValueId, WeightId, Weights};

use super::pack::output_layout;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "split-channels";

/// A split model, and how many activations each activation of the original became, in order.
pub struct Split {
    /// The model.
    pub model: Model,
    /// Whether anything was split.
    pub changed: Changed,
    /// By activation of the original: how many of the result stand for it.
    pub copies: Vec<usize>,
}

impl Split {
    /// What belongs to each activation of the original, for those of the result.
    pub fn repeated<T: Clone>(&self, of_activations: &[T]) -> Vec<T> {
        let each = of_activations.iter().zip(&self.copies);
        each.flat_map(|(item, count)| std::iter::repeat_n(item.clone(), *count))
            .collect()
    }
}

/// Which feature maps are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splitting {
    /// Those that one ciphertext cannot hold, into as few parts as possible.
    WhereNeeded,
    /// All results of convolutions and what follows from them, into single channels; vectors behind matrix products as
    /// they need.
    EveryChannel,
}

/// Splits feature maps so that each part fits `slots` slots. What cannot be split, because a single channel is too large
/// or because it is the image, is left for [`pack`](super::pack) to refuse.
pub fn run(model: Model, splitting: Splitting, slots: usize) -> Split {
    let mut splitter = Splitter {
        source: &model,
        splitting,
        slots,
        zeros: BTreeSet::new(),
        graph: Graph::new(),
        weights: model.weights.clone(),
        parts: Vec::with_capacity(model.graph.len()),
        copies: Vec::new(),
    };
    for value in model.graph.values() {
        let parts = splitter.value(value);
        splitter.parts.push(parts);
    }
    let outputs = model.graph.outputs().to_vec();
    let outputs = outputs.iter().map(|output| splitter.whole(*output));
    let outputs = outputs.collect();
    let Splitter {
        mut graph,
        mut weights,
        copies,
        ..
    } = splitter;
    graph.set_outputs(outputs);
    let changed = match graph == model.graph {
        true => Changed::No,
        false => Changed::Yes,
    };
    if changed == Changed::Yes {
        graph = graph.pruned(|op| matches!(op, Op::Input));
        weights = referenced(&mut graph, &weights);
    }
    Split {
        model: Model {
            graph,
            weights,
            ..model
        },
        changed,
        copies,
    }
}

/// The weights that the graph refers to, renumbered.
fn referenced(graph: &mut Graph<Op, TensorType>, weights: &Weights) -> Weights {
    let mut ops: Vec<Op> = graph.values().map(|v| graph.node(v).op.clone()).collect();
    let references = ops.iter_mut().flat_map(|op| match op {
        Op::Linear(op) => op.weights_mut(),
        _ => Vec::new(),
    });
    let kept = weights.referenced(references.collect());
    for (value, op) in graph.values().zip(ops) {
        graph.node_mut(value).op = op;
    }
    kept
}

/// A run of channels.
type Run = Range<usize>;

/// The values that hold a feature map.
#[derive(Clone)]
struct Parts {
    /// Where the map would lie if a ciphertext had as many slots.
    layout: MultiplexedLayout,
    /// Runs of channels, ascending, with the values that hold them.
    runs: Vec<(Run, ValueId)>,
}

/// A value that holds a run of the channels of some result.
struct Piece {
    run: Run,
    value: ValueId,
}

struct Splitter<'a> {
    source: &'a Model,
    splitting: Splitting,
    slots: usize,
    /// Values of the result that are zero throughout.
    zeros: BTreeSet<ValueId>,
    graph: Graph<Op, TensorType>,
    weights: Weights,
    /// By value of the source.
    parts: Vec<Parts>,
    copies: Vec<usize>,
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

    fn value(&mut self, value: ValueId) -> Parts {
        let node = self.source.graph.node(value);
        let operands = self.source.graph.operands(value);
        let layout = match &node.op {
            Op::Input => {
                let [channels, height, width] = node.ty.chw();
                MultiplexedLayout::dense(channels, height, width)
            }
            Op::Linear(LinearOp::Flatten) => self.parts[operands[0].index()].layout,
            Op::Linear(op) => {
                let operand = &self.parts[operands[0].index()].layout;
                output_layout(op, operand, node.ty.chw())
            }
            _ => self.parts[operands[0].index()].layout,
        };
        let whole = operands
            .iter()
            .all(|operand| self.parts[operand.index()].runs.len() == 1);
        let all = 0..layout.channels;
        let each = |channels: usize| (0..channels).map(|channel| channel..channel + 1).collect();
        let runs: Vec<Run> = match (&node.op, self.splitting) {
            (Op::Input, _) => vec![all],
            (Op::Linear(LinearOp::Gemm { .. }), _) => self.runs(&layout),
            (Op::Linear(LinearOp::Conv { .. }), Splitting::EveryChannel) => each(layout.channels),
            (_, Splitting::EveryChannel) if !whole => each(layout.channels),
            _ => self.runs(&layout),
        };
        if matches!(node.op, Op::Activation(_)) {
            self.copies.push(match whole {
                true => 1,
                false => self.parts[operands[0].index()].runs.len(),
            });
        }
        if whole && runs.len() == 1 {
            let operands: Vec<ValueId> = operands
                .iter()
                .map(|operand| self.parts[operand.index()].runs[0].1)
                .collect();
            let copied = self
                .graph
                .add(node.op.clone(), &operands, node.ty.clone(), &node.name);
            return Parts {
                layout,
                runs: vec![(0..layout.channels, copied)],
            };
        }
        let runs = match &node.op {
            Op::Input => unreachable!("an input has one run and no operands"),
            Op::MaxPool { .. } => unreachable!("an earlier pass turns max pools into ReLUs"),
            Op::Linear(op) => self.linear(op, operands[0], value, runs),
            Op::Add => {
                let [left, right] = [operands[0], operands[1]];
                runs.into_iter()
                    .map(|run| {
                        let operands = [left, right].map(|operand| {
                            let pieces = self.pieces(operand);
                            self.assemble(&run, &pieces, value)
                        });
                        let ty = self.ty_of(operands[0]);
                        let sum = match operands.map(|operand| self.zeros.contains(&operand)) {
                            [true, false] => operands[1],
                            [false, true] => operands[0],
                            _ => self.graph.add(Op::Add, &operands, ty, &node.name),
                        };
                        (run, sum)
                    })
                    .collect()
            }
            op @ (Op::Activation(_) | Op::Identity) => {
                let operand = self.parts[operands[0].index()].runs.clone();
                let apply = |(run, part): (Run, ValueId)| {
                    let ty = self.graph.ty(part).clone();
                    (run, self.graph.add(op.clone(), &[part], ty, &node.name))
                };
                operand.into_iter().map(apply).collect()
            }
        };
        Parts { layout, runs }
    }

    fn linear(
        &mut self,
        op: &LinearOp,
        operand: ValueId,
        value: ValueId,
        runs: Vec<Run>,
    ) -> Vec<(Run, ValueId)> {
        match op {
            LinearOp::Conv {
                weight,
                bias,
                window,
                groups,
            } => runs
                .into_iter()
                .map(|run| {
                    let conv = self.conv((*weight, *bias), window, *groups, operand, &run, value);
                    (run, conv)
                })
                .collect(),
            LinearOp::Gemm { weight, bias } => {
                vec![(0..runs[0].end, self.gemm(*weight, *bias, operand, value))]
            }
            LinearOp::Flatten | LinearOp::GlobalAveragePool => {
                // Nothing is gained by bringing the runs together here.
                let pieces = self.pieces(operand);
                let apply = |piece: Piece| {
                    let channels = piece.run.len();
                    let [_, height, width] = self.graph.ty(piece.value).chw();
                    let ty = match op {
                        LinearOp::Flatten => TensorType::new([channels * height * width]),
                        _ => TensorType::new([channels, 1, 1]),
                    };
                    let applied = self.add(op.clone(), piece.value, ty, value);
                    (piece.run, applied)
                };
                pieces.into_iter().map(apply).collect()
            }
            _ => {
                let pieces = self.restricted(op, operand, value);
                runs.into_iter()
                    .map(|run| {
                        let assembled = self.assemble(&run, &pieces, value);
                        (run, assembled)
                    })
                    .collect()
            }
        }
    }

    /// What an operation that keeps channels apart makes of every run of its operand.
    fn restricted(&mut self, op: &LinearOp, operand: ValueId, value: ValueId) -> Vec<Piece> {
        let [_, height, width] = self.source.graph.ty(value).chw();
        let mut pieces = Vec::new();
        for Piece { run, value: part } in self.pieces(operand) {
            let (op, reached) = match op {
                LinearOp::Slice { start, end, step } => {
                    // Element j of the result is channel start + j·step.
                    let index = |channel: usize| channel.saturating_sub(start[0]).div_ceil(step[0]);
                    let reached = index(run.start)..index(run.end.min(end[0]));
                    if reached.is_empty() {
                        continue;
                    }
                    let first = start[0] + reached.start * step[0] - run.start;
                    let last = start[0] + (reached.end - 1) * step[0] - run.start;
                    let op = LinearOp::Slice {
                        start: [first, start[1], start[2]],
                        end: [last + 1, end[1], end[2]],
                        step: *step,
                    };
                    (op, reached)
                }
                LinearOp::Pad { before, after } => {
                    let run = run.start + before[0]..run.end + before[0];
                    if before[1..] == [0; 2] && after[1..] == [0; 2] {
                        // The channels stay as they are, in other places.
                        pieces.push(Piece { value: part, run });
                        continue;
                    }
                    let op = LinearOp::Pad {
                        before: [0, before[1], before[2]],
                        after: [0, after[1], after[2]],
                    };
                    (op, run)
                }
                _ => (self.on_channels(op, &run), run),
            };
            let ty = TensorType::new([reached.len(), height, width]);
            pieces.push(Piece {
                value: self.add(op, part, ty, value),
                run: reached,
            });
        }
        pieces
    }

    /// A channel-wise operation with the weights of some channels only; those of a separable one are for all.
    fn on_channels(&mut self, op: &LinearOp, run: &Run) -> LinearOp {
        let mut op = op.clone();
        if matches!(op, LinearOp::Separable { .. }) {
            return op;
        }
        let weights = &mut self.weights;
        for id in op.weights_mut() {
            let tensor = weights.get(*id);
            let channel = tensor.shape[1..].iter().product::<usize>();
            let data = tensor.data[run.start * channel..run.end * channel].to_vec();
            let mut shape = tensor.shape.clone();
            shape[0] = run.len();
            let name = tensor.name.clone();
            *id = weights.push(Tensor::new(name, shape, data));
        }
        op
    }

    /// The output channels `run` of a convolution: the sum over the operand's runs.
    fn conv(
        &mut self,
        (weight, bias): (WeightId, Option<WeightId>),
        window: &Window,
        groups: usize,
        operand: ValueId,
        run: &Run,
        value: ValueId,
    ) -> ValueId {
        let kernel = self.weights.get(weight).clone();
        let (outputs, per_group) = (kernel.shape[0], kernel.shape[1]);
        let taps = kernel.shape[2..].iter().product::<usize>();
        let bias = bias.map(|id| {
            let tensor = self.weights.get(id);
            let (name, data) = (tensor.name.clone(), tensor.data[run.clone()].to_vec());
            self.weights.push(Tensor::new(name, vec![run.len()], data))
        });
        let [_, height, width] = self.source.graph.ty(value).chw();
        let ty = TensorType::new([run.len(), height, width]);
        let mut sum: Option<ValueId> = None;
        let pieces = self.pieces(operand);
        for (i, piece) in pieces.iter().enumerate() {
            let mut data = vec![0.0; run.len() * piece.run.len() * taps];
            for output in run.clone() {
                let first = output / (outputs / groups) * per_group;
                let channels = first.max(piece.run.start)..(first + per_group).min(piece.run.end);
                for channel in channels {
                    let from = (output * per_group + channel - first) * taps;
                    let row = (output - run.start) * piece.run.len() + channel - piece.run.start;
                    data[row * taps..][..taps].copy_from_slice(&kernel.data[from..][..taps]);
                }
            }
            let last = i + 1 == pieces.len();
            if data.iter().all(|tap| *tap == 0.0) && !(last && sum.is_none()) {
                continue;
            }
            let mut shape = vec![run.len(), piece.run.len()];
            shape.extend(&kernel.shape[2..]);
            let weight = self.weights.push(Tensor::new(&kernel.name, shape, data));
            let op = LinearOp::Conv {
                weight,
                bias: bias.filter(|_| sum.is_none()),
                window: *window,
                groups: 1,
            };
            let term = self.add(op, piece.value, ty.clone(), value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one run")
    }

    /// A matrix product: the sum over the operand's runs.
    fn gemm(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
        operand: ValueId,
        value: ValueId,
    ) -> ValueId {
        let matrix = self.weights.get(weight).clone();
        let [outputs, columns] = [matrix.shape[0], matrix.shape[1]];
        let ty = self.source.graph.ty(value).clone();
        let channels = self.parts[operand.index()].layout.channels;
        let per_channel = columns / channels.max(1);
        let mut sum: Option<ValueId> = None;
        for piece in self.pieces(operand) {
            let (start, end) = (piece.run.start * per_channel, piece.run.end * per_channel);
            let rows = matrix.data.chunks_exact(columns);
            let data: Vec<f32> = rows.flat_map(|row| &row[start..end]).copied().collect();
            let tensor = Tensor::new(&matrix.name, vec![outputs, end - start], data);
            let op = LinearOp::Gemm {
                weight: self.weights.push(tensor),
                bias: bias.filter(|_| sum.is_none()),
            };
            let term = self.add(op, piece.value, ty.clone(), value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one run")
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
            let mut part = piece.value;
            if common != piece.run {
                let op = LinearOp::Slice {
                    start: [common.start - piece.run.start, 0, 0],
                    end: [common.end - piece.run.start, height, width],
                    step: [1; 3],
                };
                let ty = TensorType::new([common.len(), height, width]);
                part = self.add(op, part, ty, value);
            }
            if common != *run {
                let op = LinearOp::Pad {
                    before: [common.start - run.start, 0, 0],
                    after: [run.end - common.end, 0, 0],
                };
                let ty = TensorType::new([run.len(), height, width]);
                part = self.add(op, part, ty, value);
            }
            sum = Some(self.sum(sum, part, value));
        }
        sum.unwrap_or_else(|| {
            let shape = vec![run.len(), pieces[0].run.len(), 1, 1];
            let zeros = vec![0.0; shape.iter().product()];
            let op = LinearOp::Conv {
                weight: self.weights.push(Tensor::new("zero", shape, zeros)),
                bias: None,
                window: Window {
                    kernel: [1; 2],
                    stride: [1; 2],
                    pads: [0; 4],
                    dilation: [1; 2],
                },
                groups: 1,
            };
            let ty = TensorType::new([run.len(), height, width]);
            let zero = self.add(op, pieces[0].value, ty, value);
            if self.splitting == Splitting::EveryChannel {
                self.zeros.insert(zero);
            }
            zero
        })
    }

    /// A value of the source in one piece.
    fn whole(&mut self, value: ValueId) -> ValueId {
        let Parts { layout, runs } = self.parts[value.index()].clone();
        match &runs[..] {
            [(_, whole)] => *whole,
            _ => {
                let pieces = self.pieces(value);
                self.assemble(&(0..layout.channels), &pieces, value)
            }
        }
    }

    fn pieces(&self, value: ValueId) -> Vec<Piece> {
        let runs = self.parts[value.index()].runs.iter();
        runs.map(|(run, value)| Piece {
            run: run.clone(),
            value: *value,
        })
        .collect()
    }

    fn sum(&mut self, sum: Option<ValueId>, term: ValueId, value: ValueId) -> ValueId {
        let Some(sum) = sum else { return term };
        let ty = self.ty_of(term);
        let name = &self.source.graph.node(value).name;
        self.graph.add(Op::Add, &[sum, term], ty, name)
    }

    fn ty_of(&self, value: ValueId) -> TensorType {
        self.graph.ty(value).clone()
    }

    /// Adds an operation that comes from `value` of the source.
    fn add(&mut self, op: LinearOp, operand: ValueId, ty: TensorType, value: ValueId) -> ValueId {
        let name = &self.source.graph.node(value).name;
        self.graph.add(Op::Linear(op), &[operand], ty, name)
    }
}
