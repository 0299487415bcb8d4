//! Polynomials of ciphertexts: sums of products and scaled ciphertexts under one relinearisation and one rescale.

use crate::ciphertext::Ciphertext;
use crate::context::Basis;
use crate::error::Error;
use crate::eval::Evaluator;
use crate::eval::polynomial::arithmetic::{Arithmetic, Sum, integer};
use crate::kernel::Init;
use crate::poly::RnsPoly;
use rayon::prelude::*;

/// Values worked on at a time: those of the three sums stay in the first levels of cache.
const BLOCK: usize = 2048;

impl Arithmetic for Evaluator {
    type Value = Ciphertext;

    fn prime(&self, level: usize) -> f64 {
        self.context().modulus(level).value() as f64
    }

    fn level(&self, x: &Ciphertext) -> usize {
        x.level()
    }

    fn scale(&self, x: &Ciphertext) -> f64 {
        x.scale()
    }

    fn relabelled(&self, mut x: Ciphertext, scale: f64) -> Ciphertext {
        x.set_scale(scale);
        x
    }

    fn constant(
        &self,
        like: &Ciphertext,
        value: f64,
        level: usize,
        scale: f64,
    ) -> Result<Ciphertext, Error> {
        let zero = RnsPoly::zero(self.context(), Basis::q(level));
        let mut constant = zero.clone();
        let residues = constant.residues_of(integer(value * scale)?);
        for (i, residue) in residues.into_iter().enumerate() {
            constant.limb_mut(i).fill(residue);
        }
        Ciphertext::from_parts(constant, zero, scale, like.log_slots())
    }

    fn shifted(&self, x: &Ciphertext, by: f64) -> Result<Ciphertext, Error> {
        self.add_const(x, by)
    }

    fn sum(
        &self,
        sum: &Sum<'_, Ciphertext>,
        level: usize,
        scale: f64,
    ) -> Result<Ciphertext, Error> {
        let context = self.context();
        let (basis, n, kernel) = (Basis::q(level), context.n(), context.kernel());
        let log_slots = sum
            .products
            .iter()
            .flat_map(|(a, b)| [a.log_slots(), b.log_slots()])
            .chain(sum.terms.iter().map(|(t, _)| t.log_slots()))
            .max()
            .unwrap_or_default();
        let squares = !sum.products.is_empty();
        let mut d0 = RnsPoly::stale(context, basis);
        let mut d1 = RnsPoly::stale(context, basis);
        let mut d2 = squares.then(|| RnsPoly::stale(context, basis));
        let limb = |i: usize, d0: &mut [u64], d1: &mut [u64], d2: Option<&mut [u64]>| {
            let m = context.modulus(i);
            let factor = m.shoup(m.reduce(sum.factor));
            let constant = m.from_i128(sum.constant);
            // The values of a constant polynomial.
            let constants = [constant; BLOCK];
            let terms: Vec<_> = sum
                .terms
                .iter()
                .map(|(t, k)| (t.c0().limb(i), t.c1().limb(i), m.shoup(m.from_i128(*k))))
                .collect();
            let blocks = d0.chunks_mut(BLOCK).zip(d1.chunks_mut(BLOCK));
            let mut squares = d2.map(|d2| d2.chunks_mut(BLOCK));
            for (b, (d0, d1)) in blocks.enumerate() {
                let at = b * BLOCK..b * BLOCK + d0.len();
                if let Some(d2) = squares.as_mut().and_then(Iterator::next) {
                    let mut left = Vec::with_capacity(2 * sum.products.len());
                    let mut right = Vec::with_capacity(2 * sum.products.len());
                    for (x, y) in &sum.products {
                        left.push(&x.c0().limb(i)[at.clone()]);
                        right.push(&y.c1().limb(i)[at.clone()]);
                    }
                    for (x, y) in &sum.products {
                        left.push(&x.c1().limb(i)[at.clone()]);
                        right.push(&y.c0().limb(i)[at.clone()]);
                    }
                    let (a0, a1) = left.split_at(sum.products.len());
                    let (b1, b0) = right.split_at(sum.products.len());
                    kernel.dot(m, d0, Init::Replace, a0, 0, b0);
                    kernel.dot(m, d1, Init::Replace, &left, 0, &right);
                    kernel.dot(m, d2, Init::Replace, a1, 0, b1);
                    if sum.factor != 1 {
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
            Some(d2) => self.relinearise_rescale(d0, d1, d2)?,
            None => (crate::rns::rescale(d0), crate::rns::rescale(d1)),
        };
        Ciphertext::from_parts(c0, c1, scale, log_slots)
    }
}
