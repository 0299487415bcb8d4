//! Polynomials at rest: the residues of a limb packed to the bits of its modulus.
//!
//! A limb is a string of bits, the lowest of the first residue first, in little-endian words. Keys
//! are kept in this form: they take a quarter less memory than whole words, they are read from a
//! file as they are, and unpacking a part costs less than reading the words that it saves.

use std::sync::Arc;

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::ring::context::{Basis, Context};
use crate::ring::poly::{Eval, RnsPoly};

/// A packed polynomial in values. Its context is that of its owner.
#[derive(Clone)]
pub(crate) struct PackedPoly {
    basis: Basis,
    /// Where each limb begins, and where the last one ends.
    starts: Vec<usize>,
    words: Buffer,
}

/// Bytes of a packed limb of `len` residues, a multiple of eight.
pub(crate) fn limb_bytes(len: usize, bits: u32) -> usize {
    len * bits as usize / 8
}

impl PackedPoly {
    /// A polynomial whose words are still to be written.
    pub(crate) fn stale(context: &Context, basis: Basis) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for limb in 0..basis.limbs() {
            let bits = context.limb_modulus(basis, limb).bits();
            end += limb_bytes(context.n(), bits).div_ceil(8);
            starts.push(end);
        }
        Self {
            basis,
            starts,
            words: context.pool().stale(end),
        }
    }

    /// The packed form of a polynomial.
    pub(crate) fn new(poly: &RnsPoly<Eval>) -> Self {
        let (context, basis) = (poly.context(), poly.basis());
        let mut packed = Self::stale(context, basis);
        let limbs = packed.limbs_mut().into_par_iter().enumerate();
        limbs.for_each(|(limb, words)| {
            let bits = context.limb_modulus(basis, limb).bits();
            pack(poly.limb(limb), bits, words);
        });
        packed
    }

    /// The words of all limbs.
    pub(crate) fn limbs_mut(&mut self) -> Vec<&mut [u64]> {
        let mut limbs = Vec::with_capacity(self.basis.limbs());
        let mut rest = &mut self.words[..];
        for ends in self.starts.windows(2) {
            let (limb, behind) = rest.split_at_mut(ends[1] - ends[0]);
            limbs.push(limb);
            rest = behind;
        }
        limbs
    }

    /// The polynomial.
    pub(crate) fn unpack(&self, context: &Arc<Context>) -> RnsPoly<Eval> {
        RnsPoly::from_limbs(context, self.basis, |index, _, limb| {
            let len = limb.len();
            self.unpack_part(context, index, 0..len, limb);
        })
    }

    /// The basis.
    pub(crate) fn basis(&self) -> Basis {
        self.basis
    }

    /// Bytes that the words take.
    pub(crate) fn bytes(&self) -> usize {
        8 * self.words.len()
    }

    /// The words of a limb by its number in the basis.
    pub(crate) fn limb(&self, limb: usize) -> &[u64] {
        &self.words[self.starts[limb]..self.starts[limb + 1]]
    }

    /// The residues in a range of the limb of a modulus, given by its index in the context; the
    /// range begins at a multiple of 64.
    pub(crate) fn unpack_part(
        &self,
        context: &Context,
        index: usize,
        part: std::ops::Range<usize>,
        out: &mut [u64],
    ) {
        let special = index.checked_sub(context.special_index(0));
        let limb = special.map_or(index, |special| self.basis.q_limbs() + special);
        let bits = context.modulus(index).bits();
        let start = part.start / 64 * bits as usize;
        let words = limb_bytes(part.len(), bits).div_ceil(8);
        let packed = &self.limb(limb)[start..start + words];
        context.kernel().unpack(bits, out, packed);
    }
}

/// Packs `values`, each below `2^bits`, into exactly as many words as they need.
pub(crate) fn pack(values: &[u64], bits: u32, words: &mut [u64]) {
    let (mut pending, mut held) = (0u128, 0);
    let mut words = words.iter_mut();
    let mut put = |word: u64| {
        if let Some(place) = words.next() {
            *place = word;
        }
    };
    for &value in values {
        pending |= u128::from(value) << held;
        held += bits;
        if held >= 64 {
            put(pending as u64);
            pending >>= 64;
            held -= 64;
        }
    }
    if held > 0 {
        put(pending as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel;

    #[test]
    fn packing_is_dense_and_every_kernel_reverses_it() {
        for bits in [3, 7, 30, 40, 41, 47, 48, 49, 50] {
            let mask = (1u64 << bits) - 1;
            for len in [8, 16, 32, 64, 1000, 1024] {
                let values: Vec<u64> = (0..len as u64)
                    .map(|i| i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask)
                    .collect();
                let mut words = vec![0; limb_bytes(len, bits).div_ceil(8)];
                pack(&values, bits, &mut words);
                for (i, &value) in values.iter().enumerate() {
                    let at = i * bits as usize;
                    let window = u128::from(words[at / 64])
                        | u128::from(words.get(at / 64 + 1).copied().unwrap_or(0)) << 64;
                    assert_eq!((window >> (at % 64)) as u64 & mask, value);
                }
                for kernel in Kernel::available() {
                    let mut back = vec![u64::MAX; len];
                    kernel.unpack(bits, &mut back, &words);
                    assert_eq!(back, values, "{bits} bits, {len} values, {}", kernel.name());
                }
            }
        }
    }
}
