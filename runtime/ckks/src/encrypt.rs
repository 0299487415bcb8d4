//! Encryption and decryption.
//!
//! *Constant time.* Encryption and decryption take a time that depends on parameters, level, number of slots and seeds
//! alone: not on the secret, on errors, or on the message, whose doubles are added, multiplied and converted but never
//! compared or divided by. Two limits: a processor may take longer for subnormal doubles, which messages of absolute
//! value below 2^-1022 times the scale alone lead to; and [`Decryptor::decrypt_with_noise`] draws its noise with a
//! logarithm and a cosine, whose time shows something of the noise, not of the message.
//!
//! *Memory.* Whatever is computed from the secret, an error or the message is wiped when dropped, the decrypted slots
//! included.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::ciphertext::{Ciphertext, Plaintext};
use crate::context::{Basis, Context};
use crate::encode::{Complex64, Encoder, centred_coefficients};
use crate::error::Error;
use crate::keys::{PublicKey, SecretKey, SecretPoly, fresh_error, fresh_seed, uniform};
use crate::poly::{CompactPoly, Eval, RnsPoly};
use crate::sample::{normal, os_rng, ternary};
use crate::seed::{Seed, SeedExpander, StreamId, StreamKind};

/// A freshly encrypted ciphertext whose uniform part is kept as its seed: half the size of the ciphertext.
#[derive(Clone)]
pub struct SeededCiphertext {
    pub(crate) c0: RnsPoly<Eval>,
    pub(crate) seed: Seed,
    pub(crate) scale: f64,
    pub(crate) log_slots: u32,
}

impl SeededCiphertext {
    /// Regenerates the uniform part.
    pub fn expand(self, context: &Arc<Context>) -> Ciphertext {
        let c1 = uniform_part(context, self.c0.basis(), self.seed);
        Ciphertext {
            c0: self.c0,
            c1,
            scale: self.scale,
            log_slots: self.log_slots,
        }
    }

    /// The level.
    pub fn level(&self) -> usize {
        self.c0.level()
    }
}

fn uniform_part(context: &Arc<Context>, basis: Basis, seed: Seed) -> RnsPoly<Eval> {
    let expander = SeedExpander::new(context.kernel(), seed);
    uniform(
        context,
        basis,
        &expander,
        StreamId::of(StreamKind::Ciphertext),
    )
}

/// The limbs of a public plaintext over a basis.
///
/// # Errors
/// [`Error::SlotCount`] when it has more slots than the ring.
pub(crate) fn compact(
    context: &Arc<Context>,
    basis: Basis,
    plaintext: &Plaintext,
) -> Result<CompactPoly, Error> {
    check_slots(context, plaintext)?;
    Ok(CompactPoly::from_i64(
        context,
        basis,
        &plaintext.coefficients,
    ))
}

/// The limbs of a message over a basis, which are wiped when dropped.
fn message(
    context: &Arc<Context>,
    basis: Basis,
    plaintext: &Plaintext,
) -> Result<CompactPoly, Error> {
    check_slots(context, plaintext)?;
    Ok(CompactPoly::secret_from_i64(
        context,
        basis,
        &plaintext.coefficients,
    ))
}

fn check_slots(context: &Context, plaintext: &Plaintext) -> Result<(), Error> {
    let (found, expected) = (plaintext.coefficients.len() / 2, context.n() / 2);
    if found > expected {
        return Err(Error::SlotCount {
            op: "plaintext",
            found,
            expected,
        });
    }
    Ok(())
}

/// Encrypts with the secret key: the least noise, and half of the ciphertext is a seed.
pub struct SecretEncryptor<'a> {
    context: Arc<Context>,
    secret: &'a SecretKey,
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
    /// When the level does not exist or the plaintext has more slots than the ring.
    pub fn encrypt(&self, plaintext: &Plaintext, level: usize) -> Result<SeededCiphertext, Error> {
        let context = &self.context;
        let basis = context.q_basis(level)?;
        let message = message(context, basis, plaintext)?;
        let seed = fresh_seed()?;
        let c1 = uniform_part(context, basis, seed);
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

/// Encrypts with the public key.
pub struct Encryptor {
    context: Arc<Context>,
    key: Arc<PublicKey>,
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
    /// When the level is above the key's or the plaintext has more slots than the ring.
    pub fn encrypt(&self, plaintext: &Plaintext, level: usize) -> Result<Ciphertext, Error> {
        let context = &self.context;
        let basis = context.q_basis(level)?;
        if level > self.key.level() {
            let max = self.key.level();
            return Err(heddle_params::Error::Level { level, max }.into());
        }
        let message = message(context, basis, plaintext)?;
        // One mask for both parts, an error for each: (b u + e0 + m, a u + e1).
        let mask = SecretPoly::from_i8(context, basis, &ternary(&mut os_rng()?, context.n()));
        let (mut c0, mut c1) = (fresh_error(context, basis)?, fresh_error(context, basis)?);
        c0.mul_add(&self.key.b.drop_to(level), mask.poly());
        c1.mul_add(&self.key.a.drop_to(level), mask.poly());
        c0.add_compact_assign(&message);
        Ok(Ciphertext {
            c0: c0.into_public(),
            c1: c1.into_public(),
            scale: plaintext.scale,
            log_slots: plaintext.log_slots,
        })
    }
}

/// Decrypts with the secret key.
pub struct Decryptor<'a> {
    context: Arc<Context>,
    secret: &'a SecretKey,
    encoder: Encoder,
}

