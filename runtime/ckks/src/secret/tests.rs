//! Encryption and decryption together, and what a secret leaves behind.

use std::sync::Arc;

use super::*;
use crate::buffer::Secrecy;
use crate::ring::sample::fresh_error;
use crate::ring::{Basis, SIGMA};
use crate::scheme::{Ciphertext, Complex64, Encoder, Encryptor, Plaintext, Precision, PublicKey};
use crate::{Context, Error};

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
                .expand();
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
        .expand();
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

/// c0 + c1 s = m + e u + e0 + e1 s: of variance sigma^2 (2N/3 + 1 + h), where the mask u is dense
/// and h is the weight of s; a fresh encryption under the secret has the error e alone.
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
        encryptor.encrypt(&zero, level).unwrap().expand()
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
            // Five deviations: a variance of N samples has a relative one of (2/N)^(1/2), and one
            // mask, error and secret are behind all coefficients, which doubles it at most.
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
    let message = plaintext.message(&context, basis).unwrap().expand();
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

/// What `{:?}` writes of each type that holds a secret or a message.
#[test]
fn debug_output_shows_no_secret() {
    let context = Context::new(heddle_params::named::toy(6).unwrap()).unwrap();
    let secret = SecretKey::generate(&context).unwrap();
    let plaintext = Plaintext::encode_real(&Encoder::new(5), &[0.5; 4], 16.0).unwrap();
    let encryptor = SecretEncryptor::new(&context, &secret);
    let decryptor = Decryptor::new(&context, &secret);
    let generator = KeyGenerator::new(&context, &secret).unwrap();
    let rng = crate::ring::sample::SecureRng::from_seed(&[7; 32]);
    let error = fresh_error(&context, Basis::q(1)).unwrap();
    let shown = [
        format!("{secret:?}"),
        format!("{plaintext:?}"),
        format!("{encryptor:?}"),
        format!("{decryptor:?}"),
        format!("{generator:?}"),
        format!("{rng:?}"),
        format!("{error:?}"),
    ];
    let expected = [
        "SecretKey(64 coefficients)",
        "Plaintext { scale: 16.0, log_slots: 2, .. }",
        "SecretEncryptor { .. }",
        "Decryptor { .. }",
        "KeyGenerator { .. }",
        "SecureRng { .. }",
        "RnsPoly(Basis { level: 1, specials: 0 })",
    ];
    assert_eq!(shown, expected);
    let rig = rig::Rig::new(&context, &[], || ()).unwrap();
    assert!(format!("{rig:?}").starts_with("Rig { evaluator: Evaluator {"));
}
