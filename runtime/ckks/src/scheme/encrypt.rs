//! Encryption with a public key.
//!
//! *Constant time.* Encryption takes a time that depends on parameters, level, number of slots and
//! seeds alone: not on errors, nor on the message, whose doubles are added, multiplied and
//! converted but never compared or divided by. One limit: a processor may take longer for subnormal
//! doubles, which only messages of absolute value below 2^-1022 times the scale lead to.
//!
//! *Memory.* Whatever is computed from the mask, an error or the message is wiped when dropped.

use std::sync::Arc;

use crate::Error;
use crate::ring::context::Context;
use crate::ring::poly::RnsPoly;
use crate::ring::sample::{fresh_error, os_rng, ternary};
use crate::scheme::ciphertext::{Ciphertext, Plaintext};
use crate::scheme::keys::PublicKey;

/// Encrypts with the public key.
pub struct Encryptor {
    context: Arc<Context>,
    key: Arc<PublicKey>,
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryptor")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Encryptor {
    /// An encryptor to a public key.
    pub fn new(context: &Arc<Context>, key: Arc<PublicKey>) -> Self {
        Self {
            context: Arc::clone(context),
            key,
        }
    }

    /// Encrypts at a level.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] when the key belongs to another parameter set,
    /// [`Error::Parameters`] when the level is above the key's, [`Error::SlotCount`] when the
    /// plaintext has more slots than the ring, or [`Error::Randomness`].
    pub fn encrypt(&self, plaintext: &Plaintext, level: usize) -> Result<Ciphertext, Error> {
        let context = &self.context;
        context.check_same("encrypt", self.key.b.context())?;
        let basis = context.q_basis(level)?;
        if level > self.key.level() {
            let max = self.key.level();
            return Err(heddle_params::Error::Level { level, max }.into());
        }
        let message = plaintext.message(context, basis)?;
        // One mask for both parts, an error for each: (b u + e0 + m, a u + e1).
        let mask = {
            let coefficients = ternary(&mut os_rng()?, context.n());
            RnsPoly::secret_from_i8(context, basis, &coefficients).into_eval()
        };
        let (mut c0, mut c1) = (fresh_error(context, basis)?, fresh_error(context, basis)?);
        c0.mul_add(&self.key.b.drop_to(level), &mask);
        c1.mul_add(&self.key.a.drop_to(level), &mask);
        c0.add_compact_assign(&message);
        Ok(Ciphertext {
            c0: c0.into_public(),
            c1: c1.into_public(),
            scale: plaintext.scale,
            log_slots: plaintext.log_slots,
        })
    }
}