impl<'a> Decryptor<'a> {
    /// A decryptor with a secret.
    pub fn new(context: &Arc<Context>, secret: &'a SecretKey) -> Self {
        let encoder = Encoder::new(context.parameters().log_n() - 1);
        Self {
            context: Arc::clone(context),
            secret,
            encoder,
        }
    }

    /// The encrypted compact coefficients, not divided by the scale.
    ///
    /// # Errors
    /// When the ciphertext claims more slots than the ring has.
    pub fn decrypt_coefficients(
        &self,
        ciphertext: &Ciphertext,
    ) -> Result<Zeroizing<Vec<f64>>, Error> {
        let context = &self.context;
        let secret = self.secret.expand(context, ciphertext.c0.basis());
        let mut message = ciphertext.c0.clone().into_secret();
        message.mul_add(&ciphertext.c1, secret.poly());
        centred_coefficients(context, &message.into_coeff(), ciphertext.log_slots)
    }

    /// The slots, `2^log_slots` of them.
    ///
    /// The result shows the exact noise of the ciphertext; share it with nobody who knows the computation, or use
    /// [`Self::decrypt_with_noise`] (Li and Micciancio, EUROCRYPT 2021).
    ///
    /// # Errors
    /// As [`Self::decrypt_coefficients`].
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Zeroizing<Vec<Complex64>>, Error> {
        self.slots(self.decrypt_coefficients(ciphertext)?, ciphertext.scale)
    }

    /// The slots with fresh Gaussian noise of standard deviation `deviation` (in slot units) added to the real and the
    /// imaginary part of each, so that the result can be shared.
    ///
    /// # Errors
    /// As [`Self::decrypt_coefficients`].
    pub fn decrypt_with_noise(
        &self,
        ciphertext: &Ciphertext,
        deviation: f64,
    ) -> Result<Zeroizing<Vec<Complex64>>, Error> {
        let mut coefficients = self.decrypt_coefficients(ciphertext)?;
        let mut rng = os_rng()?;
        // Each part of a slot is a sum of all coefficients with squared weights that add up to half their number.
        let factor = deviation * ciphertext.scale / (coefficients.len() as f64 / 2.0).sqrt();
        for coefficient in coefficients.iter_mut() {
            *coefficient += factor * normal(&mut rng);
        }
        self.slots(coefficients, ciphertext.scale)
    }

