//! The scheme: encoding, ciphertexts, public keys, key switching, and evaluation on ciphertexts.

pub(crate) mod ciphertext;
pub(crate) mod encode;
#[cfg(feature = "secret")]
pub(crate) mod encrypt;
pub(crate) mod eval;
pub(crate) mod keys;
pub(crate) mod keyswitch;
pub(crate) mod precision;
pub mod wire;

pub use ciphertext::{Ciphertext, Plaintext, SeededCiphertext};
pub use encode::{Complex64, Encoder};
#[cfg(feature = "secret")]
pub use encrypt::Encryptor;
pub use eval::{Evaluator, Product, SCALE_TOLERANCE};
pub use keys::{EvaluationKeys, KeySwitchKey, PublicKey};
pub use precision::Precision;
