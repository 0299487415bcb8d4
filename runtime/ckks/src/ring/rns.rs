//! Changes of basis in the residue number system.
//!
//! All of them rest on the fast base conversion of [`ConversionTable`].

use crate::ring::context::{Basis, Context};
use crate::ring::poly::{Coeff, Eval, RnsPoly, for_each_limb};
use crate::tables::conversion::ConversionTable;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Coefficients handed to one task of a conversion.
const CONVERT_CHUNK: usize = 2048;

/// Converts whole limbs: `inputs` one per source, `outputs` one per target, in parallel over
/// coefficients.
pub(crate) fn convert_limbs(
    ctx: &Context,
    table: &ConversionTable,
    inputs: &[&[u64]],
    outputs: Vec<&mut [u64]>,
) {
    let chunk = CONVERT_CHUNK.min(ctx.n());
    let mut columns: Vec<Vec<&mut [u64]>> = (0..ctx.n() / chunk)
        .map(|_| Vec::with_capacity(outputs.len()))
        .collect();
    for output in outputs {
        for (column, part) in columns.iter_mut().zip(output.chunks_exact_mut(chunk)) {
            column.push(part);
        }
    }
    let run = |(c, mut column): (usize, Vec<&mut [u64]>)| {
        let parts: Vec<&[u64]> = inputs.iter().map(|x| &x[c * chunk..][..chunk]).collect();
        ctx.kernel().convert(table, &parts, &mut column);
    };
    if columns.len() > 1 {
        columns.into_par_iter().enumerate().for_each(run);
    } else {
        columns.into_iter().enumerate().for_each(run);
    }
}

/// Fills limbs of `out` with converted residues and calls `then(limb, residues)` for every limb, in
/// parallel. `targets` lists the limbs to fill, as the table does their moduli; the others come to
/// `then` as they were.
///
/// From a single prime each limb is converted just before `then`, while it is in the cache; from
/// several primes all are converted first, so that the common part is computed once.
fn convert_then(
    ctx: &Context,
    table: &ConversionTable,
    inputs: &[&[u64]],
    out: &mut [u64],
    targets: &[usize],
    then: impl Fn(usize, &mut [u64]) + Sync,
) {
    let n = ctx.n();
    if let ([source], [input]) = (&table.sources[..], inputs) {
        for_each_limb(out, n, |i, limb| {
            if let Ok(target) = targets.binary_search(&i) {
                let to = &table.targets[target].modulus;
                ctx.kernel()
                    .switch_modulus(&source.modulus, to, limb, input);
            }
            then(i, limb);
        });
    } else {
        let limbs = out.chunks_exact_mut(n).enumerate();
        let outputs = limbs
            .filter(|(i, _)| targets.binary_search(i).is_ok())
            .map(|(_, limb)| limb);
        convert_limbs(ctx, table, inputs, outputs.collect());
        for_each_limb(out, n, then);
    }
}

/// Extends one digit to the basis `q_0 … q_level, p_0 … p_{specials−1}`, with `level` that of the
/// polynomial.
///
/// The result represents the centred value of the polynomial modulo the digit's primes. `coeff` and
/// `eval` are the same polynomial in both domains; of each only the digit's limbs are read.
///
/// # Panics
/// When the digit reaches beyond the level.
pub fn mod_up(
    coeff: &RnsPoly<Coeff>,
    eval: &RnsPoly<Eval>,
    digit: Range<usize>,
    specials: usize,
) -> RnsPoly<Eval> {
    let ctx = coeff.context().clone();
    let basis = Basis::new(coeff.level(), specials);
    let targets: Vec<usize> = (0..basis.limbs()).filter(|i| !digit.contains(i)).collect();
    let indices = targets
        .iter()
        .map(|&i| ctx.modulus_index(basis, i))
        .collect();
    let table = ctx.conversion((digit.clone(), 0..0), indices);
    let inputs: Vec<&[u64]> = digit.clone().map(|i| coeff.limb(i)).collect();
    let mut out = RnsPoly::<Eval>::stale(&ctx, basis);
    let transform = |i: usize, limb: &mut [u64]| {
        if digit.contains(&i) {
            limb.copy_from_slice(eval.limb(i));
        } else {
            ctx.kernel()
                .ntt_forward(ctx.table(ctx.modulus_index(basis, i)), limb);
        }
    };
    convert_then(&ctx, &table, &inputs, out.data_mut(), &targets, transform);
    out
}

