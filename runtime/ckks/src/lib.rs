//! An RNS-CKKS engine with bootstrapping, usable on its own.
//!
//! Layers, each of which only uses those before it:
//!
//! - [`buffer`]: memory for polynomials
//! - [`tables`]: constants of primes, transforms, changes of basis and automorphisms
//! - [`kernel`]: arithmetic on residues, in scalar, AVX2 and AVX-512 code
//! - [`ring`]: polynomials over residue number systems
//! - [`scheme`]: encoding, ciphertexts, public keys, key switching, evaluation
//! - [`circuits`]: linear transforms, polynomials, bootstrapping
//! - [`secret`]: whatever meets a secret, behind the cargo feature `secret`
//!
//! The server's side of a computation needs no secret; the client's side does. A client encrypts
//! two numbers, a server multiplies them:
//!
//! ```
//! # #[cfg(feature = "secret")]
//! # fn main() -> Result<(), heddle_ckks::Error> {
//! use heddle_ckks::params::keys::{KeyKind, KeyUse};
//! use heddle_ckks::params::named;
//! use heddle_ckks::{Context, Decryptor, Encoder, Evaluator};
//! use heddle_ckks::{KeyGenerator, Plaintext, SecretEncryptor, SecretKey};
//! use std::sync::Arc;
//!
//! // A small ring, which is not secure; `named` has sets that are.
//! let context = Context::new(named::toy(10)?)?;
//! let (level, scale) = (2, 2f64.powi(40));
//!
//! // Client
//! let secret = SecretKey::generate(&context)?;
//! let relin = KeyUse { kind: KeyKind::Relin, level };
//! let keys = KeyGenerator::new(&context, &secret)?.generate(&[relin])?;
//! let encoder = Encoder::new(context.log_n() - 1);
//! let plaintext = Plaintext::encode_real(&encoder, &[0.5, -0.25], scale)?;
//! let x = SecretEncryptor::new(&context, &secret).encrypt(&plaintext, level)?.expand();
//!
//! // Server
//! let evaluator = Evaluator::new(&context, Arc::new(keys));
//! let squares = evaluator.mul_rescale(&x, &x)?;
//!
//! // Client
//! let slots = Decryptor::new(&context, &secret).decrypt(&squares)?;
//! assert!((slots[0].re - 0.25).abs() < 1e-6 && (slots[1].re - 0.0625).abs() < 1e-6);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "secret"))]
//! # fn main() {}
//! ```
//!
//! Conventions. `N` is the ring degree, slots number `N/2`. A rotation by `+k` is a *left*
//! rotation: `out[i] = in[(i + k) mod n]`. The level is the number of rescales that remain, and a
//! polynomial at level `l` has `l + 1` limbs. Every residue at an API boundary is fully reduced.

#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod buffer;
pub mod circuits;
mod error;
pub mod kernel;
pub mod ring;
pub mod scheme;
#[cfg(feature = "secret")]
pub mod secret;
pub mod tables;

#[cfg(all(test, feature = "secret"))]
mod known_answers;
#[cfg(all(test, feature = "secret"))]
mod test_kit;

pub use heddle_params as params;

pub use circuits::bootstrap::Bootstrapper;
pub use circuits::linear::LinearTransform;
pub use circuits::polynomial::ChebyshevPolynomial;
pub use error::Error;
pub use ring::{Context, Seed, SeedExpander};
#[cfg(feature = "secret")]
pub use scheme::Encryptor;
pub use scheme::{
    Ciphertext, Complex64, Encoder, EvaluationKeys, Evaluator, KeySwitchKey, Plaintext, Precision,
    PublicKey, SeededCiphertext,
};
#[cfg(feature = "secret")]
pub use secret::{Decryptor, KeyGenerator, SecretEncryptor, SecretKey};
