//! Uniform residues from AES-128 in counter mode.
//!
//! A stream is named by 64 bits and cut into chunks of [`CHUNK`] residues, each of which can be
//! made on its own. Block `t` of chunk `c` is the encryption of the name and of the counter
//! `2^32·c + t`, both little-endian 64-bit words; it is read as two such words. Of every word the
//! low `bits(q)` bits count; they are a residue if they are below `q` and are skipped otherwise, so
//! that residues are exactly uniform. Primes lie close below powers of two, hence next to nothing
//! is skipped.

use crate::tables::modulus::Modulus;
use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128, Block};

/// Residues of a stream that are addressed together.
pub const CHUNK: usize = 1024;

/// The key of streams, in the form that a kernel uses.
#[derive(Clone)]
pub(crate) enum StreamKey {
    Portable(Box<Aes128>),
    #[cfg(target_arch = "x86_64")]
    Vaes256(Box<super::avx2::RoundKeys>),
    #[cfg(target_arch = "x86_64")]
    Vaes512(Box<super::ifma::RoundKeys>),
}

impl StreamKey {
    pub(super) fn portable(seed: &[u8; 16]) -> Self {
        Self::Portable(Box::new(Aes128::new(seed.into())))
    }
}

/// A chunk of a stream: the stream's name and the chunk's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The stream's name.
    pub stream: u64,
    /// The chunk's number.
    pub chunk: u32,
}

impl Chunk {
    /// The counter of the chunk's first block.
    pub(super) fn counter(self) -> u64 {
        u64::from(self.chunk) << 32
    }
}

/// Blocks encrypted at a time: enough to fill the AES pipeline, few enough to stay in the
/// first-level cache.
const BATCH: usize = 32;

/// Fills at most [`CHUNK`] words with the first residues of a chunk.
pub(super) fn uniform(key: &Aes128, chunk: Chunk, m: &Modulus, out: &mut [u64]) {
    let mask = (1 << m.bits()) - 1;
    let mut counter = chunk.counter();
    let mut counters = [Block::default(); BATCH];
    let mut blocks = counters;
    let mut filled = 0;
    while filled < out.len() {
        for block in &mut counters {
            block[..8].copy_from_slice(&chunk.stream.to_le_bytes());
            block[8..].copy_from_slice(&counter.to_le_bytes());
            counter += 1;
        }
        key.encrypt_blocks_b2b(&counters, &mut blocks)
            .expect("both slices have the length of a batch");
        for block in blocks {
            let block = u128::from_le_bytes(block.into());
            for word in [block as u64, (block >> 64) as u64] {
                let residue = word & mask;
                // A skipped word is overwritten by the next one.
                if let Some(slot) = out.get_mut(filled) {
                    *slot = residue;
                    filled += usize::from(residue < m.value());
                }
            }
        }
    }
}
