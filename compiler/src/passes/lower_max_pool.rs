//! Max-pool lowering: maxima become ReLUs, by `max(a, b) = b + relu(a − b)`.
//!
//! A window's maximum is taken along width first, then along height, and on each axis over runs of
//! 2, 4, 8 … taps, the last two of which may overlap: ⌈log2 k⌉ ReLUs an axis. Every position of a
//! map is computed at once, so that intermediate maps keep the operand's size and neighbours stay
//! neighbours; only the last round takes the stride, on both axes, as a strided convolution does.
//! The difference `a − b` is one separable map whose rows hold +1 and −1.
//!
//! Padding takes no part in a maximum: a tap outside the map is replaced by the nearest one inside
//! the same window, which changes nothing, since a maximum may count an element twice.
//!
//! Source: Lee et al., "Precise Approximation of Convolutional Neural Networks for Homomorphically
//! Encrypted Data", arXiv 2105.10879, for max pooling by sign polynomials.

use heddle_ir::nn::{Activation, LinearOp, Model, Op, Separable, TensorType, Window};
use heddle_ir::{Graph, Tensor, ValueId, WeightId, Weights};

use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "lower-max-pool";

/// Rebuilds the graph without [`Op::MaxPool`].
///
/// # Errors
/// None; the signature is that of every pass of its stage.
pub fn run(model: Model) -> Result<(Model, Changed), Error> {
    let is_pool = |value: ValueId| matches!(model.graph.node(value).op, Op::MaxPool { .. });
    if !model.graph.values().any(is_pool) {
        return Ok((model, Changed::No));
    }
    let mut lowering = Lowering {
        graph: Graph::new(),
        weights: model.weights.clone(),
    };
    let mut renumbered: Vec<ValueId> = Vec::with_capacity(model.graph.len());
    for value in model.graph.values() {
        let node = model.graph.node(value);
        let operands = model.graph.renumbered_operands(value, &renumbered);
        renumbered.push(match &node.op {
            Op::MaxPool { window } => lowering.max_pool(window, operands[0], &node.ty, &node.name),
            op => lowering
                .graph
                .add(op.clone(), &operands, node.ty.clone(), node.name.clone()),
        });
    }
    let Lowering { mut graph, weights } = lowering;
    let outputs = model.graph.outputs().iter();
    graph.set_outputs(outputs.map(|output| renumbered[output.index()]).collect());
    let lowered = Model {
        graph,
        weights,
        ..model
    };
    Ok((lowered, Changed::Yes))
}

struct Lowering {
    graph: Graph<Op, TensorType>,
    weights: Weights,
}

impl Lowering {
    fn max_pool(
        &mut self,
        window: &Window,
        operand: ValueId,
        ty: &TensorType,
        name: &str,
    ) -> ValueId {
        let [_, height, width] = self.graph.ty(operand).chw();
        let [_, rows, columns] = ty.chw();
        let along_width = AxisMaxima::new(window, Axis::Width, width, columns);
        let along_height = AxisMaxima::new(window, Axis::Height, height, rows);
        let of_width = along_width.rounds.into_iter().enumerate();
        let of_height = along_height.rounds.into_iter().enumerate();
        let mut rounds: Vec<(Axis, usize, Pairing)> = of_width
            .map(|(index, pairing)| (Axis::Width, index, pairing))
            .chain(of_height.map(|(index, pairing)| (Axis::Height, index, pairing)))
            .collect();
        let (axis, _, last) = rounds
            .pop()
            .unwrap_or_else(|| (Axis::Width, 0, Pairing::identity(width)));
        let mut maxima = operand;
        for (axis, index, pairing) in rounds {
            let name = format!("{name}/{}.{index}", axis.name());
            maxima = self.round(
                maxima,
                &pairing,
                |pick| axis.matrices(pick, None),
                [1, 1],
                &name,
            );
        }
        // Positions were one apart so far; the last round keeps those of the stride, on both axes.
        let [_, height, width] = self.graph.ty(maxima).chw();
        let (kept, across) = match axis {
            Axis::Width => (along_width.kept, Pick::of(along_height.kept, height)),
            Axis::Height => (along_height.kept, Pick::of(along_width.kept, width)),
        };
        let matrices = |pick: &Pick| axis.matrices(pick, Some(across.clone()));
        self.round(maxima, &last.of(&kept), matrices, window.stride, name)
    }

