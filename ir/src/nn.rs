//! The first stage: a tensor graph as imported from a model.
//!
//! Shapes leave out the batch axis (it is always 1): a feature map is `[C, H, W]`, a vector `[F]`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, ValueId};
use crate::note::Note;
use crate::printable;
use crate::weights::Weights;

mod activation;
pub mod linear;
mod product;
mod region;
pub(crate) mod shapes;
mod window;

pub use activation::{Activation, ActivationId, ActivationMap, GeluForm, MAX_POWER};
pub use linear::{
    AveragePool, BatchNorm, ChannelAffine, Conv, ElementAffine, Gemm, LinearOp, LinearOperation,
    Pad, PaddingInMean, Rearrange, Separable, Slice,
};
pub use product::ProductId;
pub(crate) use region::check_tiling;
pub use region::{MAX_PIECES, Region};
pub use window::Window;

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

/// An operation of the tensor graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A region of the image, see [`Model::input_regions`].
    Input,
    /// An affine operation on one operand.
    Linear(LinearOp),
    /// A non-linear function on one operand.
    Activation {
        /// The function.
        function: Activation,
        /// Which activation of the calibrated graph this is: ranges and approximations are looked
        /// up by it. Copies of an activation share it; before calibration there is none.
        id: Option<ActivationId>,
    },
    /// The sum of two operands of one shape.
    Add,
    /// The product, element by element, of two operands of one shape.
    Multiply {
        /// Which product of the calibrated graph this is: its operands' ranges are looked up by it.
        /// Copies of a product share it; before calibration there is none.
        id: Option<ProductId>,
    },
    /// The maximum over each window of a feature map; padding takes no part in it.
    MaxPool {
        /// Window. Every position of it covers at least one element.
        window: Window,
    },
    /// Its operand, unchanged; also what an inference-time Dropout or a harmless Cast becomes.
    Identity,
}

impl Op {
    /// An activation that is not calibrated yet.
    pub fn activation(function: Activation) -> Self {
        Self::Activation { function, id: None }
    }

    /// A product that is not calibrated yet.
    pub fn multiply() -> Self {
        Self::Multiply { id: None }
    }
}

/// A model: graph, weights and where they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Name of the graph, or of the file.
    pub name: String,
    /// SHA-256 of the model file and its external data, in the order read.
    pub digest: [u8; 32],
    /// The operations. One input for every region of the image, one output.
    pub graph: Graph<Op, TensorType>,
    /// The tensors that the operations refer to.
    pub weights: Weights,
    /// The region of the image that each input takes, in the order of the graph. Together they are
    /// the image, every element once. An imported model has one, the whole.
    pub input_regions: Vec<Region>,
    /// Axis order in which the file's input takes an image.
    pub input_order: AxisOrder,
    /// What import changed or cut, for the user.
    pub notes: Vec<Note>,
}

/// The weights that `graph` refers to, in their old order; the graph is renumbered to match.
pub fn referenced_weights(graph: &mut Graph<Op, TensorType>, weights: &Weights) -> Weights {
    let mut ops: Vec<Op> = graph
        .values()
        .map(|value| graph.node(value).op.clone())
        .collect();
    let references = ops.iter_mut().flat_map(|op| match op {
        Op::Linear(op) => op.weights_mut(),
        Op::Input
        | Op::Activation { .. }
        | Op::Add
        | Op::Multiply { .. }
        | Op::MaxPool { .. }
        | Op::Identity => Vec::new(),
    });
    let kept = weights.referenced(references.collect());
    for (value, op) in graph.values().zip(ops) {
        graph.node_mut(value).op = op;
    }
    kept
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
    /// The activations in order; the place of each is its [`ActivationId`] in this graph.
    pub fn activations(&self) -> impl Iterator<Item = ValueId> {
        self.graph
            .values()
            .filter(|value| matches!(self.graph.node(*value).op, Op::Activation { .. }))
    }

    /// The products in order; the place of each is its [`ProductId`] in this graph.
    pub fn products(&self) -> impl Iterator<Item = ValueId> {
        self.graph
            .values()
            .filter(|value| matches!(self.graph.node(*value).op, Op::Multiply { .. }))
    }

    /// Numbers the activations in order, and the products. Later passes keep the numbers, however
    /// they rewrite the graph.
    pub fn number_activations(&mut self) {
        let (mut activations, mut products) = (0, 0);
        for value in self.graph.values() {
            match &mut self.graph.node_mut(value).op {
                Op::Activation { id, .. } => {
                    *id = Some(ActivationId(activations));
                    activations += 1;
                }
                Op::Multiply { id } => {
                    *id = Some(ProductId(products));
                    products += 1;
                }
                _ => {}
            }
        }
    }

    /// The values that hold the image, one for each of [`input_regions`](Self::input_regions).
    pub fn inputs(&self) -> impl Iterator<Item = ValueId> {
        self.graph.select(|op| matches!(op, Op::Input))
    }

    /// Channels, height and width of the whole image.
    pub fn image_shape(&self) -> [usize; 3] {
        let regions = &self.input_regions;
        let channels = regions.iter().map(|region| region.channels.end).max();
        let height = regions.iter().map(|region| region.rows.end).max();
        let width = self
            .inputs()
            .next()
            .map(|input| self.graph.ty(input).chw()[2]);
        [channels, height, width].map(Option::unwrap_or_default)
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
