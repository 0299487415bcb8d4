//! Convolutions by products of rotations and plaintexts, of either kind.

use super::parallel::ParallelFilter;
use super::siso::SisoFilter;
use super::{LinearMap, ProductPhase};
use crate::error::Error;
use crate::weights::Weights;

/// A convolution by products with its weights.
#[derive(Clone, Debug)]
pub enum ProductConvolution {
    /// Multiplexed parallel.
    Parallel(ParallelFilter),
    /// One channel a ciphertext.
    Siso(SisoFilter),
}

impl ProductConvolution {
    /// The convolution that `map` is where it is used for `phase`, its result in ciphertexts of
    /// `slots` slots.
    ///
    /// # Errors
    /// As [`ParallelFilter::new`] and [`SisoFilter::new`].
    pub fn new(
        map: &LinearMap,
        phase: ProductPhase,
        slots: usize,
        weights: &Weights,
    ) -> Result<Self, Error> {
        Ok(match phase {
            ProductPhase::Weights | ProductPhase::Selection => {
                Self::Parallel(ParallelFilter::new(map, slots, weights)?)
            }
            ProductPhase::Taps => Self::Siso(SisoFilter::new(map, weights)?),
        })
    }

    /// The plaintexts of a phase of a round, one per operand; all of a SISO convolution's are in
    /// its round 0.
    pub fn plaintexts(&self, phase: ProductPhase, round: usize) -> Vec<Vec<f64>> {
        match self {
            Self::Parallel(filter) => filter.plaintexts(phase, round),
            Self::Siso(filter) => filter.plaintexts(phase),
        }
    }

    /// The result's slots, one period, for one period of every operand; the bias is left out.
    pub fn apply(&self, operands: &[&[f64]]) -> Vec<f64> {
        match self {
            Self::Parallel(filter) => filter.apply(operands.first().copied().unwrap_or(&[])),
            Self::Siso(filter) => filter.apply(operands),
        }
    }
}