/// Extends a polynomial from its own primes to those of `basis`, keeping the centred value. Used to
/// raise a ciphertext from `q_0` to the whole chain.
pub fn raise(poly: &RnsPoly<Coeff>, basis: Basis) -> RnsPoly<Coeff> {
    let ctx = poly.context().clone();
    let from = poly.basis();
    let (q, p) = (
        0..from.q_limbs(),
        ctx.special_index(0)..ctx.special_index(from.specials()),
    );
    let indices = (0..basis.limbs())
        .map(|i| ctx.modulus_index(basis, i))
        .collect();
    let targets: Vec<usize> = (0..basis.limbs()).collect();
    let table = ctx.conversion((q, p), indices);
    let inputs: Vec<&[u64]> = (0..from.limbs()).map(|i| poly.limb(i)).collect();
    let mut out = RnsPoly::stale(&ctx, basis);
    convert_then(&ctx, &table, &inputs, out.data_mut(), &targets, |_, _| ());
    out
}

/// Divides by the primes that `poly` has beyond `q_0 … q_level`, rounding to nearest.
fn divide_to(mut poly: RnsPoly<Eval>, level: usize) -> RnsPoly<Eval> {
    let ctx = poly.context().clone();
    let (from, n, kernel) = (poly.basis(), ctx.n(), ctx.kernel());
    let to = Basis::q(level);
    assert!(
        to.limbs() <= from.q_limbs(),
        "cannot divide {from:?} down to level {level}"
    );
    if from == to {
        return poly;
    }
    let sources = (
        to.limbs()..from.q_limbs(),
        ctx.special_index(0)..ctx.special_index(from.specials()),
    );
    let targets: Vec<usize> = (0..to.limbs()).collect();
    let table = ctx.conversion(sources, targets.clone());
    let (kept, dropped) = poly.data_mut().split_at_mut(to.limbs() * n);
    for_each_limb(dropped, n, |i, limb| {
        kernel.ntt_inverse(ctx.table(ctx.modulus_index(from, to.limbs() + i)), limb);
    });
    let inputs: Vec<&[u64]> = dropped.chunks_exact(n).collect();
    let mut out = RnsPoly::<Eval>::stale(&ctx, to);
    let divide = |i: usize, limb: &mut [u64]| {
        let target = &table.targets[i];
        kernel.ntt_forward(ctx.table(i), limb);
        kernel.sub_mul_scalar(
            &target.modulus,
            limb,
            &kept[i * n..][..n],
            target.negated_inverse(),
        );
    };
    convert_then(&ctx, &table, &inputs, out.data_mut(), &targets, divide);
    out
}

/// Divides by the special primes, rounding to nearest: basis QP at a level → Q at that level.
pub fn mod_down(poly: RnsPoly<Eval>) -> RnsPoly<Eval> {
    let level = poly.level();
    divide_to(poly, level)
}

/// Divides by the last ciphertext prime, rounding to nearest: level → level − 1.
///
/// # Panics
/// At level 0, or when the polynomial has special limbs.
pub fn rescale(poly: RnsPoly<Eval>) -> RnsPoly<Eval> {
    assert!(
        poly.basis().specials() == 0 && poly.level() > 0,
        "cannot rescale {:?}",
        poly.basis()
    );
    let level = poly.level() - 1;
    divide_to(poly, level)
}

/// [`mod_down`] and [`rescale`] in one division, with one rounding.
///
/// # Panics
/// At level 0.
pub fn mod_down_rescale(poly: RnsPoly<Eval>) -> RnsPoly<Eval> {
    assert!(poly.level() > 0, "cannot rescale {:?}", poly.basis());
    let level = poly.level() - 1;
    divide_to(poly, level)
}

