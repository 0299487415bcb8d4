//! Max-pool lowering: maxima become ReLUs, by `max(a, b) = b + relu(a − b)`.
//!
//! A window's maximum is taken along one axis first, then along the other, and on each axis over
//! runs of more and more taps; the module `runs` finds the cheapest ones. Each ReLU takes only the
//! positions that the stride needs, so that the map becomes smaller from one to the next. The axis
//! that makes the whole cheaper comes first.
//!
//! Along an axis every maximum is a sum of picked elements of the map and of the ReLUs so far. The
//! difference of two such sums is one separable map for each of them, whose rows hold +1 and −1.
//!
//! Padding takes no part in a maximum: of a run that lies outside the map nothing is taken, and its
//! neighbour stands for both.
//!
//! Source: Lee et al., "Precise Approximation of Convolutional Neural Networks for Homomorphically
//! Encrypted Data", arXiv 2105.10879, for max pooling by sign polynomials.

mod runs;

use std::collections::BTreeMap;

use heddle_ir::nn::{Activation, LinearOp, Model, Op, Separable, TensorType, Window};
use heddle_ir::{Graph, Tensor, ValueId, WeightId, Weights};

use self::runs::{AxisMaxima, Cost, Positions, Run, Share, WindowAxis};
use crate::error::Error;
use crate::pass::Changed;
use crate::passes::split_channels::Splitting;

/// The pass's name.
pub const NAME: &str = "lower-max-pool";

/// Most elements of the matrices of one pool along one axis.
const MAX_ELEMENTS: usize = 1 << 27;

/// Rebuilds the graph without [`Op::MaxPool`]. How feature maps will be split into ciphertexts of
/// `slots` slots decides between few ReLUs and small ones.
///
/// # Errors
/// [`Error::TooLarge`] if a pool's matrices would take too much memory.
pub fn run(model: Model, splitting: Splitting, slots: usize) -> Result<(Model, Changed), Error> {
    let is_pool = |value: ValueId| matches!(model.graph.node(value).op, Op::MaxPool { .. });
    if !model.graph.values().any(is_pool) {
        return Ok((model, Changed::No));
    }
    let mut lowering = Lowering {
        graph: Graph::new(),
        weights: model.weights.clone(),
        splitting,
        slots,
    };
    let mut renumbered: Vec<ValueId> = Vec::with_capacity(model.graph.len());
    for value in model.graph.values() {
        let node = model.graph.node(value);
        let operands = model.graph.renumbered_operands(value, &renumbered);
        renumbered.push(match &node.op {
            Op::MaxPool { window } => {
                lowering.max_pool(window, operands[0], &node.ty, &node.name)?
            }
            op => lowering
                .graph
                .add(op.clone(), &operands, node.ty.clone(), node.name.clone()),
        });
    }
    let Lowering {
        mut graph, weights, ..
    } = lowering;
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
    splitting: Splitting,
    slots: usize,
}

impl Lowering {
    fn max_pool(
        &mut self,
        window: &Window,
        operand: ValueId,
        ty: &TensorType,
        name: &str,
    ) -> Result<ValueId, Error> {
        let operand_shape = self.graph.ty(operand).chw();
        let order = |first: Axis| self.in_order(window, operand_shape, ty.chw(), first);
        let [width_first, height_first] = [Axis::Width, Axis::Height].map(order);
        let (_, axes) = match height_first.0 < width_first.0 {
            true => height_first,
            false => width_first,
        };
        for (axis, maxima) in &axes {
            if maxima.matrix_elements(operand_shape[1 + axis.index()]) > MAX_ELEMENTS {
                let [_, height, width] = operand_shape;
                return Err(Error::TooLarge {
                    node: name.to_owned(),
                    extents: format!("{height}×{width}"),
                    slots: self.slots,
                });
            }
        }
        let [(first, along_first), (second, along_second)] = &axes;
        // The pool's result has its name.
        let inner = format!("{name}/{}", first.name());
        let outer = match along_second.is_identity(operand_shape[1 + second.index()]) {
            true => name,
            false => &inner,
        };
        let maxima = self.along(operand, *first, along_first, outer);
        Ok(self.along(maxima, *second, along_second, name))
    }

