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

/// Values worked on at a time: those of the three sums stay in the first levels of cache.
const BLOCK: usize = 2048;

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
            let factor = m.shoup(m.reduce(self.factor));
            let constant = m.from_i128(self.constant);
            // The values of a constant polynomial.
            let constants = [constant; BLOCK];
            let terms: Vec<_> = self
                .terms
                .iter()
                .map(|(t, k)| (t.c0().limb(i), t.c1().limb(i), m.shoup(m.from_i128(*k))))
                .collect();
            let blocks = d0.chunks_mut(BLOCK).zip(d1.chunks_mut(BLOCK));
            let mut squares = d2.map(|d2| d2.chunks_mut(BLOCK));
            for (b, (d0, d1)) in blocks.enumerate() {
                let at = b * BLOCK..b * BLOCK + d0.len();
                if let Some(d2) = squares.as_mut().and_then(Iterator::next) {
                    let mut left = Vec::with_capacity(2 * self.products.len());
                    let mut right = Vec::with_capacity(2 * self.products.len());
                    for (x, y) in &self.products {
                        left.push(&x.c0().limb(i)[at.clone()]);
                        right.push(&y.c1().limb(i)[at.clone()]);
                    }
                    for (x, y) in &self.products {
                        left.push(&x.c1().limb(i)[at.clone()]);
                        right.push(&y.c0().limb(i)[at.clone()]);
                    }
                    let (a0, a1) = left.split_at(self.products.len());
                    let (b1, b0) = right.split_at(self.products.len());
                    kernel.dot(m, d0, Init::Replace, a0, 0, b0);
                    kernel.dot(m, d1, Init::Replace, &left, 0, &right);
                    kernel.dot(m, d2, Init::Replace, a1, 0, b1);
                    if self.factor != 1 {
                        kernel.mul_scalar(m, d0, factor);
                        kernel.mul_scalar(m, d1, factor);
                        kernel.mul_scalar(m, d2, factor);
                    }
                } else {
                    d0.fill(0);
                    d1.fill(0);
                }
                for &(t0, t1, k) in &terms {
                    kernel.mul_scalar_add(m, d0, &t0[at.clone()], k);
                    kernel.mul_scalar_add(m, d1, &t1[at.clone()], k);
                }
                if constant != 0 {
                    kernel.add(m, d0, &constants[..d0.len()]);
                }
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
