//! What executes the operations of a schedule.

use heddle_ir::ValueId;
use heddle_ir::ckks::{CiphertextType, LinearMapId, Op, PolynomialId, Schedule};
use heddle_params::bootstrap::BootstrapVariant;

use crate::Error;

pub mod ckks;
pub mod noisy;

/// One operation of a schedule, as backends and observers see it.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The operation's id, which is that of its result.
    pub value: ValueId,
    /// What is computed.
    pub op: &'a Op,
    /// The ONNX node that the operation comes from.
    pub name: &'a str,
    /// The result's slots, level and scale.
    pub ty: &'a CiphertextType,
    /// The type of the first operand; the result's own for the input.
    pub operand: &'a CiphertextType,
}

impl<'a> Operation<'a> {
    /// The operation of `schedule` whose result is `value`.
    pub(crate) fn at(schedule: &'a Schedule, value: ValueId) -> Self {
        let graph = &schedule.graph;
        let node = graph.node(value);
        let operand = graph
            .operands(value)
            .first()
            .map_or(&node.ty, |operand| graph.ty(*operand));
        Self {
            value,
            op: &node.op,
            name: &node.name,
            ty: &node.ty,
            operand,
        }
    }

    /// The error of a schedule that contradicts itself at this operation.
    pub fn contradiction(&self, message: impl Into<String>) -> Error {
        Error::Schedule {
            value: self.value,
            node: self.name.into(),
            message: message.into(),
        }
    }

    /// The engine's error at this operation.
    pub(crate) fn refused(&self, source: heddle_ckks::Error) -> Error {
        Error::Operation {
            value: self.value,
            node: self.name.into(),
            source,
        }
    }
}

/// Refuses an input of plain slots that is not one period of the schedule's.
///
/// # Errors
/// [`Error::Input`] if there are more or fewer slots.
pub fn check_slots(operation: &Operation<'_>, slots: &[f64]) -> Result<(), Error> {
    if slots.len() == operation.ty.slots() {
        return Ok(());
    }
    Err(Error::Input {
        what: "the input".into(),
        message: format!(
            "it has {} slots, but the plan's input has {}\nhelp: pack the tensor with the plan's input",
            slots.len(),
            operation.ty.slots()
        ),
    })
}

/// Executes operations: one method for every operation of a schedule.
///
/// Operands have the types that the schedule gives them, and results must have that of
/// [`Operation::ty`]. Slot semantics are those of [`heddle_ir::ckks::Op`].
pub trait Backend {
    /// A value of the schedule.
    type Value;

    /// An input of the schedule, as the caller gives it.
    ///
    /// # Errors
    /// If it does not have the type that the schedule says: level, scale and slots, as far as a
    /// value of this backend has them.
    fn input(&self, operation: &Operation<'_>, input: Self::Value) -> Result<Self::Value, Error>;

    /// A linear map by its diagonals, one operand for each term; not rescaled.
    ///
    /// # Errors
    /// If the backend holds no such map, or the operands do not fit.
    fn linear_transform(
        &self,
        operation: &Operation<'_>,
        map: LinearMapId,
        operands: &[&Self::Value],
    ) -> Result<Self::Value, Error>;

    /// The products of one round of a convolution by products, one operand for each plaintext,
    /// added up; not rescaled.
    ///
    /// # Errors
    /// As [`Self::linear_transform`].
    fn multiply_accumulate(
        &self,
        operation: &Operation<'_>,
        map: LinearMapId,
        operands: &[&Self::Value],
    ) -> Result<Self::Value, Error>;

    /// Adds the bias of a linear map.
    ///
    /// # Errors
    /// As [`Self::linear_transform`].
    fn add_bias(
        &self,
        operation: &Operation<'_>,
        map: LinearMapId,
        x: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// Rotates the slots left.
    ///
    /// # Errors
    /// If a key is missing.
    fn rotate(
        &self,
        operation: &Operation<'_>,
        by: usize,
        x: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// The sum of two values.
    ///
    /// # Errors
    /// If levels or scales differ.
    fn add(
        &self,
        operation: &Operation<'_>,
        x: &Self::Value,
        y: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// The relinearised product of two values, not rescaled.
    ///
    /// # Errors
    /// If levels differ or the key is missing.
    fn multiply(
        &self,
        operation: &Operation<'_>,
        x: &Self::Value,
        y: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// Divides by the last prime and drops it.
    ///
    /// # Errors
    /// If no level is left.
    fn rescale(&self, operation: &Operation<'_>, x: &Self::Value) -> Result<Self::Value, Error>;

    /// Drops to the level of the result.
    ///
    /// # Errors
    /// If the operand's level is lower.
    fn drop_level(&self, operation: &Operation<'_>, x: &Self::Value) -> Result<Self::Value, Error>;

    /// Evaluates a polynomial slot by slot.
    ///
    /// # Errors
    /// If levels do not suffice or the key is missing.
    fn polynomial(
        &self,
        operation: &Operation<'_>,
        polynomial: PolynomialId,
        x: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// Refreshes the levels.
    ///
    /// # Errors
    /// If a key is missing.
    fn bootstrap(
        &self,
        operation: &Operation<'_>,
        variant: BootstrapVariant,
        x: &Self::Value,
    ) -> Result<Self::Value, Error>;

    /// [`linear_transform`](Self::linear_transform) at `operation`, and the rescale at `rescale`
    /// that alone takes its result. A backend that can do both in one division does so.
    ///
    /// # Errors
    /// As the two methods.
    fn linear_transform_rescaled(
        &self,
        operation: &Operation<'_>,
        rescale: &Operation<'_>,
        map: LinearMapId,
        operands: &[&Self::Value],
    ) -> Result<Self::Value, Error> {
        let sum = self.linear_transform(operation, map, operands)?;
        self.rescale(rescale, &sum)
    }

    /// [`multiply_accumulate`](Self::multiply_accumulate) at `operation`, and the rescale at
    /// `rescale` that alone takes its result.
    ///
    /// # Errors
    /// As the two methods.
    fn multiply_accumulate_rescaled(
        &self,
        operation: &Operation<'_>,
        rescale: &Operation<'_>,
        map: LinearMapId,
        operands: &[&Self::Value],
    ) -> Result<Self::Value, Error> {
        let sum = self.multiply_accumulate(operation, map, operands)?;
        self.rescale(rescale, &sum)
    }

    /// [`multiply`](Self::multiply) at `operation`, and the rescale at `rescale` that alone takes
    /// its result.
    ///
    /// # Errors
    /// As the two methods.
    fn multiply_rescaled(
        &self,
        operation: &Operation<'_>,
        rescale: &Operation<'_>,
        x: &Self::Value,
        y: &Self::Value,
    ) -> Result<Self::Value, Error> {
        let product = self.multiply(operation, x, y)?;
        self.rescale(rescale, &product)
    }
}
