//! Encoded diagonals: integer coefficients at rest, values modulo a prime at each use.
//!
//! A diagonal has `len = 2·slots` coefficients of a polynomial in `Y = X^(N/len)`. One with real
//! slots is its own conjugate, `a(Y^-1) = a(Y)`, and two such share everything: with
//! `J = Y^(len/2)`, `J² = -1`, the polynomial `c = a + J·b` has coefficients from which both
//! follow, and since `J·b` changes its sign under conjugation,
//!
//! ```text
//! a = (c + c̄)/2,    J·b = (c - c̄)/2.
//! ```
//!
//! The value of `c̄` at index `i` is that of `c` at `len - 1 - i`, see [`crate::tables::ntt`], and
//! `J` is a fourth root of unity, with opposite signs in the halves of the indices. So two
//! diagonals take the memory and the transform of one.

use crate::kernel::Kernel;
use crate::tables::ntt::NttTable;

/// One diagonal, or two real ones, by integer coefficients.
#[derive(Clone)]
pub(super) enum Stored {
    /// The coefficients.
    One(Vec<i64>),
    /// Those of `a + J·b`.
    Pair(Vec<i64>),
}

impl Stored {
    /// How many diagonals it holds.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Pair(_) => 2,
        }
    }

    /// Words that it takes.
    pub(super) fn words(&self) -> usize {
        let (Self::One(coefficients) | Self::Pair(coefficients)) = self;
        coefficients.len()
    }

    /// Diagonals with complex slots, one by one.
    pub(super) fn complex(diagonals: Vec<Vec<i64>>) -> Vec<Self> {
        diagonals.into_iter().map(Self::One).collect()
    }

    /// Diagonals with real slots, two by two. What rounding left of an imaginary part is dropped.
    pub(super) fn real(diagonals: Vec<Vec<i64>>) -> Vec<Self> {
        let mut stored = Vec::with_capacity(diagonals.len().div_ceil(2));
        let mut diagonals = diagonals.into_iter();
        while let Some(a) = diagonals.next() {
            stored.push(match diagonals.next() {
                Some(b) => Self::Pair(join(a, &b)),
                None => Self::One(a),
            });
        }
        stored
    }

    /// The coefficients of each diagonal.
    pub(super) fn coefficients(&self) -> Vec<Vec<i64>> {
        match self {
            Self::One(a) => vec![a.clone()],
            Self::Pair(c) => split(c).into(),
        }
    }

    /// Writes the values of the diagonals modulo the table's prime, one slice each.
    pub(super) fn values(&self, kernel: Kernel, table: &NttTable, out: &mut [&mut [u64]]) {
        match (self, out) {
            (Self::One(coefficients), [out]) => {
                kernel.reduce_signed(table.modulus(), out, coefficients);
                kernel.ntt_forward(table, out);
            }
            (Self::Pair(coefficients), [a, b]) => {
                kernel.reduce_signed(table.modulus(), a, coefficients);
                kernel.ntt_forward(table, a);
                let m = table.modulus();
                let half = m.inverse(2);
                // In the first half of the indices J is the root of node 1.
                let inverse = m.neg(m.mul(half, table.fourth_root()));
                kernel.split_conjugates(m, a, b, m.shoup(half), m.shoup(inverse));
            }
            (stored, out) => {
                unreachable!("{} diagonals for {} slices", stored.count(), out.len())
            }
        }
    }
}

/// The coefficients of `a + J·b` of self-conjugate `a` and `b`: `a_(len-j) = -a_j`, and
/// `a_(len/2) = 0`.
fn join(a: Vec<i64>, b: &[i64]) -> Vec<i64> {
    let (mut c, half) = (a, b.len() / 2);
    c[half] = b[0];
    for j in 1..half {
        // The coefficient of J·b at j is -b_(j + half) = b_(half - j).
        let (a, b) = (c[j], b[half - j]);
        c[j] = a + b;
        c[2 * half - j] = b - a;
    }
    c
}

/// The inverse of [`join`].
fn split(c: &[i64]) -> [Vec<i64>; 2] {
    let half = c.len() / 2;
    let (mut a, mut b) = (vec![0; c.len()], vec![0; c.len()]);
    (a[0], b[0]) = (c[0], c[half]);
    for j in 1..half {
        let (sum, difference) = (c[j] + c[2 * half - j], c[j] - c[2 * half - j]);
        (a[j], a[2 * half - j]) = (difference / 2, -difference / 2);
        (b[half - j], b[half + j]) = (sum / 2, -sum / 2);
    }
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::encode::Encoder;
    use crate::tables::modulus::Modulus;
    use heddle_params::primes;

    #[test]
    fn pairs_have_the_values_of_their_diagonals() {
        let (q, _) = primes::chains(10, &[50, 40], &[]).unwrap();
        let encoder = Encoder::new(9);
        for log_slots in 0..=9 {
            let slots = |seed: f64| -> Vec<f64> {
                (0..1 << log_slots)
                    .map(|i| (f64::from(i) * seed).sin())
                    .collect()
            };
            let encode = |seed| {
                let values: Vec<_> = slots(seed).into_iter().map(Into::into).collect();
                encoder.encode(&values, 2f64.powi(30)).unwrap()
            };
            let diagonals: Vec<Vec<i64>> = [0.3, 1.7, 2.9].into_iter().map(encode).collect();
            let stored = Stored::real(diagonals.clone());
            assert_eq!(stored.iter().map(Stored::count).collect::<Vec<_>>(), [2, 1]);
            let kept: Vec<Vec<i64>> = stored.iter().flat_map(Stored::coefficients).collect();
            for (kept, given) in kept.iter().zip(&diagonals) {
                let off = kept.iter().zip(given).map(|(a, b)| (a - b).abs()).max();
                assert!(off <= Some(1), "rounding alone: {off:?}");
            }
            for &q in &q {
                let table = NttTable::new(Modulus::new(q), 10);
                for kernel in Kernel::available() {
                    for (stored, kept) in stored.iter().zip(kept.chunks(2)) {
                        let mut out = vec![vec![0; 2 << log_slots]; stored.count()];
                        let mut slices: Vec<&mut [u64]> =
                            out.iter_mut().map(Vec::as_mut_slice).collect();
                        stored.values(kernel, &table, &mut slices);
                        for (out, kept) in out.iter().zip(kept) {
                            let mut expected = vec![0; kept.len()];
                            kernel.reduce_signed(table.modulus(), &mut expected, kept);
                            kernel.ntt_forward(&table, &mut expected);
                            assert_eq!(out, &expected, "2^{log_slots} slots, {}", kernel.name());
                        }
                    }
                }
            }
        }
    }
}
