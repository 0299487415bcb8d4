//! Parameter literals and their checked form.

use crate::security::{self, Secret, Security};
use crate::{Error, key_switch, primes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The most primes that one chain may have.
pub const MAX_CHAIN: usize = 64;

/// The most residues of one polynomial over all primes: 80 primes at N = 2^16. Keys are made with a
/// few such polynomials in memory, whoever chose the parameters.
const MAX_RESIDUES: usize = 80 << 16;

/// An unchecked parameter set: what a person or a file writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersLiteral {
    /// log2 of the ring degree N.
    pub log_n: u32,
    /// Bit sizes of the ciphertext primes, `q_0` first.
    pub log_q: Vec<u32>,
    /// Bit sizes of the special primes.
    pub log_p: Vec<u32>,
    /// Distribution of the main secret.
    pub secret: Secret,
    /// Hamming weight of the ephemeral secret of bootstrapping, if it encapsulates.
    pub encapsulation_weight: Option<u32>,
}

/// A token that must be named to build a set below 128 bits.
#[derive(Clone, Copy, Debug)]
pub struct Insecure(());

impl Insecure {
    /// Acknowledges that the set built with this token may not protect anything.
    pub fn acknowledged() -> Self {
        Self(())
    }
}

/// Which parameter sets are taken from others.
#[derive(Clone, Copy, Debug, Default)]
pub enum Accept {
    /// Those that give 128 bits of security.
    #[default]
    Secure,
    /// All of them.
    Any(Insecure),
}

/// A checked, immutable parameter set.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    literal: ParametersLiteral,
    q: Vec<u64>,
    p: Vec<u64>,
    security: Security,
    insecure: bool,
}

fn log2_product(primes: &[u64]) -> f64 {
    primes.iter().map(|&m| (m as f64).log2()).sum()
}

impl Parameters {
    /// Checks a literal and derives its primes.
    ///
    /// # Errors
    /// When the set gives less than 128 bits of classical security, or is malformed.
    pub fn new(literal: ParametersLiteral) -> Result<Self, Error> {
        let params = Self::build(literal)?;
        let log_n = params.log_n();
        if !params.reaches_target() {
            if !security::within(params.log_qp(), params.security.limit) {
                return Err(Error::Insecure {
                    bits: params.security.bits,
                    log_qp: params.log_qp(),
                    limit: params.security.limit,
                    log_n,
                });
            }
            let weight = params.literal.encapsulation_weight.unwrap_or_default();
            return Err(Error::InsecureEncapsulation {
                bits: params.security.encapsulation_bits.unwrap_or_default(),
                weight,
                log_modulus: params.log_encapsulation(),
                limit: security::encapsulation_limit(log_n, weight),
                log_n,
            });
        }
        Ok(params)
    }

    /// Like [`Parameters::new`], but accepts any security level. A set that reaches 128 bits all
    /// the same is not marked insecure.
    ///
    /// # Errors
    /// When the set is malformed.
    pub fn insecure(literal: ParametersLiteral, _token: Insecure) -> Result<Self, Error> {
        let mut params = Self::build(literal)?;
        params.insecure = !params.reaches_target();
        Ok(params)
    }

    /// [`Parameters::new`] or [`Parameters::insecure`].
    ///
    /// # Errors
    /// When the set is malformed, or gives less than 128 bits where that is not accepted.
    pub fn accepted(literal: ParametersLiteral, accept: Accept) -> Result<Self, Error> {
        match accept {
            Accept::Secure => Self::new(literal),
            Accept::Any(token) => Self::insecure(literal, token),
        }
    }

