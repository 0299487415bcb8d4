//! Polynomials of ℤ\[X\]/(X^N + 1) over a residue number system.

mod compact;

use crate::buffer::{Buffer, Secrecy};
use crate::kernel::Init;
use crate::ring::context::{Basis, Context};
use crate::tables::modulus::Modulus;
use heddle_params::GaloisElement;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::sync::Arc;
use zeroize::Zeroize;

pub use compact::CompactPoly;

/// Domain marker: coefficients, constant term first.
#[derive(Clone, Copy, Debug)]
pub enum Coeff {}

/// Domain marker: values at the roots of X^N + 1, in the order of
/// [`NttTable`](crate::tables::NttTable).
#[derive(Clone, Copy, Debug)]
pub enum Eval {}

/// A polynomial: one residue polynomial (limb) per modulus of its basis, all residues reduced.
///
/// Binary operations panic when the operands' contexts or bases differ: the scheme checks both
/// before it computes, and returns an error.
///
/// A polynomial may be declared secret; then it is wiped when dropped, and so are its copies,
/// transforms and images. All operations but `==` take a time that does not depend on the residues.
#[must_use]
pub struct RnsPoly<D> {
    ctx: Arc<Context>,
    basis: Basis,
    data: Buffer,
    domain: PhantomData<fn() -> D>,
}

impl<D> Clone for RnsPoly<D> {
    fn clone(&self) -> Self {
        Self {
            ctx: self.ctx.clone(),
            basis: self.basis,
            data: self.data.clone(),
            domain: PhantomData,
        }
    }
}

impl<D> std::fmt::Debug for RnsPoly<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RnsPoly({:?})", self.basis)
    }
}

impl<D> PartialEq for RnsPoly<D> {
    fn eq(&self, other: &Self) -> bool {
        self.basis == other.basis && self.data[..] == other.data[..]
    }
}

impl<D> Zeroize for RnsPoly<D> {
    fn zeroize(&mut self) {
        self.data.zeroize();
    }
}

/// Work below this many words is not worth another thread.
const PARALLEL_WORDS: usize = 1 << 14;

/// Calls `f(limb, residues)` for every limb of `n` residues, on all threads when there is enough
/// work.
pub fn for_each_limb(data: &mut [u64], n: usize, f: impl Fn(usize, &mut [u64]) + Sync) {
    if data.len() < PARALLEL_WORDS {
        data.chunks_exact_mut(n)
            .enumerate()
            .for_each(|(i, limb)| f(i, limb));
    } else {
        data.par_chunks_exact_mut(n)
            .enumerate()
            .for_each(|(i, limb)| f(i, limb));
    }
}

/// [`for_each_limb`] over two polynomials at once.
pub fn for_each_limb_pair(
    first: &mut [u64],
    second: &mut [u64],
    n: usize,
    f: impl Fn(usize, &mut [u64], &mut [u64]) + Sync,
) {
    assert_eq!(first.len(), second.len());
    if first.len() < PARALLEL_WORDS {
        let pairs = first.chunks_exact_mut(n).zip(second.chunks_exact_mut(n));
        pairs.enumerate().for_each(|(i, (a, b))| f(i, a, b));
    } else {
        let pairs = first
            .par_chunks_exact_mut(n)
            .zip(second.par_chunks_exact_mut(n));
        pairs.enumerate().for_each(|(i, (a, b))| f(i, a, b));
    }
}

impl<D> RnsPoly<D> {
    /// The zero polynomial.
    ///
    /// # Panics
    /// When the chain does not have the basis.
    pub fn zero(ctx: &Arc<Context>, basis: Basis) -> Self {
        ctx.check(basis);
        let data = ctx.pool().zeroed(basis.limbs() * ctx.n());
        Self {
            ctx: ctx.clone(),
            basis,
            data,
            domain: PhantomData,
        }
    }

    /// A polynomial with arbitrary words, for callers that overwrite every limb.
    pub(crate) fn stale(ctx: &Arc<Context>, basis: Basis) -> Self {
        Self::stale_of(ctx, basis, Secrecy::Public)
    }

    fn stale_of(ctx: &Arc<Context>, basis: Basis, secrecy: Secrecy) -> Self {
        ctx.check(basis);
        let data = ctx.pool().stale_of(basis.limbs() * ctx.n(), secrecy);
        Self {
            ctx: ctx.clone(),
            basis,
            data,
            domain: PhantomData,
        }
    }