    /// The maxima along both axes, `first` first, and what they cost.
    fn in_order(
        &self,
        window: &Window,
        operand: [usize; 3],
        result: [usize; 3],
        first: Axis,
    ) -> (Cost, [(Axis, AxisMaxima); 2]) {
        let [channels, ..] = operand;
        let axes = [first, first.other()];
        let mut cost = Cost::default();
        let maxima = axes.map(|axis| {
            let (index, across) = (axis.index(), axis.other().index());
            let across = match axis == first {
                true => operand[1 + across],
                false => result[1 + across],
            };
            let window = WindowAxis {
                extent: operand[1 + index],
                kernel: window.kernel[index],
                stride: window.stride[index],
                dilation: window.dilation[index],
                pad: window.pads[index],
                results: result[1 + index],
            };
            let together = match self.splitting {
                Splitting::WhereNeeded => channels,
                Splitting::EveryChannel => 1,
            };
            let share = Share {
                slots: together.saturating_mul(across.next_power_of_two()),
                elements: channels.saturating_mul(across),
                ciphertext: self.slots,
            };
            let maxima = AxisMaxima::new(window, share);
            cost = cost.plus(maxima.cost);
            (axis, maxima)
        });
        (cost, maxima)
    }

    /// The maxima along one axis, as a value called `name`.
    fn along(&mut self, operand: ValueId, axis: Axis, maxima: &AxisMaxima, name: &str) -> ValueId {
        let extent = self.graph.ty(operand).chw()[1 + axis.index()];
        if maxima.is_identity(extent) {
            return operand;
        }
        let mut phase = Phase {
            axis,
            window: maxima.axis,
            sources: vec![Source {
                value: operand,
                step: 1,
                extent,
            }],
            runs: BTreeMap::new(),
        };
        for (index, run) in maxima.runs.iter().enumerate() {
            let name = format!("{name}/{}.{index}", axis.name());
            self.longer_run(&mut phase, run, &name);
        }
        let found = phase.element_sums(maxima.axis.kernel, maxima.results);
        self.sum(&phase, &found, maxima.results.step, name)
            .unwrap_or(operand)
    }

    /// Takes the maxima of two shorter runs at every position of `run`.
    fn longer_run(&mut self, phase: &mut Phase, run: &Run, name: &str) {
        let Run {
            taps,
            positions,
            parts: [before, behind],
        } = *run;
        let window = phase.window;
        let apart = ((taps - behind) * window.dilation) as isize;
        let mut kept = Vec::with_capacity(positions.count);
        let mut differences = Vec::with_capacity(positions.count);
        for start in positions.iter() {
            let first = phase.element(before, start);
            let second = phase.element(behind, start + apart);
            // What the second run has more than the first is added.
            let (first, difference) = match (first, second) {
                (Some(first), Some(second)) => {
                    let difference = second.minus(&first);
                    (first, difference)
                }
                (Some(only), None) | (None, Some(only)) => (only, ElementSum::default()),
                (None, None) => (ElementSum::default(), ElementSum::default()),
            };
            kept.push(first);
            differences.push(difference);
        }
        let difference = format!("{name}/difference");
        if let Some(difference) = self.sum(phase, &differences, positions.step, &difference) {
            let ty = self.graph.ty(difference).clone();
            let relu = Op::activation(Activation::Relu);
            let relu = self
                .graph
                .add(relu, &[difference], ty, format!("{name}/relu"));
            let source = phase.sources.len();
            phase.sources.push(Source {
                value: relu,
                step: positions.step,
                extent: positions.count,
            });
            for (index, (sum, difference)) in kept.iter_mut().zip(&differences).enumerate() {
                if !difference.0.is_empty() {
                    sum.0.insert((source, index), 1.0);
                }
            }
        }
        phase.runs.insert(taps, (positions, kept));
    }

    /// The sums as a feature map whose neighbours are `step` elements of the axis apart; `None` if
    /// all of them are empty.
    fn sum(
        &mut self,
        phase: &Phase,
        sums: &[ElementSum],
        step: isize,
        name: &str,
    ) -> Option<ValueId> {
        let mut sum: Option<ValueId> = None;
        for (index, source) in phase.sources.iter().enumerate() {
            let rows: Vec<Vec<(usize, f32)>> = sums.iter().map(|sum| sum.of(index)).collect();
            if rows.iter().all(Vec::is_empty) {
                continue;
            }
            let stride = (step / source.step).max(1) as usize;
            let picked = self.pick(source, phase.axis, &rows, stride, name);
            sum = Some(match sum {
                None => picked,
                Some(sum) => {
                    let ty = self.graph.ty(sum).clone();
                    self.graph.add(Op::Add, &[sum, picked], ty, name)
                }
            });
        }
        sum
    }

