//! Key switching: decomposition into digits, inner products with a key, division by the special primes.
//!
//! Hybrid key switching of Han and Ki (CT-RSA 2020). A polynomial is cut into the digits of a key's layout, each
//! raised to the chain with the special primes; the inner product with the key stays over that chain until
//! [`crate::rns::mod_down`]. One decomposition serves many keys (hoisting; Halevi and Shoup, CRYPTO 2018).

use std::ops::Range;
use std::sync::Arc;

use heddle_params::KeySwitchLayout;
use heddle_params::bootstrap::KeyKind;

use crate::ciphertext::Ciphertext;
use crate::context::{Basis, Context};
use crate::error::Error;
use crate::eval::Evaluator;
use crate::kernel::Init;
use crate::keys::{KeySwitchKey, UniformHalves};
use crate::poly::{Eval, RnsPoly, for_each_limb, for_each_limb_pair};
use crate::rns::{mod_down, mod_up, raise, special_product};
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
        let coefficients = poly.clone().into_coeff();
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

    /// `sum_j digit_j * key_j` in one limb, written to `out`. `scratch` holds the regenerated halves of seeded keys.
    pub(crate) fn inner_product_limb(
        &self,
        context: &Context,
        key: &KeySwitchKey,
        limb: usize,
        out: [&mut [u64]; 2],
        scratch: &mut Vec<Vec<u64>>,
    ) {
        let index = context.modulus_index(self.basis(), limb);
        let modulus = context.modulus(index);
        let digits: Vec<&[u64]> = self.digits.iter().map(|d| d.limb(limb)).collect();
        let b: Vec<&[u64]> = key.b[..digits.len()]
            .iter()
            .map(|b| b.limb_of(index))
            .collect();
        let a: Vec<&[u64]> = match &key.uniform {
            UniformHalves::Expanded(halves) => halves[..digits.len()]
                .iter()
                .map(|a| a.limb_of(index))
                .collect(),
            UniformHalves::Seeded => {
                scratch.resize_with(digits.len(), Vec::new);
                for (j, half) in scratch.iter_mut().enumerate() {
                    half.resize(context.n(), 0);
                    let id = StreamId {
                        modulus: index as u8,
                        ..KeySwitchKey::stream(key.key_use, j)
                    };
                    key.expander.fill(id, modulus.value(), half);
                }
                scratch.iter().map(Vec::as_slice).collect()
            }
        };
        context
            .kernel()
            .dot_pair(modulus, out, Init::Replace, &digits, 0, [&b, &a]);
    }

    /// `sum_j digit_j * key_j` over the chain and the special primes: `P` times the switched polynomial.
    pub fn inner_product(&self, key: &KeySwitchKey) -> (RnsPoly<Eval>, RnsPoly<Eval>) {
        let context = self.digits[0].context();
        let mut b = RnsPoly::stale(context, self.basis());
        let mut a = RnsPoly::stale(context, self.basis());
        for_each_limb_pair(b.data_mut(), a.data_mut(), context.n(), |i, b, a| {
            self.inner_product_limb(context, key, i, [b, a], &mut Vec::new());
        });
        (b, a)
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
    /// The digits of a polynomial for one of this evaluator's keys.
    pub(crate) fn decompose_for(&self, poly: &RnsPoly<Eval>, key: &KeySwitchKey) -> Decomposed {
        Decomposed::new(poly, truncate(&key.layout, poly.level()))
    }

    /// `poly` times the key's source secret, as a pair under its target secret: the level stays.
    pub(crate) fn switch(
        &self,
        poly: &RnsPoly<Eval>,
        key: &KeySwitchKey,
    ) -> (RnsPoly<Eval>, RnsPoly<Eval>) {
        let (b, a) = self.decompose_for(poly, key).inner_product(key);
        (mod_down(b), mod_down(a))
    }

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
        let (mut c0, c1) = self.switch(&ciphertext.c1, key);
        c0.add_assign(&ciphertext.c0);
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
