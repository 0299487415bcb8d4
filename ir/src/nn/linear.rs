//! The affine operations of the tensor graph, one file each.
//!
//! An operation is a struct that implements [`LinearOperation`]. Its file holds all that is known
//! about it: the shape of its result, its sparse matrix, its evaluation on plain numbers, what it
//! does to means, deviations and bounds, and how it is restricted to some channels. [`LinearOp`] is
//! the closed list of them.
//!
//! To add an operation, write a file with its struct and add one line to the list at the end of
//! this module. Verifier, text form, compiler and interpreters then know it. The importer makes it
//! once an ONNX operator's builder does.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{TensorType, Window};
use crate::error::Error;
use crate::matrix::{AffineMatrix, RowProduct, Selection};
use crate::weights::{Tensor, WeightId, Weights};

mod average_pool;
mod batch_norm;
mod channel_affine;
mod conv;
mod element_affine;
mod flatten;
mod gemm;
mod global_average_pool;
mod moments;
mod pad;
mod rearrange;
mod separable;
mod slice;

pub use average_pool::{AveragePool, PaddingInMean};
pub use batch_norm::BatchNorm;
pub use channel_affine::ChannelAffine;
pub use conv::Conv;
pub use element_affine::ElementAffine;
pub use flatten::Flatten;
pub use gemm::Gemm;
pub use global_average_pool::GlobalAveragePool;
pub use moments::{Moments, SIGMAS};
pub use pad::Pad;
pub use rearrange::Rearrange;
pub use separable::Separable;
pub use slice::Slice;

pub use crate::matrix::ShowRow;

/// Channels, height and width; those of a vector are `[F, 1, 1]`.
pub type Chw = [usize; 3];

/// What the compiler and the interpreters ask of an affine operation on one operand.
///
/// All but [`shape`](Self::shape), [`rows`](Self::rows), what follows from them, and
/// [`row_entries`](Self::row_entries) take operations that the verifier has accepted, and panic
/// where weights are missing or do not fit.
pub trait LinearOperation {
    /// The type of the result.
    ///
    /// # Errors
    /// A sentence that says what of the operand, a weight or an option does not fit.
    fn shape(&self, operand: &TensorType, weights: &Weights) -> Result<TensorType, String>;

    /// Shows the rows of the operation's matrix on row-major elements in order, and returns the
    /// shape of the result.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    fn rows(&self, operand: Chw, weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error>;

    /// The operation as a matrix on row-major elements, with the shape of its result.
    ///
    /// # Errors
    /// As [`rows`](Self::rows).
    fn matrix(&self, operand: Chw, weights: &Weights) -> Result<(AffineMatrix, Chw), Error> {
        let mut matrix = AffineMatrix::with_columns(operand.iter().product());
        let shape = self.rows(operand, weights, &mut |entries, offset| {
            matrix.push_row(entries, offset);
        })?;
        Ok((matrix, shape))
    }

    /// What the operation adds to every element of its result, with the result's shape: the offset
    /// of [`matrix`](Self::matrix).
    ///
    /// # Errors
    /// As [`rows`](Self::rows).
    fn offset(&self, operand: Chw, weights: &Weights) -> Result<(Vec<f64>, Chw), Error> {
        let mut offsets = Vec::new();
        let shape = self.rows(operand, weights, &mut |_, offset| offsets.push(offset))?;
        Ok((offsets, shape))
    }

    /// The result's elements, row-major, for an operand `x` of shape `from`; the result's is `to`.
    fn evaluate(&self, x: &[f32], from: Chw, to: Chw, weights: &Weights) -> Vec<f32>;

    /// Mean and deviation of the result's channels from those of an operand of shape `from`, `None`
    /// where they cannot be told. They count as the same at every position. By default they are
    /// the operand's; for a mean over positions that is an upper bound.
    fn moments(
        &self,
        operand: Option<&Moments>,
        _from: Chw,
        _weights: &Weights,
    ) -> Option<Moments> {
        operand.cloned()
    }

