//! Sums, plaintext operands and constants.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::Error;
use crate::ring::poly::{Eval, RnsPoly, for_each_limb};
use crate::scheme::ciphertext::{Ciphertext, Plaintext};
use crate::scheme::encode::{Complex64, scaled_integer};
use crate::scheme::eval::{Evaluator, check_levels, check_scales};
use crate::tables::modulus::Modulus;

impl Evaluator {
    /// `a + b`; levels and scales must be equal.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`] or [`Error::ScaleMismatch`].
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, Error> {
        let mut sum = a.clone();
        self.add_assign(&mut sum, b)?;
        Ok(sum)
    }

    /// `a += b`; levels and scales must be equal.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`] or [`Error::ScaleMismatch`].
    pub fn add_assign(&self, a: &mut Ciphertext, b: &Ciphertext) -> Result<(), Error> {
        self.check_context("add", [&*a, b])?;
        check_levels("add", a.level(), b.level())?;
        check_scales("add", a.scale, b.scale)?;
        a.c0.add_assign(&b.c0);
        a.c1.add_assign(&b.c1);
        a.log_slots = a.log_slots.max(b.log_slots);
        Ok(())
    }

    /// `a - b`; levels and scales must be equal.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`] or [`Error::ScaleMismatch`].
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, Error> {
        self.check_context("subtract", [a, b])?;
        check_levels("subtract", a.level(), b.level())?;
        check_scales("subtract", a.scale, b.scale)?;
        let mut difference = a.clone();
        difference.c0.sub_assign(&b.c0);
        difference.c1.sub_assign(&b.c1);
        difference.log_slots = a.log_slots.max(b.log_slots);
        Ok(difference)
    }

    /// `-a`.
    pub fn neg(&self, a: &Ciphertext) -> Ciphertext {
        let mut negated = a.clone();
        negated.c0.neg_assign();
        negated.c1.neg_assign();
        negated
    }

