//! The plaintext products of a sum of linear transforms.
//!
//! Limbs are the parallel tasks, since nothing here mixes them. A limb is walked part by part, as
//! long a part as a chunk of a key's seed: all baby rotations of the part are made first, by the
//! inner product with the key and the permutation of the values, and stay in the second-level cache
//! while the products of every giant rotation are summed. An automorphism permutes parts as wholes,
//! so that a part of the result needs one part of every digit and key. Keys and prepared diagonals
//! are read once, sums are written once, and nothing else leaves the cache.
//!
//! Diagonals that were not prepared are transformed for the whole limb, since a transform does not
//! end within a part. So that a wide map does not take gigabytes for them, its giant rotations are
//! evaluated in groups, each with baby rotations of its own; most maps are one group. Streamed
//! diagonals are encoded for one group at a time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rayon::prelude::*;

use super::diagonals::Stored;
use super::{Baby, LinearTransform, Term};
use crate::buffer::Buffer;
use crate::kernel::Init;
use crate::ring::context::{Basis, Context};
use crate::ring::poly::{CompactPoly, Eval, RnsPoly};
use crate::ring::rns::special_product;
use crate::scheme::keyswitch::{KEY_SCRATCH, KeyLimb};

/// The partial sum of a giant rotation: its shift and both polynomials, times the special primes.
pub(super) type PartialSum = (usize, RnsPoly<Eval>, RnsPoly<Eval>);

/// Words behind each operand. Without them all would be a power of two apart, and share few sets of
/// every cache.
const PADDING: usize = 72;

/// Bytes of transformed diagonals of one limb that a group of giant rotations may take, unless a
/// single one takes more.
pub const GROUP_BYTES: usize = 256 << 20;

/// The shifts of the giant rotations in groups of ascending shift, none of which needs more than
/// `limit` bytes for the diagonals of one limb unless it is a single rotation.
pub(super) fn groups(terms: &[Term<'_>], basis: Basis, limit: usize) -> Vec<Range<usize>> {
    let mut bytes: BTreeMap<usize, usize> = BTreeMap::new();
    for term in terms {
        let each = diagonal_words(term.transform, basis) * size_of::<u64>();
        for giant in &term.transform.plan.giants {
            *bytes.entry(giant.shift).or_default() += each * giant.diagonals.len();
        }
    }
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut taken = 0;
    for (shift, bytes) in bytes {
        match groups.last_mut() {
            Some(group) if taken + bytes <= limit => group.end = shift + 1,
            _ => {
                groups.push(shift..shift + 1);
                taken = 0;
            }
        }
        taken += bytes;
    }
    groups
}

/// Words that one diagonal takes modulo the prime of a limb: none where it was prepared.
fn diagonal_words(transform: &LinearTransform, basis: Basis) -> usize {
    match transform.prepared_for(basis) {
        Some(_) => 0,
        None => (2 << transform.log_slots) + PADDING,
    }
}

/// The giant rotations of a term in a group of shifts.
pub(super) fn giants_in(term: &Term<'_>, group: &Range<usize>) -> Range<usize> {
    let giants = &term.transform.plan.giants;
    let first = |bound: usize| giants.partition_point(|giant| giant.shift < bound);
    first(group.start)..first(group.end)
}

/// The sums of plaintext products that each giant rotation of a group of shifts rotates, by
/// ascending shift. `encoded` has the diagonals of those giant rotations, term by term.
pub(super) fn partial_sums(
    context: &std::sync::Arc<Context>,
    terms: &[Term<'_>],
    encoded: &[Cow<'_, [Vec<Stored>]>],
    basis: Basis,
    group: &Range<usize>,
) -> Vec<PartialSum> {
    let n = context.n();
    let shifts: BTreeSet<usize> = terms
        .iter()
        .flat_map(|term| &term.transform.plan.giants[giants_in(term, group)])
        .map(|giant| giant.shift)
        .collect();
    let stale = || RnsPoly::stale(context, basis);
    let mut sums: Vec<PartialSum> = shifts
        .into_iter()
        .map(|shift| (shift, stale(), stale()))
        .collect();
    let mut limbs: Vec<Vec<LimbSum<'_>>> = (0..basis.limbs()).map(|_| Vec::new()).collect();
    for (shift, sum0, sum1) in &mut sums {
        let parts = sum0
            .data_mut()
            .chunks_exact_mut(n)
            .zip(sum1.data_mut().chunks_exact_mut(n));
        for (limb, (sum0, sum1)) in limbs.iter_mut().zip(parts) {
            limb.push(LimbSum {
                shift: *shift,
                values: [sum0, sum1],
            });
        }
    }
    let special = special_product(context, basis.level(), basis.specials());
    limbs
        .into_par_iter()
        .enumerate()
        .for_each(|(limb, mut sums)| {
            let special = special.get(limb).copied();
            for (t, (term, encoded)) in terms.iter().zip(encoded).enumerate() {
                let limb = TermLimb {
                    context,
                    term,
                    encoded,
                    basis,
                    limb,
                    special,
                    giants: giants_in(term, group),
                };
                limb.accumulate(&mut sums, &terms[..t]);
            }
        });
    sums
}

/// One limb of a partial sum.
struct LimbSum<'a> {
    shift: usize,
    values: [&'a mut [u64]; 2],
}

/// One limb of a term.
struct TermLimb<'a> {
    context: &'a Context,
    term: &'a Term<'a>,
    /// The diagonals of the giant rotations that are evaluated.
    encoded: &'a [Vec<Stored>],
    basis: Basis,
    limb: usize,
    /// The product of the special primes modulo the limb's prime; `None` modulo a special prime,
    /// where it is zero.
    special: Option<u64>,
    /// The giant rotations that are evaluated.
    giants: Range<usize>,
}

/// One part of all baby rotations, both halves of each one behind the other.
#[derive(Clone, Copy)]
struct Rotated<'a> {
    values: &'a [u64],
    stride: usize,
    len: usize,
}

impl<'a> Rotated<'a> {
    fn half(self, baby: usize, half: usize) -> &'a [u64] {
        &self.values[(2 * baby + half) * self.stride..][..self.len]
    }
}

