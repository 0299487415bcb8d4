//! Residues from their dense packing, four to a register.

use std::arch::x86_64::*;

use super::{LANES, V, load, splat, store};
use crate::kernel::scalar;

/// Residues that begin and end at a word: as many words as one has bits.
const BLOCK: usize = 64;

/// Bytes that are read for two residues.
const SPAN: usize = 16;

/// Where four residues in a row lie, from the first byte of their block's eight on.
struct Place {
    /// First bytes of the two lower and the two upper ones.
    starts: [usize; 2],
    /// The eight bytes of each, in those.
    bytes: V,
    /// Bits below each in its first byte.
    shifts: V,
}

impl Place {
    /// Of residues `first` to `first + 3`. A residue of at most 50 bits begins in the first byte of
    /// its eight, and the second of two begins at most seven bytes behind the first: sixteen bytes
    /// hold both.
    #[target_feature(enable = "avx2,fma")]
    fn new(first: usize, bits: usize) -> Self {
        let at = |lane: usize| (first + lane) * bits;
        let starts = [at(0) / 8, at(2) / 8];
        let (mut bytes, mut shifts) = ([0u64; LANES], [0u64; LANES]);
        for lane in 0..LANES {
            let offset = at(lane) / 8 - starts[lane / 2];
            let eight = std::array::from_fn(|k| (offset + k) as u8);
            bytes[lane] = u64::from_le_bytes(eight);
            shifts[lane] = (at(lane) % 8) as u64;
        }
        Self {
            starts,
            bytes: load(&bytes),
            shifts: load(&shifts),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn unpack(bits: u32, out: &mut [u64], packed: &[u64]) {
    let step = bits as usize;
    let bytes = 8 * packed.len();
    // Blocks behind which all that is read of them lies within `packed`.
    let whole = bytes
        .saturating_sub(SPAN)
        .checked_div(8 * step)
        .unwrap_or(0);
    let whole = whole.min(out.len() / BLOCK);
    let (blocks, rest) = out.split_at_mut(whole * BLOCK);
    let places = [Place::new(0, step), Place::new(LANES, step)];
    let mask = splat((1 << bits) - 1);
    let start = packed.as_ptr().cast::<u8>();
    let (runs, _) = blocks.as_chunks_mut::<LANES>();
    for (r, run) in runs.iter_mut().enumerate() {
        let place = &places[r % 2];
        // Eight residues take as many bytes as one has bits.
        let eight = r / 2 * step;
        // SAFETY: eight + step ≤ 8·step·whole, which is `SPAN` bytes or more before the end of
        // `packed`, and both starts are below `step`.
        let [lower, upper] = place
            .starts
            .map(|from| unsafe { _mm_loadu_si128(start.add(eight + from).cast()) });
        let words = _mm256_shuffle_epi8(_mm256_set_m128i(upper, lower), place.bytes);
        store(
            run,
            _mm256_and_si256(_mm256_srlv_epi64(words, place.shifts), mask),
        );
    }
    scalar::unpack(bits, rest, &packed[whole * step..]);
}