    /// A matrix along an axis of a source; the source itself where it is the identity.
    fn pick(
        &mut self,
        source: &Source,
        axis: Axis,
        rows: &[Vec<(usize, f32)>],
        stride: usize,
        name: &str,
    ) -> ValueId {
        let mut is_kept = rows.iter().enumerate();
        if rows.len() == source.extent && is_kept.all(|(index, row)| row[..] == [(index, 1.0)]) {
            return source.value;
        }
        let mut data = vec![0.0; rows.len() * source.extent];
        for (row, entries) in data.chunks_exact_mut(source.extent).zip(rows) {
            for (element, factor) in entries {
                row[*element] = *factor;
            }
        }
        let shape = vec![rows.len(), source.extent];
        let matrix = format!("{name}.{}", axis.name());
        let matrix = self.weights.push(Tensor::new(matrix, shape, data));
        let mut shape = self.graph.ty(source.value).chw();
        shape[1 + axis.index()] = rows.len();
        let op = LinearOp::Separable(axis.separable(matrix, stride));
        self.graph.add(
            Op::Linear(op),
            &[source.value],
            TensorType::new(shape),
            name,
        )
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

    fn index(self) -> usize {
        match self {
            Self::Height => 0,
            Self::Width => 1,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Height => Self::Width,
            Self::Width => Self::Height,
        }
    }

    /// A matrix along this axis; the other one stays.
    fn separable(self, matrix: WeightId, stride: usize) -> Separable {
        match self {
            Self::Height => Separable {
                rows: Some(matrix),
                columns: None,
                stride: [stride, 1],
            },
            Self::Width => Separable {
                rows: None,
                columns: Some(matrix),
                stride: [1, stride],
            },
        }
    }
}

/// The maxima along one axis under construction.
struct Phase {
    axis: Axis,
    window: WindowAxis,
    /// What maxima are made of: the map, then the ReLUs.
    sources: Vec<Source>,
    /// By taps: where there are maxima of runs, and what they are.
    runs: BTreeMap<usize, (Positions, Vec<ElementSum>)>,
}

/// The map, or a ReLU of it.
struct Source {
    value: ValueId,
    /// How many elements of the map neighbours are apart.
    step: isize,
    /// Extent along the axis.
    extent: usize,
}

/// An element of a result along an axis: a sum of elements of the sources, by source and index,
/// with factors other than zero.
#[derive(Clone, Debug, Default, PartialEq)]
struct ElementSum(BTreeMap<(usize, usize), f32>);

impl ElementSum {
    fn minus(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        for (element, factor) in &other.0 {
            *difference.0.entry(*element).or_default() -= factor;
        }
        difference.0.retain(|_, factor| *factor != 0.0);
        difference
    }

    /// The elements of one source with their factors, ascending.
    fn of(&self, source: usize) -> Vec<(usize, f32)> {
        let elements = self.0.range((source, 0)..(source + 1, 0));
        elements
            .map(|((_, element), factor)| (*element, *factor))
            .collect()
    }
}

impl Phase {
    /// The maximum of the run of `taps` taps from `start`; `None` where no tap is in the map.
    fn element(&self, taps: usize, start: isize) -> Option<ElementSum> {
        if !self.window.reaches_map(taps, start) {
            return None;
        }
        if taps == 1 {
            return Some(ElementSum(BTreeMap::from([((0, start as usize), 1.0)])));
        }
        let (positions, sums) = self.runs.get(&taps)?;
        sums.get(positions.index_of(start)).cloned()
    }

    /// [`element`](Self::element) at all positions.
    fn element_sums(&self, taps: usize, positions: Positions) -> Vec<ElementSum> {
        let starts = positions.iter();
        starts
            .map(|start| self.element(taps, start).unwrap_or_default())
            .collect()
    }
}
