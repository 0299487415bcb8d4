//! The homomorphic embedding: slots to coefficients.

use crate::Error;
use crate::circuits::bootstrap::dft::{Placement, SlotTransform};
use crate::ring::context::Context;
use crate::scheme::encode::Encoder;
use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::dft::DftDirection;
use std::sync::Arc;

/// SlotToCoeff of `2^log_slots` slots: from [`BootstrapParameters::input_level`] to level 0.
///
/// A period of `n` complex slots becomes the coefficients of a polynomial in `X^(N/2n)`, real parts
/// in the low half, imaginary parts in the high half, both in bit-reversed order. The constants
/// bring messages from the nominal scale to `q_0/R`.
///
/// # Errors
/// More slots than the ring has.
pub(super) fn slot_to_coeff(
    context: &Arc<Context>,
    encoder: &Encoder,
    parameters: &BootstrapParameters,
    log_slots: u32,
) -> Result<SlotTransform, Error> {
    let wanted = context.modulus(0).value() as f64 / 2f64.powi(parameters.log_message_ratio as i32);
    let placement = Placement {
        direction: DftDirection::SlotToCoeff,
        log_slots,
        factors: parameters.slot_to_coeff_levels,
        level: parameters.input_level(),
        constant: 1.0,
        scale_ratio: wanted / 2f64.powi(parameters.log_scale as i32),
    };
    SlotTransform::new(context, encoder, &placement)
}
