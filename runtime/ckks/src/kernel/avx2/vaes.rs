//! The streams of [`crate::kernel::stream`] by vector AES, where the machine has it: two blocks a
//! register, eight registers in flight.

use std::arch::x86_64::*;

use super::{LANES, V, splat, store};
use crate::kernel::key_schedule::round_keys;
use crate::kernel::stream::Chunk;
use crate::tables::modulus::Modulus;

/// The round keys of AES-128, each in both blocks of a register.
#[derive(Clone)]
pub(crate) struct RoundKeys([V; 11]);

/// Registers worked on at a time.
const FLIGHT: usize = 8;

impl RoundKeys {
    #[target_feature(enable = "avx2,aes")]
    pub(in crate::kernel) fn new(seed: &[u8; 16]) -> Self {
        Self(round_keys(seed).map(|key| _mm256_broadcastsi128_si256(key)))
    }
}

/// As [`crate::kernel::stream::uniform`].
#[target_feature(enable = "avx2,fma,vaes")]
pub(in crate::kernel) fn uniform(key: &RoundKeys, chunk: Chunk, m: &Modulus, out: &mut [u64]) {
    let (name, first) = (chunk.stream as i64, chunk.counter() as i64);
    let mut counters = _mm256_set_epi64x(first + 1, name, first, name);
    let step = _mm256_set_epi64x(2, 0, 2, 0);
    let (mask, q) = (splat((1 << m.bits()) - 1), splat(m.value()));
    let mut filled = 0;
    while filled < out.len() {
        let mut states = [_mm256_setzero_si256(); FLIGHT];
        for state in &mut states {
            *state = _mm256_xor_si256(counters, key.0[0]);
            counters = _mm256_add_epi64(counters, step);
        }
        for round in &key.0[1..10] {
            for state in &mut states {
                *state = _mm256_aesenc_epi128(*state, *round);
            }
        }
        let mut below = splat(u64::MAX);
        for state in &mut states {
            *state = _mm256_and_si256(_mm256_aesenclast_epi128(*state, key.0[10]), mask);
            // Both sides are below 2^63, so that signs do not matter.
            below = _mm256_and_si256(below, _mm256_cmpgt_epi64(q, *state));
        }
        if _mm256_movemask_epi8(below) == -1
            && let Some(runs) = out[filled..].first_chunk_mut::<{ FLIGHT * LANES }>()
        {
            for (run, words) in runs.as_chunks_mut::<LANES>().0.iter_mut().zip(states) {
                store(run, words);
            }
            filled += FLIGHT * LANES;
        } else {
            for words in states {
                let mut run = [0; LANES];
                store(&mut run, words);
                for residue in run {
                    // A skipped word is overwritten by the next one.
                    if let Some(slot) = out.get_mut(filled) {
                        *slot = residue;
                        filled += usize::from(residue < m.value());
                    }
                }
            }
        }
    }
}
