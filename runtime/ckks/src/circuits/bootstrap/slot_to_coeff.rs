//! The homomorphic embedding: slots to coefficients.

use crate::Error;
use crate::circuits::bootstrap::dft::SlotTransform;
use crate::ring::context::Context;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::encode::Encoder;
use crate::scheme::eval::Evaluator;
use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::dft::{DftDirection, DftPlan};
use std::sync::Arc;

/// SlotToCoeff: from [`BootstrapParameters::input_level`] to level 0.
///
/// A period of `n` complex slots becomes the coefficients of a polynomial in `X^(N/2n)`, real parts
/// in the low half, imaginary parts in the high half, both in bit-reversed order. The constants
/// bring messages from the nominal scale to `q_0/R`.
pub(super) struct SlotToCoeff {
    transform: SlotTransform,
}

impl SlotToCoeff {
    /// Encodes the transform of `2^log_slots` slots.
    ///
    /// # Errors
    /// More slots than the ring has.
    pub(super) fn new(
        context: &Arc<Context>,
        encoder: &Encoder,
        parameters: &BootstrapParameters,
        log_slots: u32,
    ) -> Result<Self, Error> {
        let factors = parameters.slot_to_coeff_levels;
        let plan = DftPlan::new(
            DftDirection::SlotToCoeff,
            log_slots,
            context.log_n() - 1,
            factors,
        )?;
        let wanted =
            context.modulus(0).value() as f64 / 2f64.powi(parameters.log_message_ratio as i32);
        let ratio = wanted / 2f64.powi(parameters.log_scale as i32);
        let transform = SlotTransform::new(
            context,
            encoder,
            &plan,
            parameters.input_level(),
            1.0,
            ratio,
        )?;
        Ok(Self { transform })
    }

    pub(super) fn unprepare(&mut self) {
        self.transform.unprepare();
    }

    /// Bytes of memory that the encoded diagonals take.
    pub(super) fn bytes(&self) -> usize {
        self.transform.bytes()
    }

    /// Applies it to a ciphertext at the input level; the result is at level 0.
    ///
    /// # Errors
    /// A wrong level or missing keys.
    pub(super) fn apply(
        &self,
        evaluator: &Evaluator,
        ciphertext: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        self.transform.apply(evaluator, ciphertext)
    }
}
