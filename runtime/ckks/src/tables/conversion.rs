//! Constants of base conversions in the residue number system.
//!
//! The fast base conversion is that of Halevi, Polyakov and Shoup (ePrint 2018/117): with
//! `Q = Π q_i` and `y_i = x_i·(Q/q_i)^−1 mod q_i`, the integer `x` is `Σ y_i·Q/q_i − v·Q`, and `v`
//! is found exactly enough by rounding `Σ y_i/q_i` in double precision. Rounding to nearest makes
//! the result the centred representative, in [−Q/2, Q/2); within 2^−47 of the ends it may be the
//! other representative, which is as good.

use crate::tables::modulus::{Modulus, ShoupScalar};

/// Most primes that a conversion may start from.
pub(crate) const CONVERT_SOURCES: usize = 64;

/// A source prime of a conversion.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) modulus: Modulus,
    /// (Q/q_i)^−1 mod q_i.
    pub(crate) factor: ShoupScalar,
    /// 1/q_i.
    pub(crate) reciprocal: f64,
}

/// A target prime of a conversion.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) modulus: Modulus,
    /// Q/q_i mod p for every source, then −Q mod p.
    pub(crate) factors: Vec<u64>,
    /// Q^−1 mod p; zero when p is itself a source.
    pub(crate) inverse: ShoupScalar,
}

impl Target {
    /// −Q^−1 mod p, for a division that subtracts the kept limb from the remainder.
    #[inline]
    pub(crate) fn negated_inverse(&self) -> ShoupScalar {
        self.modulus.shoup(self.modulus.neg(self.inverse.value))
    }
}

/// The constants of a base conversion.
#[derive(Debug)]
pub struct ConversionTable {
    pub(crate) sources: Vec<Source>,
    pub(crate) targets: Vec<Target>,
}

impl ConversionTable {
    /// The conversion from the product of `sources` to each of `targets`.
    ///
    /// # Panics
    /// When there are no sources or more than 64.
    pub fn new(sources: &[Modulus], targets: &[Modulus]) -> Self {
        assert!(
            (1..=CONVERT_SOURCES).contains(&sources.len()),
            "{} source primes",
            sources.len()
        );
        // Π of the sources but the skipped one, modulo m.
        let product = |m: &Modulus, skip: Option<usize>| {
            sources
                .iter()
                .enumerate()
                .filter(|&(i, _)| Some(i) != skip)
                .fold(1, |acc, (_, s)| m.mul(acc, m.reduce(s.value())))
        };
        let source = |(i, modulus): (usize, &Modulus)| Source {
            modulus: *modulus,
            factor: modulus.shoup(modulus.inverse(product(modulus, Some(i)))),
            reciprocal: 1.0 / modulus.value() as f64,
        };
        let target = |modulus: &Modulus| {
            let whole = product(modulus, None);
            let parts = (0..sources.len()).map(|i| product(modulus, Some(i)));
            Target {
                modulus: *modulus,
                factors: parts.chain(std::iter::once(modulus.neg(whole))).collect(),
                inverse: modulus.shoup(modulus.inverse(whole)),
            }
        };
        Self {
            sources: sources.iter().enumerate().map(source).collect(),
            targets: targets.iter().map(target).collect(),
        }
    }
}
