//! What benches and examples set up around an operation: a secret of their own, the operation's
//! keys, uniform messages, and the precision of what comes out.

use std::hint::black_box;
use std::sync::Arc;

use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::{GaloisElement, Parameters};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::Error;
use crate::ring::context::Context;
use crate::scheme::ciphertext::{Ciphertext, Plaintext};
use crate::scheme::encode::Complex64;
use crate::scheme::eval::Evaluator;
use crate::scheme::keys::EvaluationKeys;
use crate::scheme::precision::Precision;
use crate::secret::decrypt::Decryptor;
use crate::secret::encrypt::SecretEncryptor;
use crate::secret::generate::KeyGenerator;
use crate::secret::key::SecretKey;

/// Rotations that [`Operation::RotateHoisted8`] does.
const HOISTED: [i64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// An operation on a ciphertext that benches time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Evaluator::mul_rescale`] of the ciphertext with itself.
    MultiplyRelineariseRescale,
    /// [`Evaluator::rotate`] by 1.
    Rotate,
    /// [`Evaluator::rotate_hoisted`] by 1 to 8: one decomposition, eight ciphertexts.
    RotateHoisted8,
}

impl Operation {
    /// The first part of the labels of benches.
    pub fn name(self) -> &'static str {
        match self {
            Self::MultiplyRelineariseRescale => "multiply_relinearise_rescale",
            Self::Rotate => "rotate",
            Self::RotateHoisted8 => "rotate_hoisted_8",
        }
    }

    /// The keys that it uses at a level.
    pub fn required_keys(self, parameters: &Parameters, level: usize) -> Vec<KeyUse> {
        let rotation = |k: &i64| KeyKind::Galois(GaloisElement::rotation(*k, parameters.n()));
        let kinds: Vec<KeyKind> = match self {
            Self::MultiplyRelineariseRescale => vec![KeyKind::Relin],
            Self::Rotate => HOISTED[..1].iter().map(rotation).collect(),
            Self::RotateHoisted8 => HOISTED.iter().map(rotation).collect(),
        };
        kinds
            .into_iter()
            .map(|kind| KeyUse { kind, level })
            .collect()
    }

    /// Does it once, and drops the result.
    ///
    /// # Errors
    /// A missing key, or a product at level 0.
    pub fn run(self, evaluator: &Evaluator, x: &Ciphertext) -> Result<(), Error> {
        match self {
            Self::MultiplyRelineariseRescale => drop(black_box(evaluator.mul_rescale(x, x)?)),
            Self::Rotate => drop(black_box(evaluator.rotate(x, HOISTED[0])?)),
            Self::RotateHoisted8 => drop(black_box(evaluator.rotate_hoisted(x, &HOISTED)?)),
        }
        Ok(())
    }
}

/// A fresh secret and an evaluator with keys for some uses. The secret lives as long as the rig and
/// is never shown.
pub struct Rig {
    secret: SecretKey,
    evaluator: Evaluator,
}

/// Without the secret.
impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig")
            .field("evaluator", &self.evaluator)
            .finish_non_exhaustive()
    }
}

impl Rig {
    /// Draws a secret and makes its keys; `made` is called after each key.
    ///
    /// # Errors
    /// A use that the parameters lack, or [`Error::Randomness`].
    pub fn new(
        context: &Arc<Context>,
        uses: &[KeyUse],
        mut made: impl FnMut(),
    ) -> Result<Self, Error> {
        let secret = SecretKey::generate(context)?;
        let mut keys = EvaluationKeys::new();
        KeyGenerator::new(context, &secret)?.generate_each(uses, |key| {
            keys.insert(key);
            made();
            Ok::<_, Error>(())
        })?;
        Ok(Self {
            secret,
            evaluator: Evaluator::new(context, Arc::new(keys)),
        })
    }

    /// The evaluator with the keys.
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// Encrypts slots under the secret.
    ///
    /// # Errors
    /// Values that do not fit the scale, a slot count that is no power of two or exceeds the
    /// ring's, or a level that does not exist.
    pub fn encrypt(
        &self,
        slots: &[Complex64],
        scale: f64,
        level: usize,
    ) -> Result<Ciphertext, Error> {
        let context = self.evaluator.context();
        let plaintext = Plaintext::encode(self.evaluator.encoder(), slots, scale)?;
        let encrypted = SecretEncryptor::new(context, &self.secret).encrypt(&plaintext, level)?;
        Ok(encrypted.expand())
    }

    /// How closely a ciphertext follows the slots that it should hold. Where all of them are real,
    /// so is the error: the imaginary part is no message then, and the next bootstrap removes it.
    ///
    /// # Errors
    /// What decryption refuses.
    pub fn precision(
        &self,
        expected: &[Complex64],
        ciphertext: &Ciphertext,
    ) -> Result<Precision, Error> {
        let mut slots =
            Decryptor::new(self.evaluator.context(), &self.secret).decrypt(ciphertext)?;
        if expected.iter().all(|slot| slot.im == 0.0) {
            slots.iter_mut().for_each(|slot| slot.im = 0.0);
        }
        Ok(Precision::compare(expected, &slots))
    }
}

/// `2^log_slots` slots, uniform on [−1, 1]: the real part alone, or both. The same ones every time.
pub fn uniform_slots(log_slots: u32, variant: BootstrapVariant) -> Vec<Complex64> {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut uniform = || rng.random_range(-1.0..=1.0);
    (0..1usize << log_slots)
        .map(|_| match variant {
            BootstrapVariant::Real => Complex64::new(uniform(), 0.0),
            BootstrapVariant::Complex => Complex64::new(uniform(), uniform()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_params::named;

    #[test]
    fn each_operation_needs_just_its_keys() {
        let context = Context::new(named::toy(8).unwrap()).unwrap();
        let parameters = context.parameters();
        let slots = uniform_slots(7, BootstrapVariant::Complex);
        for (operation, keys) in [
            (Operation::MultiplyRelineariseRescale, 1),
            (Operation::Rotate, 1),
            (Operation::RotateHoisted8, 8),
        ] {
            let uses = operation.required_keys(parameters, 2);
            let mut made = 0;
            let rig = Rig::new(&context, &uses, || made += 1).unwrap();
            assert_eq!((made, rig.evaluator().keys().len()), (keys, keys));
            let x = rig.encrypt(&slots, 2f64.powi(40), 2).unwrap();
            operation.run(rig.evaluator(), &x).unwrap();
            assert!(rig.precision(&slots, &x).unwrap().worst_bits > 20.0);
        }
    }
}
