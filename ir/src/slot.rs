//! The second stage: the packed graph. Values are real slot vectors with a layout; operations are
//! sparse linear maps, slotwise activations and rotate-and-sum reductions.
//!
//! A slot holds `x / range`, where `x` is the tensor's element and `range` the value's calibrated
//! bound, so that slots stay within [−1, 1].

use std::fmt;

use heddle_params::chebyshev;
use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::layout::MultiplexedLayout;
use crate::linear::LinearMap;

mod activation;

pub use activation::{ApproximatedActivation, GatedTerm, sample_points};

mod normalisation;

pub(crate) use normalisation::rotate_sum;
pub use normalisation::{Normalisation, Weighting, is_square};

/// The type of a packed value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotType {
    /// Where the elements lie.
    pub layout: MultiplexedLayout,
    /// The factor by which the slots are smaller than the tensor's elements.
    pub range: f64,
}

impl fmt::Display for SlotType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slots<{}, range={}>", self.layout, self.range)
    }
}

/// A polynomial in the Chebyshev basis of the first kind on [−1, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chebyshev {
    /// `coefficients[k]` multiplies `T_k`.
    pub coefficients: Vec<f64>,
}

impl Chebyshev {
    /// `T_1`, which is its argument.
    pub fn identity() -> Self {
        Self {
            coefficients: vec![0.0, 1.0],
        }
    }

    /// Whether this is `T_1`.
    pub fn is_identity(&self) -> bool {
        self.coefficients == [0.0, 1.0]
    }

    /// The highest index with a coefficient; 0 for a constant.
    pub fn degree(&self) -> usize {
        self.coefficients.len().saturating_sub(1)
    }

    /// Multiplicative depth of an evaluation: `⌈log2(degree + 1)⌉`.
    pub fn depth(&self) -> usize {
        chebyshev::depth(self.degree())
    }

    /// The value at `x`, by Clenshaw's recurrence.
    pub fn eval(&self, x: f64) -> f64 {
        chebyshev::evaluate(&self.coefficients, x)
    }
}

/// An operation of the packed graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The packed image.
    Input,
    /// A linear map; one operand for every term, in order.
    Linear(LinearMap),
    /// One convolution by the multiplexed parallel algorithm of [`crate::linear::parallel`], bias
    /// included: what [`Op::Linear`] gives, at two levels and by that algorithm's rotations.
    ParallelConvolution {
        /// A map of one term that is one convolution.
        map: LinearMap,
        /// Slots of a ciphertext, which the operand's copies fill.
        slots: usize,
    },
    /// One output channel by the SISO algorithm of [`crate::linear::siso`], bias included: what
    /// [`Op::Linear`] gives, at one level and by rotations that other channels share. One operand
    /// for every term, in order.
    SisoConvolution(LinearMap),
    /// The sum of two operands of one type. It takes no level.
    Add,
    /// The slotwise product of two operands of one layout, whose ranges multiply. It takes a level.
    Multiply,
    /// A slotwise activation of one operand.
    Activation(ApproximatedActivation),
    /// The sum of the operand rotated left by every combination of `rotations`, in order:
    /// `y ← y + rotate(y, step)` for each step. Takes no level.
    RotateSum {
        /// Rotations, in slots.
        rotations: Vec<usize>,
    },
    /// One operand's values of a function, divided by their sum over slots.
    Normalise(Normalisation),
}

/// The packed graph.
pub type SlotGraph = Graph<Op, SlotType>;
