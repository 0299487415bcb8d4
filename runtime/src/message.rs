//! What client and server send each other: evaluation keys, encrypted images, encrypted answers.

use std::fmt;

use heddle_ckks::{Ciphertext, EvaluationKeys, SeededCiphertext};
use heddle_ir::ckks::CiphertextType;
use heddle_params::scale;

use crate::Error;
use crate::protocol::KeyId;

/// The ciphertext of a fresh encryption.
#[derive(Clone)]
pub enum FreshCiphertext {
    /// Made with the secret key: a seed stands for the uniform part.
    Seeded(SeededCiphertext),
    /// Made with a public key.
    Whole(Ciphertext),
}

impl fmt::Debug for FreshCiphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seeded(_) => "Seeded(..)",
            Self::Whole(_) => "Whole(..)",
        })
    }
}

/// An encrypted image, from the client to the server.
#[derive(Clone, Debug)]
pub struct EncryptedImage {
    /// The key that it was encrypted with.
    pub key: KeyId,
    /// One ciphertext for each piece of the plan's input, in order, each with randomness of its
    /// own.
    pub ciphertexts: Vec<FreshCiphertext>,
}

impl FreshCiphertext {
    /// The ciphertext with its uniform part written out.
    pub fn expand(self) -> Ciphertext {
        match self {
            Self::Seeded(seeded) => seeded.expand(),
            Self::Whole(ciphertext) => ciphertext,
        }
    }
}

impl EncryptedImage {
    /// The ciphertexts with their uniform parts written out.
    pub fn expand(self) -> Vec<Ciphertext> {
        let ciphertexts = self.ciphertexts.into_iter();
        ciphertexts.map(FreshCiphertext::expand).collect()
    }
}

/// How the ciphertexts of an image differ from the expected ones; `None` if they do not.
pub(crate) fn image_mismatch(image: &[Ciphertext], expected: &[CiphertextType]) -> Option<String> {
    if image.len() != expected.len() {
        return Some(format!(
            "the image has {} ciphertexts, but {} are expected here",
            image.len(),
            expected.len()
        ));
    }
    let mut pieces = image.iter().zip(expected);
    pieces.find_map(|(ciphertext, expected)| mismatch(ciphertext, expected))
}

/// An encrypted answer, from the server to the client.
#[derive(Clone)]
pub struct EncryptedAnswer {
    /// The key of the image that it answers.
    pub key: KeyId,
    /// The ciphertext.
    pub ciphertext: Ciphertext,
}

impl fmt::Debug for EncryptedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedAnswer")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The evaluation keys of one secret key, from the client to the server.
#[derive(Clone)]
pub struct ServerKeys {
    /// The secret key that they were made with.
    pub key: KeyId,
    /// The keys.
    pub keys: EvaluationKeys,
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerKeys")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// How the type of a ciphertext differs from the expected one; `None` if it does not.
pub(crate) fn mismatch(ciphertext: &Ciphertext, expected: &CiphertextType) -> Option<String> {
    if ciphertext.level() != expected.level {
        return Some(format!(
            "the ciphertext is at level {}, but level {} is expected here",
            ciphertext.level(),
            expected.level
        ));
    }
    let same_scale = scale::same_scale(ciphertext.scale(), expected.scale());
    (ciphertext.log_slots() != expected.log_slots || !same_scale).then(|| {
        format!(
            "the ciphertext holds 2^{} slots at scale 2^{:.3}, but 2^{} at 2^{:.3} are expected here",
            ciphertext.log_slots(),
            ciphertext.scale().log2(),
            expected.log_slots,
            expected.log_scale
        )
    })
}

/// Refuses material of another key.
///
/// # Errors
/// [`Error::OtherKey`] if the two differ.
pub fn same_key(
    (left_name, left): (&str, KeyId),
    (right_name, right): (&str, KeyId),
) -> Result<(), Error> {
    if left == right {
        return Ok(());
    }
    Err(Error::OtherKey {
        left: left_name.into(),
        left_key: left,
        right: right_name.into(),
        right_key: right,
    })
}