    fn build(literal: ParametersLiteral) -> Result<Self, Error> {
        let log_n = literal.log_n;
        if !(4..=17).contains(&log_n) {
            return Err(Error::RingDegree(log_n));
        }
        for (chain, sizes) in [("log_q", &literal.log_q), ("log_p", &literal.log_p)] {
            if sizes.is_empty() || sizes.len() > MAX_CHAIN {
                return Err(Error::ChainLength {
                    chain,
                    found: sizes.len(),
                    most: MAX_CHAIN,
                });
            }
        }
        let primes = literal.log_q.len() + literal.log_p.len();
        if primes << log_n > MAX_RESIDUES {
            return Err(Error::Structure {
                what: "parameters",
                detail: format!(
                    "{primes} primes at N = 2^{log_n}; at most {} are allowed there\nhelp: use a shorter chain",
                    MAX_RESIDUES >> log_n
                ),
            });
        }
        let sparse = match literal.secret {
            Secret::DenseTernary => None,
            Secret::SparseTernary(weight) => Some(weight),
        };
        for (field, weight) in [
            ("secret", sparse),
            ("encapsulation_weight", literal.encapsulation_weight),
        ] {
            if let Some(weight) = weight.filter(|&w| w == 0 || w > 1 << log_n) {
                return Err(Error::Weight {
                    field,
                    weight,
                    log_n,
                });
            }
        }
        let (q, p) = primes::chains(log_n, &literal.log_q, &literal.log_p)?;
        let special_bits: u32 = literal.log_p.iter().sum();
        if key_switch::cheapest(&literal.log_q, &literal.log_p).is_none() {
            let limb = (0..q.len())
                .max_by_key(|&i| literal.log_q[i])
                .unwrap_or_default();
            let limb_bits = literal.log_q[limb];
            return Err(Error::SpecialPrimes {
                special_bits,
                limb,
                limb_bits,
                margin: key_switch::MARGIN_BITS,
            });
        }
        let log_qp = log2_product(&q) + log2_product(&p);
        let log_encapsulation = log2_product(&[q[0], p[0]]);
        let security = Security {
            bits: security::estimate_bits(log_n, literal.secret, log_qp),
            limit: security::modulus_limit(log_n, literal.secret),
            encapsulation_bits: literal.encapsulation_weight.map(|h| {
                security::estimate_bits(log_n, Secret::SparseTernary(h), log_encapsulation)
            }),
        };
        Ok(Self {
            literal,
            q,
            p,
            security,
            insecure: false,
        })
    }

    fn reaches_target(&self) -> bool {
        let encapsulation = self.literal.encapsulation_weight.is_none_or(|h| {
            security::within(
                self.log_encapsulation(),
                security::encapsulation_limit(self.log_n(), h),
            )
        });
        encapsulation && security::within(self.log_qp(), self.security.limit)
    }

    fn log_encapsulation(&self) -> f64 {
        log2_product(&[self.q[0], self.p[0]])
    }

    /// The literal this set was built from.
    pub fn literal(&self) -> &ParametersLiteral {
        &self.literal
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        1 << self.literal.log_n
    }

