//! Galois elements: the automorphisms X → X^g of a ring, `g` odd and below `2N`.

use std::fmt;

/// The exponent `g` of the automorphism `X → X^g` of one ring of degree `N`: odd and below `2N`.
///
/// A left rotation of the slots by `k` is `5^k mod 2N`; complex conjugation is `2N − 1`. There is
/// no element with an even exponent or one from `2N` on: an even power maps the secret to a
/// constant, and a key made for it would publish the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GaloisElement {
    exponent: u32,
    log_n: u32,
}

/// log2 of the largest ring degree whose exponents fit the field.
const MAX_LOG_N: u32 = 30;

fn log2_of(n: usize) -> u32 {
    let log_n = n.trailing_zeros();
    assert!(
        n.is_power_of_two() && log_n <= MAX_LOG_N,
        "the ring degree {n} is no power of two up to 2^{MAX_LOG_N}"
    );
    log_n
}

impl GaloisElement {
    /// The element with exponent `g` in a ring of degree `n`; `None` unless `g` is odd and below
    /// `2n`.
    ///
    /// # Panics
    /// When `n` is no power of two up to 2^30; the same holds for the other constructors.
    pub fn new(g: u64, n: usize) -> Option<Self> {
        let log_n = log2_of(n);
        let exponent = u32::try_from(g).ok()?;
        (g % 2 == 1 && g < 2 << log_n).then_some(Self { exponent, log_n })
    }

    /// The element with this exponent reduced modulo `2N`; `exponent` is odd.
    fn reduced(exponent: u32, log_n: u32) -> Self {
        let exponent = exponent & ((2 << log_n) - 1);
        Self { exponent, log_n }
    }

    /// The identity of a ring of degree `n`: `g = 1`.
    pub fn identity(n: usize) -> Self {
        Self::reduced(1, log2_of(n))
    }

    /// Whether this is the identity, which needs no key.
    pub fn is_identity(self) -> bool {
        self.exponent == 1
    }

    /// The left rotation by `k` slots (any sign) in a ring of degree `n`.
    pub fn rotation(k: i64, n: usize) -> Self {
        let log_n = log2_of(n);
        let order = (n / 2).max(1) as i64;
        let mut left = k.rem_euclid(order) as u64;
        // Odd numbers stay odd modulo 2^32, and so modulo 2N.
        let (mut base, mut result) = (5_u32, 1_u32);
        while left > 0 {
            if left % 2 == 1 {
                result = result.wrapping_mul(base);
            }
            base = base.wrapping_mul(base);
            left /= 2;
        }
        Self::reduced(result, log_n)
    }

    /// Complex conjugation of the slots in a ring of degree `n`.
    pub fn conjugation(n: usize) -> Self {
        Self::reduced(u32::MAX, log2_of(n))
    }

    /// The exponent `g`.
    pub fn exponent(self) -> u32 {
        self.exponent
    }

    /// log2 of the degree of its ring.
    pub fn log_n(self) -> u32 {
        self.log_n
    }

    /// The automorphism that undoes this one.
    pub fn inverse(self) -> Self {
        // Newton's iteration doubles the correct low bits; odd g is its own inverse modulo 8.
        let mut x = self.exponent;
        for _ in 0..4 {
            x = x.wrapping_mul(2_u32.wrapping_sub(self.exponent.wrapping_mul(x)));
        }
        Self::reduced(x, self.log_n)
    }

    /// First this automorphism, then `other`.
    ///
    /// # Panics
    /// When the elements belong to rings of different degree.
    pub fn then(self, other: Self) -> Self {
        assert_eq!(self.log_n, other.log_n, "elements of different rings");
        Self::reduced(self.exponent.wrapping_mul(other.exponent), self.log_n)
    }
}

impl fmt::Display for GaloisElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X^{}", self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the ring degree 24 is no power of two")]
    fn a_ring_degree_is_a_power_of_two() {
        GaloisElement::new(5, 24);
    }

    #[test]
    #[should_panic(expected = "elements of different rings")]
    fn elements_of_different_rings_do_not_combine() {
        let _ = GaloisElement::rotation(1, 16).then(GaloisElement::rotation(1, 32));
    }

    #[test]
    fn rotations_form_a_group() {
        for n in [8usize, 64, 1 << 16, 1 << 17] {
            let (a, b) = (
                GaloisElement::rotation(3, n),
                GaloisElement::rotation(-5, n),
            );
            assert_eq!(a.then(b), GaloisElement::rotation(-2, n));
            assert_eq!(a.then(a.inverse()), GaloisElement::identity(n));
            let around = GaloisElement::rotation((n / 2) as i64, n);
            assert!(around.is_identity() && around == GaloisElement::identity(n));
            let c = GaloisElement::conjugation(n);
            assert_eq!(c.exponent() as usize, 2 * n - 1);
            assert!(c.then(c).is_identity());
        }
    }

    /// A key for an even exponent would publish the secret; one from 2N on would repeat the uniform
    /// half of another key.
    #[test]
    fn even_exponents_and_those_from_2n_on_do_not_exist() {
        let n = 16;
        for g in 0..4 * n as u64 {
            let element = GaloisElement::new(g, n);
            assert_eq!(element.is_some(), g % 2 == 1 && g < 2 * n as u64, "{g}");
            if let Some(element) = element {
                assert_eq!(u64::from(element.exponent()), g);
                assert!(element.then(element.inverse()).is_identity());
            }
        }
        for g in [1 << 32 | 5, u64::MAX, 2 * n as u64 + 1] {
            assert_eq!(GaloisElement::new(g, n), None);
        }
    }

    #[test]
    fn the_oracle_is_repeated_multiplication() {
        let n = 32;
        let mut power = 1;
        for k in 0..16 {
            assert_eq!(GaloisElement::rotation(k, n).exponent(), power);
            power = power * 5 % 64;
        }
    }
}
