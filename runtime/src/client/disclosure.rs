//! What a client publishes of an answer.
//!
//! CKKS is approximate: an exact decryption carries the ciphertext's error. The error depends on
//! the secret key, and whoever knows the computation can draw conclusions from it (Li and
//! Micciancio, EUROCRYPT 2021). So Gaussian noise is added to a result that others will see.
//! `docs/security.md` says how large the noise must be for how many answers, in the terms of that
//! paper and of Bossuat et al., ePrint 2024/853.

use heddle_ckks::ring::sample::{SecureRng, normal};
use heddle_ckks::{Ciphertext, Complex64, Context, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::Error;
use crate::packing::is_in_range;

/// Bits of a published result that the command line keeps unless told otherwise.
pub const DISCLOSED_BITS: u32 = 6;

/// Who will see a decrypted result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// The key's owner alone: no noise.
    Private,
    /// Others: Gaussian noise with a standard deviation of `2^-bits` of the output's range is added
    /// to every number. The noise of one answer at one precision is always the same, so that an
    /// average over many disclosures removes none of it.
    Noisy {
        /// Bits of the result that are kept.
        bits: u32,
    },
}

/// Refuses an answer with a slot out of range; slots hold quotients of elements and range.
///
/// # Errors
/// [`Error::OutOfRange`] without any number.
pub(super) fn check_range(slots: &[Complex64]) -> Result<(), Error> {
    // Every slot is compared, so that the time does not tell which one is out of range.
    let within = slots.iter().fold(true, |within, slot| {
        within & is_in_range(slot.re) & is_in_range(slot.im)
    });
    match within {
        true => Ok(()),
        false => Err(Error::OutOfRange {
            what: "the answer".into(),
        }),
    }
}

/// The seed of an answer's noise: a keyed hash of the ciphertext and of the precision.
///
/// # Errors
/// None in practice: the ciphertext is written to memory.
pub(super) fn noise_key(
    secret: &SecretKey,
    context: &Context,
    ciphertext: &Ciphertext,
    bits: u32,
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Vec::new();
    ciphertext.write(context, &mut bytes)?;
    let packed = secret.to_packed();
    let mut hasher = Sha256::new_with_prefix(b"heddle share 1");
    // All secrets of a ring have one length: no hash input is the beginning of another.
    hasher.update(&packed[..]);
    hasher.update(bits.to_le_bytes());
    hasher.update(Sha256::digest(&bytes));
    Ok(Zeroizing::new(hasher.finalize().into()))
}

/// Adds noise with a standard deviation of `range·2^-bits` and rounds to a sixteenth of that: the
/// lowest bits of the floating-point sums are dropped too.
pub(super) fn add_noise(values: &mut [f64], range: f64, bits: u32, key: Zeroizing<[u8; 32]>) {
    let deviation = range * (-f64::from(bits)).exp2();
    let mut rng = SecureRng::from_seed(&key);
    for value in values {
        let grid = deviation / 16.0;
        *value = ((*value + deviation * normal(&mut rng)) / grid).round() * grid;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_deviation_asked_for_and_follows_from_its_key() {
        let noise = |byte: u8| {
            let mut values = vec![1.0; 20_000];
            add_noise(&mut values, 50.0, 6, Zeroizing::new([byte; 32]));
            values
        };
        let values = noise(1);
        assert_eq!(values, noise(1));
        assert_ne!(values, noise(2));
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares = values.iter().map(|x| (x - 1.0).powi(2)).sum::<f64>();
        let deviation = (squares / values.len() as f64).sqrt();
        assert!(
            (deviation / (50.0 / 64.0) - 1.0).abs() < 0.03,
            "{deviation}"
        );
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let grid = 50.0 / 64.0 / 16.0;
        assert!(
            values
                .iter()
                .all(|x| (x / grid - (x / grid).round()).abs() < 1e-9)
        );
    }

    #[test]
    fn one_slot_out_of_range_is_enough() {
        let slots = |at: usize, slot: Complex64| {
            let mut slots = vec![Complex64::new(0.5, 0.0); 8];
            slots[at] = slot;
            check_range(&slots)
        };
        assert!(slots(3, Complex64::new(-1.05, 0.01)).is_ok());
        for out in [1.07, -4.15, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                slots(7, Complex64::new(out, 0.0)),
                Err(Error::OutOfRange { .. })
            ));
            assert!(matches!(
                slots(0, Complex64::new(0.0, out)),
                Err(Error::OutOfRange { .. })
            ));
        }
    }
}
