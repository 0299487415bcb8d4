//! Arithmetic modulo one prime below 2^50.
//!
//! The constants serve every kernel. Products of residues are below 2^100; they are held either as
//! `u128` or as the pair (bits 0–51, bits 52–103) that a 52-bit multiplier delivers.
//!
//! *Constant time.* What takes a residue or an integer to be reduced as its operand takes the same
//! time for every value: products, sums, masks and `min`, which compilers turn into conditional
//! moves, without division, branch or table. The exceptions work on public values alone:
//! [`Modulus::new`], [`Modulus::shoup`], [`Modulus::pow`], [`Modulus::inverse`] and
//! [`Modulus::primitive_root`].

/// Residues and lazily reduced values below four times the modulus fit this many bits.
pub const WORD_BITS: u32 = 52;

/// The low [`WORD_BITS`] bits.
pub(crate) const WORD_MASK: u64 = (1 << WORD_BITS) - 1;

/// How many products of residues may be summed before [`Modulus::reduce_wide`].
pub const MAX_LAZY_PRODUCTS: usize = 15;

/// A prime with the constants of its reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    q: u64,
    bits: u32,
    /// floor(2^(bits + 50) / q), below 2^52.
    barrett: u64,
    /// floor(2^52 / q).
    inverse52: u64,
    /// floor(2^64 / q).
    inverse64: u64,
    /// 2^52 mod q, with its Shoup constant.
    word: ShoupScalar,
    /// q^−1 mod 2^64.
    inverse_mod_64: u64,
}

/// A constant factor with its precomputed quotient, for products by Shoup's method at 52 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ShoupScalar {
    /// The factor, reduced.
    pub value: u64,
    /// floor(value · 2^52 / q).
    pub quotient: u64,
}

