//! The key schedule of AES-128 (FIPS 197, section 5.2), for the kernels with vector AES.

use std::arch::x86_64::*;

/// The eleven round keys of `key`.
#[target_feature(enable = "aes")]
pub(super) fn round_keys(key: &[u8; 16]) -> [__m128i; 11] {
    let [low, high] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&key[at..at + 8]);
        i64::from_le_bytes(word)
    });
    let mut keys = [_mm_set_epi64x(high, low); 11];
    macro_rules! expand {
        ($($round:literal $constant:literal),*) => {$({
            let last = keys[$round - 1];
            let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last));
            let sum = _mm_xor_si128(last, _mm_slli_si128::<4>(last));
            let sum = _mm_xor_si128(sum, _mm_slli_si128::<8>(sum));
            keys[$round] = _mm_xor_si128(sum, word);
        })*};
    }
    expand!(1 0x01, 2 0x02, 3 0x04, 4 0x08, 5 0x10, 6 0x20, 7 0x40, 8 0x80, 9 0x1b, 10 0x36);
    keys
}