    /// `b + relu(a − b)`, where `a` and `b` are what the pairing picks from `operand`. `matrices`
    /// says for a matrix along the pairing's axis what happens along height and width.
    fn round(
        &mut self,
        operand: ValueId,
        pairing: &Pairing,
        matrices: impl Fn(&Pick) -> [Option<Pick>; 2],
        stride: [usize; 2],
        name: &str,
    ) -> ValueId {
        let one = Pick::of(pairing.second.clone(), pairing.operands);
        let kept = self.separable(operand, matrices(&one), stride, &format!("{name}/tap"));
        if pairing.first == pairing.second {
            return kept;
        }
        let difference = Pick {
            rows: std::iter::zip(&pairing.first, &pairing.second)
                .map(|(first, second)| {
                    if first == second {
                        Vec::new()
                    } else {
                        vec![(*first, 1.0), (*second, -1.0)]
                    }
                })
                .collect(),
            operands: pairing.operands,
        };
        let difference = self.separable(
            operand,
            matrices(&difference),
            stride,
            &format!("{name}/difference"),
        );
        let ty = self.graph.ty(difference).clone();
        let relu = Op::activation(Activation::Relu);
        let excess = self
            .graph
            .add(relu, &[difference], ty.clone(), format!("{name}/relu"));
        self.graph.add(Op::Add, &[kept, excess], ty, name)
    }

    /// The operand with a matrix along height and one along width; itself where both are
    /// identities.
    fn separable(
        &mut self,
        operand: ValueId,
        matrices: [Option<Pick>; 2],
        stride: [usize; 2],
        name: &str,
    ) -> ValueId {
        let [channels, height, width] = self.graph.ty(operand).chw();
        let [rows, columns] = matrices.map(|pick| pick.filter(|pick| !pick.is_identity()));
        if rows.is_none() && columns.is_none() {
            return operand;
        }
        let extents = [&rows, &columns].map(|pick| pick.as_ref().map(|pick| pick.rows.len()));
        let ty = TensorType::new([
            channels,
            extents[0].unwrap_or(height),
            extents[1].unwrap_or(width),
        ]);
        let mut stored = |pick: Option<Pick>, axis: &str| {
            pick.map(|pick| self.store(&pick, format!("{name}.{axis}")))
        };
        let op = LinearOp::Separable(Separable {
            rows: stored(rows, "rows"),
            columns: stored(columns, "columns"),
            stride,
        });
        self.graph.add(Op::Linear(op), &[operand], ty, name)
    }

    fn store(&mut self, pick: &Pick, name: String) -> WeightId {
        let mut data = vec![0.0; pick.rows.len() * pick.operands];
        for (row, entries) in data.chunks_exact_mut(pick.operands).zip(&pick.rows) {
            for (operand, factor) in entries {
                row[*operand] += factor;
            }
        }
        let shape = vec![pick.rows.len(), pick.operands];
        self.weights.push(Tensor::new(name, shape, data))
    }
}

/// Height or width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Height,
    Width,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Self::Height => "height",
            Self::Width => "width",
        }
    }

    /// A matrix along this axis beside one along the other: `[height, width]`.
    fn matrices(self, along: &Pick, across: Option<Pick>) -> [Option<Pick>; 2] {
        let along = Some(along.clone());
        match self {
            Self::Height => [along, across],
            Self::Width => [across, along],
        }
    }
}

/// A sparse matrix along one axis: for every result its operands with their factors.
#[derive(Clone, Debug)]
struct Pick {
    rows: Vec<Vec<(usize, f32)>>,
    /// Number of operands to pick from.
    operands: usize,
}

impl Pick {
    /// Results that are one operand each.
    fn of(indices: Vec<usize>, operands: usize) -> Self {
        Self {
            rows: indices
                .into_iter()
                .map(|index| vec![(index, 1.0)])
                .collect(),
            operands,
        }
    }

    fn is_identity(&self) -> bool {
        self.rows.len() == self.operands
            && self
                .rows
                .iter()
                .enumerate()
                .all(|(index, row)| row[..] == [(index, 1.0)])
    }
}

/// Result `i` is the larger one of the operands `first[i]` and `second[i]`.
#[derive(Clone, Debug, PartialEq)]
struct Pairing {
    first: Vec<usize>,
    second: Vec<usize>,
    /// Number of operands to pick from.
    operands: usize,
}

impl Pairing {
    fn identity(extent: usize) -> Self {
        Self {
            first: (0..extent).collect(),
            second: (0..extent).collect(),
            operands: extent,
        }
    }