    /// log2 of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.literal.log_n
    }

    /// The ciphertext primes, `q_0` first.
    pub fn q(&self) -> &[u64] {
        &self.q
    }

    /// The special primes.
    pub fn p(&self) -> &[u64] {
        &self.p
    }

    /// The highest level: one less than the number of ciphertext primes.
    pub fn max_level(&self) -> usize {
        self.q.len() - 1
    }

    /// log2 of the product of the ciphertext primes.
    pub fn log_q(&self) -> f64 {
        log2_product(&self.q)
    }

    /// log2 of the product of all primes.
    pub fn log_qp(&self) -> f64 {
        log2_product(&self.q) + log2_product(&self.p)
    }

    /// Distribution of the main secret.
    pub fn secret(&self) -> Secret {
        self.literal.secret
    }

    /// The security estimate.
    pub fn security(&self) -> Security {
        self.security
    }

    /// Whether the set is below 128 bits; every artifact made with it must say so.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// A stable byte form: little-endian, the literal's fields followed by the primes derived from
    /// it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let literal = &self.literal;
        let mut bytes = b"heddle-parameters-1".to_vec();
        let mut word = |value: u64| bytes.extend_from_slice(&value.to_le_bytes());
        word(literal.log_n.into());
        word(match literal.secret {
            Secret::DenseTernary => 0,
            Secret::SparseTernary(weight) => weight.into(),
        });
        word(literal.encapsulation_weight.unwrap_or(0).into());
        for (sizes, primes) in [(&literal.log_q, &self.q), (&literal.log_p, &self.p)] {
            word(primes.len() as u64);
            for (&size, &prime) in sizes.iter().zip(primes) {
                word(size.into());
                word(prime);
            }
        }
        bytes
    }

    /// SHA-256 of [`Parameters::to_bytes`]: two sets with equal digests share keys and ciphertexts.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::n16_qp1714_dense_literal;

    #[test]
    fn the_modulus_limit_is_enforced_to_the_bit() {
        let mut literal = n16_qp1714_dense_literal();
        literal.log_p = vec![50, 50, 50, 50, 50, 50, 50, 50, 41, 41];
        assert_eq!(
            literal.log_q.iter().chain(&literal.log_p).sum::<u32>(),
            1746
        );
        assert!(Parameters::new(literal.clone()).unwrap().security().bits >= 127.99);
        literal.log_p[9] = 42;
        assert!(matches!(
            Parameters::new(literal),
            Err(Error::Insecure { limit: 1746, .. })
        ));
    }

    #[test]
    fn a_large_encapsulation_modulus_is_refused() {
        let mut literal = n16_qp1714_dense_literal();
        literal.log_n = 15;
        literal.log_q = vec![50, 40, 40];
        literal.log_p = vec![50, 50];
        assert!(Parameters::new(literal.clone()).is_ok());
        literal.encapsulation_weight = Some(16);
        let message = Parameters::new(literal).unwrap_err().to_string();
        assert!(
            message.contains("encapsulation key of weight 16"),
            "{message}"
        );
    }

    #[test]
    fn insecure_sets_need_the_token_and_are_marked() {
        let literal = ParametersLiteral {
            log_n: 12,
            ..n16_qp1714_dense_literal()
        };
        let message = Parameters::new(literal.clone()).unwrap_err().to_string();
        assert!(
            message.contains("128 are needed") && message.contains("at most 106"),
            "{message}"
        );
        assert!(
            Parameters::insecure(literal, Insecure::acknowledged())
                .unwrap()
                .is_insecure()
        );
        assert!(
            !Parameters::insecure(n16_qp1714_dense_literal(), Insecure::acknowledged())
                .unwrap()
                .is_insecure()
        );
    }

    #[test]
    fn what_is_accepted_of_others_is_what_was_said() {
        let weak = ParametersLiteral {
            log_n: 12,
            ..n16_qp1714_dense_literal()
        };
        let any = Accept::Any(Insecure::acknowledged());
        let refused = Parameters::accepted(weak.clone(), Accept::Secure);
        assert!(matches!(refused, Err(Error::Insecure { .. })));
        assert!(Parameters::accepted(weak, any).unwrap().is_insecure());
        for accept in [Accept::default(), any] {
            let secure = Parameters::accepted(n16_qp1714_dense_literal(), accept).unwrap();
            assert!(!secure.is_insecure());
        }
        let malformed = ParametersLiteral {
            log_p: Vec::new(),
            ..n16_qp1714_dense_literal()
        };
        assert!(Parameters::accepted(malformed, any).is_err());
    }

    #[test]
    fn malformed_literals_are_refused() {
        let with = |edit: fn(&mut ParametersLiteral)| {
            let mut literal = n16_qp1714_dense_literal();
            edit(&mut literal);
            Parameters::new(literal).unwrap_err()
        };
        assert!(matches!(with(|l| l.log_n = 3), Error::RingDegree(3)));
        assert!(matches!(
            with(|l| l.log_q.clear()),
            Error::ChainLength { chain: "log_q", .. }
        ));
        assert!(matches!(
            with(|l| l.log_q[0] = 60),
            Error::PrimeSize { bits: 60, .. }
        ));
        assert!(matches!(
            with(|l| l.secret = Secret::SparseTernary(0)),
            Error::Weight {
                field: "secret",
                ..
            }
        ));
        assert!(matches!(
            with(|l| l.log_p = vec![50]),
            Error::SpecialPrimes { limb_bits: 50, .. }
        ));
    }

    #[test]
    fn the_digest_follows_the_content() {
        let a = Parameters::new(n16_qp1714_dense_literal()).unwrap();
        let mut literal = n16_qp1714_dense_literal();
        literal.log_p.pop();
        assert_eq!(a.digest(), a.clone().digest());
        assert_ne!(a.digest(), Parameters::new(literal).unwrap().digest());
    }
}
