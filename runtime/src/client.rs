//! What only the holder of the secret key does: key generation, encryption, decryption.

use std::sync::Arc;

use heddle_ckks::Context;
use heddle_ckks::ciphertext::{Ciphertext, Plaintext};
use heddle_ckks::encode::Encoder;
use heddle_ckks::encrypt::{Decryptor, SecretEncryptor, SeededCiphertext};
use heddle_ckks::keys::{EvaluationKeys, KeyGenerator, KeySwitchKey, SecretKey};
use heddle_ir::plan::Plan;

use crate::Error;
use crate::packing;
use crate::progress::{Progress, Show};

/// Bits of a shared result that [`Share::Noisy`] keeps unless told otherwise.
pub const SHARED_BITS: u32 = 10;

/// Whether a decrypted result is to be shown to others.
///
/// The exact result of an approximate scheme carries the ciphertext's noise, and somebody who knows the computation
/// can draw conclusions on the secret key from it (Li and Micciancio, EUROCRYPT 2021). Noise of a known, larger
/// deviation hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// For the key's owner alone: no noise.
    Private,
    /// Gaussian noise with a standard deviation of `2^-bits` of the output's range is added to every slot. Ciphertext
    /// noise is near `2^-17` of the range after a deep network, so 10 bits exceed it by about 7 bits.
    Noisy {
        /// Bits of the result that stay.
        bits: u32,
    },
}

/// A holder of a secret key for one plan.
pub struct Client<'a> {
    plan: &'a Plan,
    context: Arc<Context>,
    secret: SecretKey,
}

impl<'a> Client<'a> {
    /// A client with a fresh secret key.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn generate(plan: &'a Plan, context: &Arc<Context>) -> Result<Self, Error> {
        Ok(Self::new(plan, context, SecretKey::generate(context)?))
    }

    /// A client with a secret key that was read from a file.
    pub fn new(plan: &'a Plan, context: &Arc<Context>, secret: SecretKey) -> Self {
        Self {
            plan,
            context: Arc::clone(context),
            secret,
        }
    }

    /// The secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Makes the evaluation keys that the plan uses, and hands each over as soon as it is made.
    ///
    /// # Errors
    /// What `sink` answers, or keys that the parameters do not have.
    pub fn generate_keys(
        &self,
        show: Show,
        mut sink: impl FnMut(KeySwitchKey) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let uses = &self.plan.schedule.keys;
        let progress = Progress::new("making evaluation keys", uses.len(), show);
        KeyGenerator::new(&self.context, &self.secret)?.generate_each(uses, |key| {
            progress.step();
            sink(key)
        })
    }

    /// The evaluation keys that the plan uses, in memory.
    ///
    /// # Errors
    /// If the parameters lack one of them.
    pub fn evaluation_keys(&self, show: Show) -> Result<EvaluationKeys, Error> {
        let mut keys = EvaluationKeys::new();
        self.generate_keys(show, |key| {
            keys.insert(key);
            Ok(())
        })?;
        Ok(keys)
    }

    /// Encrypts a preprocessed, row-major `C, H, W` tensor; `name` says in errors which.
    ///
    /// # Errors
    /// If the tensor does not fit the plan.
    pub fn encrypt(&self, name: &str, tensor: &[f32]) -> Result<SeededCiphertext, Error> {
        let slots = packing::pack(self.plan, name, tensor)?;
        let ty = packing::input_type(self.plan)?;
        let encoder = Encoder::new(self.context.log_n() - 1);
        let plaintext = Plaintext::encode_real(&encoder, &slots, ty.scale())?;
        Ok(SecretEncryptor::new(&self.context, &self.secret).encrypt(&plaintext, ty.level)?)
    }

    /// Decrypts the logits.
    ///
    /// # Errors
    /// If the ciphertext holds fewer slots than the plan's output.
    pub fn decrypt(&self, ciphertext: &Ciphertext, share: Share) -> Result<Vec<f64>, Error> {
        let decryptor = Decryptor::new(&self.context, &self.secret);
        let slots = match share {
            Share::Private => decryptor.decrypt(ciphertext)?,
            Share::Noisy { bits } => {
                decryptor.decrypt_with_noise(ciphertext, (-f64::from(bits)).exp2())?
            }
        };
        let real: Vec<f64> = slots.iter().map(|slot| slot.re).collect();
        packing::unpack(self.plan, &real)
    }
}