    /// The results `kept` alone.
    fn of(&self, kept: &[usize]) -> Self {
        let of = |side: &[usize]| kept.iter().map(|index| side[*index]).collect();
        Self {
            first: of(&self.first),
            second: of(&self.second),
            operands: self.operands,
        }
    }
}

/// How the maxima along one axis of a window are taken.
#[derive(Debug)]
struct AxisMaxima {
    /// ⌈log2 k⌉ rounds; the results of the last are the window's maxima at all positions between
    /// its first and its last one.
    rounds: Vec<Pairing>,
    /// The last round's results that the stride keeps, in order.
    kept: Vec<usize>,
}

/// The taps that lie inside the map: `count` of them from `first`, a dilation apart.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: isize,
    count: usize,
}

impl AxisMaxima {
    fn new(window: &Window, axis: Axis, extent: usize, results: usize) -> Self {
        let axis = match axis {
            Axis::Height => 0,
            Axis::Width => 1,
        };
        let axis = WindowAxis {
            extent: extent as isize,
            dilation: window.dilation[axis] as isize,
            kernel: window.kernel[axis],
            stride: window.stride[axis] as isize,
            pad: window.pads[axis] as isize,
        };
        let last_start = (results as isize - 1) * axis.stride;
        let starts = |position: isize| position - axis.pad;
        let doublings = axis.kernel.next_power_of_two().trailing_zeros();
        if doublings == 0 {
            // One tap: where it is padding, the window would be empty.
            let position = |result: usize| starts(result as isize * axis.stride) as usize;
            return Self {
                rounds: Vec::new(),
                kept: (0..results).map(position).collect(),
            };
        }
        // Backwards: the runs that a round needs say how many the round before has to give.
        let mut needed: Vec<Run> = (0..=last_start)
            .map(|position| axis.run(starts(position), axis.kernel))
            .collect();
        let mut rounds = Vec::new();
        for doubling in (0..doublings).rev() {
            let taps = 1_usize << doubling;
            let covers: Vec<[isize; 2]> = needed.iter().map(|run| axis.cover(*run, taps)).collect();
            let (low, high) = if doubling == 0 {
                (0, axis.extent - 1)
            } else {
                let starts = || covers.iter().flatten().copied();
                (
                    starts().min().unwrap_or_default(),
                    starts().max().unwrap_or_default(),
                )
            };
            let index = |side: usize| {
                let indices = covers.iter().map(move |cover| (cover[side] - low) as usize);
                indices.collect::<Vec<usize>>()
            };
            // The earlier tap is kept, and what the later one has more is added.
            rounds.push(Pairing {
                first: index(1),
                second: index(0),
                operands: (high - low + 1) as usize,
            });
            needed = (low..=high).map(|start| axis.run(start, taps)).collect();
        }
        rounds.reverse();
        Self {
            rounds,
            kept: (0..results)
                .map(|result| result * axis.stride as usize)
                .collect(),
        }
    }
}

/// One axis of a window and of the map under it.
struct WindowAxis {
    extent: isize,
    dilation: isize,
    kernel: usize,
    stride: isize,
    pad: isize,
}

impl WindowAxis {
    /// What lies inside the map of `taps` taps from `start`. Where nothing does, which no position
    /// of a window has but one between two may, the first element stands for it.
    fn run(&self, start: isize, taps: usize) -> Run {
        let skipped = (-start).max(0).div_ceil_by(self.dilation);
        let first = start + skipped * self.dilation;
        let end = start + (taps as isize - 1) * self.dilation;
        let last = end.min(self.extent - 1);
        if first > last {
            return Run { first: 0, count: 1 };
        }
        let count = (last - first) / self.dilation + 1;
        Run {
            first,
            count: count as usize,
        }
    }

    /// The starts of two runs of `taps` taps that together cover `run` inside the map, and nothing
    /// else.
    fn cover(&self, run: Run, taps: usize) -> [isize; 2] {
        let reach = |taps: usize| taps as isize * self.dilation;
        let Run { first, count } = run;
        if count >= taps {
            return [first, first + reach(count - taps)];
        }
        // Too short: the map's edge cuts it, and cuts a run of `taps` that hangs over it likewise.
        let is_cut_after = first + reach(count) >= self.extent;
        let start = if is_cut_after {
            first
        } else {
            first - reach(taps - count)
        };
        [start, start]
    }
}

/// Division that rounds up.
trait DivCeil {
    fn div_ceil_by(self, divisor: Self) -> Self;
}

impl DivCeil for isize {
    fn div_ceil_by(self, divisor: Self) -> Self {
        (self + divisor - 1) / divisor
    }
}
