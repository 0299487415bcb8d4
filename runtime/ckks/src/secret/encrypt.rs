//! Encryption with the secret key.
//!
//! *Constant time.* As with a public key, see [`crate::Encryptor`]: the secret takes no part in the
//! time either.
//!
//! *Memory.* Whatever is computed from the secret, an error or the message is wiped when dropped.

use std::sync::Arc;

use crate::Error;
use crate::ring::context::Context;
use crate::ring::sample::{fresh_error, fresh_seed};
use crate::scheme::ciphertext::{Plaintext, SeededCiphertext};
use crate::secret::key::SecretKey;

/// Encrypts with the secret key: the least noise, and half of the ciphertext is a seed.
pub struct SecretEncryptor<'a> {
    context: Arc<Context>,
    secret: &'a SecretKey,
}

/// Without the secret.
impl std::fmt::Debug for SecretEncryptor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretEncryptor").finish_non_exhaustive()
    }
}

impl<'a> SecretEncryptor<'a> {
    /// An encryptor under a secret.
    pub fn new(context: &Arc<Context>, secret: &'a SecretKey) -> Self {
        Self {
            context: Arc::clone(context),
            secret,
        }
    }

    /// Encrypts at a level.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] when the secret belongs to another ring, [`Error::Parameters`]
    /// when the level does not exist, [`Error::SlotCount`] when the plaintext has more slots than
    /// the ring, or [`Error::Randomness`].
    pub fn encrypt(&self, plaintext: &Plaintext, level: usize) -> Result<SeededCiphertext, Error> {
        let context = &self.context;
        self.secret.check_ring("encrypt", context)?;
        let basis = context.q_basis(level)?;
        let message = plaintext.message(context, basis)?;
        let seed = fresh_seed()?;
        let c1 = SeededCiphertext::uniform(context, basis, seed);
        let mut c0 = self
            .secret
            .expand(context, basis)
            .encrypt_zero(&c1, fresh_error(context, basis)?);
        c0.add_compact_assign(&message);
        Ok(SeededCiphertext {
            c0,
            seed,
            scale: plaintext.scale,
            log_slots: plaintext.log_slots,
        })
    }
}
