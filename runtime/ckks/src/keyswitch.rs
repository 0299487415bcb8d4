//! Key switching: decomposition into digits, inner products with a key, division by the special primes.
//!
//! Hybrid key switching of Han and Ki (CT-RSA 2020). A polynomial is cut into the digits of a key's layout, each
//! raised to the chain with the special primes; the inner product with the key stays over that chain until
//! [`crate::rns::mod_down`]. One decomposition serves many keys (hoisting; Halevi and Shoup, CRYPTO 2018).

use std::ops::Range;
use std::sync::Arc;

use heddle_params::KeySwitchLayout;
use heddle_params::keys::KeyKind;

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::ciphertext::Ciphertext;
use crate::context::{Basis, Context};
use crate::error::Error;
use crate::eval::Evaluator;
use crate::kernel::Init;
use crate::kernel::stream::CHUNK;
use crate::keys::KeySwitchKey;
use crate::poly::{Automorphism, Coeff, Eval, RnsPoly, for_each_limb, for_each_limb_pair};
use crate::rns::{
    ConversionTable, convert_limbs, mod_down, mod_up, negated, raise, special_product,
};
use crate::seed::StreamId;

/// A polynomial cut into digits, each over the chain and the special primes.
pub struct Decomposed {
    pub(crate) digits: Vec<RnsPoly<Eval>>,
    pub(crate) layout: KeySwitchLayout,
}

/// The part of a layout that acts on polynomials of a level at or below its own.
pub fn truncate(layout: &KeySwitchLayout, level: usize) -> KeySwitchLayout {
    let digits: Vec<Range<usize>> = layout
        .digits
        .iter()
        .filter(|d| d.start <= level)
        .map(|d| d.start..d.end.min(level + 1))
        .collect();
    KeySwitchLayout {
        level,
        digits,
        specials: layout.specials,
    }
}

impl Decomposed {
    /// Cuts a polynomial into the digits of a layout for its level, see [`truncate`].
    ///
    /// # Panics
    /// When the layout is of another level.
    pub fn new(poly: &RnsPoly<Eval>, layout: KeySwitchLayout) -> Self {
        assert_eq!(
            poly.level(),
            layout.level,
            "the layout is truncated to the polynomial's level"
        );
        let coefficients = poly.to_coeff();
        let digits = layout
            .digits
            .iter()
            .map(|digit| mod_up(&coefficients, poly, digit.clone(), layout.specials))
            .collect();
        Self { digits, layout }
    }

    /// The chain of the digits.
    pub fn basis(&self) -> Basis {
        Basis::new(self.layout.level, self.layout.specials)
    }

    /// `sum_j digit_j * key_j` in one limb, written to `out`.
    pub(crate) fn inner_product_limb(
        &self,
        context: &Context,
        key: &KeySwitchKey,
        limb: usize,
        out: [&mut [u64]; 2],
    ) {
        let index = context.modulus_index(self.basis(), limb);
        let digits: Vec<&[u64]> = self.digits.iter().map(|d| d.limb(limb)).collect();
        KeyLimb::new(context, key, index).product(&digits, out);
    }

    /// `sum_j digit_j * key_j` over the chain and the special primes: `P` times the switched polynomial.
    pub fn inner_product(&self, key: &KeySwitchKey) -> (RnsPoly<Eval>, RnsPoly<Eval>) {
        let context = self.digits[0].context();
        let mut b = RnsPoly::stale(context, self.basis());
        let mut a = RnsPoly::stale(context, self.basis());
        for_each_limb_pair(b.data_mut(), a.data_mut(), context.n(), |i, b, a| {
            self.inner_product_limb(context, key, i, [b, a]);
        });
        (b, a)
    }
}

/// One limb of a key, used part by part. The uniform halves are made from the seed and the others are unpacked as they
/// are used, which takes no longer than reading them from memory as whole words would.
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

    /// `out (+)= sum_j digits_j * key_j` over the part with this number, [`Self::part_len`] values. Digits are given
    /// whole.
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
        let mut scratch = Buffer::stale(KEY_SCRATCH);
        let parts = out0.chunks_exact_mut(len).zip(out1.chunks_exact_mut(len));
        for (part, (out0, out1)) in parts.enumerate() {
            self.product_part(part, digits, Init::Replace, [out0, out1], &mut scratch);
        }
    }
}

/// A polynomial raised digit by digit whose limbs are still to be transformed, which happens when a limb is used, so
/// that it is in cache.
pub(crate) struct Raised<'a> {
    digits: Vec<RnsPoly<Coeff>>,
    /// The polynomial's values, where they are known: they stand for the limbs that a digit is made of, which are not
    /// filled in then.
    values: Option<&'a RnsPoly<Eval>>,
    layout: KeySwitchLayout,
}

