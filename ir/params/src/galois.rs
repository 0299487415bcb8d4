//! Galois elements: the automorphisms X → X^g of the ring, `g` odd modulo `2N`.

use serde::{Deserialize, Serialize};

/// The exponent `g` of the automorphism `X → X^g`, odd and below `2N`.
///
/// A left rotation of the slots by `k` is `5^k mod 2N`; complex conjugation is `2N − 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GaloisElement(u64);

impl GaloisElement {
    /// The identity, `g = 1`.
    pub const IDENTITY: Self = Self(1);

    /// The left rotation by `k` slots (any sign) in a ring of degree `n`, a power of two.
    pub fn rotation(k: i64, n: usize) -> Self {
        let order = (n / 2).max(1) as i64;
        let mask = 2 * n as u64 - 1;
        let mut exponent = k.rem_euclid(order) as u64;
        let (mut base, mut result) = (5u64 & mask, 1u64);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result.wrapping_mul(base) & mask;
            }
            base = base.wrapping_mul(base) & mask;
            exponent >>= 1;
        }
        Self(result)
    }

    /// Complex conjugation of the slots in a ring of degree `n`.
    pub fn conjugation(n: usize) -> Self {
        Self(2 * n as u64 - 1)
    }

    /// The element with exponent `g` reduced modulo `2n`; `None` when `g` is even and so no automorphism.
    pub fn from_exponent(g: u64, n: usize) -> Option<Self> {
        (g & 1 == 1).then_some(Self(g & (2 * n as u64 - 1)))
    }

    /// The exponent `g`.
    pub fn exponent(self) -> u64 {
        self.0
    }

    /// The automorphism that undoes this one in a ring of degree `n`.
    pub fn inverse(self, n: usize) -> Self {
        // Newton's iteration doubles the correct low bits; odd g is its own inverse modulo 8.
        let mut x = self.0;
        for _ in 0..5 {
            x = x.wrapping_mul(2u64.wrapping_sub(self.0.wrapping_mul(x)));
        }
        Self(x & (2 * n as u64 - 1))
    }

    /// First this automorphism, then `other`, in a ring of degree `n`.
    pub fn then(self, other: Self, n: usize) -> Self {
        Self(self.0.wrapping_mul(other.0) & (2 * n as u64 - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_form_a_group() {
        for n in [8usize, 64, 1 << 16] {
            let (a, b) = (
                GaloisElement::rotation(3, n),
                GaloisElement::rotation(-5, n),
            );
            assert_eq!(a.then(b, n), GaloisElement::rotation(-2, n));
            assert_eq!(a.then(a.inverse(n), n), GaloisElement::IDENTITY);
            assert_eq!(
                GaloisElement::rotation((n / 2) as i64, n),
                GaloisElement::IDENTITY
            );
            let c = GaloisElement::conjugation(n);
            assert_eq!(c.then(c, n), GaloisElement::IDENTITY);
        }
    }

    #[test]
    fn even_exponents_are_refused() {
        assert_eq!(GaloisElement::from_exponent(4, 16), None);
        assert_eq!(
            GaloisElement::from_exponent(37, 16).map(|g| g.exponent()),
            Some(5)
        );
    }
}
