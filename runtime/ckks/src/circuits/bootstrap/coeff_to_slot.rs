//! The homomorphic inverse embedding: coefficients to slots.

use crate::Error;
use crate::circuits::bootstrap::dft::{Placement, SlotTransform};
use crate::ring::context::Context;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::encode::Encoder;
use crate::scheme::eval::Evaluator;
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::dft::DftDirection;
use std::sync::Arc;

/// CoeffToSlot with SubSum: from the highest level to [`BootstrapParameters::eval_mod_level`].
///
/// Takes a raised ciphertext whose coefficients are `m + q_0·I` at scale `q_0`, and leaves
/// `(m/q_0 + I)/half_width` of the coefficients of the subring of `X^(N/2n)` in its slots, at a
/// scale of the level's prime. SubSum, the projection to that subring, commutes with the transform,
/// whose diagonals have period `n`, and is cheaper below it.
pub(super) struct CoeffToSlot {
    transform: SlotTransform,
    log_slots: u32,
}

impl CoeffToSlot {
    /// Encodes the transform of `2^log_slots` slots; results are divided by `half_width`.
    ///
    /// # Errors
    /// More slots than the ring has.
    pub(super) fn new(
        context: &Arc<Context>,
        encoder: &Encoder,
        parameters: &BootstrapParameters,
        log_slots: u32,
        half_width: f64,
    ) -> Result<Self, Error> {
        let params = context.parameters();
        let prime = |level: usize| context.modulus(level).value() as f64;
        let placement = Placement {
            direction: DftDirection::CoeffToSlot,
            log_slots,
            factors: parameters.coeff_to_slot_levels,
            level: params.max_level(),
            // 1/n of the inverse transform, 2n/N of SubSum and 1/2 of adding the conjugate.
            constant: 1.0 / (context.n() as f64 * half_width),
            scale_ratio: prime(parameters.eval_mod_level(params)) / prime(0),
        };
        Ok(Self {
            transform: SlotTransform::new(context, encoder, &placement)?,
            log_slots,
        })
    }

    pub(super) fn unprepare(&mut self) {
        self.transform.unprepare();
    }

    /// Bytes of memory that the encoded diagonals take.
    pub(super) fn bytes(&self) -> usize {
        self.transform.bytes()
    }

    /// Applies it to a raised ciphertext, and parts real from imaginary slots: one ciphertext of
    /// the real parts or, in the complex variant, two.
    ///
    /// # Errors
    /// A wrong level or missing keys.
    pub(super) fn apply(
        &self,
        evaluator: &Evaluator,
        ciphertext: &Ciphertext,
        variant: BootstrapVariant,
    ) -> Result<Vec<Ciphertext>, Error> {
        let mut sum = self.transform.apply(evaluator, ciphertext)?;
        for log in self.log_slots..evaluator.context().log_n() - 1 {
            let rotated = evaluator.rotate(&sum, 1 << log)?;
            sum = evaluator.add(&sum, &rotated)?;
        }
        sum.set_log_slots(self.log_slots);
        let conjugate = evaluator.conjugate(&sum)?;
        let mut parts = vec![evaluator.add(&sum, &conjugate)?];
        if variant == BootstrapVariant::Complex {
            // i·(conj z − z) = 2·Im z.
            parts.push(evaluator.mul_by_i(&evaluator.sub(&conjugate, &sum)?));
        }
        Ok(parts)
    }
}