    /// How far the result's `channels` channels can go in the worst case; one entry stands for all
    /// of them where they do not differ. The default is right where a row of the matrix has
    /// magnitudes that sum to 1 at most, and no offset.
    fn gains(&self, _channels: usize, _weights: &Weights) -> Vec<Gain> {
        vec![Gain::ONE]
    }

    /// Non-zero entries in a row of the matrix, at most.
    fn row_entries(&self, _weights: &Weights) -> usize {
        1
    }

    /// Whether zero may become something else: the operation adds a tensor.
    fn has_offset(&self) -> bool {
        false
    }

    /// Removes what the operation adds; whether that is possible.
    fn drop_offset(&mut self) -> bool {
        true
    }

    /// Every weight that the operation refers to, for renumbering.
    fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        Vec::new()
    }

    /// The window that slides over the operand, if there is one.
    fn window(&self) -> Option<&Window> {
        None
    }

    /// How far apart `[height, width]` the operand's elements lie that become neighbours.
    fn strides(&self) -> [usize; 2] {
        [1, 1]
    }

    /// Whether the operation is the mean over the whole height and width of an operand.
    fn is_whole_mean(&self, _operand: Chw) -> bool {
        false
    }

    /// The operation on the channels `run` of its operand alone; new weights are added to
    /// `weights`.
    fn on_channels(&self, run: &Range<usize>, weights: &mut Weights) -> OnChannels;
}

/// How far a channel of a result can go: `gain·|x| + shift` at most, where |x| bounds the operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// The sum of the magnitudes of the weights.
    pub gain: f64,
    /// The magnitude of what is added.
    pub shift: f64,
}

impl Gain {
    /// That of an operation which averages, picks or moves elements.
    pub const ONE: Self = Self {
        gain: 1.0,
        shift: 0.0,
    };
}

/// What an operation does with a run of its operand's channels.
#[derive(Clone, Debug, PartialEq)]
pub enum OnChannels {
    /// Its results sum over channels, so that no run of them can be had by itself.
    Mixed,
    /// None of the channels reaches the result.
    Dropped,
    /// The channels stay as they are, and become these of the result.
    Moved(Range<usize>),
    /// This operation makes these channels of the result from them.
    Applied(LinearOp, Range<usize>),
}

/// The mean and deviation of every result from a closure on one channel's, in order.
fn per_channel_moments(operand: &Moments, map: impl Fn(usize, f64, f64) -> (f64, f64)) -> Moments {
    let channels = operand.mean.iter().zip(&operand.deviation).enumerate();
    let (mean, deviation) = channels
        .map(|(channel, (mean, deviation))| map(channel, *mean, *deviation))
        .unzip();
    Moments { mean, deviation }
}

fn tensor(weights: &Weights, id: WeightId) -> Result<&Tensor, Error> {
    weights
        .try_get(id)
        .ok_or(Error::MissingWeight { weight: id })
}

fn misfit(tensor: &Tensor, expected: String) -> Error {
    Error::Shape {
        what: format!("weight `{}`", tensor.name),
        expected,
        found: format!("{:?}", tensor.shape),
    }
}

/// A weight of `len` elements, whatever its shape.
fn vector(weights: &Weights, id: WeightId, len: usize) -> Result<&[f32], Error> {
    let tensor = tensor(weights, id)?;
    if tensor.data.len() == len {
        Ok(&tensor.data)
    } else {
        Err(misfit(tensor, format!("{len} elements")))
    }
}

/// [`vector`] where there may be none.
fn optional_vector(
    weights: &Weights,
    id: Option<WeightId>,
    len: usize,
) -> Result<Option<&[f32]>, Error> {
    id.map(|id| vector(weights, id, len)).transpose()
}

/// The elements of a weight that exists.
fn data(weights: &Weights, id: WeightId) -> &[f32] {
    &weights.get(id).data
}

