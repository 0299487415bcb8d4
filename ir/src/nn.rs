//! The first stage: a tensor graph as imported from a model.
//!
//! Shapes leave out the batch axis (it is always 1): a feature map is `[C, H, W]`, a vector `[F]`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, ValueId};
use crate::note::Note;
use crate::printable;
use crate::weights::{WeightId, Weights};

mod activation;

pub use activation::{Activation, GeluForm};

/// The shape of a value, without the batch axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorType {
    /// `[C, H, W]` or `[F]`.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A value of the given shape.
    pub fn new(shape: impl Into<Vec<usize>>) -> Self {
        Self {
            shape: shape.into(),
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The shape as channels, height and width; a vector is `F×1×1`.
    pub fn chw(&self) -> [usize; 3] {
        match self.shape[..] {
            [c, h, w] => [c, h, w],
            _ => [self.elements(), 1, 1],
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "tensor<{}>", extents.join("x"))
    }
}

/// A window that slides over height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Kernel extent `[height, width]`.
    pub kernel: [usize; 2],
    /// Step `[height, width]`.
    pub stride: [usize; 2],
    /// Zeros added at `[top, left, bottom, right]`.
    pub pads: [usize; 4],
    /// Distance between kernel taps `[height, width]`.
    pub dilation: [usize; 2],
}

impl Window {
    /// Output height and width for an input of `height`×`width`, or `None` when the window does
    /// not fit even once.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let extent = |axis: usize, input: usize, before: usize, after: usize| {
            let reach = self.dilation[axis] * (self.kernel[axis].checked_sub(1)?) + 1;
            let room = (input + before + after).checked_sub(reach)?;
            Some(room / self.stride[axis] + 1)
        };
        Some([
            extent(0, height, self.pads[0], self.pads[2])?,
            extent(1, width, self.pads[1], self.pads[3])?,
        ])
    }

    /// The input index under tap `tap` of output `output` on an axis (0: height, 1: width) of
    /// `extent` elements, or `None` in the padding.
    pub fn source(&self, axis: usize, output: usize, tap: usize, extent: usize) -> Option<usize> {
        (output * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.pads[axis])
            .filter(|index| *index < extent)
    }
}

/// An operation that is affine in its one operand. These are what a packed linear map is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearOp {
    /// 2-D cross-correlation; weight `[M, C/groups, kH, kW]`, bias `[M]`.
    Conv {
        /// Kernel tensor.
        weight: WeightId,
        /// Bias tensor, one element an output channel.
        bias: Option<WeightId>,
        /// Kernel extent, stride, padding, dilation.
        window: Window,
        /// Number of channel groups.
        groups: usize,
    },
    /// `scale[c]·(x − mean[c])/√(variance[c] + epsilon) + bias[c]`, four tensors of `[C]`.
    BatchNorm {
        /// Multiplier γ.
        scale: WeightId,
        /// Offset β.
        bias: WeightId,
        /// Running mean.
        mean: WeightId,
        /// Running variance.
        variance: WeightId,
        /// Added to the variance.
        epsilon: f64,
    },
    /// `scale[c]·x + shift[c]` per channel; either tensor may be absent.
    ChannelAffine {
        /// Multiplier, `[C]`.
        scale: Option<WeightId>,
        /// Offset, `[C]`.
        shift: Option<WeightId>,
    },
    /// `scale·x + shift` element by element; either tensor may be absent.
    ElementAffine {
        /// Multiplier, of the operand's shape.
        scale: Option<WeightId>,
        /// Offset, of the operand's shape.
        shift: Option<WeightId>,
    },
    /// Mean over each window.
    AveragePool {
        /// Window; dilation is 1.
        window: Window,
        /// Whether padding counts in the divisor.
        padding: PaddingInMean,
    },
    /// Mean over height and width: `[C, H, W]` to `[C, 1, 1]`.
    GlobalAveragePool,
    /// Row-major reshape to `[C·H·W]`.
    Flatten,
    /// `W·x + b`; weight `[out, in]`, bias `[out]`.
    Gemm {
        /// Matrix.
        weight: WeightId,
        /// Bias tensor.
        bias: Option<WeightId>,
    },
    /// Keeps elements `start, start+step, …` below `end` on each of the axes C, H, W.
    Slice {
        /// First index per axis.
        start: [usize; 3],
        /// One past the last index per axis.
        end: [usize; 3],
        /// Step per axis, at least 1.
        step: [usize; 3],
    },
    /// `y[c] = rows · x[c] · columnsᵀ`: the same linear map along height, and along width, in every
    /// channel. An axis without a matrix stays as it is.
    Separable {
        /// Matrix `[H', H]` along height.
        rows: Option<WeightId>,
        /// Matrix `[W', W]` along width.
        columns: Option<WeightId>,
        /// How far apart `[height, width]` the sources of neighbouring results lie, at least 1. It
        /// changes nothing about the numbers, but tells a layout where results belong.
        stride: [usize; 2],
    },
    /// Adds zeros before and after each of the axes C, H, W.
    Pad {
        /// Zeros before.
        before: [usize; 3],
        /// Zeros after.
        after: [usize; 3],
    },
}

