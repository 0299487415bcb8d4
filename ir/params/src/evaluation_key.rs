//! One evaluation key: what it does, and at which level. [`crate::keys`] derives the set of keys
//! that a schedule needs.

use crate::GaloisElement;

/// What an evaluation key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Back to the secret after an automorphism.
    Galois(GaloisElement),
    /// From the secret's square to the secret.
    Relin,
    /// From the secret to the ephemeral sparse one, modulo `q_0·p_0`.
    Encapsulate,
    /// From the ephemeral sparse secret to the secret.
    Decapsulate,
}

/// One evaluation key: what it does and the level of the ciphertexts it acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyUse {
    /// What it does.
    pub kind: KeyKind,
    /// The highest level it is used at.
    pub level: usize,
}
