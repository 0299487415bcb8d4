//! Homomorphic evaluation.

mod arith;
mod mul;
mod raise;
mod rotate;
#[cfg(all(test, feature = "secret"))]
mod tests;

use std::sync::Arc;

use heddle_params::keys::KeyKind;
use heddle_params::scale::same_scale;

use crate::Error;
use crate::ring::context::Context;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::encode::Encoder;
use crate::scheme::keys::{EvaluationKeys, KeySwitchKey};

pub use heddle_params::scale::SCALE_TOLERANCE;
pub use mul::Product;

/// Evaluates on ciphertexts with a server's keys. Cheap to clone.
#[derive(Clone)]
pub struct Evaluator {
    context: Arc<Context>,
    keys: Arc<EvaluationKeys>,
    encoder: Arc<Encoder>,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator")
            .field("context", &self.context)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Evaluator {
    /// An evaluator with the given keys.
    pub fn new(context: &Arc<Context>, keys: Arc<EvaluationKeys>) -> Self {
        let encoder = Arc::new(Encoder::new(context.parameters().log_n() - 1));
        Self {
            context: Arc::clone(context),
            keys,
            encoder,
        }
    }

    /// The tables of the parameters.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The evaluation keys.
    pub fn keys(&self) -> &Arc<EvaluationKeys> {
        &self.keys
    }

    /// The slot encoder of the ring.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// Refuses operands of another parameter set.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`].
    pub(crate) fn check_context<'a>(
        &self,
        op: &'static str,
        operands: impl IntoIterator<Item = &'a Ciphertext>,
    ) -> Result<(), Error> {
        let mut operands = operands.into_iter();
        operands.try_for_each(|operand| self.context.check_same(op, operand.context()))
    }

    /// The key of a kind whose level is `level`, or the next one above.
    ///
    /// # Errors
    /// As [`EvaluationKeys::get`], and [`Error::ContextMismatch`] when the key belongs to another
    /// parameter set.
    pub(crate) fn key(
        &self,
        op: &'static str,
        kind: KeyKind,
        level: usize,
    ) -> Result<&KeySwitchKey, Error> {
        let key = self.keys.get(kind, level)?;
        self.context.check_same(op, &key.context)?;
        Ok(key)
    }
}

/// Checks that two scales are equal but for rounding.
pub(crate) fn check_scales(op: &'static str, left: f64, right: f64) -> Result<(), Error> {
    if same_scale(left, right) {
        Ok(())
    } else {
        Err(Error::ScaleMismatch {
            op,
            left: left.log2(),
            right: right.log2(),
        })
    }
}

/// Checks that two operands are at one level.
pub(crate) fn check_levels(op: &'static str, left: usize, right: usize) -> Result<(), Error> {
    if left == right {
        Ok(())
    } else {
        Err(Error::LevelMismatch { op, left, right })
    }
}
