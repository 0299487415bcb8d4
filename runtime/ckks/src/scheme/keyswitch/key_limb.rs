//! Inner products with one limb of a key.

use crate::kernel::Init;
use crate::kernel::stream::CHUNK;
use crate::ring::context::Context;
use crate::ring::seed::StreamId;
use crate::scheme::keys::KeySwitchKey;

/// One limb of a key, used part by part. The uniform halves are made from the seed and the others
/// are unpacked as they are used, which takes no longer than reading them from memory as whole
/// words would.
pub(crate) struct KeyLimb<'a> {
    context: &'a Context,
    key: &'a KeySwitchKey,
    /// The index of the limb's modulus.
    index: usize,
}

/// Digits that one pass of [`KeyLimb::product_part`] takes.
const DIGITS: usize = 4;

/// Words of scratch for [`KeyLimb::product_part`].
pub(crate) const KEY_SCRATCH: usize = 2 * DIGITS * CHUNK;

impl<'a> KeyLimb<'a> {
    pub(crate) fn new(context: &'a Context, key: &'a KeySwitchKey, index: usize) -> Self {
        Self {
            context,
            key,
            index,
        }
    }

    /// Values that a product takes at a time.
    pub(crate) fn part_len(context: &Context) -> usize {
        context.n().min(CHUNK)
    }

    /// `out (+)= sum_j digits_j * key_j` over the part with this number, [`Self::part_len`] values.
    /// Digits are given whole.
    pub(crate) fn product_part(
        &self,
        part: usize,
        digits: &[&[u64]],
        mut init: Init,
        [out0, out1]: [&mut [u64]; 2],
        scratch: &mut [u64],
    ) {
        let len = Self::part_len(self.context);
        let at = part * len..(part + 1) * len;
        let modulus = self.context.modulus(self.index);
        for (pass, digits) in digits.chunks(DIGITS).enumerate() {
            let count = digits.len();
            let mut values: [&[u64]; DIGITS] = [&[]; DIGITS];
            let mut halves: [[&[u64]; DIGITS]; 2] = [[&[]; DIGITS]; 2];
            for (i, (digit, space)) in digits.iter().zip(scratch.chunks_mut(2 * len)).enumerate() {
                let j = DIGITS * pass + i;
                let (other, uniform) = space.split_at_mut(len);
                let id = StreamId::of_key(self.key.key_use, j).at_modulus(self.index);
                self.key.expander.fill_chunk(id, part, modulus, uniform);
                self.key.b[j].unpack_part(self.context, self.index, at.clone(), other);
                values[i] = &digit[at.clone()];
                halves[0][i] = other;
                halves[1][i] = uniform;
            }
            self.context.kernel().dot_pair(
                modulus,
                [&mut *out0, &mut *out1],
                init,
                &values[..count],
                0,
                [&halves[0][..count], &halves[1][..count]],
            );
            init = Init::Accumulate;
        }
    }

    /// `sum_j digits_j * key_j`.
    pub(crate) fn product(&self, digits: &[&[u64]], [out0, out1]: [&mut [u64]; 2]) {
        let len = Self::part_len(self.context);
        let mut scratch = self.context.pool().stale(KEY_SCRATCH);
        let parts = out0.chunks_exact_mut(len).zip(out1.chunks_exact_mut(len));
        for (part, (out0, out1)) in parts.enumerate() {
            self.product_part(part, digits, Init::Replace, [out0, out1], &mut scratch);
        }
    }
}
