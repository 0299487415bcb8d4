//! Decryption.
//!
//! *Constant time.* Decryption takes a time that depends on parameters, level and number of slots
//! alone: not on the secret, nor on the message, whose doubles are added, multiplied and converted
//! but never compared or divided by. Two limits: a processor may take longer for subnormal doubles,
//! which only messages of absolute value below 2^-1022 times the scale lead to; and
//! [`Decryptor::decrypt_with_noise`] draws its noise with a logarithm and a cosine, whose time
//! shows something of the noise, not of the message.
//!
//! *Memory.* Whatever is computed from the secret or the message is wiped when dropped, the
//! decrypted slots included.

use std::sync::Arc;

use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::Error;
use crate::ring::context::Context;
use crate::ring::poly::{Coeff, RnsPoly};
use crate::ring::sample::{normal, os_rng};
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::encode::{Complex64, Encoder, slot_count};
use crate::secret::key::SecretKey;

/// Decrypts with the secret key.
pub struct Decryptor<'a> {
    context: Arc<Context>,
    secret: &'a SecretKey,
    encoder: Encoder,
}

/// Without the secret.
impl std::fmt::Debug for Decryptor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decryptor").finish_non_exhaustive()
    }
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
    /// [`Error::ContextMismatch`] when ciphertext or secret belong to another parameter set,
    /// [`Error::SlotCount`] when the ciphertext claims more slots than the ring has.
    pub fn decrypt_coefficients(
        &self,
        ciphertext: &Ciphertext,
    ) -> Result<Zeroizing<Vec<f64>>, Error> {
        let context = &self.context;
        context.check_same("decrypt", ciphertext.context())?;
        self.secret.check_ring("decrypt", context)?;
        let secret = self.secret.expand(context, ciphertext.c0.basis());
        let mut message = ciphertext.c0.clone().into_secret();
        message.mul_add(&ciphertext.c1, secret.poly());
        centred_coefficients(context, &message.into_coeff(), ciphertext.log_slots)
    }

    /// The slots, `2^log_slots` of them.
    ///
    /// The result shows the exact noise of the ciphertext; share it with nobody who knows the
    /// computation, or use [`Self::decrypt_with_noise`] (Li and Micciancio, EUROCRYPT 2021).
    ///
    /// # Errors
    /// As [`Self::decrypt_coefficients`].
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Zeroizing<Vec<Complex64>>, Error> {
        self.slots(self.decrypt_coefficients(ciphertext)?, ciphertext.scale)
    }

    /// The slots with fresh Gaussian noise of standard deviation `deviation` (in slot units) added
    /// to the real and the imaginary part of each, so that the result can be shared.
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
        // Each part of a slot is a sum of all coefficients with squared weights that add up to half
        // their number.
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

/// The compact coefficients of a polynomial over `q_0 … q_level`, as the integers nearest to zero,
/// rounded to double precision. Coefficients of other powers than those of `X^(N/2n)` are left out.
///
/// Garner's algorithm gives the mixed-radix digits exactly, so that the sign is exact at every
/// level.
///
/// # Errors
/// [`Error::Operand`] when special primes are left, [`Error::SlotCount`] when the slots exceed
/// `N/2`.
fn centred_coefficients(
    context: &Context,
    poly: &RnsPoly<Coeff>,
    log_slots: u32,
) -> Result<Zeroizing<Vec<f64>>, Error> {
    let basis = poly.basis();
    if basis.specials() != 0 {
        let detail = "special primes must be divided away first".into();
        return Err(Error::Operand {
            op: "decode",
            detail,
        });
    }
    if log_slots >= context.parameters().log_n() {
        return Err(slot_count(1 << log_slots, context.n() / 2));
    }
    let moduli: Vec<_> = (0..basis.limbs()).map(|i| *context.modulus(i)).collect();
    // inverses[i][j] = 1 / q_j modulo q_i
    let inverses: Vec<Vec<u64>> = moduli
        .iter()
        .enumerate()
        .map(|(i, m)| {
            moduli[..i]
                .iter()
                .map(|q| m.inverse(m.reduce(q.value())))
                .collect()
        })
        .collect();
    let count = 2usize << log_slots;
    let gap = context.n() / count;
    let centred = |digits: &mut [u64], k: usize| {
        for (i, m) in moduli.iter().enumerate() {
            let (lower, rest) = digits.split_at_mut(i);
            let mut x = poly.limb(i)[k * gap];
            for (&digit, &inverse) in lower.iter().zip(&inverses[i]) {
                x = m.mul(m.sub(x, m.reduce(digit)), inverse);
            }
            rest[0] = x;
        }
        // Q is odd, so its half is (q_i - 1) / 2 in every digit, and a value is negative when it
        // exceeds that: when the subtraction of its digits borrows at last. Every digit is looked
        // at.
        let borrow = digits.iter().zip(&moduli).fold(0, |borrow, (&digit, m)| {
            (m.value() / 2).wrapping_sub(digit).wrapping_sub(borrow) >> 63
        });
        // All ones for a negative value x: it is -(Q - x), and Q - x is the complement in every
        // digit, plus one.
        let negative = borrow.wrapping_neg();
        let magnitude = digits
            .iter()
            .zip(&moduli)
            .rev()
            .fold(0.0, |sum, (&digit, m)| {
                let complement = m.value() - 1 - digit;
                let digit = digit ^ (digit ^ complement) & negative;
                // Signed, since the conversion of unsigned words may branch.
                sum * m.value() as f64 + digit as i64 as f64
            });
        let magnitude = magnitude + borrow as i64 as f64;
        f64::from_bits(magnitude.to_bits() ^ borrow << 63)
    };
    let mut coefficients = Zeroizing::new(vec![0.0; count]);
    coefficients.par_iter_mut().enumerate().for_each_init(
        || Zeroizing::new(vec![0; moduli.len()]),
        |digits, (k, coefficient)| *coefficient = centred(digits, k),
    );
    Ok(coefficients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::context::Basis;

    #[test]
    fn coefficients_are_the_integers_nearest_to_zero() {
        let context = Context::new(heddle_params::named::toy(6).unwrap()).unwrap();
        for level in [0, 1, 2, 28] {
            let basis = Basis::q(level);
            let q = context.modulus(0).value() as i64;
            let mut values: Vec<i64> = (0..64)
                .map(|i| (1 << (i / 2)) * (1 - 2 * (i % 2)))
                .collect();
            values[..6].copy_from_slice(&[0, 1, -1, q / 2, -(q / 2), 1 - q / 2]);
            let poly = RnsPoly::from_i64(&context, basis, &values);
            let back = centred_coefficients(&context, &poly, 5).unwrap();
            for (&x, &value) in back.iter().zip(&values) {
                assert_eq!(x, value as f64, "level {level}");
            }
        }
        // The ends of the range at level 1: Q/2 rounded down, and the negative of it.
        let (q0, q1) = (context.modulus(0).value(), context.modulus(1).value());
        let half = (i128::from(q0) * i128::from(q1)) / 2;
        let poly = RnsPoly::from_i128(&context, Basis::q(1), &[half, half + 1]);
        let ends = centred_coefficients(&context, &poly, 0).unwrap();
        assert!(ends[0] > 0.0 && ends[1] < 0.0);
        assert!((ends[0] / half as f64 - 1.0).abs() < 1e-15 && ends[0] == -ends[1]);
    }
}
