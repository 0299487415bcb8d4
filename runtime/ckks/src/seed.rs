//! Seeded uniform polynomials: the public random halves of keys and fresh ciphertexts.
//!
//! A 32-byte seed keys AES-256 in counter mode. The stream of one limb is addressed by a [`StreamId`]: the
//! counter block holds, in order, the 8 bytes of the id and a 64-bit big-endian block number. The stream is read
//! as little-endian 64-bit words; a word `w` gives the residue `floor(w * q / 2^64)` unless `w * q mod 2^64` is
//! below `2^64 mod q`, when the word is skipped (Lemire, ACM TOMACS 2019). Residues are thus exactly uniform.
//!
//! Only public values are expanded from a seed; secrets and errors never are.

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes256, Block};

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

/// Expands a seed; see the module's text for the mapping.
#[derive(Clone)]
pub struct SeedExpander {
    seed: [u8; 32],
    cipher: Aes256,
}

/// Blocks encrypted at a time: enough to fill the AES pipeline, few enough to stay in L1.
const BATCH: usize = 32;

impl SeedExpander {
    /// The expander of `seed`, which is public.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            cipher: Aes256::new(&seed.into()),
        }
    }

    /// The seed.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Fills `out` with uniform residues modulo `modulus`, the same for the same seed and id.
    pub fn fill(&self, id: StreamId, modulus: u64, out: &mut [u64]) {
        let mut prefix = [0u8; 8];
        prefix[0] = id.kind;
        prefix[1] = id.level;
        prefix[2..6].copy_from_slice(&id.index.to_be_bytes());
        prefix[6] = id.digit;
        prefix[7] = id.modulus;
        // 2^64 mod q
        let threshold = modulus.wrapping_neg() % modulus;
        let mut counters = [Block::default(); BATCH];
        for block in &mut counters {
            block[..8].copy_from_slice(&prefix);
        }
        let mut blocks = counters;
        let mut counter = 0u64;
        let mut rest = out;
        while !rest.is_empty() {
            for block in &mut counters {
                block[8..].copy_from_slice(&counter.to_be_bytes());
                counter += 1;
            }
            self.cipher
                .encrypt_blocks_b2b(&counters, &mut blocks)
                .expect("both slices have the length of a batch");
            let mut filled = 0;
            for block in &blocks {
                let (low, high) = block.split_at(8);
                for half in [low, high] {
                    let word = u64::from_le_bytes(half.try_into().expect("half of 16 bytes"));
                    let product = u128::from(word) * u128::from(modulus);
                    // A skipped word's residue is overwritten by the next one.
                    if let Some(slot) = rest.get_mut(filled) {
                        *slot = (product >> 64) as u64;
                    }
                    filled += usize::from(product as u64 >= threshold);
                }
            }
            let done = filled.min(rest.len());
            rest = &mut rest[done..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: StreamId = StreamId {
        kind: 1,
        level: 28,
        index: 5,
        digit: 0,
        modulus: 0,
    };

    #[test]
    fn streams_are_reproducible_distinct_and_reduced() {
        let q = (1 << 50) - 27;
        let expander = SeedExpander::new([7; 32]);
        let fill = |expander: &SeedExpander, id| {
            let mut out = vec![0; 1000];
            expander.fill(id, q, &mut out);
            out
        };
        let first = fill(&expander, ID);
        assert_eq!(first, fill(&SeedExpander::new([7; 32]), ID));
        assert!(first.iter().all(|&v| v < q));
        for other in [
            StreamId { kind: 2, ..ID },
            StreamId { level: 27, ..ID },
            StreamId { index: 25, ..ID },
            StreamId { digit: 1, ..ID },
            StreamId { modulus: 1, ..ID },
        ] {
            assert_ne!(first, fill(&expander, other));
        }
        assert_ne!(first, fill(&SeedExpander::new([8; 32]), ID));
    }

    #[test]
    fn residues_are_balanced() {
        // A modulus just above a power of two rejects no more than others, and every residue is as likely.
        let q = 5;
        let mut out = vec![0; 50_000];
        SeedExpander::new([1; 32]).fill(ID, q, &mut out);
        for residue in 0..q {
            let count = out.iter().filter(|&&v| v == residue).count() as f64;
            assert!((count - 10_000.0).abs() < 500.0, "{residue}: {count}");
        }
    }

    #[test]
    fn a_prefix_of_a_longer_stream_is_the_shorter_stream() {
        let expander = SeedExpander::new([3; 32]);
        let (mut short, mut long) = (vec![0; 70], vec![0; 500]);
        expander.fill(ID, 1 << 40, &mut short);
        expander.fill(ID, 1 << 40, &mut long);
        assert_eq!(short, long[..70]);
    }
}