    /// A polynomial whose limbs `fill(modulus index, modulus, limb)` writes, in parallel. Every
    /// word must be written and reduced.
    pub fn from_limbs(
        ctx: &Arc<Context>,
        basis: Basis,
        fill: impl Fn(usize, &Modulus, &mut [u64]) + Sync,
    ) -> Self {
        Self::from_limbs_of(ctx, basis, Secrecy::Public, fill)
    }

    /// [`RnsPoly::from_limbs`] of the given secrecy.
    fn from_limbs_of(
        ctx: &Arc<Context>,
        basis: Basis,
        secrecy: Secrecy,
        fill: impl Fn(usize, &Modulus, &mut [u64]) + Sync,
    ) -> Self {
        let mut poly = Self::stale_of(ctx, basis, secrecy);
        for_each_limb(&mut poly.data, ctx.n(), |i, limb| {
            let index = ctx.modulus_index(basis, i);
            fill(index, ctx.modulus(index), limb);
        });
        poly
    }

    /// The same polynomial declared secret: it is wiped when dropped, as are its copies, transforms
    /// and images.
    pub fn into_secret(mut self) -> Self {
        self.data.set_secrecy(Secrecy::Secret);
        self
    }

    /// The same polynomial declared public: an encryption, or something else that shows no secret.
    pub fn into_public(mut self) -> Self {
        self.data.set_secrecy(Secrecy::Public);
        self
    }

    /// Whether the polynomial is wiped when dropped.
    pub fn secrecy(&self) -> Secrecy {
        self.data.secrecy()
    }

    /// The context.
    pub fn context(&self) -> &Arc<Context> {
        &self.ctx
    }

    /// The basis.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The ring degree.
    pub fn n(&self) -> usize {
        self.ctx.n()
    }

    /// The level.
    pub fn level(&self) -> usize {
        self.basis.level()
    }

    /// The residues of one limb.
    pub fn limb(&self, limb: usize) -> &[u64] {
        &self.data[limb * self.n()..][..self.n()]
    }

    /// The residues of one limb; they must stay reduced.
    pub fn limb_mut(&mut self, limb: usize) -> &mut [u64] {
        let n = self.n();
        &mut self.data[limb * n..][..n]
    }

    /// The limb of special prime `k`.
    pub fn special_limb(&self, k: usize) -> &[u64] {
        self.limb(self.basis.q_limbs() + k)
    }

    /// The residues of the modulus with index `index` in the context.
    ///
    /// # Panics
    /// When the basis does not have it.
    pub fn limb_of(&self, index: usize) -> &[u64] {
        let q_total = self.ctx.max_level() + 1;
        if index < q_total {
            assert!(
                index < self.basis.q_limbs(),
                "limb q_{index} of {:?}",
                self.basis
            );
            self.limb(index)
        } else {
            assert!(
                index - q_total < self.basis.specials(),
                "limb p_{} of {:?}",
                index - q_total,
                self.basis
            );
            self.special_limb(index - q_total)
        }
    }

    /// All residues, limb after limb.
    pub fn data(&self) -> &[u64] {
        &self.data
    }

    /// All residues, limb after limb; they must stay reduced.
    pub fn data_mut(&mut self) -> &mut [u64] {
        &mut self.data
    }

    /// Calls `f(modulus, limb)` for every limb, in parallel.
    fn each(&mut self, f: impl Fn(usize, &Modulus, &mut [u64]) + Sync) {
        let (ctx, basis, n) = (&self.ctx, self.basis, self.ctx.n());
        for_each_limb(&mut self.data, n, |i, limb| {
            f(i, ctx.limb_modulus(basis, i), limb)
        });
    }

    fn same_basis(&self, ctx: &Context, basis: Basis) {
        assert!(self.ctx.is_same(ctx), "operands must share a context");
        assert_eq!(self.basis, basis, "operands must share a basis");
    }

    /// `self += other`.
    pub fn add_assign(&mut self, other: &Self) {
        self.same_basis(other.context(), other.basis());
        let kernel = self.ctx.kernel();
        self.each(|i, m, x| kernel.add(m, x, other.limb(i)));
    }

    /// `self −= other`.
    pub fn sub_assign(&mut self, other: &Self) {
        self.same_basis(other.context(), other.basis());
        let kernel = self.ctx.kernel();
        self.each(|i, m, x| kernel.sub(m, x, other.limb(i)));
    }