/// The product of the first `specials` special primes modulo every ciphertext prime up to `level`.
pub fn special_product(ctx: &Arc<Context>, level: usize, specials: usize) -> Vec<u64> {
    (0..=level)
        .map(|i| {
            let m = ctx.modulus(i);
            ctx.parameters().p()[..specials]
                .iter()
                .fold(1, |acc, &p| m.mul(acc, m.reduce(p)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_params::named;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    fn context() -> Arc<Context> {
        Context::new(named::toy(5).unwrap()).unwrap()
    }

    /// Coefficients whose quotients by `divisor` are known: `quotient·divisor + remainder`.
    fn dividends(
        rng: &mut ChaCha20Rng,
        n: usize,
        quotient_bits: u32,
        divisor: i128,
    ) -> (Vec<i128>, Vec<i128>) {
        let bound = 1i128 << quotient_bits;
        let quotients: Vec<i128> = (0..n).map(|_| rng.random_range(-bound..bound)).collect();
        let half = divisor / 2 - 1;
        let dividends = quotients
            .iter()
            .map(|q| q * divisor + rng.random_range(-half..=half))
            .collect();
        (dividends, quotients)
    }

    #[test]
    fn rescaling_divides_by_the_last_prime() {
        let ctx = context();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for level in [1, 4, 28] {
            let prime = i128::from(ctx.modulus(level).value());
            let (x, y) = dividends(&mut rng, ctx.n(), 35, prime);
            let quotient = rescale(RnsPoly::from_i128(&ctx, Basis::q(level), &x).into_eval());
            assert_eq!(
                quotient.into_coeff(),
                RnsPoly::from_i128(&ctx, Basis::q(level - 1), &y)
            );
        }
    }

    #[test]
    fn mod_down_divides_by_the_special_primes() {
        let ctx = context();
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let p: i128 = ctx.parameters().p()[..2]
            .iter()
            .map(|&p| i128::from(p))
            .product();
        let (x, y) = dividends(&mut rng, ctx.n(), 20, p);
        for level in [0, 3, 20] {
            let quotient = mod_down(RnsPoly::from_i128(&ctx, Basis::new(level, 2), &x).into_eval());
            assert_eq!(
                quotient.into_coeff(),
                RnsPoly::from_i128(&ctx, Basis::q(level), &y)
            );
        }
    }

    #[test]
    fn dividing_by_specials_and_the_last_prime_at_once() {
        let ctx = context();
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let divisor = i128::from(ctx.parameters().p()[0]) * i128::from(ctx.parameters().q()[3]);
        let (x, y) = dividends(&mut rng, ctx.n(), 30, divisor);
        let quotient = mod_down_rescale(RnsPoly::from_i128(&ctx, Basis::new(3, 1), &x).into_eval());
        assert_eq!(
            quotient.into_coeff(),
            RnsPoly::from_i128(&ctx, Basis::q(2), &y)
        );
    }

    #[test]
    fn mod_up_extends_the_centred_digit() {
        let ctx = context();
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let q = ctx.parameters().q();
        for digit in [0..1, 0..2, 2..4, 3..6] {
            let product: i128 = q[digit.clone()].iter().map(|&q| i128::from(q)).product();
            let bound = product / 2 - 1;
            let x: Vec<i128> = (0..ctx.n())
                .map(|_| rng.random_range(-bound..=bound))
                .collect();
            let level = 5;
            let coeff = RnsPoly::from_i128(&ctx, Basis::q(level), &x);
            let up = mod_up(&coeff, &coeff.clone().into_eval(), digit, 3);
            assert_eq!(
                up.into_coeff(),
                RnsPoly::from_i128(&ctx, Basis::new(level, 3), &x)
            );
        }
    }

    #[test]
    fn raising_keeps_the_centred_value() {
        let ctx = context();
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let half = i128::from(ctx.modulus(0).value() / 2);
        let x: Vec<i128> = (0..ctx.n())
            .map(|_| rng.random_range(-half..=half))
            .collect();
        let raised = raise(
            &RnsPoly::from_i128(&ctx, Basis::q(0), &x),
            Basis::new(28, 2),
        );
        assert_eq!(raised, RnsPoly::from_i128(&ctx, Basis::new(28, 2), &x));
    }

    #[test]
    fn special_products_are_residues_of_p() {
        let ctx = context();
        let p: i128 = ctx.parameters().p()[..2]
            .iter()
            .map(|&p| i128::from(p))
            .product();
        for (i, r) in special_product(&ctx, 4, 2).into_iter().enumerate() {
            assert_eq!(r, ctx.modulus(i).from_i128(p));
        }
    }

    #[test]
    fn impossible_divisions_panic() {
        let ctx = context();
        let refused = |f: &dyn Fn()| {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            assert!(result.is_err());
        };
        let zero = |basis| RnsPoly::<Eval>::zero(&ctx, basis);
        let coefficients = RnsPoly::<Coeff>::zero(&ctx, Basis::q(1));
        refused(&|| drop(rescale(zero(Basis::q(0)))));
        refused(&|| drop(rescale(zero(Basis::new(1, 1)))));
        refused(&|| drop(mod_down_rescale(zero(Basis::new(0, 1)))));
        refused(&|| drop(mod_up(&coefficients, &zero(Basis::q(1)), 1..3, 1)));
    }
}
