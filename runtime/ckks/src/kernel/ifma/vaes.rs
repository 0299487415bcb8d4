//! The streams of [`crate::kernel::stream`] by vector AES: four blocks a register, eight registers
//! in flight.

use super::{LANES, V, splat, store};
use crate::kernel::key_schedule::round_keys;
use crate::kernel::stream::Chunk;
use crate::tables::modulus::Modulus;
use std::arch::x86_64::*;

/// The round keys of AES-128, each in all four blocks of a register.
#[derive(Clone)]
pub(crate) struct RoundKeys([V; 11]);

/// Registers worked on at a time.
const FLIGHT: usize = 8;

impl RoundKeys {
    #[target_feature(enable = "avx512f,aes")]
    pub(in crate::kernel) fn new(seed: &[u8; 16]) -> Self {
        Self(round_keys(seed).map(|key| _mm512_broadcast_i32x4(key)))
    }
}

/// As [`crate::kernel::stream::uniform`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma,vaes")]
pub(in crate::kernel) fn uniform(key: &RoundKeys, chunk: Chunk, m: &Modulus, out: &mut [u64]) {
    let (name, first) = (chunk.stream as i64, chunk.counter() as i64);
    let mut counters = _mm512_set_epi64(
        first + 3,
        name,
        first + 2,
        name,
        first + 1,
        name,
        first,
        name,
    );
    let step = _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0);
    let (mask, q) = (splat((1 << m.bits()) - 1), splat(m.value()));
    let mut filled = 0;
    while filled < out.len() {
        let mut states = [_mm512_setzero_si512(); FLIGHT];
        for state in &mut states {
            *state = _mm512_xor_si512(counters, key.0[0]);
            counters = _mm512_add_epi64(counters, step);
        }
        for round in &key.0[1..10] {
            for state in &mut states {
                *state = _mm512_aesenc_epi128(*state, *round);
            }
        }
        let (mut below, mut all) = ([0; FLIGHT], 0xff);
        for (state, below) in states.iter_mut().zip(&mut below) {
            *state = _mm512_and_si512(_mm512_aesenclast_epi128(*state, key.0[10]), mask);
            *below = _mm512_cmplt_epu64_mask(*state, q);
            all &= *below;
        }
        if all == 0xff
            && let Some(runs) = out[filled..].first_chunk_mut::<{ FLIGHT * LANES }>()
        {
            for (run, words) in runs.as_chunks_mut::<LANES>().0.iter_mut().zip(states) {
                store(run, words);
            }
            filled += FLIGHT * LANES;
        } else {
            for (words, below) in states.into_iter().zip(below) {
                let mut run = [0; LANES];
                store(&mut run, _mm512_maskz_compress_epi64(below, words));
                let rest = &mut out[filled..];
                let count = (below.count_ones() as usize).min(rest.len());
                rest[..count].copy_from_slice(&run[..count]);
                filled += count;
            }
        }
    }
}
