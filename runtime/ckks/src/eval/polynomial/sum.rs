//! Sums of ciphertext products and scaled ciphertexts under one relinearisation and one rescale.

use crate::ciphertext::Ciphertext;
use crate::context::Basis;
use crate::error::Error;
use crate::eval::Evaluator;
use crate::kernel::Init;
use crate::poly::RnsPoly;
use rayon::prelude::*;

/// `factor·Σ a·b + Σ k·t + constant`, before it is relinearised and rescaled.
pub(crate) struct Sum<'a> {
    /// Pairs of factors.
    pub(crate) products: Vec<(&'a Ciphertext, &'a Ciphertext)>,
    /// A small factor of all products.
    pub(crate) factor: u64,
    /// Ciphertexts and the integers that multiply them.
    pub(crate) terms: Vec<(&'a Ciphertext, i128)>,
    /// A constant polynomial.
    pub(crate) constant: i128,
}

/// `round(value)` as an integer factor.
///
/// # Errors
/// [`Error::ValueRange`] when it is not finite or beyond 2^120.
pub(crate) fn integer(value: f64) -> Result<i128, Error> {
    let rounded = value.round();
    if rounded.abs() < 2f64.powi(120) {
        Ok(rounded as i128)
    } else {
        Err(Error::ValueRange {
            op: "encode constant",
            index: 0,
            value,
        })
    }
}

impl Sum<'_> {
    /// Evaluates the sum at `level ≥ 1`, which no operand may be below, and rescales to `level − 1`. `scale` is that
    /// of the result.
    ///
    /// # Errors
    /// A missing relinearisation key.
    pub(crate) fn evaluate(
        &self,
        evaluator: &Evaluator,
        level: usize,
        scale: f64,
    ) -> Result<Ciphertext, Error> {
        let context = evaluator.context();
        let (basis, n, kernel) = (Basis::q(level), context.n(), context.kernel());
        let log_slots = self
            .products
            .iter()
            .flat_map(|(a, b)| [a.log_slots(), b.log_slots()])
            .chain(self.terms.iter().map(|(t, _)| t.log_slots()))
            .max()
            .unwrap_or_default();
        let squares = !self.products.is_empty();
        let mut d0 = RnsPoly::stale(context, basis);
        let mut d1 = RnsPoly::stale(context, basis);
        let mut d2 = squares.then(|| RnsPoly::stale(context, basis));
        let limb = |i: usize, d0: &mut [u64], d1: &mut [u64], d2: Option<&mut [u64]>| {
            let m = context.modulus(i);
            if let Some(d2) = d2 {
                let column = |f: fn(&Ciphertext) -> &RnsPoly<_>, right: bool| -> Vec<&[u64]> {
                    self.products
                        .iter()
                        .map(|&(a, b)| f(if right { b } else { a }).limb(i))
                        .collect()
                };
                let (a0, a1) = (column(Ciphertext::c0, false), column(Ciphertext::c1, false));
                let (b0, b1) = (column(Ciphertext::c0, true), column(Ciphertext::c1, true));
                kernel.dot(m, d0, Init::Replace, &a0, 0, &b0);
                kernel.dot(
                    m,
                    d1,
                    Init::Replace,
                    &[a0, a1.clone()].concat(),
                    0,
                    &[b1.clone(), b0].concat(),
                );
                kernel.dot(m, d2, Init::Replace, &a1, 0, &b1);
                if self.factor != 1 {
                    let factor = m.shoup(m.reduce(self.factor));
                    kernel.mul_scalar(m, d0, factor);
                    kernel.mul_scalar(m, d1, factor);
                    kernel.mul_scalar(m, d2, factor);
                }
            } else {
                d0.fill(0);
                d1.fill(0);
            }
            for (t, k) in &self.terms {
                let k = m.shoup(m.from_i128(*k));
                kernel.mul_scalar_add(m, d0, t.c0().limb(i), k);
                kernel.mul_scalar_add(m, d1, t.c1().limb(i), k);
            }
            if self.constant != 0 {
                let k = m.from_i128(self.constant);
                d0.iter_mut().for_each(|x| *x = m.add(*x, k));
            }
        };
        let pairs = d0
            .data_mut()
            .par_chunks_exact_mut(n)
            .zip(d1.data_mut().par_chunks_exact_mut(n));
        match &mut d2 {
            Some(d2) => pairs
                .zip(d2.data_mut().par_chunks_exact_mut(n))
                .enumerate()
                .for_each(|(i, ((d0, d1), d2))| limb(i, d0, d1, Some(d2))),
            None => pairs
                .enumerate()
                .for_each(|(i, (d0, d1))| limb(i, d0, d1, None)),
        }
        let (c0, c1) = match d2 {
            Some(d2) => evaluator.relinearise_rescale(d0, d1, d2)?,
            None => (crate::rns::rescale(d0), crate::rns::rescale(d1)),
        };
        Ciphertext::from_parts(c0, c1, scale, log_slots)
    }
}