    /// `self = −self`.
    pub fn neg_assign(&mut self) {
        let kernel = self.ctx.kernel();
        self.each(|_, m, x| kernel.neg(m, x));
    }

    /// `self *= scalar`, given by its residue for each limb.
    pub fn mul_scalar_assign(&mut self, residues: &[u64]) {
        assert_eq!(residues.len(), self.basis.limbs());
        let kernel = self.ctx.kernel();
        self.each(|i, m, x| kernel.mul_scalar(m, x, m.shoup(residues[i])));
    }

    /// `self += other · scalar`, given by its residue for each limb.
    pub fn mul_scalar_add(&mut self, other: &Self, residues: &[u64]) {
        self.same_basis(other.context(), other.basis());
        assert_eq!(residues.len(), self.basis.limbs());
        let kernel = self.ctx.kernel();
        self.each(|i, m, acc| kernel.mul_scalar_add(m, acc, other.limb(i), m.shoup(residues[i])));
    }

    /// The residues of a signed integer for every limb.
    pub fn residues_of(&self, value: i128) -> Vec<u64> {
        (0..self.basis.limbs())
            .map(|i| self.ctx.limb_modulus(self.basis, i).from_i128(value))
            .collect()
    }

    /// Drops the limbs above `level`; the polynomial must have no special limbs. The value modulo
    /// the remaining primes is unchanged.
    ///
    /// # Panics
    /// When `level` is above the polynomial's, or there are special limbs.
    pub fn drop_to(&self, level: usize) -> Self {
        assert!(
            level <= self.level() && self.basis.specials() == 0,
            "cannot drop {:?} to {level}",
            self.basis
        );
        let mut poly = Self::stale_of(&self.ctx, Basis::q(level), self.secrecy());
        let words = poly.data.len();
        poly.data.copy_from_slice(&self.data[..words]);
        poly
    }

    /// The same limbs read in another domain, for code that fills them itself.
    pub(crate) fn with_domain<E>(self) -> RnsPoly<E> {
        RnsPoly {
            ctx: self.ctx,
            basis: self.basis,
            data: self.data,
            domain: PhantomData,
        }
    }
}

impl RnsPoly<Coeff> {
    /// The polynomial with the given signed coefficients, spread evenly: `coefficients[j]` belongs
    /// to X^(j·N/len).
    ///
    /// # Panics
    /// When their number does not divide N.
    pub fn from_i64(ctx: &Arc<Context>, basis: Basis, coefficients: &[i64]) -> Self {
        let gap = gap(ctx.n(), coefficients.len());
        let kernel = ctx.kernel();
        Self::from_limbs(ctx, basis, |_, m, limb| {
            if gap == 1 {
                kernel.reduce_signed(m, limb, coefficients);
            } else {
                limb.fill(0);
                for (j, &c) in coefficients.iter().enumerate() {
                    limb[j * gap] = m.from_i64(c);
                }
            }
        })
    }

    /// The secret polynomial with the given `N` coefficients of one byte. See
    /// [`RnsPoly::into_secret`].
    ///
    /// # Panics
    /// When their number is not `N`, or a modulus of the basis is not above 128.
    pub fn secret_from_i8(ctx: &Arc<Context>, basis: Basis, coefficients: &[i8]) -> Self {
        let kernel = ctx.kernel();
        Self::from_limbs_of(ctx, basis, Secrecy::Secret, |_, m, limb| {
            kernel.lift_small(m, limb, coefficients)
        })
    }

    /// Like [`RnsPoly::from_i64`] for larger coefficients.
    pub fn from_i128(ctx: &Arc<Context>, basis: Basis, coefficients: &[i128]) -> Self {
        let gap = gap(ctx.n(), coefficients.len());
        Self::from_limbs(ctx, basis, |_, m, limb| {
            limb.fill(0);
            for (j, &c) in coefficients.iter().enumerate() {
                limb[j * gap] = m.from_i128(c);
            }
        })
    }

    /// The same polynomial in values.
    pub fn to_eval(&self) -> RnsPoly<Eval> {
        let ctx = &self.ctx;
        let kernel = ctx.kernel();
        RnsPoly::from_limbs_of(ctx, self.basis, self.secrecy(), |index, _, limb| {
            kernel.ntt_forward_from(ctx.table(index), limb, self.limb_of(index));
        })
    }

