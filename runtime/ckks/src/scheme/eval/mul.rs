//! Products of ciphertexts, and rescaling.

use heddle_params::keys::KeyKind;

use crate::Error;
use crate::kernel::Init;
use crate::ring::poly::{Eval, RnsPoly, for_each_limb_pair};
use crate::ring::rns::rescale;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::eval::{Evaluator, check_levels, check_scales};
use crate::scheme::keyswitch::{Division, Switch};

/// A product that was not relinearised: `d0 + d1 s + d2 s^2`.
#[derive(Clone)]
#[must_use]
pub struct Product {
    pub(crate) d0: RnsPoly<Eval>,
    pub(crate) d1: RnsPoly<Eval>,
    pub(crate) d2: RnsPoly<Eval>,
    pub(crate) scale: f64,
    pub(crate) log_slots: u32,
}

impl std::fmt::Debug for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Product")
            .field("level", &self.level())
            .field("log_slots", &self.log_slots)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

impl Product {
    /// The level.
    pub fn level(&self) -> usize {
        self.d0.level()
    }

    /// The scale.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Adds another product.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`] or [`Error::ScaleMismatch`].
    pub fn add_assign(&mut self, other: &Self) -> Result<(), Error> {
        const OP: &str = "add products";
        self.d0.context().check_same(OP, other.d0.context())?;
        check_levels(OP, self.level(), other.level())?;
        check_scales(OP, self.scale, other.scale)?;
        self.d0.add_assign(&other.d0);
        self.d1.add_assign(&other.d1);
        self.d2.add_assign(&other.d2);
        self.log_slots = self.log_slots.max(other.log_slots);
        Ok(())
    }
}

impl Evaluator {
    /// The slotwise product: levels must be equal, scales multiply, the level stays (rescale
    /// afterwards, or use [`Self::mul_rescale`]).
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`], or a missing relinearisation key.
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, Error> {
        self.relinearise(self.mul_no_relin(a, b)?)
    }

    /// The slotwise square; see [`Self::mul`].
    ///
    /// # Errors
    /// A missing relinearisation key.
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext, Error> {
        self.mul(a, a)
    }

    /// [`Self::mul`] and [`Self::rescale`] in one division.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`], [`Error::NotEnoughLevels`] at level 0,
    /// or a missing relinearisation key.
    pub fn mul_rescale(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, Error> {
        let Product {
            d0,
            d1,
            d2,
            scale,
            log_slots,
        } = self.mul_no_relin(a, b)?;
        let dropped = self.context().modulus(a.level()).value() as f64;
        let (c0, c1) = self.relinearise_rescale(d0, d1, d2)?;
        Ok(Ciphertext {
            c0,
            c1,
            scale: scale / dropped,
            log_slots,
        })
    }

    /// The product before relinearisation.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] or [`Error::LevelMismatch`].
    pub fn mul_no_relin(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Product, Error> {
        self.check_context("multiply", [a, b])?;
        check_levels("multiply", a.level(), b.level())?;
        let context = self.context();
        let (basis, kernel) = (a.c0.basis(), context.kernel());
        let mut d1 = RnsPoly::stale(context, basis);
        let mut d2 = RnsPoly::stale(context, basis);
        for_each_limb_pair(d1.data_mut(), d2.data_mut(), context.n(), |i, d1, d2| {
            let m = context.modulus(i);
            let (a0, a1, b0, b1) = (a.c0.limb(i), a.c1.limb(i), b.c0.limb(i), b.c1.limb(i));
            kernel.dot(m, d1, Init::Replace, &[a0, a1], 0, &[b1, b0]);
            kernel.dot(m, d2, Init::Replace, &[a1], 0, &[b1]);
        });
        let d0 = RnsPoly::from_limbs(context, basis, |i, m, d0| {
            kernel.dot(m, d0, Init::Replace, &[a.c0.limb(i)], 0, &[b.c0.limb(i)]);
        });
        Ok(Product {
            d0,
            d1,
            d2,
            scale: a.scale * b.scale,
            log_slots: a.log_slots.max(b.log_slots),
        })
    }

    /// Brings a product back to two parts.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], or a missing relinearisation key.
    pub fn relinearise(&self, product: Product) -> Result<Ciphertext, Error> {
        const OP: &str = "relinearise";
        self.context().check_same(OP, product.d0.context())?;
        let key = self.key(OP, KeyKind::Relin, product.level())?;
        let add = [Some(&product.d0), Some(&product.d1)];
        let (c0, c1) = Switch::new(&product.d2, key, add).run();
        Ok(Ciphertext {
            c0,
            c1,
            scale: product.scale,
            log_slots: product.log_slots,
        })
    }

    /// Relinearises and rescales the polynomials of a product in one division: level `l` to
    /// `l - 1`. The scale divides by the dropped prime.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`], [`Error::NotEnoughLevels`] at level 0,
    /// or a missing relinearisation key.
    pub fn relinearise_rescale(
        &self,
        d0: RnsPoly<Eval>,
        d1: RnsPoly<Eval>,
        d2: RnsPoly<Eval>,
    ) -> Result<(RnsPoly<Eval>, RnsPoly<Eval>), Error> {
        const OP: &str = "relinearise";
        for d in [&d0, &d1, &d2] {
            self.context().check_same(OP, d.context())?;
            check_levels(OP, d2.level(), d.level())?;
        }
        if d2.level() == 0 {
            return Err(Error::NotEnoughLevels {
                op: "rescale",
                needed: 1,
                found: 0,
            });
        }
        let key = self.key(OP, KeyKind::Relin, d2.level())?;
        Ok(Switch {
            division: Division::SpecialsAndLast,
            ..Switch::new(&d2, key, [Some(&d0), Some(&d1)])
        }
        .run())
    }

    /// Divides by the last prime: level `l` to `l - 1`, the scale divides by that prime.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], or [`Error::NotEnoughLevels`] at level 0.
    pub fn rescale(&self, ciphertext: Ciphertext) -> Result<Ciphertext, Error> {
        self.check_context("rescale", [&ciphertext])?;
        let level = ciphertext.level();
        if level == 0 {
            return Err(Error::NotEnoughLevels {
                op: "rescale",
                needed: 1,
                found: 0,
            });
        }
        let scale = ciphertext.scale / self.context().modulus(level).value() as f64;
        let Ciphertext {
            c0, c1, log_slots, ..
        } = ciphertext;
        Ok(Ciphertext {
            c0: rescale(c0),
            c1: rescale(c1),
            scale,
            log_slots,
        })
    }
}