impl TermLimb<'_> {
    /// Adds the term's products to the sums, which hold nothing yet where no earlier term has their
    /// shift.
    fn accumulate(&self, sums: &mut [LimbSum<'_>], earlier: &[Term<'_>]) {
        if self.giants.is_empty() {
            return;
        }
        let (context, babies) = (self.context, &self.term.babies);
        let targets = self.targets(sums, earlier);
        let (n, len) = (context.n(), KeyLimb::part_len(context));
        let stride = len + PADDING;
        let mut rotated = context.pool().stale(2 * stride * babies.len());
        let mut scratch = context.pool().stale(KEY_SCRATCH + 2 * len);
        let scaled = self.scaled_constant();
        let digits = self.digits();
        let mut space = context.pool().stale(self.diagonal_words());
        let diagonals = self.diagonals(&mut space);
        let widest = diagonals.iter().map(Vec::len).max();
        let mut shared: Vec<&[u64]> = Vec::with_capacity(widest.unwrap_or(0));
        for part in 0..n / len {
            for (baby, space) in babies.iter().zip(rotated.chunks_exact_mut(2 * stride)) {
                let (u0, u1) = space.split_at_mut(stride);
                let out = [&mut u0[..len], &mut u1[..len]];
                self.rotate_part(baby, part, &digits, &scaled, out, &mut scratch);
            }
            let rotated = Rotated {
                values: &rotated,
                stride,
                len,
            };
            self.multiply_part(part, &diagonals, rotated, &targets, sums, &mut shared);
        }
    }

    /// For each giant rotation the place of its sum, and whether its products are the first there.
    fn targets(&self, sums: &[LimbSum<'_>], earlier: &[Term<'_>]) -> Vec<(usize, Init)> {
        let giants = self.term.transform.plan.giants[self.giants.clone()].iter();
        let target = giants.map(|giant| {
            let at = sums.partition_point(|sum| sum.shift < giant.shift);
            let begun = earlier
                .iter()
                .flat_map(|term| &term.transform.plan.giants)
                .any(|other| other.shift == giant.shift);
            let init = match begun {
                true => Init::Accumulate,
                false => Init::Replace,
            };
            (at, init)
        });
        target.collect()
    }

    /// The constant polynomial times the special primes; arbitrary where that is zero.
    fn scaled_constant(&self) -> Buffer {
        let mut scaled = self.context.pool().stale(self.context.n());
        if let Some(special) = self.special {
            let modulus = self.context.limb_modulus(self.basis, self.limb);
            scaled.copy_from_slice(self.term.ciphertext.c0.limb(self.limb));
            let kernel = self.context.kernel();
            kernel.mul_scalar(modulus, &mut scaled, modulus.shoup(special));
        }
        scaled
    }

    /// The digits of each decomposition.
    fn digits(&self) -> Vec<Vec<&[u64]>> {
        let decomposed = self.term.decomposed.iter();
        decomposed
            .map(|d| d.digits.iter().map(|d| d.limb(self.limb)).collect())
            .collect()
    }

    /// Multiplies one part of all rotations with the diagonals, and adds the products to each giant
    /// rotation's sum. `shared` is scratch.
    fn multiply_part<'d>(
        &self,
        part: usize,
        diagonals: &[Vec<&'d [u64]>],
        rotated: Rotated<'_>,
        targets: &[(usize, Init)],
        sums: &mut [LimbSum<'_>],
        shared: &mut Vec<&'d [u64]>,
    ) {
        let (context, term, len) = (self.context, self.term, rotated.len);
        let log_rep = (context.n() >> (term.transform.log_slots + 1)).trailing_zeros();
        // A part may be shorter than the run of one value.
        let log_part_rep = log_rep.min(len.trailing_zeros());
        let modulus = context.limb_modulus(self.basis, self.limb);
        let giants = &term.transform.plan.giants[self.giants.clone()];
        let mut factors = [
            Vec::with_capacity(shared.capacity()),
            Vec::with_capacity(shared.capacity()),
        ];
        for ((giant, values), &(target, init)) in giants.iter().zip(diagonals).zip(targets) {
            shared.clear();
            factors.iter_mut().for_each(Vec::clear);
            for (&(baby, _), values) in giant.diagonals.iter().zip(values) {
                if self.special.is_none() && !matches!(term.babies[baby], Baby::Hoisted(..)) {
                    continue;
                }
                shared.push(&values[(part * len) >> log_rep..][..len >> log_part_rep]);
                factors[0].push(rotated.half(baby, 0));
                factors[1].push(rotated.half(baby, 1));
            }
            let [sum0, sum1] = &mut sums[target].values;
            let at = part * len..(part + 1) * len;
            context.kernel().dot_pair(
                modulus,
                [&mut sum0[at.clone()], &mut sum1[at]],
                init,
                shared,
                log_part_rep,
                [&factors[0], &factors[1]],
            );
        }
    }

    /// One part of the rotated input times the special primes; left as it is where that is zero.
    /// `scaled` is the constant polynomial times the special primes.
    fn rotate_part(
        &self,
        baby: &Baby<'_>,
        part: usize,
        digits: &[Vec<&[u64]>],
        scaled: &[u64],
        [u0, u1]: [&mut [u64]; 2],
        scratch: &mut [u64],
    ) {
        let (context, kernel, len) = (self.context, self.context.kernel(), u0.len());
        let index = context.modulus_index(self.basis, self.limb);
        let modulus = context.modulus(index);
        let source = match baby {
            Baby::Identity => self.term.ciphertext,
            Baby::Rotated(rotated) => rotated,
            Baby::Hoisted(rotation, decomposition) => {
                let (key_scratch, halves) = scratch.split_at_mut(KEY_SCRATCH);
                let (b, a) = halves.split_at_mut(len);
                let source = rotation.table.source_part(part, len);
                let init = if self.special.is_some() {
                    b.copy_from_slice(&scaled[source * len..][..len]);
                    a.fill(0);
                    Init::Accumulate
                } else {
                    Init::Replace
                };
                KeyLimb::new(context, rotation.key, index).product_part(
                    source,
                    &digits[*decomposition],
                    init,
                    [&mut *b, &mut *a],
                    key_scratch,
                );
                kernel.permute_part(&rotation.table, part, u0, b);
                kernel.permute_part(&rotation.table, part, u1, a);
                return;
            }
        };
        if let Some(special) = self.special {
            let special = modulus.shoup(special);
            for (out, values) in [(u0, &source.c0), (u1, &source.c1)] {
                out.copy_from_slice(&values.limb(self.limb)[part * len..][..len]);
                kernel.mul_scalar(modulus, out, special);
            }
        }
    }

    /// Words that [`Self::diagonals`] needs.
    fn diagonal_words(&self) -> usize {
        let transform = self.term.transform;
        let giants = &transform.plan.giants[self.giants.clone()];
        let count: usize = giants.iter().map(|giant| giant.diagonals.len()).sum();
        diagonal_words(transform, self.basis) * count
    }

    /// The values of the diagonals modulo the limb's prime, as the giants and their diagonals:
    /// those that were prepared, or new ones in `space`.
    fn diagonals<'a>(&'a self, space: &'a mut [u64]) -> Vec<Vec<&'a [u64]>> {
        let (context, transform) = (self.context, self.term.transform);
        if let Some(prepared) = transform.prepared_for(self.basis) {
            let value = |poly: &'a CompactPoly| {
                let special = self.limb.checked_sub(self.basis.q_limbs());
                poly.limb(special.map_or(self.limb, |special| special + poly.basis().q_limbs()))
            };
            let giants = prepared[self.giants.clone()].iter();
            return giants
                .map(|giant| giant.iter().map(value).collect())
                .collect();
        }
        let table = context.table(context.modulus_index(self.basis, self.limb));
        let len = 2 << transform.log_slots;
        let mut space = space.chunks_exact_mut(len + PADDING);
        let mut giant = |stored: &[Stored]| {
            let mut values: Vec<&'a [u64]> = Vec::new();
            for stored in stored {
                let words = space.by_ref().take(stored.count());
                let mut out: Vec<&'a mut [u64]> = words.map(|words| &mut words[..len]).collect();
                stored.values(context.kernel(), table, &mut out);
                values.extend(out.into_iter().map(|out| &*out));
            }
            values
        };
        self.encoded.iter().map(|stored| giant(stored)).collect()
    }
}
