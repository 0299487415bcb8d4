//! What executes the operations of a schedule.

use heddle_ir::ckks::{LinearMapId, PolynomialId};
use heddle_params::bootstrap::BootstrapVariant;

use crate::Error;
use crate::executor::Step;

pub mod ckks;
pub mod clear;
pub mod noisy;

/// A machine with one method for every operation.
///
/// Operands have the types that the schedule gives them, and results must have that of
/// [`Step::ty`]. Slot semantics are those of [`heddle_ir::ckks::Op`].
pub trait Backend {
    /// A value of the schedule.
    type Value;

    /// A linear map by its diagonals, one operand a term, or the products of a part of a multiplexed parallel
    /// convolution, one operand a plaintext; not rescaled.
    ///
    /// # Errors
    /// If the backend holds no such map, or the operands do not fit.
    fn linear_transform(
        &self,
        step: &Step<'_>,
        map: LinearMapId,
        operands: &[&Self::Value],
    ) -> Result<Self::Value, Error>;

    /// Adds the bias of a linear map.
    ///
    /// # Errors
    /// As [`Self::linear_transform`].
    fn add_bias(
        &self,
        step: &Step<'_>,
        map: LinearMapId,
        x: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// Rotates the slots left.
    ///
    /// # Errors
    /// If a key is missing.
    fn rotate(&self, step: &Step<'_>, by: usize, x: &Self::Value) -> Result<Self::Value, Error>;

    /// The sum of two values.
    ///
    /// # Errors
    /// If levels or scales differ.
    fn add(&self, step: &Step<'_>, x: &Self::Value, y: &Self::Value) -> Result<Self::Value, Error>;

    /// The relinearised product of two values, not rescaled.
    ///
    /// # Errors
    /// If levels differ or the key is missing.
    fn multiply(
        &self,
        step: &Step<'_>,
        x: &Self::Value,
        y: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// Divides by the last prime and drops it.
    ///
    /// # Errors
    /// If no level is left.
    fn rescale(&self, step: &Step<'_>, x: &Self::Value) -> Result<Self::Value, Error>;

    /// Drops to the level of the result.
    ///
    /// # Errors
    /// If the operand's level is lower.
    fn drop_level(&self, step: &Step<'_>, x: &Self::Value) -> Result<Self::Value, Error>;

    /// Evaluates a polynomial slot by slot.
    ///
    /// # Errors
    /// If levels do not suffice or the key is missing.
    fn polynomial(
        &self,
        step: &Step<'_>,
        polynomial: PolynomialId,
        x: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// Refreshes the levels.
    ///
    /// # Errors
    /// If a key is missing.
    fn bootstrap(
        &self,
        step: &Step<'_>,
        variant: BootstrapVariant,
        x: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// [`linear_transform`](Self::linear_transform) at `step` and the rescale at `rescale` that alone takes its
    /// result. A backend that can do both in one division does so.
    ///
    /// # Errors
    /// As the two.
    fn linear_transform_rescaled(
        &self,
        step: &Step<'_>,
        rescale: &Step<'_>,
        map: LinearMapId,
        operands: &[&Self::Value],
    ) -> Result<Self::Value, Error> {
        let sum = self.linear_transform(step, map, operands)?;
        self.rescale(rescale, &sum)
    }

    /// [`multiply`](Self::multiply) at `step` and the rescale at `rescale` that alone takes its result.
    ///
    /// # Errors
    /// As the two.
    fn multiply_rescaled(
        &self,
        step: &Step<'_>,
        rescale: &Step<'_>,
        x: &Self::Value,
        y: &Self::Value,
    ) -> Result<Self::Value, Error> {
        let product = self.multiply(step, x, y)?;
        self.rescale(rescale, &product)
    }
}