    /// `a + plaintext`; scales must be equal.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::ScaleMismatch`], or [`Error::SlotCount`] for a
    /// plaintext of more slots than the ring has.
    pub fn add_plain(&self, a: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext, Error> {
        self.check_context("add plaintext", [a])?;
        check_scales("add plaintext", a.scale, plaintext.scale)?;
        let mut sum = a.clone();
        sum.c0
            .add_compact_assign(&plaintext.compact(self.context(), a.c0.basis())?);
        sum.log_slots = a.log_slots.max(plaintext.log_slots);
        Ok(sum)
    }

    /// `a - plaintext`; scales must be equal.
    ///
    /// # Errors
    /// As [`Self::add_plain`].
    pub fn sub_plain(&self, a: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext, Error> {
        let negated = Plaintext {
            coefficients: Zeroizing::new(plaintext.coefficients.iter().map(|c| -c).collect()),
            ..*plaintext
        };
        self.add_plain(a, &negated)
    }

    /// The slotwise product with a plaintext: scales multiply, the level stays.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], or [`Error::SlotCount`] for a plaintext of more slots than the
    /// ring has.
    pub fn mul_plain(&self, a: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext, Error> {
        self.check_context("multiply by plaintext", [a])?;
        let factor = plaintext.compact(self.context(), a.c0.basis())?;
        let mut product = a.clone();
        product.c0.mul_compact_assign(&factor);
        product.c1.mul_compact_assign(&factor);
        product.scale *= plaintext.scale;
        product.log_slots = a.log_slots.max(plaintext.log_slots);
        Ok(product)
    }

    /// `a + constant` in every slot, at the scale of `a`.
    ///
    /// # Errors
    /// [`Error::ValueRange`] when the constant does not fit at that scale.
    pub fn add_const(&self, a: &Ciphertext, constant: f64) -> Result<Ciphertext, Error> {
        self.add_complex_const(a, constant.into())
    }

    /// `a + constant` in every slot, at the scale of `a`.
    ///
    /// # Errors
    /// [`Error::ValueRange`] when the constant does not fit at that scale.
    pub fn add_complex_const(
        &self,
        a: &Ciphertext,
        constant: Complex64,
    ) -> Result<Ciphertext, Error> {
        let (re, im) = integers(constant, a.scale)?;
        let mut sum = a.clone();
        halves(&mut sum.c0, re, im, |m, half, value| {
            half.iter_mut().for_each(|x| *x = m.add(*x, value));
        });
        Ok(sum)
    }

    /// `a * constant`, the constant rounded to an integer at `scale`: scales multiply, the level
    /// stays.
    ///
    /// # Errors
    /// [`Error::ValueRange`] when the constant does not fit at that scale.
    pub fn mul_const(
        &self,
        a: &Ciphertext,
        constant: f64,
        scale: f64,
    ) -> Result<Ciphertext, Error> {
        self.mul_complex_const(a, constant.into(), scale)
    }

    /// `a * constant`, real and imaginary part rounded to integers at `scale`: scales multiply, the
    /// level stays.
    ///
    /// # Errors
    /// [`Error::ValueRange`] when the constant does not fit at that scale.
    pub fn mul_complex_const(
        &self,
        a: &Ciphertext,
        constant: Complex64,
        scale: f64,
    ) -> Result<Ciphertext, Error> {
        let (re, im) = integers(constant, scale)?;
        Ok(self.mul_gaussian_integer(a, re, im, scale))
    }

    /// `a * factor` in every slot; scale and level stay.
    pub fn mul_integer(&self, a: &Ciphertext, factor: i64) -> Ciphertext {
        self.mul_gaussian_integer(a, factor, 0, 1.0)
    }

    /// `i a` in every slot; scale and level stay.
    pub fn mul_by_i(&self, a: &Ciphertext) -> Ciphertext {
        self.mul_gaussian_integer(a, 0, 1, 1.0)
    }

    /// `acc += a * constant`, the constant rounded to an integer at `scale`. `a` may be at a higher
    /// level than `acc`; its scale times `scale` must be that of `acc`.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`], [`Error::ScaleMismatch`], or
    /// [`Error::ValueRange`].
    pub fn mul_const_add(
        &self,
        acc: &mut Ciphertext,
        a: &Ciphertext,
        constant: f64,
        scale: f64,
    ) -> Result<(), Error> {
        const OP: &str = "multiply and add";
        self.check_context(OP, [&*acc, a])?;
        if a.level() < acc.level() {
            return Err(Error::LevelMismatch {
                op: OP,
                left: acc.level(),
                right: a.level(),
            });
        }
        check_scales(OP, acc.scale, a.scale * scale)?;
        let factor = scaled_integer(0, constant, scale)?;
        let context = self.context();
        let n = context.n();
        for (acc, a) in [(&mut acc.c0, &a.c0), (&mut acc.c1, &a.c1)] {
            for_each_limb(acc.data_mut(), n, |i, limb| {
                let m = context.modulus(i);
                context
                    .kernel()
                    .mul_scalar_add(m, limb, a.limb(i), m.shoup(m.from_i64(factor)));
            });
        }
        acc.log_slots = acc.log_slots.max(a.log_slots);
        Ok(())
    }

    /// The same slots at a lower level; the scale stays.
    ///
    /// # Errors
    /// [`Error::NotEnoughLevels`] when `level` is above the ciphertext's.
    pub fn drop_to_level(&self, a: &Ciphertext, level: usize) -> Result<Ciphertext, Error> {
        if level > a.level() {
            return Err(Error::NotEnoughLevels {
                op: "drop to level",
                needed: level,
                found: a.level(),
            });
        }
        Ok(Ciphertext {
            c0: a.c0.drop_to(level),
            c1: a.c1.drop_to(level),
            ..*a
        })
    }

    fn mul_gaussian_integer(&self, a: &Ciphertext, re: i64, im: i64, scale: f64) -> Ciphertext {
        let mut product = a.clone();
        let kernel = a.context().kernel();
        for part in [&mut product.c0, &mut product.c1] {
            halves(part, re, im, |m, half, value| {
                kernel.mul_scalar(m, half, m.shoup(value))
            });
        }
        product.scale *= scale;
        product
    }
}

/// Calls `f(modulus, values, constant)` for both halves of every limb with what `re + im X^(N/2)`
/// is there.
///
/// Value `i` is taken at a power of the root whose residue modulo 4 is 1 in the first half and 3 in
/// the second: `X^(N/2)`, which is `i` in every slot, is one square root of -1 in the first and the
/// other in the second.
fn halves(
    poly: &mut RnsPoly<Eval>,
    re: i64,
    im: i64,
    f: impl Fn(&Modulus, &mut [u64], u64) + Sync,
) {
    let context = Arc::clone(poly.context());
    let n = context.n();
    for_each_limb(poly.data_mut(), n, |limb, values| {
        let table = context.table(limb);
        let m = table.modulus();
        let re = m.from_i64(re);
        let im = m.correct(m.mul_montgomery_lazy(m.from_i64(im), table.roots()[1]));
        let (first, second) = values.split_at_mut(n / 2);
        f(m, first, m.add(re, im));
        f(m, second, m.sub(re, im));
    });
}

fn integers(constant: Complex64, scale: f64) -> Result<(i64, i64), Error> {
    Ok((
        scaled_integer(0, constant.re, scale)?,
        scaled_integer(1, constant.im, scale)?,
    ))
}
