//! Key switching: decomposition into digits, inner products with a key, division by the special primes.
//!
//! Hybrid key switching of Han and Ki (CT-RSA 2020). A polynomial is cut into the digits of a key's layout, each
//! raised to the chain with the special primes; the inner product with the key stays over that chain until
//! [`crate::rns::mod_down`]. One decomposition serves many keys (hoisting; Halevi and Shoup, CRYPTO 2018).

use std::ops::Range;
use std::sync::Arc;

use heddle_params::KeySwitchLayout;
use heddle_params::bootstrap::KeyKind;

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
use crate::rns::{convert_limbs, mod_down, mod_up, raise, special_product};
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
        let coefficients = coefficients(poly);
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

/// One limb of a key. Its uniform halves are made from the seed part by part, as they are used: that takes no longer
/// than reading them from memory would.
pub(crate) struct KeyLimb<'a> {
    context: &'a Context,
    key: &'a KeySwitchKey,
    /// The index of the limb's modulus.
    index: usize,
}

/// Digits that one pass of [`KeyLimb::product_part`] takes.
const DIGITS: usize = 4;

/// Words of scratch for [`KeyLimb::product_part`].
pub(crate) const KEY_SCRATCH: usize = DIGITS * CHUNK;

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
            for (i, (digit, uniform)) in digits.iter().zip(scratch.chunks_mut(len)).enumerate() {
                let j = DIGITS * pass + i;
                let id = StreamId {
                    modulus: self.index as u8,
                    ..KeySwitchKey::stream(self.key.key_use, j)
                };
                self.key.expander.fill_chunk(id, part, modulus, uniform);
                values[i] = &digit[at.clone()];
                halves[0][i] = &self.key.b[j].limb_of(self.index)[at.clone()];
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

/// The coefficients of a polynomial. Each limb is copied and transformed by one task, in cache.
fn coefficients(poly: &RnsPoly<Eval>) -> RnsPoly<Coeff> {
    let context = poly.context();
    let mut coefficients = RnsPoly::<Coeff>::stale(context, poly.basis());
    for_each_limb(coefficients.data_mut(), context.n(), |i, limb| {
        let table = context.table(context.modulus_index(poly.basis(), i));
        limb.copy_from_slice(poly.limb(i));
        context.kernel().ntt_inverse(table, limb);
    });
    coefficients
}

/// Divides by the special primes, like [`mod_down`], and gives the quotient's coefficients too.
pub(crate) fn mod_down_both(mut poly: RnsPoly<Eval>) -> (RnsPoly<Eval>, RnsPoly<Coeff>) {
    let context = Arc::clone(poly.context());
    let (n, kernel, basis) = (context.n(), context.kernel(), poly.basis());
    let (limbs, to) = (basis.q_limbs(), Basis::q(basis.level()));
    if basis == to {
        let coefficients = coefficients(&poly);
        return (poly, coefficients);
    }
    let (kept, dropped) = poly.data_mut().split_at_mut(limbs * n);
    for_each_limb(dropped, n, |i, limb| {
        kernel.ntt_inverse(context.table(context.special_index(i)), limb);
    });
    let specials = context.special_index(0)..context.special_index(basis.specials());
    let table = context.conversion((0..0, specials), (0..limbs).collect());
    let mut remainder = RnsPoly::<Coeff>::stale(&context, to);
    let inputs: Vec<&[u64]> = dropped.chunks_exact(n).collect();
    let outputs = remainder.data_mut().chunks_exact_mut(n).collect();
    convert_limbs(&context, &table, &inputs, outputs);
    // The quotient overwrites the remainder.
    let mut quotient = remainder.with_domain::<Eval>();
    let mut coefficients = RnsPoly::<Coeff>::stale(&context, to);
    for_each_limb_pair(
        quotient.data_mut(),
        coefficients.data_mut(),
        n,
        |i, x, c| {
            let target = &table.targets[i];
            let modulus = &target.modulus;
            let negated = modulus.shoup(modulus.neg(target.inverse.value));
            kernel.ntt_forward(context.table(i), x);
            kernel.sub_mul_scalar(modulus, x, &kept[i * n..][..n], negated);
            c.copy_from_slice(x);
            kernel.ntt_inverse(context.table(i), c);
        },
    );
    (quotient, coefficients)
}

/// A polynomial raised digit by digit whose limbs are still to be transformed, which happens when a limb is used, so
/// that it is in cache.
pub(crate) struct Raised<'a> {
    poly: &'a RnsPoly<Eval>,
    digits: Vec<RnsPoly<Coeff>>,
    layout: KeySwitchLayout,
}

/// The digits of a [`Raised`] in one limb.
pub(crate) struct RaisedLimb<'a> {
    index: usize,
    /// The digit that the limb is part of, with its values.
    own: Option<(usize, &'a [u64])>,
    digits: Vec<&'a mut [u64]>,
}

impl<'a> Raised<'a> {
    /// Cuts a polynomial into the digits of a layout for its level, see [`truncate`].
    pub(crate) fn new(poly: &'a RnsPoly<Eval>, layout: KeySwitchLayout) -> Self {
        Self::with_coefficients(poly, &coefficients(poly), layout)
    }

