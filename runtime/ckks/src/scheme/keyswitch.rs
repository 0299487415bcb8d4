//! Key switching: decomposition into digits, inner products with a key, division by the special
//! primes.
//!
//! Hybrid key switching of Han and Ki (CT-RSA 2020). A polynomial is cut into the digits of a key's
//! layout, each raised to the chain with the special primes; the inner product with the key stays
//! over that chain until [`mod_down`](crate::ring::rns::mod_down). One decomposition serves many
//! keys (hoisting; Halevi and Shoup, CRYPTO 2018).

mod key_limb;
mod raised;

use std::ops::Range;
use std::sync::Arc;

use heddle_params::KeySwitchLayout;

use crate::buffer::Buffer;
use crate::kernel::Init;
use crate::ring::context::{Basis, Context};
use crate::ring::poly::{Coeff, Eval, RnsPoly, for_each_limb, for_each_limb_pair};
use crate::ring::rns::{convert_limbs, mod_up, special_product};
use crate::scheme::keys::KeySwitchKey;
use crate::tables::automorphism::Automorphism;
use crate::tables::conversion::ConversionTable;

pub(crate) use key_limb::{KEY_SCRATCH, KeyLimb};
pub(crate) use raised::{Raised, divide_and_raise};

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

    /// `sum_j digit_j * key_j` over the chain and the special primes: `P` times the switched
    /// polynomial.
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

/// What a key switch divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Division {
    /// The special primes.
    Specials,
    /// The special primes and the last ciphertext prime.
    SpecialsAndLast,
}

/// A whole key switch: `poly` times the key's source secret becomes a pair under its target secret,
/// to which `add` is added, all of it divided and then rotated. What is added is not divided by the
/// special primes.
pub(crate) struct Switch<'a> {
    pub(crate) poly: &'a RnsPoly<Eval>,
    pub(crate) key: &'a KeySwitchKey,
    pub(crate) add: [Option<&'a RnsPoly<Eval>>; 2],
    pub(crate) division: Division,
    pub(crate) rotate: Option<&'a Automorphism>,
}

impl<'a> Switch<'a> {
    /// A switch that keeps the level and does not rotate.
    pub(crate) fn new(
        poly: &'a RnsPoly<Eval>,
        key: &'a KeySwitchKey,
        add: [Option<&'a RnsPoly<Eval>>; 2],
    ) -> Self {
        Self {
            poly,
            key,
            add,
            division: Division::Specials,
            rotate: None,
        }
    }

    /// Runs the switch limb by limb, the limbs to be divided away first. The phases are the rows of
    /// the table in `docs/performance.md`.
    ///
    /// # Panics
    /// At level 0 when the last prime is divided away.
    pub(crate) fn run(self) -> (RnsPoly<Eval>, RnsPoly<Eval>) {
        let running = Running::raise_digits(&self);
        let away = running.limbs_divided_away();
        let (division, mut remainders) = running.convert_remainders(away);
        running.limbs_that_stay(&division, &mut remainders);
        if let Some(map) = self.rotate {
            running.rotate(map, &mut remainders);
        }
        let [c0, c1] = remainders;
        (c0.with_domain(), c1.with_domain())
    }
}

/// A key switch whose digits are raised.
struct Running<'a> {
    switch: &'a Switch<'a>,
    context: &'a Arc<Context>,
    /// The chain of the products with the key.
    basis: Basis,
    /// How many of its limbs stay; the others are divided away.
    kept: usize,
    digits: Raised<'a>,
    /// The product of the special primes modulo each ciphertext prime.
    special: Vec<u64>,
}

impl<'a> Running<'a> {
    /// First phase: the polynomial to coefficients, its digits raised to the chain of the products.
    fn raise_digits(switch: &'a Switch<'a>) -> Self {
        let (context, level) = (switch.poly.context(), switch.poly.level());
        let layout = truncate(&switch.key.layout, level);
        Self {
            switch,
            context,
            basis: Basis::new(level, layout.specials),
            kept: match switch.division {
                Division::Specials => level + 1,
                Division::SpecialsAndLast => level,
            },
            special: special_product(context, level, layout.specials),
            digits: Raised::new(switch.poly, layout),
        }
    }

    /// The index of a limb's modulus, and that limb of the key.
    fn key_limb(&self, limb: usize) -> (usize, KeyLimb<'a>) {
        let index = self.context.modulus_index(self.basis, limb);
        let key = KeyLimb::new(self.context, self.switch.key, index);
        (index, key)
    }