    /// Transforms to values.
    pub fn into_eval(mut self) -> RnsPoly<Eval> {
        let (ctx, basis) = (self.ctx.clone(), self.basis);
        let kernel = ctx.kernel();
        for_each_limb(&mut self.data, ctx.n(), |i, limb| {
            kernel.ntt_forward(ctx.table(ctx.modulus_index(basis, i)), limb);
        });
        self.with_domain()
    }

    /// The image under X → X^g.
    pub fn automorphism(&self, galois: GaloisElement) -> Self {
        let (n, g) = (self.n(), galois.exponent() as usize);
        Self::from_limbs_of(&self.ctx, self.basis, self.secrecy(), |index, m, out| {
            let source = self.limb_of(index);
            let mut exponent = 0;
            for &c in source {
                out[exponent & (n - 1)] = if exponent & n == 0 { c } else { m.neg(c) };
                exponent = (exponent + g) & (2 * n - 1);
            }
        })
    }
}

fn gap(n: usize, len: usize) -> usize {
    assert!(
        len.is_power_of_two() && len <= n,
        "{len} coefficients do not spread over a ring of degree {n}"
    );
    n / len
}

impl RnsPoly<Eval> {
    /// Transforms to coefficients.
    pub fn into_coeff(mut self) -> RnsPoly<Coeff> {
        let (ctx, basis) = (self.ctx.clone(), self.basis);
        let kernel = ctx.kernel();
        for_each_limb(&mut self.data, ctx.n(), |i, limb| {
            kernel.ntt_inverse(ctx.table(ctx.modulus_index(basis, i)), limb);
        });
        self.with_domain()
    }

    /// The same polynomial in coefficients.
    pub fn to_coeff(&self) -> RnsPoly<Coeff> {
        let ctx = &self.ctx;
        let kernel = ctx.kernel();
        RnsPoly::from_limbs_of(ctx, self.basis, self.secrecy(), |index, _, limb| {
            kernel.ntt_inverse_from(ctx.table(index), limb, self.limb_of(index));
        })
    }

    /// `self *= other`.
    pub fn mul_assign(&mut self, other: &Self) {
        self.same_basis(other.context(), other.basis());
        let kernel = self.ctx.kernel();
        self.each(|i, m, x| kernel.mul(m, x, other.limb(i), 0));
    }

    /// `self += a · b`.
    pub fn mul_add(&mut self, a: &Self, b: &Self) {
        self.same_basis(a.context(), a.basis());
        self.same_basis(b.context(), b.basis());
        let kernel = self.ctx.kernel();
        self.each(|i, m, acc| kernel.dot(m, acc, Init::Accumulate, &[a.limb(i)], 0, &[b.limb(i)]));
    }

    /// `self *= other`, a polynomial in a power of X.
    pub fn mul_compact_assign(&mut self, other: &CompactPoly) {
        self.same_basis(other.context(), other.basis());
        let (kernel, log_rep) = (self.ctx.kernel(), other.log_rep());
        self.each(|i, m, x| kernel.mul(m, x, other.limb(i), log_rep));
    }

    /// `self += a · b`, with `b` a polynomial in a power of X.
    pub fn mul_compact_add(&mut self, a: &Self, b: &CompactPoly) {
        self.same_basis(a.context(), a.basis());
        self.same_basis(b.context(), b.basis());
        let (kernel, log_rep) = (self.ctx.kernel(), b.log_rep());
        self.each(|i, m, acc| {
            kernel.dot(
                m,
                acc,
                Init::Accumulate,
                &[b.limb(i)],
                log_rep,
                &[a.limb(i)],
            )
        });
    }

    /// `self += other`, a polynomial in a power of X.
    pub fn add_compact_assign(&mut self, other: &CompactPoly) {
        self.same_basis(other.context(), other.basis());
        let rep = 1 << other.log_rep();
        self.each(|i, m, x| {
            for (run, &c) in x.chunks_exact_mut(rep).zip(other.limb(i)) {
                run.iter_mut().for_each(|a| *a = m.add(*a, c));
            }
        });
    }

    /// The image under X → X^g: a permutation of the values.
    pub fn automorphism(&self, galois: GaloisElement) -> Self {
        let table = self.ctx.automorphism(galois);
        let kernel = self.ctx.kernel();
        Self::from_limbs_of(&self.ctx, self.basis, self.secrecy(), |index, _, out| {
            kernel.permute(&table, out, self.limb_of(index));
        })
    }
}

#[cfg(test)]
mod tests;