    /// [`Self::new`] of a polynomial whose coefficients are known.
    pub(crate) fn with_coefficients(
        poly: &'a RnsPoly<Eval>,
        coefficients: &RnsPoly<Coeff>,
        layout: KeySwitchLayout,
    ) -> Self {
        let context = poly.context();
        let basis = Basis::new(layout.level, layout.specials);
        let raise = |digit: &Range<usize>| {
            let outside = || (0..basis.limbs()).filter(|limb| !digit.contains(limb));
            let targets = outside().map(|limb| context.modulus_index(basis, limb));
            let table = context.conversion((digit.clone(), 0..0), targets.collect());
            let mut raised = RnsPoly::<Coeff>::stale(context, basis);
            let limbs = raised.data_mut().chunks_exact_mut(context.n());
            let outputs = limbs
                .enumerate()
                .filter(|(limb, _)| !digit.contains(limb))
                .map(|(_, values)| values);
            let inputs: Vec<&[u64]> = digit.clone().map(|i| coefficients.limb(i)).collect();
            convert_limbs(context, &table, &inputs, outputs.collect());
            raised
        };
        let digits = layout.digits.iter().map(raise).collect();
        Self {
            poly,
            digits,
            layout,
        }
    }

    /// The digits limb by limb.
    pub(crate) fn limbs(&mut self) -> Vec<RaisedLimb<'_>> {
        let context = self.poly.context();
        let basis = Basis::new(self.layout.level, self.layout.specials);
        let mut limbs: Vec<RaisedLimb<'_>> = (0..basis.limbs())
            .map(|limb| RaisedLimb {
                index: context.modulus_index(basis, limb),
                own: self
                    .layout
                    .digits
                    .iter()
                    .position(|digit| digit.contains(&limb))
                    .map(|digit| (digit, self.poly.limb(limb))),
                digits: Vec::with_capacity(self.digits.len()),
            })
            .collect();
        for digit in &mut self.digits {
            let parts = digit.data_mut().chunks_exact_mut(context.n());
            for (limb, part) in limbs.iter_mut().zip(parts) {
                limb.digits.push(part);
            }
        }
        limbs
    }
}

impl RaisedLimb<'_> {
    /// Transforms the digits and gives their values.
    pub(crate) fn transform(&mut self, context: &Context) -> Vec<&[u64]> {
        let table = context.table(self.index);
        let own = self.own;
        self.digits
            .iter_mut()
            .enumerate()
            .map(|(j, digit)| match own {
                Some((own, values)) if own == j => values,
                _ => {
                    context.kernel().ntt_forward(table, digit);
                    &**digit
                }
            })
            .collect()
    }

    /// Transforms the digits and writes `sum_j digit_j * key_j` to `out`.
    pub(crate) fn inner_product(
        mut self,
        context: &Context,
        key: &KeySwitchKey,
        out: [&mut [u64]; 2],
    ) {
        let index = self.index;
        KeyLimb::new(context, key, index).product(&self.transform(context), out);
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
        let times_special = special_product(context, level, specials);
        let mut raised = Raised::new(self.poly, layout);
        let mut limbs = raised.limbs();
        let dropped = limbs.split_off(kept);

        let mut away0 = Buffer::stale(dropped.len() * n);
        let mut away1 = Buffer::stale(dropped.len() * n);
        dropped
            .into_par_iter()
            .zip(
                away0
                    .par_chunks_exact_mut(n)
                    .zip(away1.par_chunks_exact_mut(n)),
            )
            .for_each(|(limb, (b, a))| {
                let table = context.table(limb.index);
                let modulus = table.modulus();
                let special = times_special.get(limb.index).map(|&p| modulus.shoup(p));
                let index = limb.index;
                limb.inner_product(context, self.key, [&mut *b, &mut *a]);
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

        limbs
            .into_par_iter()
            .zip(
                c0.data_mut()
                    .par_chunks_exact_mut(n)
                    .zip(c1.data_mut().par_chunks_exact_mut(n)),
            )
            .for_each(|(limb, (r0, r1))| {
                let index = limb.index;
                let target = &table.targets[index];
                let modulus = &target.modulus;
                let mut scratch = Buffer::stale(2 * n);
                let (b, a) = scratch.split_at_mut(n);
                limb.inner_product(context, self.key, [&mut *b, &mut *a]);
                for ((part, remainder), add) in [(b, r0), (a, r1)].into_iter().zip(self.add) {
                    let add = add.map(|add| add.limb(index));
                    if let (Some(add), Division::SpecialsAndLast) = (add, self.division) {
                        let special = modulus.shoup(times_special[index]);
                        kernel.mul_scalar_add(modulus, part, add, special);
                    }
                    kernel.ntt_forward(context.table(index), remainder);
                    kernel.sub_mul_scalar(modulus, part, remainder, target.inverse);
                    if let (Some(add), Division::Specials) = (add, self.division) {
                        kernel.add(modulus, part, add);
                    }
                    match self.rotate {
                        Some(map) => kernel.permute(&map.blocks, &map.patterns, remainder, part),
                        None => remainder.copy_from_slice(part),
                    }
                }
            });
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
