//! Homomorphic evaluation.

pub mod arith;
pub mod linear;
pub mod mul;
pub mod polynomial;
pub mod rotate;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::context::Context;
use crate::encode::Encoder;
use crate::error::Error;
use crate::keys::EvaluationKeys;
use heddle_params::scale::same_scale;

pub use heddle_params::scale::SCALE_TOLERANCE;

/// Evaluates on ciphertexts with a server's keys. Cheap to clone.
#[derive(Clone)]
pub struct Evaluator {
    context: Arc<Context>,
    keys: Arc<EvaluationKeys>,
    encoder: Arc<Encoder>,
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