impl Modulus {
    /// The constants of `q`.
    ///
    /// # Panics
    /// When `q` is even, below 4 or not below 2^50.
    pub fn new(q: u64) -> Self {
        assert!(
            q > 4 && q < 1 << 50 && q & 1 == 1,
            "a modulus must be odd and in (4, 2^50)"
        );
        let bits = 64 - q.leading_zeros();
        let word = (1u64 << WORD_BITS) % q;
        // Newton's iteration doubles the correct low bits; odd q is its own inverse modulo 8.
        let inverse = (0..5).fold(q, |x, _| {
            x.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(x)))
        });
        Self {
            q,
            bits,
            barrett: ((1u128 << (bits + 50)) / u128::from(q)) as u64,
            inverse52: (1u64 << WORD_BITS) / q,
            // As q is no power of two, it divides neither 2^64 nor the number before.
            inverse64: u64::MAX / q,
            word: ShoupScalar {
                value: word,
                quotient: ((u128::from(word) << WORD_BITS) / u128::from(q)) as u64,
            },
            inverse_mod_64: inverse,
        }
    }

    /// The prime.
    #[inline]
    pub fn value(&self) -> u64 {
        self.q
    }

    /// Bits of the prime.
    #[inline]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// floor(2^52 / q).
    #[inline]
    pub(crate) fn inverse52(&self) -> u64 {
        self.inverse52
    }

    /// q^−1 mod 2^52.
    #[inline]
    pub(crate) fn inverse_mod_word(&self) -> u64 {
        self.inverse_mod_64 & WORD_MASK
    }

    /// 2^52 mod q as a factor.
    #[inline]
    pub(crate) fn word(&self) -> ShoupScalar {
        self.word
    }

    /// `x` in [0, 2q) brought to [0, q).
    #[inline]
    pub fn correct(&self, x: u64) -> u64 {
        x.min(x.wrapping_sub(self.q))
    }

    /// `a + b` of residues.
    #[inline]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        self.correct(a + b)
    }

    /// `a − b` of residues.
    #[inline]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        let d = a.wrapping_sub(b);
        d.min(d.wrapping_add(self.q))
    }

    /// `−a` of a residue.
    #[inline]
    pub fn neg(&self, a: u64) -> u64 {
        self.sub(0, a)
    }

    /// `a · b` of residues, by Barrett's reduction.
    #[inline]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        // The estimate is short by less than 2.5: half from the first floor, one each from the
        // others.
        let high = (product >> (self.bits - 2)) as u64;
        let estimate = ((u128::from(high) * u128::from(self.barrett)) >> WORD_BITS) as u64;
        let r = (product as u64).wrapping_sub(estimate.wrapping_mul(self.q));
        let r = r.min(r.wrapping_sub(2 * self.q));
        self.correct(r)
    }

    /// The sum of at most `MAX_LAZY_PRODUCTS` products of residues plus a residue, below 2^104,
    /// reduced.
    #[inline]
    pub fn reduce_wide(&self, x: u128) -> u64 {
        debug_assert!(x >> 104 == 0);
        let (high, low) = ((x >> WORD_BITS) as u64, x as u64 & WORD_MASK);
        let estimate = ((u128::from(high) * u128::from(self.word.quotient)) >> WORD_BITS) as u64
            + ((u128::from(low) * u128::from(self.inverse52)) >> WORD_BITS) as u64;
        // Each of the two parts leaves a remainder below 2q, so the sum is below 4q < 2^52.
        let r = low
            .wrapping_add(high.wrapping_mul(self.word.value))
            .wrapping_sub(estimate.wrapping_mul(self.q))
            & WORD_MASK;
        let r = r.min(r.wrapping_sub(2 * self.q));
        self.correct(r)
    }

    /// Any unsigned word, reduced.
    #[inline]
    pub fn reduce(&self, x: u64) -> u64 {
        // Short by less than 2: one for the floor, and x / 2^64 for the inverse.
        let estimate = ((u128::from(x) * u128::from(self.inverse64)) >> 64) as u64;
        self.correct(x.wrapping_sub(estimate.wrapping_mul(self.q)))
    }

    /// 2^64 mod q.
    #[inline]
    fn word64(&self) -> u64 {
        self.inverse64.wrapping_mul(self.q).wrapping_neg()
    }

    /// A signed integer as a residue.
    #[inline]
    pub fn from_i64(&self, x: i64) -> u64 {
        // Read as unsigned, a negative integer is 2^64 too much.
        let excess = self.word64() & (x >> 63) as u64;
        self.sub(self.reduce(x as u64), excess)
    }

    /// A signed integer as a residue.
    #[inline]
    pub fn from_i128(&self, x: i128) -> u64 {
        let high = self.mul(self.from_i64((x >> 64) as i64), self.word64());
        self.add(high, self.reduce(x as u64))
    }

    /// The representative of a residue in [−q/2, q/2).
    #[inline]
    pub fn centred(&self, x: u64) -> i64 {
        let above = ((self.q / 2).wrapping_sub(x) as i64) >> 63;
        x as i64 - (self.q as i64 & above)
    }

    /// `base^exponent`.
    pub fn pow(&self, base: u64, exponent: u64) -> u64 {
        heddle_params::primes::pow_mod(base, exponent, self.q)
    }

    /// The inverse of a non-zero residue; the modulus is prime.
    pub fn inverse(&self, x: u64) -> u64 {
        self.pow(x, self.q - 2)
    }

    /// Prepares a residue as a constant factor.
    #[inline]
    pub fn shoup(&self, value: u64) -> ShoupScalar {
        ShoupScalar {
            value,
            quotient: ((u128::from(value) << WORD_BITS) / u128::from(self.q)) as u64,
        }
    }

    /// `x · w` in [0, 2q), for any `x` below 2^52.
    #[inline]
    pub fn mul_shoup_lazy(&self, x: u64, w: ShoupScalar) -> u64 {
        let estimate = ((u128::from(x) * u128::from(w.quotient)) >> WORD_BITS) as u64;
        x.wrapping_mul(w.value)
            .wrapping_sub(estimate.wrapping_mul(self.q))
    }

    /// `x · w` reduced, for any `x` below 2^52.
    #[inline]
    pub fn mul_shoup(&self, x: u64, w: ShoupScalar) -> u64 {
        self.correct(self.mul_shoup_lazy(x, w))
    }

    /// A residue in Montgomery form: `value · 2^52 mod q`.
    #[inline]
    pub(crate) fn to_montgomery(self, value: u64) -> u64 {
        self.mul_shoup(value, self.word)
    }

    /// `x · w` in (0, 2q), for any `x` below 2^52 and `w` in Montgomery form.
    ///
    /// With m = x·w·q^−1 mod 2^52 the products x·w and m·q agree in their low words, so the
    /// difference of the high words is exact and lies in (−q, q). The quotient m/w is cheap to
    /// recompute, so that a table of factors needs one word for each.
    #[inline]
    pub(crate) fn mul_montgomery_lazy(&self, x: u64, w: u64) -> u64 {
        let dual = w.wrapping_mul(self.inverse_mod_64) & WORD_MASK;
        let m = x.wrapping_mul(dual) & WORD_MASK;
        let high = ((u128::from(x) * u128::from(w)) >> WORD_BITS) as u64;
        high + self.q - ((u128::from(m) * u128::from(self.q)) >> WORD_BITS) as u64
    }

    /// A residue in Montgomery form at 64 bits, `value · 2^64 mod q`, from that at 52.
    #[inline]
    pub(crate) fn extend_montgomery(&self, w: u64) -> u64 {
        self.mul(w, (1 << (64 - WORD_BITS)) % self.q)
    }

    /// `x · w − kq` in (−q, q), modulo 2^64, for any `x` and `w` in Montgomery form at 64 bits.
    #[inline]
    pub(crate) fn mul_montgomery_64(&self, x: u64, w: u64) -> u64 {
        let high = |a: u64, b: u64| ((u128::from(a) * u128::from(b)) >> 64) as u64;
        let m = x.wrapping_mul(w.wrapping_mul(self.inverse_mod_64));
        high(x, w).wrapping_sub(high(m, self.q))
    }

    /// An element of multiplicative order `order`, a power of two that divides `q − 1`; the same
    /// one every time.
    ///
    /// # Panics
    /// When `order` does not divide `q − 1`.
    pub fn primitive_root(&self, order: u64) -> u64 {
        assert!(
            order.is_power_of_two() && (self.q - 1).is_multiple_of(order),
            "no root of order {order}"
        );
        (2..self.q)
            .map(|g| self.pow(g, (self.q - 1) / order))
            .find(|&root| self.pow(root, order / 2) == self.q - 1)
            .expect("a prime field has elements of every order that divides q - 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn arithmetic_agrees_with_wide_integers() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (primes, _) =
            heddle_params::primes::chains(12, &[20, 22, 30, 40, 40, 48, 50, 50], &[]).unwrap();
        for q in primes {
            let m = Modulus::new(q);
            let naive = |x: u128| (x % u128::from(q)) as u64;
            for i in 0..2000 {
                let (a, b) = match i {
                    0 => (q - 1, q - 1),
                    1 => (0, q - 1),
                    _ => (rng.random_range(0..q), rng.random_range(0..q)),
                };
                let (wa, wb) = (u128::from(a), u128::from(b));
                assert_eq!(m.mul(a, b), naive(wa * wb));
                assert_eq!(m.add(a, b), naive(wa + wb));
                assert_eq!(m.sub(a, b), naive(wa + u128::from(q) - wb));
                assert_eq!(m.neg(a), naive(u128::from(q) - wa));
                let x = rng.random_range(0..1u64 << 52);
                assert_eq!(m.mul_shoup(x, m.shoup(a)), naive(u128::from(x) * wa));
                let lazy = m.mul_montgomery_lazy(x, m.to_montgomery(a));
                assert!(lazy < 2 * q);
                assert_eq!(m.correct(lazy), naive(u128::from(x) * wa));
                let (x, w) = (rng.random::<u64>(), m.extend_montgomery(m.to_montgomery(a)));
                let signed = m.mul_montgomery_64(x, w) as i64;
                assert!(signed.unsigned_abs() < q);
                assert_eq!(m.from_i64(signed), naive(u128::from(x) * wa));
                let wide = wa * wb * MAX_LAZY_PRODUCTS as u128 + wa;
                assert_eq!(m.reduce_wide(wide), naive(wide));
                assert_eq!(m.from_i64(m.centred(a)), a);
                assert_eq!(m.from_i128(-(wa as i128) << 60), m.neg(naive(wa << 60)));
            }
            // Around every bound of the integer types and around the modulus and its multiples.
            let ends = [0, 1, q / 2, q / 2 + 1, q - 1, q, q + 1, u64::MAX / q * q];
            let ends = ends.into_iter().chain([u64::MAX, 1 << 63, (1 << 63) - 1]);
            let drawn: Vec<u64> = (0..500).map(|_| rng.random()).collect();
            for x in ends.chain(drawn) {
                let signed = x as i64;
                let wide = i128::from(signed) << 64 | i128::from(rng.random::<u64>());
                let signed_naive = |x: i128| x.rem_euclid(i128::from(q)) as u64;
                assert_eq!(m.reduce(x), naive(u128::from(x)));
                assert_eq!(m.from_i64(signed), signed_naive(signed.into()));
                assert_eq!(
                    m.from_i64(-(signed >> 8)),
                    signed_naive((-(signed >> 8)).into())
                );
                assert_eq!(m.from_i128(wide), signed_naive(wide));
                assert_eq!(m.from_i128(i128::from(x)), naive(u128::from(x)));
                let r = x % q;
                let centred = if r > q / 2 {
                    r as i64 - q as i64
                } else {
                    r as i64
                };
                assert_eq!(m.centred(r), centred);
            }
            for x in [i128::MIN, i128::MAX, -1] {
                assert_eq!(m.from_i128(x), x.rem_euclid(i128::from(q)) as u64);
            }
            let root = m.primitive_root(1 << 13);
            assert_eq!(m.pow(root, 1 << 12), q - 1);
            assert_eq!(m.mul(m.inverse(root), root), 1);
        }
    }
}
