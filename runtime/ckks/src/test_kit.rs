//! What tests of homomorphic operations share: keys, encryption and comparison with plain slots on
//! a small ring.

use std::sync::Arc;

use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::{GaloisElement, named};

use crate::Context;
use crate::scheme::{Ciphertext, Complex64, Encoder, Evaluator, Plaintext, Precision};
use crate::secret::{Decryptor, KeyGenerator, SecretEncryptor, SecretKey};

pub(crate) const SCALE: f64 = (1u64 << 40) as f64;

pub(crate) struct Kit {
    pub(crate) context: Arc<Context>,
    pub(crate) secret: SecretKey,
}

impl Kit {
    pub(crate) fn new(log_n: u32) -> Self {
        let context = Context::new(named::toy(log_n).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        Self { context, secret }
    }

    pub(crate) fn galois(&self, shift: i64, level: usize) -> KeyUse {
        KeyUse {
            kind: KeyKind::Galois(GaloisElement::rotation(shift, self.context.n())),
            level,
        }
    }

    pub(crate) fn evaluator(&self, uses: &[KeyUse]) -> Evaluator {
        let keys = KeyGenerator::new(&self.context, &self.secret)
            .unwrap()
            .generate(uses)
            .unwrap();
        Evaluator::new(&self.context, Arc::new(keys))
    }

    pub(crate) fn encrypt(&self, values: &[Complex64], level: usize) -> Ciphertext {
        let encoder = Encoder::new(self.context.log_n() - 1);
        let plaintext = Plaintext::encode(&encoder, values, SCALE).unwrap();
        SecretEncryptor::new(&self.context, &self.secret)
            .encrypt(&plaintext, level)
            .unwrap()
            .expand()
    }

    #[track_caller]
    pub(crate) fn check(&self, ciphertext: &Ciphertext, expected: &[Complex64], bits: f64) {
        assert_eq!(1 << ciphertext.log_slots(), expected.len());
        let got = Decryptor::new(&self.context, &self.secret)
            .decrypt(ciphertext)
            .unwrap();
        let precision = Precision::compare(expected, &got);
        assert!(
            precision.worst_bits > bits,
            "{precision}, level {}",
            ciphertext.level()
        );
    }
}

pub(crate) fn slots(n: usize, seed: f64) -> Vec<Complex64> {
    (0..n)
        .map(|i| Complex64::new((i as f64 * 0.7 + seed).sin(), (i as f64 * 1.1 * seed).cos()))
        .collect()
}

pub(crate) fn map2(
    a: &[Complex64],
    b: &[Complex64],
    f: impl Fn(Complex64, Complex64) -> Complex64,
) -> Vec<Complex64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

pub(crate) fn rotated(values: &[Complex64], shift: usize) -> Vec<Complex64> {
    (0..values.len())
        .map(|i| values[(i + shift) % values.len()])
        .collect()
}
