//! Rotations and conjugation.

use heddle_params::GaloisElement;
use heddle_params::keys::KeyKind;

use crate::Error;
use crate::ring::poly::{Eval, RnsPoly};
use crate::ring::rns::mod_down;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::eval::Evaluator;
use crate::scheme::keys::KeySwitchKey;
use crate::scheme::keyswitch::{Decomposed, Switch, truncate};

impl Evaluator {
    /// The left rotation by `k`: slot `i` of the result is slot `(i + k) mod N/2`. Level and scale
    /// stay.
    ///
    /// Shifts that agree modulo the period of the slots give the same result with different keys;
    /// the key of just this shift modulo `N/2` is used.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] or [`Error::MissingGaloisKey`].
    pub fn rotate(&self, ciphertext: &Ciphertext, k: i64) -> Result<Ciphertext, Error> {
        self.apply(ciphertext, GaloisElement::rotation(k, self.context().n()))
    }

    /// The complex conjugate of every slot. Level and scale stay.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] or [`Error::MissingGaloisKey`].
    pub fn conjugate(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
        self.apply(ciphertext, GaloisElement::conjugation(self.context().n()))
    }

    /// Applies the automorphism `X -> X^g`. Level and scale stay.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] or [`Error::MissingGaloisKey`].
    pub fn apply(
        &self,
        ciphertext: &Ciphertext,
        galois: GaloisElement,
    ) -> Result<Ciphertext, Error> {
        const OP: &str = "rotate";
        self.check_context(OP, [ciphertext])?;
        if galois.is_identity() {
            return Ok(ciphertext.clone());
        }
        let key = self.key(OP, KeyKind::Galois(galois), ciphertext.level())?;
        let (c0, c1) = Switch {
            rotate: Some(&self.context().automorphism(galois)),
            ..Switch::new(&ciphertext.c1, key, [Some(&ciphertext.c0), None])
        }
        .run();
        Ok(Ciphertext {
            c0,
            c1,
            ..*ciphertext
        })
    }

    /// Left rotations of one ciphertext by several amounts, with one decomposition.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] or [`Error::MissingGaloisKey`].
    pub fn rotate_hoisted(
        &self,
        ciphertext: &Ciphertext,
        rotations: &[i64],
    ) -> Result<Vec<Ciphertext>, Error> {
        const OP: &str = "rotate";
        self.check_context(OP, [ciphertext])?;
        let mut shared: Option<Decomposed> = None;
        rotations
            .iter()
            .map(|&k| {
                let galois = GaloisElement::rotation(k, self.context().n());
                if galois.is_identity() {
                    return Ok(ciphertext.clone());
                }
                let key = self.key(OP, KeyKind::Galois(galois), ciphertext.level())?;
                let layout = truncate(&key.layout, ciphertext.level());
                let decomposed = match shared.take() {
                    Some(shared) if shared.layout == layout => shared,
                    _ => Decomposed::new(&ciphertext.c1, layout),
                };
                let rotated = self.finish(ciphertext, &decomposed, key, galois);
                shared = Some(decomposed);
                Ok(rotated)
            })
            .collect()
    }

    fn finish(
        &self,
        ciphertext: &Ciphertext,
        decomposed: &Decomposed,
        key: &KeySwitchKey,
        galois: GaloisElement,
    ) -> Ciphertext {
        let (b, a) = decomposed.inner_product(key);
        let mut c0: RnsPoly<Eval> = mod_down(b);
        c0.add_assign(&ciphertext.c0);
        Ciphertext {
            c0: c0.automorphism(galois),
            c1: mod_down(a).automorphism(galois),
            ..*ciphertext
        }
    }
}
