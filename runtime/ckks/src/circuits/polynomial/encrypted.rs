//! Polynomials of ciphertexts: sums of products and scaled ciphertexts under one relinearisation
//! and one rescale.

use std::ops::Range;

use rayon::prelude::*;

use crate::Error;
use crate::circuits::polynomial::arithmetic::{Arithmetic, Sum, integer};
use crate::kernel::{Init, Kernel};
use crate::ring::context::{Basis, Context};
use crate::ring::poly::RnsPoly;
use crate::ring::rns::rescale;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::eval::Evaluator;
use crate::tables::modulus::{Modulus, ShoupScalar};

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

    fn with_scale(&self, mut x: Ciphertext, scale: f64) -> Ciphertext {
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
        self.check_context("polynomial", [like])?;
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
        self.check_context("polynomial", sum.operands())?;
        let context = self.context();
        let (basis, n) = (Basis::q(level), context.n());
        let log_slots = sum.operands().map(Ciphertext::log_slots).max();
        let mut d0 = RnsPoly::stale(context, basis);
        let mut d1 = RnsPoly::stale(context, basis);
        let halves = d0
            .data_mut()
            .par_chunks_exact_mut(n)
            .zip(d1.data_mut().par_chunks_exact_mut(n));
        let (c0, c1) = if sum.products.is_empty() {
            halves.enumerate().for_each(|(i, (d0, d1))| {
                LimbSum::new(context, sum, i).terms_alone(d0, d1);
            });
            (rescale(d0), rescale(d1))
        } else {
            let mut d2 = RnsPoly::stale(context, basis);
            halves
                .zip(d2.data_mut().par_chunks_exact_mut(n))
                .enumerate()
                .for_each(|(i, ((d0, d1), d2))| {
                    LimbSum::new(context, sum, i).products_and_terms(d0, d1, d2);
                });
            self.relinearise_rescale(d0, d1, d2)?
        };
        Ciphertext::from_parts(c0, c1, scale, log_slots.unwrap_or_default())
    }
}

impl<'a> Sum<'a, Ciphertext> {
    /// All ciphertexts that take part.
    fn operands(&self) -> impl Iterator<Item = &'a Ciphertext> + '_ {
        let factors = self.products.iter().flat_map(|&(a, b)| [a, b]);
        factors.chain(self.terms.iter().map(|&(t, _)| t))
    }
}

/// One limb of a sum, walked block by block.
struct LimbSum<'a> {
    kernel: Kernel,
    modulus: &'a Modulus,
    /// Both parts of the factors of each product.
    products: Vec<[[&'a [u64]; 2]; 2]>,
    factor: Option<ShoupScalar>,
    /// Both parts of each term, and what multiplies them.
    terms: Vec<([&'a [u64]; 2], ShoupScalar)>,
    /// The values of the constant in a block; none where it is zero.
    constants: Vec<u64>,
}

impl<'a> LimbSum<'a> {
    fn new(context: &'a Context, sum: &Sum<'a, Ciphertext>, limb: usize) -> Self {
        let m = context.modulus(limb);
        let parts = |x: &'a Ciphertext| [x.c0().limb(limb), x.c1().limb(limb)];
        let products = sum.products.iter().map(|&(x, y)| [parts(x), parts(y)]);
        let terms = sum.terms.iter();
        Self {
            kernel: context.kernel(),
            modulus: m,
            products: products.collect(),
            factor: (sum.factor != 1).then(|| m.shoup(m.reduce(sum.factor))),
            terms: terms
                .map(|&(t, k)| (parts(t), m.shoup(m.from_i128(k))))
                .collect(),
            constants: match m.from_i128(sum.constant) {
                0 => Vec::new(),
                constant => vec![constant; BLOCK.min(context.n())],
            },
        }
    }

    fn products_and_terms(&self, d0: &mut [u64], d1: &mut [u64], d2: &mut [u64]) {
        let blocks = d0.chunks_mut(BLOCK).zip(d1.chunks_mut(BLOCK));
        for (b, ((d0, d1), d2)) in blocks.zip(d2.chunks_mut(BLOCK)).enumerate() {
            let at = b * BLOCK..b * BLOCK + d0.len();
            self.multiply(at.clone(), d0, d1, d2);
            self.add_terms(at, d0, d1);
        }
    }

    fn terms_alone(&self, d0: &mut [u64], d1: &mut [u64]) {
        let blocks = d0.chunks_mut(BLOCK).zip(d1.chunks_mut(BLOCK));
        for (b, (d0, d1)) in blocks.enumerate() {
            d0.fill(0);
            d1.fill(0);
            self.add_terms(b * BLOCK..b * BLOCK + d0.len(), d0, d1);
        }
    }

    /// The sum of the products of one block, times their common factor: `Σ x0·y0`,
    /// `Σ x0·y1 + x1·y0` and `Σ x1·y1`.
    fn multiply(&self, at: Range<usize>, d0: &mut [u64], d1: &mut [u64], d2: &mut [u64]) {
        let (kernel, m, count) = (self.kernel, self.modulus, self.products.len());
        let side = |part: usize, factor: usize| {
            let at = at.clone();
            self.products
                .iter()
                .map(move |product| &product[factor][part][at.clone()])
        };
        let mut left: Vec<&[u64]> = Vec::with_capacity(2 * count);
        let mut right: Vec<&[u64]> = Vec::with_capacity(2 * count);
        left.extend(side(0, 0).chain(side(1, 0)));
        right.extend(side(1, 1).chain(side(0, 1)));
        let (x0, x1) = left.split_at(count);
        let (y1, y0) = right.split_at(count);
        kernel.dot(m, d0, Init::Replace, x0, 0, y0);
        kernel.dot(m, d1, Init::Replace, &left, 0, &right);
        kernel.dot(m, d2, Init::Replace, x1, 0, y1);
        if let Some(factor) = self.factor {
            kernel.mul_scalar(m, d0, factor);
            kernel.mul_scalar(m, d1, factor);
            kernel.mul_scalar(m, d2, factor);
        }
    }

    /// Adds the terms and the constant to one block.
    fn add_terms(&self, at: Range<usize>, d0: &mut [u64], d1: &mut [u64]) {
        let (kernel, m) = (self.kernel, self.modulus);
        for &([t0, t1], k) in &self.terms {
            kernel.mul_scalar_add(m, d0, &t0[at.clone()], k);
            kernel.mul_scalar_add(m, d1, &t1[at.clone()], k);
        }
        if !self.constants.is_empty() {
            kernel.add(m, d0, &self.constants);
        }
    }
}
