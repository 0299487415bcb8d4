//! Raising a ciphertext from the first modulus to the whole chain.

use crate::Error;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::eval::Evaluator;

/// Raises a ciphertext from level 0 to the highest level.
///
/// Read at scale `q_0`, which the result has, the message becomes `m + I` coefficient by
/// coefficient, with an integer `I` that is as small as the secret is sparse: where the parameters
/// have an ephemeral secret, the ciphertext goes through it.
///
/// # Errors
/// When the ciphertext is not at level 0, or a key is missing.
pub fn mod_raise(evaluator: &Evaluator, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
    let context = evaluator.context();
    let mut raised = if context
        .parameters()
        .literal()
        .encapsulation_weight
        .is_some()
    {
        evaluator.raise_decapsulate(&evaluator.encapsulate(ciphertext)?)?
    } else {
        evaluator.raise(ciphertext)?
    };
    raised.set_scale(context.modulus(0).value() as f64);
    // The integer part fills the whole ring.
    raised.set_log_slots(context.log_n() - 1);
    Ok(raised)
}