/// An element of a weight, or `default` without one.
fn element(weights: &Weights, id: Option<WeightId>, index: usize, default: f64) -> f64 {
    id.map_or(default, |id| f64::from(data(weights, id)[index]))
}

/// The rows of `y = slope(c)·x + offset(c)`.
fn channel_rows(shape: Chw, affine: impl Fn(usize) -> (f64, f64), show: ShowRow<'_>) -> Chw {
    let plane = shape[1] * shape[2];
    for channel in 0..shape[0] {
        let (slope, offset) = affine(channel);
        for element in 0..plane {
            show(&[(channel * plane + element, slope)], offset);
        }
    }
    shape
}

/// `y = slope(c)·x + offset(c)` on plain numbers.
fn per_channel(x: &[f32], channels: usize, affine: impl Fn(usize) -> (f32, f32)) -> Vec<f32> {
    x.chunks_exact(x.len() / channels)
        .enumerate()
        .flat_map(|(channel, plane)| {
            let (slope, offset) = affine(channel);
            plane.iter().map(move |x| slope * x + offset)
        })
        .collect()
}

/// The operation with each weight cut down to the channels `run`, which are its first axis.
fn with_weights_of<O>(operation: &O, run: &Range<usize>, weights: &mut Weights) -> OnChannels
where
    O: LinearOperation + Clone + Into<LinearOp>,
{
    let mut operation = operation.clone();
    for id in operation.weights_mut() {
        let tensor = weights.get(*id);
        let channel = tensor.shape[1..].iter().product::<usize>();
        let data = tensor.data[run.start * channel..run.end * channel].to_vec();
        let mut shape = tensor.shape.clone();
        shape[0] = run.len();
        let name = tensor.name.clone();
        *id = weights.push(Tensor::new(name, shape, data));
    }
    OnChannels::Applied(operation.into(), run.clone())
}