    fn slots(
        &self,
        mut coefficients: Zeroizing<Vec<f64>>,
        scale: f64,
    ) -> Result<Zeroizing<Vec<Complex64>>, Error> {
        // A division takes longer for some numerators than for others.
        let factor = 1.0 / scale;
        for coefficient in coefficients.iter_mut() {
            *coefficient *= factor;
        }
        self.encoder.to_slots(&coefficients).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Secrecy;
    use crate::precision::Precision;
    use crate::sample::SIGMA;

    fn slots(n: usize) -> Vec<Complex64> {
        (0..n)
            .map(|i| Complex64::new((i as f64 * 0.37).sin(), (i as f64 * 0.91).cos()))
            .collect()
    }

    #[test]
    fn decryption_inverts_both_encryptions_at_every_period() {
        let context = Context::new(heddle_params::named::toy(9).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let public = Arc::new(PublicKey::generate(&context, &secret, 28).unwrap());
        let encoder = Encoder::new(8);
        let decryptor = Decryptor::new(&context, &secret);
        for log_slots in [0, 1, 5, 8] {
            for level in [0, 1, 28] {
                let values = slots(1 << log_slots);
                let plaintext = Plaintext::encode(&encoder, &values, 2f64.powi(40)).unwrap();
                let by_secret = SecretEncryptor::new(&context, &secret)
                    .encrypt(&plaintext, level)
                    .unwrap()
                    .expand(&context);
                let by_public = Encryptor::new(&context, public.clone())
                    .encrypt(&plaintext, level)
                    .unwrap();
                for (ciphertext, bits) in [(by_secret, 30.0), (by_public, 25.0)] {
                    assert_eq!(
                        (ciphertext.level(), ciphertext.log_slots()),
                        (level, log_slots)
                    );
                    let precision =
                        Precision::compare(&values, &decryptor.decrypt(&ciphertext).unwrap());
                    assert!(precision.worst_bits > bits, "{precision}");
                }
            }
        }
    }

    #[test]
    fn added_noise_has_the_deviation_asked_for() {
        let context = Context::new(heddle_params::named::toy(10).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let values = slots(512);
        let plaintext = Plaintext::encode(&Encoder::new(9), &values, 2f64.powi(40)).unwrap();
        let ciphertext = SecretEncryptor::new(&context, &secret)
            .encrypt(&plaintext, 2)
            .unwrap()
            .expand(&context);
        let noisy = Decryptor::new(&context, &secret)
            .decrypt_with_noise(&ciphertext, 0.01)
            .unwrap();
        let variance = noisy
            .iter()
            .zip(&values)
            .map(|(&a, &b)| (a - b).re.powi(2))
            .sum::<f64>()
            / 512.0;
        assert!(
            (variance.sqrt() - 0.01).abs() < 0.002,
            "{}",
            variance.sqrt()
        );
    }

    /// c0 + c1 s = m + e u + e0 + e1 s: of variance sigma^2 (2N/3 + 1 + h), where the mask u is dense and h is the
    /// weight of s; a fresh encryption under the secret has the error e alone.
    #[test]
    fn fresh_noise_is_what_theory_says() {
        let context = Context::new(heddle_params::named::toy(12).unwrap()).unwrap();
        let n = context.n() as f64;
        let secret = SecretKey::generate(&context).unwrap();
        let zeros = secret.expand(&context, Basis::q(0)).poly().to_coeff();
        let weight = zeros.limb(0).iter().filter(|&&x| x != 0).count() as f64;
        let public = Arc::new(PublicKey::generate(&context, &secret, context.max_level()).unwrap());
        let zero = Plaintext::encode_real(&Encoder::new(11), &[0.0; 2048], 1.0).unwrap();
        let decryptor = Decryptor::new(&context, &secret);
        let by_public = |level| {
            let encryptor = Encryptor::new(&context, public.clone());
            encryptor.encrypt(&zero, level).unwrap()
        };
        let by_secret = |level| {
            let encryptor = SecretEncryptor::new(&context, &secret);
            encryptor.encrypt(&zero, level).unwrap().expand(&context)
        };
        let cases: [(&dyn Fn(usize) -> Ciphertext, f64); 2] = [
            (&by_public, 2.0 * n / 3.0 + 1.0 + weight),
            (&by_secret, 1.0),
        ];
        for (encrypt, factor) in cases {
            for level in [0, 5] {
                let noise = decryptor.decrypt_coefficients(&encrypt(level)).unwrap();
                let mean = noise.iter().sum::<f64>() / n;
                let variance = noise.iter().map(|x| x * x).sum::<f64>() / n;
                let expected = SIGMA * SIGMA * factor;
                // Five deviations: a variance of N samples has a relative one of (2/N)^(1/2), and one mask, error and
                // secret are behind all coefficients, which doubles it at most.
                let tolerance = 10.0 * (2.0 / n).sqrt();
                assert!(
                    (variance / expected - 1.0).abs() < tolerance,
                    "{variance}, not {expected}"
                );
                // Twelve deviations, since neighbouring coefficients of a product share terms.
                assert!(mean.abs() < 12.0 * (expected / n).sqrt(), "{mean}");
            }
        }
    }

    #[test]
    fn secrets_are_declared_and_ciphertexts_are_not() {
        let context = Context::new(heddle_params::named::toy(6).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let basis = Basis::q(1);
        let expanded = secret.expand(&context, basis).poly().clone();
        let image = expanded.automorphism(heddle_params::GaloisElement::rotation(1, 64));
        let error = fresh_error(&context, basis).unwrap();
        let plaintext = Plaintext::encode_real(&Encoder::new(5), &[0.5; 4], 2f64.powi(40)).unwrap();
        let message = message(&context, basis, &plaintext).unwrap().expand();
        for poly in [image, error.clone(), message.drop_to(0), expanded] {
            assert_eq!(poly.secrecy(), Secrecy::Secret);
            assert_eq!(poly.to_coeff().to_eval().secrecy(), Secrecy::Secret);
        }
        let key = Arc::new(PublicKey::generate(&context, &secret, context.max_level()).unwrap());
        assert_eq!(key.b.secrecy(), Secrecy::Public);
        let by_public = Encryptor::new(&context, key)
            .encrypt(&plaintext, 1)
            .unwrap();
        let by_secret = SecretEncryptor::new(&context, &secret).encrypt(&plaintext, 1);
        for part in [by_public.c0, by_public.c1, by_secret.unwrap().c0] {
            assert_eq!(part.secrecy(), Secrecy::Public);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let context = Context::new(heddle_params::named::toy(8).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let encryptor = SecretEncryptor::new(&context, &secret);
        let fits = Plaintext::encode_real(&Encoder::new(8), &[0.5; 128], 2f64.powi(40)).unwrap();
        assert!(matches!(
            encryptor.encrypt(&fits, 29),
            Err(Error::Parameters(_))
        ));
        let large = Plaintext::encode_real(&Encoder::new(8), &[0.5; 256], 2f64.powi(40)).unwrap();
        assert!(matches!(
            encryptor.encrypt(&large, 1),
            Err(Error::SlotCount { .. })
        ));
    }
}