/// Coefficients handed to one task of [`divide_and_raise`]: all limbs of all digits stay in the second-level cache.
const COLUMN: usize = 1024;

impl<'a> Raised<'a> {
    /// Cuts a polynomial into the digits of a layout for its level, see [`truncate`].
    pub(crate) fn new(poly: &'a RnsPoly<Eval>, layout: KeySwitchLayout) -> Self {
        let context = poly.context();
        let coefficients = poly.to_coeff();
        let basis = Basis::new(layout.level, layout.specials);
        let raise = |digit: &Range<usize>| {
            let mut raised = RnsPoly::<Coeff>::stale(context, basis);
            let limbs = raised.data_mut().chunks_exact_mut(context.n());
            let outputs = limbs
                .enumerate()
                .filter(|(limb, _)| !digit.contains(limb))
                .map(|(_, values)| values);
            let inputs: Vec<&[u64]> = digit.clone().map(|i| coefficients.limb(i)).collect();
            let table = raising(context, basis, digit);
            convert_limbs(context, &table, &inputs, outputs.collect());
            raised
        };
        let digits = layout.digits.iter().map(raise).collect();
        Self {
            digits,
            values: Some(poly),
            layout,
        }
    }

    /// Words of scratch for [`Self::transform_limb`].
    pub(crate) fn scratch_words(&self) -> usize {
        self.digits.iter().map(RnsPoly::n).sum()
    }

    /// The values of all digits in one limb.
    pub(crate) fn transform_limb<'s>(
        &'s self,
        limb: usize,
        scratch: &'s mut [u64],
    ) -> Vec<&'s [u64]> {
        let context = self.digits[0].context();
        let basis = Basis::new(self.layout.level, self.layout.specials);
        let table = context.table(context.modulus_index(basis, limb));
        let scratch = scratch.chunks_exact_mut(context.n());
        let digits = self.digits.iter().zip(&self.layout.digits).zip(scratch);
        digits
            .map(|((digit, own), scratch)| match self.values {
                Some(values) if own.contains(&limb) => values.limb(limb),
                _ => {
                    let kernel = context.kernel();
                    kernel.ntt_forward_from(table, scratch, digit.limb(limb));
                    &*scratch
                }
            })
            .collect()
    }
}

/// The conversion from a digit to the other limbs of a basis.
fn raising(context: &Arc<Context>, basis: Basis, digit: &Range<usize>) -> Arc<ConversionTable> {
    let targets = (0..basis.limbs())
        .filter(|limb| !digit.contains(limb))
        .map(|limb| context.modulus_index(basis, limb));
    context.conversion((digit.clone(), 0..0), targets.collect())
}

/// [`mod_down`] and the digits of the quotient, in one pass over the coefficients.
pub(crate) fn divide_and_raise(poly: RnsPoly<Eval>, layout: KeySwitchLayout) -> Raised<'static> {
    let poly = poly.into_coeff();
    let (context, from) = (poly.context(), poly.basis());
    let (n, kernel, limbs) = (context.n(), context.kernel(), from.q_limbs());
    let specials = context.special_index(0)..context.special_index(from.specials());
    let division = context.conversion((0..0, specials), (0..limbs).collect());
    let basis = Basis::new(layout.level, layout.specials);
    let raisings: Vec<_> = layout
        .digits
        .iter()
        .map(|digit| raising(context, basis, digit))
        .collect();
    let mut digits: Vec<_> = layout
        .digits
        .iter()
        .map(|_| RnsPoly::<Coeff>::stale(context, basis))
        .collect();

    /// What one task writes: the limbs that the digits are made of, in order, and each digit's others.
    struct Column<'a> {
        quotient: Vec<&'a mut [u64]>,
        raised: Vec<Vec<&'a mut [u64]>>,
    }
    let len = COLUMN.min(n);
    let mut columns: Vec<Column<'_>> = (0..n / len)
        .map(|_| Column {
            quotient: Vec::with_capacity(limbs),
            raised: layout.digits.iter().map(|_| Vec::new()).collect(),
        })
        .collect();
    for (j, (digit, own)) in digits.iter_mut().zip(&layout.digits).enumerate() {
        for (limb, values) in digit.data_mut().chunks_exact_mut(n).enumerate() {
            for (column, part) in columns.iter_mut().zip(values.chunks_exact_mut(len)) {
                if own.contains(&limb) {
                    column.quotient.push(part);
                } else {
                    column.raised[j].push(part);
                }
            }
        }
    }
    columns
        .into_par_iter()
        .enumerate()
        .for_each(|(c, mut column)| {
            let part = |limb: usize| &poly.limb(limb)[c * len..][..len];
            let dropped: Vec<&[u64]> = (limbs..from.limbs()).map(part).collect();
            kernel.convert(&division, &dropped, &mut column.quotient);
            for (limb, quotient) in column.quotient.iter_mut().enumerate() {
                let target = &division.targets[limb];
                kernel.sub_mul_scalar(&target.modulus, quotient, part(limb), negated(target));
            }
            for ((own, raised), table) in
                layout.digits.iter().zip(&mut column.raised).zip(&raisings)
            {
                let quotient = &column.quotient[own.clone()];
                let inputs: Vec<&[u64]> = quotient.iter().map(|part| &**part).collect();
                kernel.convert(table, &inputs, raised);
            }
        });
    Raised {
        digits,
        values: None,
        layout,
    }
}

