//! Automorphisms as permutations of values.

use heddle_params::GaloisElement;

use crate::tables::ntt::reverse_bits;

/// The permutation of values by X → X^g.
///
/// Index `i` holds the value at ψ^(2·brv(i)+1). The three lowest bits of `i` are the three highest
/// of the exponent, where multiplication by `g` acts on them alone but for a carry: eight
/// neighbours stay neighbours, permuted in one of eight ways.
#[derive(Debug)]
pub struct Automorphism {
    /// For each run of eight outputs: eight times the source's run, plus the number of its pattern.
    pub(crate) blocks: Vec<u32>,
    /// Source lane of each output lane.
    pub(crate) patterns: [[u64; 8]; 8],
}

impl Automorphism {
    /// The permutation of `galois` at its ring degree `2^log_n`, `log_n ≥ 3`.
    pub fn new(galois: GaloisElement) -> Self {
        let log_n = galois.log_n();
        let (n, g) = (1usize << log_n, galois.exponent() as usize);
        let (low_bits, low) = (log_n - 3, n / 8);
        let blocks = (0..low)
            .map(|block| {
                // Output exponents 2E + 1 with E = reversed block + (n/8)·t come from
                // (g(2E + 1) − 1)/2.
                let e = reverse_bits(block, low_bits);
                let source = (e.wrapping_mul(g).wrapping_add((g - 1) / 2)) & (n - 1);
                let (carry, rest) = (source / low, source & (low - 1));
                (8 * reverse_bits(rest, low_bits) + carry) as u32
            })
            .collect();
        let mut patterns = [[0; 8]; 8];
        for (carry, pattern) in patterns.iter_mut().enumerate() {
            for (lane, source) in pattern.iter_mut().enumerate() {
                *source =
                    reverse_bits((carry + reverse_bits(lane, 3).wrapping_mul(g)) & 7, 3) as u64;
            }
        }
        Self { blocks, patterns }
    }

    /// Where the `len` values from `len · part` on come from: the part with the number returned.
    /// Parts of a power of two values, at least eight, are permuted as wholes, since the highest
    /// bits of an index are the lowest of its exponent.
    pub(crate) fn source_part(&self, part: usize, len: usize) -> usize {
        let runs = len / 8;
        (self.blocks[part * runs] >> 3) as usize / runs
    }

    /// The source runs of one part of `len` values, see [`Self::source_part`].
    #[inline]
    pub(crate) fn part_blocks(&self, part: usize, len: usize) -> &[u32] {
        let runs = len / 8;
        &self.blocks[part * runs..][..runs]
    }
}
