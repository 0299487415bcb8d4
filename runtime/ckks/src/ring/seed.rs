//! Seeded uniform polynomials: the public random halves of keys and fresh ciphertexts.
//!
//! A 16-byte seed keys AES-128 in counter mode, as FrodoKEM's public matrix does; the stream of one
//! limb is named by a [`StreamId`]. [`crate::kernel::stream`] says how residues come from a stream.
//!
//! Only public values are expanded from a seed; secrets and errors never are.

use heddle_params::keys::{KeyKind, KeyUse};

use crate::kernel::Kernel;
use crate::kernel::stream::{CHUNK, Chunk, StreamKey};
use crate::ring::context::{Basis, Context};
use crate::ring::poly::{Eval, RnsPoly};
use crate::tables::modulus::Modulus;
use std::sync::Arc;

/// A public seed.
pub type Seed = [u8; 16];

/// What a uniform polynomial belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    /// A key-switching key of a Galois element.
    Galois = 1,
    /// A relinearisation key.
    Relin = 2,
    /// A key to the ephemeral secret.
    Encapsulate = 3,
    /// A key from the ephemeral secret.
    Decapsulate = 4,
    /// A public encryption key.
    PublicKey = 5,
    /// A fresh ciphertext.
    Ciphertext = 6,
}

/// Addresses the stream of one limb of one uniform polynomial under a seed.
///
/// Two polynomials under one seed must never share a stream: the difference of two such keys would
/// have no uniform part. So the name of a stream is injective: every field has bytes of its own,
/// and a number that does not fit them is refused, never truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    kind: StreamKind,
    level: u8,
    exponent: u32,
    digit: u8,
    modulus: u8,
}

// Levels, digits and moduli are numbers of primes of the two chains.
const _: () = assert!(2 * heddle_params::MAX_CHAIN <= u8::MAX as usize);

/// # Panics
/// When the number does not fit a byte, which no chain's numbers do.
fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("chains have fewer primes than a byte counts")
}

impl StreamId {
    /// The streams of an object that has one polynomial, at its first modulus.
    pub fn of(kind: StreamKind) -> Self {
        Self {
            kind,
            level: 0,
            exponent: 0,
            digit: 0,
            modulus: 0,
        }
    }

    /// The streams of one digit of a key-switching key, at the first modulus.
    ///
    /// # Panics
    /// When level or digit do not fit a byte, which those of checked parameters do.
    pub fn of_key(key_use: KeyUse, digit: usize) -> Self {
        let (kind, exponent) = match key_use.kind {
            KeyKind::Galois(galois) => (StreamKind::Galois, galois.exponent()),
            KeyKind::Relin => (StreamKind::Relin, 0),
            KeyKind::Encapsulate => (StreamKind::Encapsulate, 0),
            KeyKind::Decapsulate => (StreamKind::Decapsulate, 0),
        };
        Self {
            kind,
            level: byte(key_use.level),
            exponent,
            digit: byte(digit),
            modulus: 0,
        }
    }

    /// The same polynomial's stream for a modulus, given by its index in the chain
    /// `q_0, …, q_L, p_0, …`.
    ///
    /// # Panics
    /// When the index does not fit a byte, which those of checked parameters do.
    pub fn at_modulus(self, index: usize) -> Self {
        Self {
            modulus: byte(index),
            ..self
        }
    }

    /// The stream's name: the fields in order, from the lowest byte.
    pub fn name(self) -> u64 {
        let [a, b, c, d] = self.exponent.to_le_bytes();
        let kind = self.kind as u8;
        u64::from_le_bytes([kind, self.level, a, b, c, d, self.digit, self.modulus])
    }
}

/// Expands a seed.
#[derive(Clone)]
pub struct SeedExpander {
    seed: Seed,
    kernel: Kernel,
    key: StreamKey,
}

impl std::fmt::Debug for SeedExpander {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedExpander")
            .field("kernel", &self.kernel)
            .finish_non_exhaustive()
    }
}

impl SeedExpander {
    /// The expander of `seed`, which is public.
    pub fn new(kernel: Kernel, seed: Seed) -> Self {
        Self {
            seed,
            kernel,
            key: kernel.stream_key(&seed),
        }
    }

    /// The seed.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Fills `out` with the first residues of a limb, uniform modulo `m`: the same for the same
    /// seed and id.
    pub fn fill(&self, id: StreamId, m: &Modulus, out: &mut [u64]) {
        for (number, chunk) in out.chunks_mut(CHUNK).enumerate() {
            self.fill_chunk(id, number, m, chunk);
        }
    }

    /// The uniform polynomial of an id, each limb from the stream of its modulus.
    pub(crate) fn poly(&self, context: &Arc<Context>, basis: Basis, id: StreamId) -> RnsPoly<Eval> {
        RnsPoly::from_limbs(context, basis, |index, modulus, limb| {
            self.fill(id.at_modulus(index), modulus, limb);
        })
    }

