//! The plaintexts of a convolution by products of rotations, of either kind.

use super::parallel::ParallelKernel;
use super::siso::SisoKernel;
use super::{LinearMap, ProductPart};
use crate::error::Error;
use crate::weights::Weights;

/// A convolution by products with its weights.
#[derive(Clone, Debug)]
pub enum Kernel {
    /// Multiplexed parallel.
    Parallel(ParallelKernel),
    /// One channel a ciphertext.
    Siso(SisoKernel),
}

impl Kernel {
    /// The kernel of `map` where it is used for `part`, its result in ciphertexts of `slots` slots.
    ///
    /// # Errors
    /// As [`ParallelKernel::new`] and [`SisoKernel::new`].
    pub fn new(
        map: &LinearMap,
        part: ProductPart,
        slots: usize,
        weights: &Weights,
    ) -> Result<Self, Error> {
        Ok(match part {
            ProductPart::Kernel | ProductPart::Selection => {
                Self::Parallel(ParallelKernel::new(map, slots, weights)?)
            }
            ProductPart::Taps => Self::Siso(SisoKernel::new(map, weights)?),
        })
    }

    /// The plaintexts of a part of a round, one an operand; all of a SISO convolution's are in its round 0.
    pub fn plaintexts(&self, part: ProductPart, round: usize) -> Vec<Vec<f64>> {
        match self {
            Self::Parallel(kernel) => kernel.plaintexts(part, round),
            Self::Siso(kernel) => kernel.plaintexts(part),
        }
    }

    /// The result's slots, one period, for one period of every operand; the bias is left out.
    pub fn apply(&self, operands: &[&[f64]]) -> Vec<f64> {
        match self {
            Self::Parallel(kernel) => kernel.apply(operands.first().copied().unwrap_or(&[])),
            Self::Siso(kernel) => kernel.apply(operands),
        }
    }
}
