//! Seeded uniform polynomials: the public random halves of keys and fresh ciphertexts.
//!
//! A 16-byte seed keys AES-128 in counter mode, as FrodoKEM's public matrix does; the stream of one limb is named by a
//! [`StreamId`]. How residues come from a stream is told in [`crate::kernel::stream`].
//!
//! Only public values are expanded from a seed; secrets and errors never are.

use crate::kernel::Kernel;
use crate::kernel::stream::{CHUNK, Chunk, StreamKey};
use crate::modulus::Modulus;

/// A public seed.
pub type Seed = [u8; 16];

/// Addresses the stream of one limb of one uniform polynomial below a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    /// What the polynomial belongs to; a code that the owner of the seed chooses.
    pub kind: u8,
    /// The level of the object, or 0.
    pub level: u8,
    /// A Galois element or running number.
    pub index: u32,
    /// The digit of a key-switching key, or 0.
    pub digit: u8,
    /// The modulus: its index in the chain `q_0, …, q_L, p_0, …`.
    pub modulus: u8,
}

impl StreamId {
    /// The stream's name: the fields in order, from the lowest byte.
    fn name(self) -> u64 {
        let [a, b, c, d] = self.index.to_le_bytes();
        u64::from_le_bytes([self.kind, self.level, a, b, c, d, self.digit, self.modulus])
    }
}

/// Expands a seed.
#[derive(Clone)]
pub struct SeedExpander {
    seed: Seed,
    kernel: Kernel,
    key: StreamKey,
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

    /// Fills `out` with the first residues of a limb, uniform modulo `m`: the same for the same seed and id.
    pub fn fill(&self, id: StreamId, m: &Modulus, out: &mut [u64]) {
        for (number, chunk) in out.chunks_mut(CHUNK).enumerate() {
            self.fill_chunk(id, number, m, chunk);
        }
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
    use aes::cipher::{BlockEncrypt, KeyInit};
    use aes::{Aes128, Block};

    const ID: StreamId = StreamId {
        kind: 1,
        level: 28,
        index: 5,
        digit: 0,
        modulus: 0,
    };

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
        // Primes just below and just above a power of two: next to none and nearly half of the words are skipped.
        for q in [(1 << 50) - 27, (1 << 49) + 69, 1_099_511_627_689, 65_537, 5] {
            for len in [1, 7, 64, 1000, 1024, 1025, 5000] {
                let expected = oracle(seed, ID, q, len);
                for kernel in Kernel::available() {
                    let name = kernel.name();
                    assert_eq!(
                        residues(kernel, seed, ID, q, len),
                        expected,
                        "{name}, {q}, {len}"
                    );
                }
            }
        }
    }

    /// The block of zeros under the key of zeros, as published with GCM (McGrew and Viega, test case 1).
    #[test]
    fn streams_are_aes() {
        let published = [0x3b2c_8aef_d44b_e966u64, 0x2e2b_34ca_59fa_4c88];
        let id = StreamId {
            kind: 0,
            level: 0,
            index: 0,
            digit: 0,
            modulus: 0,
        };
        let expected = published.map(|word| word & ((1 << 50) - 1));
        for kernel in Kernel::available() {
            assert_eq!(residues(kernel, [0; 16], id, (1 << 50) - 27, 2), expected);
        }
    }

    #[test]
    fn streams_are_distinct() {
        let q = (1 << 50) - 27;
        let kernel = Kernel::scalar();
        let first = residues(kernel, [7; 16], ID, q, 100);
        for other in [
            StreamId { kind: 2, ..ID },
            StreamId { level: 27, ..ID },
            StreamId { index: 25, ..ID },
            StreamId { digit: 1, ..ID },
            StreamId { modulus: 1, ..ID },
        ] {
            assert_ne!(first, residues(kernel, [7; 16], other, q, 100));
        }
        assert_ne!(first, residues(kernel, [8; 16], ID, q, 100));
    }

    #[test]
    fn residues_are_balanced() {
        let q = 5;
        let out = residues(Kernel::scalar(), [1; 16], ID, q, 50_000);
        for residue in 0..q {
            let count = out.iter().filter(|&&v| v == residue).count() as f64;
            assert!((count - 10_000.0).abs() < 500.0, "{residue}: {count}");
        }
    }
}