/// Defines [`LinearOp`] from the list of operations, those without parameters last, and the only
/// `match` over all of them.
macro_rules! linear_operations {
    (
        $($(#[$doc:meta])* $name:ident,)+
        ;
        $($(#[$plain_doc:meta])* $plain:ident,)+
    ) => {
        /// An operation that is affine in its one operand. These are what a packed linear map is
        /// made of.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum LinearOp {
            $($(#[$doc])* $name($name),)+
            $($(#[$plain_doc])* $plain,)+
        }

        impl LinearOp {
            /// What is known about the operation.
            pub fn as_operation(&self) -> &dyn LinearOperation {
                match self {
                    $(Self::$name(operation) => operation,)+
                    $(Self::$plain => &$plain,)+
                }
            }

            /// As [`as_operation`](Self::as_operation), to edit; `None` without parameters.
            fn as_operation_mut(&mut self) -> Option<&mut dyn LinearOperation> {
                match self {
                    $(Self::$name(operation) => Some(operation),)+
                    $(Self::$plain)|+ => None,
                }
            }
        }

        $(impl From<$name> for LinearOp {
            fn from(operation: $name) -> Self {
                Self::$name(operation)
            }
        })+
    };
}

linear_operations! {
    /// 2-D cross-correlation with a filter.
    Conv,
    /// Normalisation of every channel by the statistics of training.
    BatchNorm,
    /// A multiplier and an offset per channel.
    ChannelAffine,
    /// A multiplier and an offset per element.
    ElementAffine,
    /// Mean over each window.
    AveragePool,
    /// A matrix product.
    Gemm,
    /// Keeps some of the elements along each axis.
    Slice,
    /// One linear map along height and one along width, the same in every channel.
    Separable,
    /// Adds zeros around the elements.
    Pad,
    /// The elements in another order, repeated, left out, or zero.
    Rearrange,
    ;
    /// Mean over height and width: `[C, H, W]` to `[C, 1, 1]`.
    GlobalAveragePool,
    /// Row-major reshape to `[C·H·W]`.
    Flatten,
}

impl LinearOp {
    /// Whether zero may become something else: the operation adds a tensor.
    pub fn has_offset(&self) -> bool {
        self.as_operation().has_offset()
    }

    /// The operation without what it adds, if that can be left out.
    pub fn without_offset(&self) -> Option<Self> {
        let mut op = self.clone();
        let is_dropped = op
            .as_operation_mut()
            .is_none_or(|operation| operation.drop_offset());
        is_dropped.then_some(op)
    }

    /// Every weight that the operation refers to, for renumbering.
    pub fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        self.as_operation_mut()
            .map_or_else(Vec::new, |operation| operation.weights_mut())
    }

    /// A chain of operations, first to last, as one matrix on a row-major operand.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn chain_matrix(
        ops: &[Self],
        operand: Chw,
        weights: &Weights,
    ) -> Result<AffineMatrix, Error> {
        let mut chain = AffineMatrix::with_columns(operand.iter().product());
        Self::chain_rows(ops, operand, weights, &mut |entries, offset| {
            chain.push_row(entries, offset);
        })?;
        Ok(chain)
    }

    /// Shows the rows of [`chain_matrix`](Self::chain_matrix) in order, and returns the shape of
    /// the result. Neither the product nor the matrix of a convolution is stored where selections
    /// of elements alone come before or after it.
    ///
    /// # Errors
    /// As [`chain_matrix`](Self::chain_matrix).
    pub fn chain_rows(
        ops: &[Self],
        operand: Chw,
        weights: &Weights,
        show: ShowRow<'_>,
    ) -> Result<Chw, Error> {
        let (last, earlier) = match ops {
            [] => {
                (0..operand.iter().product()).for_each(|element| show(&[(element, 1.0)], 0.0));
                return Ok(operand);
            }
            [only] => return only.as_operation().rows(operand, weights, show),
            [earlier @ .., last] => (last.as_operation(), earlier),
        };
        if last.row_entries(weights) == 1 {
            let mut shape = operand;
            for op in earlier {
                (_, shape) = op.as_operation().offset(shape, weights)?;
            }
            let (outer, shape) = last.matrix(shape, weights)?;
            if let Some(mut selection) = Selection::of(&outer) {
                Self::chain_rows(earlier, operand, weights, &mut |entries, offset| {
                    selection.row(entries, offset, show);
                })?;
                selection.end(show);
                return Ok(shape);
            }
        }
        let mut inner = AffineMatrix::with_columns(operand.iter().product());
        let shape = Self::chain_rows(earlier, operand, weights, &mut |entries, offset| {
            inner.push_row(entries, offset);
        })?;
        let mut product = RowProduct::new(&inner);
        last.rows(shape, weights, &mut |entries, offset| {
            let (entries, offset) = product.row(entries, offset);
            show(entries, offset);
        })
    }

    /// The offset of [`chain_matrix`](Self::chain_matrix). Only operations behind a non-zero offset
    /// are expanded.
    ///
    /// # Errors
    /// As [`chain_matrix`](Self::chain_matrix).
    pub fn chain_offset(ops: &[Self], operand: Chw, weights: &Weights) -> Result<Vec<f64>, Error> {
        let mut shape = operand;
        let mut offset = vec![0.0; shape.iter().product()];
        for op in ops {
            let operation = op.as_operation();
            (offset, shape) = if offset.iter().all(|element| *element == 0.0) {
                operation.offset(shape, weights)?
            } else {
                let mut after = Vec::new();
                let next = operation.rows(shape, weights, &mut |entries, own| {
                    let terms = entries.iter().filter(|(_, value)| *value != 0.0);
                    after.push(
                        terms.fold(own, |sum, (column, value)| sum + value * offset[*column]),
                    );
                })?;
                (after, next)
            };
        }
        Ok(offset)
    }
}

#[cfg(test)]
mod tests;