/// What a key switch divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Division {
    /// The special primes.
    Specials,
    /// The special primes and the last ciphertext prime.
    SpecialsAndLast,
}

/// A whole key switch: `poly` times the key's source secret becomes a pair under its target secret, to which `add` is
/// added, all of it divided and then rotated. What is added is not divided by the special primes.
pub(crate) struct Switch<'a> {
    pub(crate) poly: &'a RnsPoly<Eval>,
    pub(crate) key: &'a KeySwitchKey,
    pub(crate) add: [Option<&'a RnsPoly<Eval>>; 2],
    pub(crate) division: Division,
    pub(crate) rotate: Option<&'a Automorphism>,
}

impl Switch<'_> {
    /// Runs the switch limb by limb, the limbs to be divided away first.
    ///
    /// # Panics
    /// At level 0 when the last prime is divided away.
    pub(crate) fn run(self) -> (RnsPoly<Eval>, RnsPoly<Eval>) {
        let context = self.poly.context();
        let (n, kernel, level) = (context.n(), context.kernel(), self.poly.level());
        let layout = truncate(&self.key.layout, level);
        let kept = match self.division {
            Division::Specials => level + 1,
            Division::SpecialsAndLast => level,
        };
        let specials = layout.specials;
        let basis = Basis::new(level, specials);
        let times_special = special_product(context, level, specials);
        let raised = Raised::new(self.poly, layout);
        let limb_key = |limb: usize| {
            let index = context.modulus_index(basis, limb);
            (index, KeyLimb::new(context, self.key, index))
        };

        let dropped = basis.limbs() - kept;
        let mut away0 = Buffer::stale(dropped * n);
        let mut away1 = Buffer::stale(dropped * n);
        for_each_limb_pair(&mut away0, &mut away1, n, |i, b, a| {
            let (index, key) = limb_key(kept + i);
            let mut scratch = Buffer::stale(raised.scratch_words());
            let digits = raised.transform_limb(kept + i, &mut scratch);
            key.product(&digits, [&mut *b, &mut *a]);
            let table = context.table(index);
            let modulus = table.modulus();
            let special = times_special.get(index).map(|&p| modulus.shoup(p));
            for (part, add) in [b, a].into_iter().zip(self.add) {
                if let (Some(add), Some(special)) = (add, special) {
                    kernel.mul_scalar_add(modulus, part, add.limb(index), special);
                }
                kernel.ntt_inverse(table, part);
            }
        });

        let sources = (
            kept..level + 1,
            context.special_index(0)..context.special_index(specials),
        );
        let table = context.conversion(sources, (0..kept).collect());
        let to = Basis::q(kept - 1);
        let [mut c0, mut c1] = [away0, away1].map(|away| {
            let mut remainder = RnsPoly::<Coeff>::stale(context, to);
            let inputs: Vec<&[u64]> = away.chunks_exact(n).collect();
            let outputs = remainder.data_mut().chunks_exact_mut(n).collect();
            convert_limbs(context, &table, &inputs, outputs);
            remainder
        });

        for_each_limb_pair(c0.data_mut(), c1.data_mut(), n, |limb, c0, c1| {
            let (index, key) = limb_key(limb);
            let target = &table.targets[index];
            let modulus = &target.modulus;
            let special = modulus.shoup(times_special[index]);
            kernel.ntt_forward(context.table(index), c0);
            kernel.ntt_forward(context.table(index), c1);
            let mut scratch = Buffer::stale(raised.scratch_words());
            let digits = raised.transform_limb(limb, &mut scratch);
            // What the remainder `r` becomes, part by part: (b + P·add − r)/P, or (b − r)/P + add.
            let finish = |part: usize, b: &mut [u64], r: &[u64], add: Option<&RnsPoly<Eval>>| {
                let add = add.map(|add| &add.limb(index)[part * r.len()..][..r.len()]);
                if let (Some(add), Division::SpecialsAndLast) = (add, self.division) {
                    kernel.mul_scalar_add(modulus, b, add, special);
                }
                kernel.sub_mul_scalar(modulus, b, r, target.inverse);
                if let (Some(add), Division::Specials) = (add, self.division) {
                    kernel.add(modulus, b, add);
                }
            };
            let len = KeyLimb::part_len(context);
            let mut parts = Buffer::stale(KEY_SCRATCH + 2 * len);
            let (key_scratch, rest) = parts.split_at_mut(KEY_SCRATCH);
            let (b, a) = rest.split_at_mut(len);
            for part in 0..n / len {
                let at = part * len..(part + 1) * len;
                key.product_part(
                    part,
                    &digits,
                    Init::Replace,
                    [&mut *b, &mut *a],
                    key_scratch,
                );
                for ((half, c), add) in [&mut *b, &mut *a]
                    .into_iter()
                    .zip([&mut *c0, &mut *c1])
                    .zip(self.add)
                {
                    finish(part, half, &c[at.clone()], add);
                    c[at.clone()].copy_from_slice(half);
                }
            }
        });
        if let Some(map) = self.rotate {
            for poly in [&mut c0, &mut c1] {
                for_each_limb(poly.data_mut(), n, |_, limb| {
                    let mut turned = Buffer::stale(n);
                    map.apply(kernel, &mut turned, limb);
                    limb.copy_from_slice(&turned);
                });
            }
        }
        (c0.with_domain(), c1.with_domain())
    }
}