    /// Second phase: the limbs to be divided away, in coefficients. Their digits are transformed,
    /// multiplied with the key and summed with what is added.
    fn limbs_divided_away(&self) -> [Buffer; 2] {
        let (context, n) = (self.context, self.context.n());
        let kernel = context.kernel();
        let words = (self.basis.limbs() - self.kept) * n;
        let mut away = [context.pool().stale(words), context.pool().stale(words)];
        let [away0, away1] = &mut away;
        for_each_limb_pair(away0, away1, n, |i, b, a| {
            let (index, key) = self.key_limb(self.kept + i);
            let mut scratch = context.pool().stale(self.digits.scratch_words());
            let digits = self.digits.transform_limb(self.kept + i, &mut scratch);
            key.product(&digits, [&mut *b, &mut *a]);
            let table = context.table(index);
            let modulus = table.modulus();
            let special = self.special.get(index).map(|&p| modulus.shoup(p));
            for (half, add) in [b, a].into_iter().zip(self.switch.add) {
                if let (Some(add), Some(special)) = (add, special) {
                    kernel.mul_scalar_add(modulus, half, add.limb(index), special);
                }
                kernel.ntt_inverse(table, half);
            }
        });
        away
    }

    /// Third phase: the remainders of the division, converted to the limbs that stay, in
    /// coefficients.
    fn convert_remainders(&self, away: [Buffer; 2]) -> (Arc<ConversionTable>, [RnsPoly<Coeff>; 2]) {
        let (context, n) = (self.context, self.context.n());
        let sources = (
            self.kept..self.basis.q_limbs(),
            context.special_index(0)..context.special_index(self.basis.specials()),
        );
        let division = context.conversion(sources, (0..self.kept).collect());
        let to = Basis::q(self.kept - 1);
        let remainders = away.map(|away| {
            let mut remainder = RnsPoly::<Coeff>::stale(context, to);
            let inputs: Vec<&[u64]> = away.chunks_exact(n).collect();
            let outputs = remainder.data_mut().chunks_exact_mut(n).collect();
            convert_limbs(context, &division, &inputs, outputs);
            remainder
        });
        (division, remainders)
    }

    /// Fourth phase: the limbs that stay, written over the remainders, as values. Remainders and
    /// digits are transformed, digits multiplied with the key, and remainders subtracted and
    /// divided part by part.
    fn limbs_that_stay(&self, division: &ConversionTable, [c0, c1]: &mut [RnsPoly<Coeff>; 2]) {
        let (context, n) = (self.context, self.context.n());
        let kernel = context.kernel();
        for_each_limb_pair(c0.data_mut(), c1.data_mut(), n, |limb, c0, c1| {
            let (index, key) = self.key_limb(limb);
            let target = &division.targets[index];
            let modulus = &target.modulus;
            let special = modulus.shoup(self.special[index]);
            kernel.ntt_forward(context.table(index), c0);
            kernel.ntt_forward(context.table(index), c1);
            let mut scratch = context.pool().stale(self.digits.scratch_words());
            let digits = self.digits.transform_limb(limb, &mut scratch);
            // What the remainder `r` becomes, part by part: (b + P·add − r)/P, or (b − r)/P + add.
            let finish = |part: usize, b: &mut [u64], r: &[u64], add: Option<&RnsPoly<Eval>>| {
                let add = add.map(|add| &add.limb(index)[part * r.len()..][..r.len()]);
                if let (Some(add), Division::SpecialsAndLast) = (add, self.switch.division) {
                    kernel.mul_scalar_add(modulus, b, add, special);
                }
                kernel.sub_mul_scalar(modulus, b, r, target.inverse);
                if let (Some(add), Division::Specials) = (add, self.switch.division) {
                    kernel.add(modulus, b, add);
                }
            };
            let len = KeyLimb::part_len(context);
            let mut space = context.pool().stale(KEY_SCRATCH + 2 * len);
            let (key_scratch, products) = space.split_at_mut(KEY_SCRATCH);
            let (b, a) = products.split_at_mut(len);
            for part in 0..n / len {
                let at = part * len..(part + 1) * len;
                let out = [&mut *b, &mut *a];
                key.product_part(part, &digits, Init::Replace, out, key_scratch);
                for ((half, c), add) in [&mut *b, &mut *a]
                    .into_iter()
                    .zip([&mut *c0, &mut *c1])
                    .zip(self.switch.add)
                {
                    finish(part, half, &c[at.clone()], add);
                    c[at.clone()].copy_from_slice(half);
                }
            }
        });
    }

    /// Fifth phase, of a rotation: the values permuted.
    fn rotate(&self, map: &Automorphism, halves: &mut [RnsPoly<Coeff>; 2]) {
        let (n, kernel) = (self.context.n(), self.context.kernel());
        for poly in halves {
            for_each_limb(poly.data_mut(), n, |_, limb| {
                let mut turned = self.context.pool().stale(n);
                kernel.permute(map, &mut turned, limb);
                limb.copy_from_slice(&turned);
            });
        }
    }
}

/// `poly += P x` on the ciphertext limbs, `P` the product of the special primes of `poly`. `x` may
/// be of a higher level.
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