    /// The residues of chunk `number`, that is from residue [`CHUNK`]` · number` on.
    pub(crate) fn fill_chunk(&self, id: StreamId, number: usize, m: &Modulus, out: &mut [u64]) {
        let chunk = Chunk {
            stream: id.name(),
            chunk: number as u32,
        };
        self.kernel.uniform(&self.key, chunk, m, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use heddle_params::{GaloisElement, MAX_CHAIN};

    use aes::cipher::{BlockEncrypt, KeyInit};
    use aes::{Aes128, Block};

    fn id() -> StreamId {
        let kind = KeyKind::Galois(GaloisElement::rotation(1, 1 << 16));
        StreamId::of_key(KeyUse { kind, level: 28 }, 0)
    }

    fn residues(kernel: Kernel, seed: Seed, id: StreamId, q: u64, len: usize) -> Vec<u64> {
        let mut out = vec![0; len];
        SeedExpander::new(kernel, seed).fill(id, &Modulus::new(q), &mut out);
        out
    }

    /// The definition, word by word.
    fn oracle(seed: Seed, id: StreamId, q: u64, len: usize) -> Vec<u64> {
        let cipher = Aes128::new(&seed.into());
        let bits = 64 - q.leading_zeros();
        let mut out = Vec::new();
        for chunk in 0..len.div_ceil(CHUNK) as u64 {
            let mut part = Vec::new();
            let mut counter = chunk << 32;
            while part.len() < CHUNK {
                let mut block = Block::default();
                block[..8].copy_from_slice(&id.name().to_le_bytes());
                block[8..].copy_from_slice(&counter.to_le_bytes());
                cipher.encrypt_block(&mut block);
                let word = u128::from_le_bytes(block.into());
                let words = [word as u64, (word >> 64) as u64];
                part.extend(words.map(|w| w % (1 << bits)).iter().filter(|&&w| w < q));
                counter += 1;
            }
            out.extend_from_slice(&part[..CHUNK]);
        }
        out.truncate(len);
        out
    }

    #[test]
    fn every_kernel_follows_the_definition() {
        let seed = std::array::from_fn(|i| 17 * i as u8);
        // Primes just below and just above a power of two: next to none and nearly half of the
        // words are skipped.
        for q in [(1 << 50) - 27, (1 << 49) + 69, 1_099_511_627_689, 65_537, 5] {
            for len in [1, 7, 64, 1000, 1024, 1025, 5000] {
                let expected = oracle(seed, id(), q, len);
                for kernel in Kernel::available() {
                    let name = kernel.name();
                    assert_eq!(
                        residues(kernel, seed, id(), q, len),
                        expected,
                        "{name}, {q}, {len}"
                    );
                }
            }
        }
    }

    /// The block of zeros under the key of zeros, as published with GCM (McGrew and Viega, test
    /// case 1).
    #[test]
    fn streams_are_aes() {
        let published = [0x3b2c_8aef_d44b_e966u64, 0x2e2b_34ca_59fa_4c88];
        let expected = published.map(|word| word & ((1 << 50) - 1));
        for kernel in Kernel::available() {
            let chunk = Chunk {
                stream: 0,
                chunk: 0,
            };
            let mut found = [0; 2];
            let modulus = Modulus::new((1 << 50) - 27);
            kernel.uniform(&kernel.stream_key(&[0; 16]), chunk, &modulus, &mut found);
            assert_eq!(found, expected);
        }
    }

    /// All streams of all keys that a ring of degree 2^17, the largest, could have at some levels,
    /// with those of the other objects: no two have one name.
    #[test]
    fn no_two_streams_have_one_name() {
        let n = 1 << 17;
        let exponents = (0..2 * n as u64).step_by(37).chain([2 * n as u64 - 1]);
        let galois = exponents.filter_map(|g| GaloisElement::new(g, n));
        let kinds: Vec<KeyKind> = galois
            .map(KeyKind::Galois)
            .chain([KeyKind::Relin, KeyKind::Encapsulate, KeyKind::Decapsulate])
            .collect();
        let mut names = HashSet::new();
        let mut count = 0;
        let mut insert = |id: StreamId| {
            count += 1;
            names.insert(id.name());
        };
        for kind in kinds {
            for level in [0, 1, 31, MAX_CHAIN - 1] {
                for digit in [0, 2, MAX_CHAIN - 1] {
                    let id = StreamId::of_key(KeyUse { kind, level }, digit);
                    for modulus in [0, 1, MAX_CHAIN, 2 * MAX_CHAIN - 1] {
                        insert(id.at_modulus(modulus));
                    }
                }
            }
        }
        for kind in [StreamKind::PublicKey, StreamKind::Ciphertext] {
            (0..2 * MAX_CHAIN).for_each(|modulus| insert(StreamId::of(kind).at_modulus(modulus)));
        }
        assert_eq!(names.len(), count);
    }

    #[test]
    #[should_panic(expected = "fewer primes")]
    fn numbers_that_do_not_fit_are_not_truncated() {
        let _ = StreamId::of(StreamKind::PublicKey).at_modulus(256);
    }

    #[test]
    fn streams_and_seeds_differ() {
        let q = (1 << 50) - 27;
        let kernel = Kernel::scalar();
        let id = id();
        let first = residues(kernel, [7; 16], id, q, 100);
        assert_ne!(first, residues(kernel, [7; 16], id.at_modulus(1), q, 100));
        assert_ne!(first, residues(kernel, [8; 16], id, q, 100));
    }

    #[test]
    fn residues_are_balanced() {
        let q = 5;
        let out = residues(Kernel::scalar(), [1; 16], id(), q, 50_000);
        for residue in 0..q {
            let count = out.iter().filter(|&&v| v == residue).count() as f64;
            assert!((count - 10_000.0).abs() < 500.0, "{residue}: {count}");
        }
    }
}