/// `poly += P x` on the ciphertext limbs, `P` the product of the special primes of `poly`. `x` may be of a higher
/// level.
pub(crate) fn add_times_special(poly: &mut RnsPoly<Eval>, x: &RnsPoly<Eval>) {
    let context = Arc::clone(poly.context());
    let basis = poly.basis();
    let special = special_product(&context, basis.level(), basis.specials());
    let n = context.n();
    for_each_limb(&mut poly.data_mut()[..basis.q_limbs() * n], n, |i, limb| {
        let modulus = context.modulus(i);
        context
            .kernel()
            .mul_scalar_add(modulus, limb, x.limb(i), modulus.shoup(special[i]));
    });
}

impl Evaluator {
    /// Switches a level-0 ciphertext to the ephemeral sparse secret of bootstrapping (Bossuat, Troncoso-Pastoriza and
    /// Hubaux, ACNS 2022). Scale and slots stay; nothing but [`Self::raise_decapsulate`] makes sense afterwards.
    ///
    /// # Errors
    /// When the ciphertext is not at level 0, or the encapsulation key is missing.
    pub fn encapsulate(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
        if ciphertext.level() != 0 {
            return Err(Error::LevelMismatch {
                op: "encapsulate",
                left: ciphertext.level(),
                right: 0,
            });
        }
        let key = self.keys().get(KeyKind::Encapsulate, 0)?;
        let (c0, c1) = Switch {
            poly: &ciphertext.c1,
            key,
            add: [Some(&ciphertext.c0), None],
            division: Division::Specials,
            rotate: None,
        }
        .run();
        Ok(Ciphertext {
            c0,
            c1,
            ..*ciphertext
        })
    }

    /// Raises a level-0 ciphertext under the ephemeral secret to the level of the decapsulation key, and switches it
    /// to the main secret. The message becomes `m + q_0 I` with a small integer polynomial `I`. Scale and slots stay.
    ///
    /// # Errors
    /// When the ciphertext is not at level 0, or the decapsulation key is missing.
    pub fn raise_decapsulate(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
        if ciphertext.level() != 0 {
            return Err(Error::LevelMismatch {
                op: "raise",
                left: ciphertext.level(),
                right: 0,
            });
        }
        let key = self.keys().get(KeyKind::Decapsulate, 0)?;
        let digit = raise(&ciphertext.c1.clone().into_coeff(), key.basis()).into_eval();
        let decomposed = Decomposed {
            digits: vec![digit],
            layout: key.layout.clone(),
        };
        let (b, a) = decomposed.inner_product(key);
        let mut c0 = mod_down(b);
        c0.add_assign(
            &raise(
                &ciphertext.c0.clone().into_coeff(),
                Basis::q(key.layout.level),
            )
            .into_eval(),
        );
        Ok(Ciphertext {
            c0,
            c1: mod_down(a),
            ..*ciphertext
        })
    }

    /// Raises a level-0 ciphertext to the highest level under the same secret, without encapsulation: the integer
    /// part of the message is as large as the main secret makes it.
    ///
    /// # Errors
    /// When the ciphertext is not at level 0.
    pub fn raise(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
        if ciphertext.level() != 0 {
            return Err(Error::LevelMismatch {
                op: "raise",
                left: ciphertext.level(),
                right: 0,
            });
        }
        let basis = Basis::q(self.context().max_level());
        let [c0, c1] = [&ciphertext.c0, &ciphertext.c1]
            .map(|c| raise(&c.clone().into_coeff(), basis).into_eval());
        Ok(Ciphertext {
            c0,
            c1,
            ..*ciphertext
        })
    }
}