impl LinearOp {
    /// Whether zero may become something else: the operation adds a tensor.
    pub fn has_offset(&self) -> bool {
        match self {
            Self::Conv { bias, .. } | Self::Gemm { bias, .. } => bias.is_some(),
            Self::ChannelAffine { shift, .. } | Self::ElementAffine { shift, .. } => {
                shift.is_some()
            }
            Self::BatchNorm { .. } => true,
            Self::AveragePool { .. }
            | Self::GlobalAveragePool
            | Self::Flatten
            | Self::Slice { .. }
            | Self::Separable { .. }
            | Self::Pad { .. } => false,
        }
    }

    /// Every weight that the operation refers to, for renumbering.
    pub fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        match self {
            Self::Conv { weight, bias, .. } | Self::Gemm { weight, bias } => {
                std::iter::once(weight).chain(bias).collect()
            }
            Self::BatchNorm {
                scale,
                bias,
                mean,
                variance,
                ..
            } => {
                vec![scale, bias, mean, variance]
            }
            Self::ChannelAffine { scale, shift } | Self::ElementAffine { scale, shift } => {
                scale.iter_mut().chain(shift).collect()
            }
            Self::Separable { rows, columns, .. } => rows.iter_mut().chain(columns).collect(),
            Self::AveragePool { .. }
            | Self::GlobalAveragePool
            | Self::Flatten
            | Self::Slice { .. }
            | Self::Pad { .. } => Vec::new(),
        }
    }
}

/// Whether an average pool's divisor counts padded elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingInMean {
    /// The divisor is the kernel's size.
    Counted,
    /// The divisor is the number of real elements under the window.
    Excluded,
}

/// An operation of the tensor graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The image.
    Input,
    /// An affine operation on one operand.
    Linear(LinearOp),
    /// A non-linear function on one operand.
    Activation(Activation),
    /// The sum of two operands of one shape.
    Add,
    /// The maximum over each window of a feature map; padding takes no part in it.
    MaxPool {
        /// Window. Every position of it covers at least one element.
        window: Window,
    },
    /// Its operand, unchanged; also what an inference-time Dropout or a harmless Cast becomes.
    Identity,
}

/// A model: graph, weights and where they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Name of the graph, or of the file.
    pub name: String,
    /// SHA-256 of the model file and its external data, in the order read.
    pub digest: [u8; 32],
    /// The operations. One input, one output.
    pub graph: Graph<Op, TensorType>,
    /// The tensors that the operations refer to.
    pub weights: Weights,
    /// Axis order in which the file's input takes an image.
    pub input_order: AxisOrder,
    /// What import changed or cut, for the user.
    pub notes: Vec<Note>,
}

/// Axis order of an image tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AxisOrder {
    /// Channels, height, width.
    Chw,
    /// Height, width, channels.
    Hwc,
}

impl Model {
    /// The image's value.
    ///
    /// # Panics
    /// If the graph has no input, which the verifier rules out.
    pub fn input(&self) -> ValueId {
        self.graph
            .values()
            .find(|value| matches!(self.graph.node(*value).op, Op::Input))
            .expect("a verified model has an input")
    }

    /// Escapes every name and note that a terminal would not show as one line. Passes and their
    /// errors take names from here.
    pub fn make_printable(&mut self) {
        printable::make_line(&mut self.name);
        for value in self.graph.values() {
            printable::make_line(&mut self.graph.node_mut(value).name);
        }
        self.weights.names_mut().for_each(printable::make_line);
        self.notes.iter_mut().for_each(Note::make_printable);
    }

    /// The logits' value.
    ///
    /// # Panics
    /// If the graph has no output, which the verifier rules out.
    pub fn output(&self) -> ValueId {
        self.graph.outputs()[0]
    }
}
