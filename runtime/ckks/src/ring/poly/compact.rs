//! Polynomials in a power of X, each value once.

use std::sync::Arc;

use super::{Eval, RnsPoly, for_each_limb, gap};
use crate::buffer::{Buffer, Secrecy};
use crate::ring::context::{Basis, Context};
use crate::tables::modulus::Modulus;

/// The values of a polynomial in X^(N/len), of which only `len` a limb are distinct.
///
/// Value `i` of the full polynomial is value `i / (N/len)` here.
#[derive(Clone, Debug)]
#[must_use]
pub struct CompactPoly {
    ctx: Arc<Context>,
    basis: Basis,
    len: usize,
    data: Buffer,
}

impl CompactPoly {
    fn build(
        ctx: &Arc<Context>,
        basis: Basis,
        len: usize,
        secrecy: Secrecy,
        fill: impl Fn(&Modulus, &mut [u64]) + Sync,
    ) -> Self {
        ctx.check(basis);
        gap(ctx.n(), len);
        let kernel = ctx.kernel();
        let mut data = ctx.pool().stale_of(basis.limbs() * len, secrecy);
        for_each_limb(&mut data, len, |i, limb| {
            let table = ctx.table(ctx.modulus_index(basis, i));
            fill(table.modulus(), limb);
            kernel.ntt_forward(table, limb);
        });
        Self {
            ctx: ctx.clone(),
            basis,
            len,
            data,
        }
    }

    /// The polynomial Σ coefficients\[j\]·X^(j·N/len).
    ///
    /// # Panics
    /// When their number is no power of two up to N.
    pub fn from_i64(ctx: &Arc<Context>, basis: Basis, coefficients: &[i64]) -> Self {
        Self::of_secrecy(ctx, basis, coefficients, Secrecy::Public)
    }

    /// [`CompactPoly::from_i64`] of a secret message: wiped when dropped.
    ///
    /// # Panics
    /// When their number is no power of two up to N.
    pub fn secret_from_i64(ctx: &Arc<Context>, basis: Basis, coefficients: &[i64]) -> Self {
        Self::of_secrecy(ctx, basis, coefficients, Secrecy::Secret)
    }

    fn of_secrecy(
        ctx: &Arc<Context>,
        basis: Basis,
        coefficients: &[i64],
        secrecy: Secrecy,
    ) -> Self {
        let kernel = ctx.kernel();
        Self::build(ctx, basis, coefficients.len(), secrecy, |m, limb| {
            kernel.reduce_signed(m, limb, coefficients)
        })
    }

    /// Like [`CompactPoly::from_i64`] for larger coefficients.
    pub fn from_i128(ctx: &Arc<Context>, basis: Basis, coefficients: &[i128]) -> Self {
        let len = coefficients.len();
        Self::build(ctx, basis, len, Secrecy::Public, |m, limb| {
            limb.iter_mut()
                .zip(coefficients)
                .for_each(|(r, &c)| *r = m.from_i128(c));
        })
    }

    /// The context.
    pub fn context(&self) -> &Arc<Context> {
        &self.ctx
    }

    /// The basis.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// Distinct values a limb.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values; never the case.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// log2 of how often each value repeats.
    pub fn log_rep(&self) -> u32 {
        (self.ctx.n() / self.len).trailing_zeros()
    }

    /// The distinct values of one limb.
    pub fn limb(&self, limb: usize) -> &[u64] {
        &self.data[limb * self.len..][..self.len]
    }

    /// The polynomial with every value written out.
    pub fn expand(&self) -> RnsPoly<Eval> {
        let mut poly = RnsPoly::stale_of(&self.ctx, self.basis, self.data.secrecy());
        let rep = 1 << self.log_rep();
        for_each_limb(&mut poly.data, self.ctx.n(), |i, limb| {
            for (run, &value) in limb.chunks_exact_mut(rep).zip(self.limb(i)) {
                run.fill(value);
            }
        });
        poly
    }
}
