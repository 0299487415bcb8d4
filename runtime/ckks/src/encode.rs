//! Encoding of slot vectors: the canonical embedding restricted to the rotation group of 5.
//!
//! A vector of `n = 2^log_slots` complex numbers, repeated with period `n` over all `N/2` slots, is a real
//! polynomial in `Y = X^(N/2n)` of degree below `2n`: its values at `zeta^(5^j)`, `zeta = exp(i pi / 2n)`, are
//! the slots. The transform is the special FFT of Cheon, Han, Kim, Kim and Song (EUROCRYPT 2018): coefficient
//! `k` is the real part and coefficient `k + n` the imaginary part of the `k`-th output.
//!
//! *Compact coefficients* are the `2n` coefficients of that polynomial in `Y`.
//!
//! *Constant time.* Encoding, decoding and [`centred_coefficients`] take a time that depends on the number of slots and
//! limbs alone: doubles are added, multiplied, compared without a branch and converted, never divided by; rounding is
//! done here, since the library's looks at the exponent. Only that a value cannot be encoded, and which one, shows. A
//! processor may take longer for subnormal doubles. *Memory.* Intermediate vectors are wiped; results are the caller's.

use std::f64::consts::PI;
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

use rayon::prelude::*;
use zeroize::{DefaultIsZeroes, Zeroizing};

use crate::context::Context;
use crate::error::Error;
use crate::poly::{Coeff, RnsPoly};

/// A complex number in double precision.
#[derive(Clone, Copy, PartialEq, Default)]
pub struct Complex64 {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
}

impl Complex64 {
    /// `re + i im`.
    pub const fn new(re: f64, im: f64) -> Self {
        Self { re, im }
    }

    /// The complex conjugate.
    pub const fn conj(self) -> Self {
        Self::new(self.re, -self.im)
    }

    /// `exp(i angle)`.
    pub fn cis(angle: f64) -> Self {
        let (im, re) = angle.sin_cos();
        Self::new(re, im)
    }

    /// The modulus.
    pub fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }

    /// Multiplication by a real number.
    pub fn scale(self, factor: f64) -> Self {
        Self::new(self.re * factor, self.im * factor)
    }
}

impl DefaultIsZeroes for Complex64 {}

impl fmt::Debug for Complex64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:+}i", self.re, self.im)
    }
}

impl From<f64> for Complex64 {
    fn from(re: f64) -> Self {
        Self::new(re, 0.0)
    }
}

impl Add for Complex64 {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.re + other.re, self.im + other.im)
    }
}

impl AddAssign for Complex64 {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Complex64 {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::new(self.re - other.re, self.im - other.im)
    }
}

impl SubAssign for Complex64 {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Mul for Complex64 {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::new(
            self.re * other.re - self.im * other.im,
            self.re * other.im + self.im * other.re,
        )
    }
}

impl Neg for Complex64 {
    type Output = Self;
    fn neg(self) -> Self {
        Self::new(-self.re, -self.im)
    }
}

/// The special FFT for every slot count up to a maximum.
///
/// The twiddles of the stage with half length `h` are `exp(2 pi i (5^j mod 8h) / 8h)` for `j < h`, whatever the
/// slot count; they are stored at `h..2h`.
pub struct Encoder {
    log_max_slots: u32,
    twiddles: Vec<Complex64>,
}

impl Encoder {
    /// The tables for up to `2^log_max_slots` slots.
    pub fn new(log_max_slots: u32) -> Self {
        let mut twiddles = vec![Complex64::default(); 1 << log_max_slots];
        for log_half in 0..log_max_slots {
            let half = 1usize << log_half;
            let order = 8 * half as u64;
            let mut power = 1u64;
            for slot in &mut twiddles[half..2 * half] {
                *slot = Complex64::cis(2.0 * PI * power as f64 / order as f64);
                power = power * 5 % order;
            }
        }
        Self {
            log_max_slots,
            twiddles,
        }
    }

    /// log2 of the largest slot count.
    pub fn log_max_slots(&self) -> u32 {
        self.log_max_slots
    }

    /// Slots to the folded coefficients: entry `k` holds coefficients `k` (real) and `k + n` (imaginary).
    fn inverse(&self, values: &mut [Complex64]) {
        let n = values.len();
        let mut half = n / 2;
        while half >= 1 {
            let twiddles = &self.twiddles[half..2 * half];
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((a, b), &w) in low.iter_mut().zip(high).zip(twiddles) {
                    let (x, y) = (*a, *b);
                    *a = x + y;
                    *b = (x - y) * w.conj();
                }
            }
            half /= 2;
        }
        bit_reverse(values);
        let factor = 1.0 / n as f64;
        for value in values {
            *value = value.scale(factor);
        }
    }

    /// Folded coefficients to slots.
    fn forward(&self, values: &mut [Complex64]) {
        bit_reverse(values);
        let mut half = 1;
        while 2 * half <= values.len() {
            let twiddles = &self.twiddles[half..2 * half];
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((a, b), &w) in low.iter_mut().zip(high).zip(twiddles) {
                    let (x, y) = (*a, *b * w);
                    *a = x + y;
                    *b = x - y;
                }
            }
            half *= 2;
        }
    }

    /// The real compact coefficients of a slot vector, unscaled.
    ///
    /// # Errors
    /// [`Error::SlotCount`] unless the length is a power of two of at most `2^log_max_slots`.
    pub fn to_coefficients(&self, slots: &[Complex64]) -> Result<Vec<f64>, Error> {
        self.check_length(slots.len())?;
        let mut values = Zeroizing::new(slots.to_vec());
        self.inverse(&mut values);
        Ok(values
            .iter()
            .map(|v| v.re)
            .chain(values.iter().map(|v| v.im))
            .collect())
    }

    /// The slots of real compact coefficients; the inverse of [`Self::to_coefficients`].
    ///
    /// # Errors
    /// [`Error::SlotCount`] unless there are `2n` coefficients for a slot count `n` that fits.
    pub fn to_slots(&self, coefficients: &[f64]) -> Result<Vec<Complex64>, Error> {
        let n = coefficients.len() / 2;
        self.check_length(n)?;
        if !coefficients.len().is_multiple_of(2) {
            return Err(slot_count(coefficients.len(), 2 * n));
        }
        let (re, im) = coefficients.split_at(n);
        let mut values: Vec<_> = re
            .iter()
            .zip(im)
            .map(|(&re, &im)| Complex64::new(re, im))
            .collect();
        self.forward(&mut values);
        Ok(values)
    }

    /// Compact integer coefficients `round(scale * coefficient)`.
    ///
    /// # Errors
    /// [`Error::SlotCount`] for a bad length, [`Error::ValueRange`] when a coefficient is not finite or reaches
    /// 2^62; its index is that of the coefficient.
    pub fn encode(&self, slots: &[Complex64], scale: f64) -> Result<Vec<i64>, Error> {
        let coefficients = Zeroizing::new(self.to_coefficients(slots)?);
        // Written where they stay: a vector that grows leaves copies behind.
        let mut integers = Zeroizing::new(vec![0; coefficients.len()]);
        for (i, (integer, &c)) in integers.iter_mut().zip(coefficients.iter()).enumerate() {
            *integer = scaled_integer(i, c, scale)?;
        }
        Ok(std::mem::take(&mut *integers))
    }

    /// [`Self::encode`] of real slots.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_real(&self, slots: &[f64], scale: f64) -> Result<Vec<i64>, Error> {
        let slots: Vec<Complex64> = slots.iter().map(|&v| v.into()).collect();
        self.encode(&Zeroizing::new(slots), scale)
    }

    fn check_length(&self, found: usize) -> Result<(), Error> {
        let largest = 1 << self.log_max_slots;
        if found.is_power_of_two() && found <= largest {
            Ok(())
        } else {
            let expected = found
                .checked_next_power_of_two()
                .map_or(largest, |n| n.min(largest));
            Err(slot_count(found, expected))
        }
    }
}

/// `round(value * scale)` when it fits the signed 62-bit range of compact coefficients; `index` says in errors which
/// value it was.
///
/// # Errors
/// [`Error::ValueRange`] otherwise.
pub fn scaled_integer(index: usize, value: f64, scale: f64) -> Result<i64, Error> {
    let scaled = value * scale;
    // The comparison is false for NaN too.
    if scaled.abs() < (1u64 << 62) as f64 {
        Ok(rounded(scaled))
    } else {
        Err(Error::ValueRange {
            op: "encode",
            index,
            value,
        })
    }
}

/// The integer nearest to a number below 2^63 in absolute value, the one further from zero of two.
fn rounded(x: f64) -> i64 {
    let whole = x as i64;
    // Exact: from 2^52 on doubles are integers.
    let rest = x - whole as f64;
    whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5)
}

fn slot_count(found: usize, expected: usize) -> Error {
    Error::SlotCount {
        op: "encode",
        found,
        expected,
    }
}

fn bit_reverse<T>(values: &mut [T]) {
    let bits = values.len().trailing_zeros();
    if bits == 0 {
        return;
    }
    for i in 0..values.len() {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            values.swap(i, j);
        }
    }
}

/// The compact coefficients of a polynomial over `q_0 … q_level`, as the integers nearest to zero, rounded to double
/// precision. Coefficients of other powers than those of `X^(N/2n)` are left out.
///
/// Garner's algorithm gives the mixed-radix digits exactly, so that the sign is exact at every level.
///
/// # Errors
/// [`Error::Operand`] when special primes are left, [`Error::SlotCount`] when the slots exceed `N/2`.
pub fn centred_coefficients(
    context: &Context,
    poly: &RnsPoly<Coeff>,
    log_slots: u32,
) -> Result<Zeroizing<Vec<f64>>, Error> {
    let basis = poly.basis();
    if basis.specials() != 0 {
        let detail = "special primes must be divided away first".into();
        return Err(Error::Operand {
            op: "decode",
            detail,
        });
    }
    if log_slots >= context.parameters().log_n() {
        return Err(slot_count(1 << log_slots, context.n() / 2));
    }
    let moduli: Vec<_> = (0..basis.limbs()).map(|i| *context.modulus(i)).collect();
    // inverses[i][j] = 1 / q_j modulo q_i
    let inverses: Vec<Vec<u64>> = moduli
        .iter()
        .enumerate()
        .map(|(i, m)| {
            moduli[..i]
                .iter()
                .map(|q| m.inverse(m.reduce(q.value())))
                .collect()
        })
        .collect();
    let count = 2usize << log_slots;
    let step = context.n() / count;
    let centred = |digits: &mut [u64], k: usize| {
        for (i, m) in moduli.iter().enumerate() {
            let (lower, rest) = digits.split_at_mut(i);
            let mut x = poly.limb(i)[k * step];
            for (&digit, &inverse) in lower.iter().zip(&inverses[i]) {
                x = m.mul(m.sub(x, m.reduce(digit)), inverse);
            }
            rest[0] = x;
        }
        // Q is odd, so its half is (q_i - 1) / 2 in every digit, and a value is negative when it exceeds that: when the
        // subtraction of its digits borrows at last. Every digit is looked at.
        let borrow = digits.iter().zip(&moduli).fold(0, |borrow, (&digit, m)| {
            (m.value() / 2).wrapping_sub(digit).wrapping_sub(borrow) >> 63
        });
        // All ones for a negative value x: it is -(Q - x), and Q - x is the complement in every digit, plus one.
        let negative = borrow.wrapping_neg();
        let magnitude = digits
            .iter()
            .zip(&moduli)
            .rev()
            .fold(0.0, |sum, (&digit, m)| {
                let complement = m.value() - 1 - digit;
                let digit = digit ^ (digit ^ complement) & negative;
                // Signed, since the conversion of unsigned words may branch.
                sum * m.value() as f64 + digit as i64 as f64
            });
        let magnitude = magnitude + borrow as i64 as f64;
        f64::from_bits(magnitude.to_bits() ^ borrow << 63)
    };
    let mut coefficients = Zeroizing::new(vec![0.0; count]);
    coefficients.par_iter_mut().enumerate().for_each_init(
        || Zeroizing::new(vec![0; moduli.len()]),
        |digits, (k, coefficient)| *coefficient = centred(digits, k),
    );
    Ok(coefficients)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(n: usize) -> Vec<Complex64> {
        (0..n)
            .map(|i| Complex64::new((i as f64 * 0.7).sin(), (i as f64 * 1.3 + 0.2).cos()))
            .collect()
    }

    #[test]
    fn coefficients_evaluate_to_the_slots() {
        let encoder = Encoder::new(7);
        for log_slots in 0..=7 {
            let n = 1usize << log_slots;
            let slots = samples(n);
            let coefficients = encoder.to_coefficients(&slots).unwrap();
            let mut power = 1u64;
            for (j, &slot) in slots.iter().enumerate() {
                let value =
                    coefficients
                        .iter()
                        .enumerate()
                        .fold(Complex64::default(), |sum, (k, &c)| {
                            let angle =
                                PI * (power * k as u64 % (4 * n as u64)) as f64 / (2 * n) as f64;
                            sum + Complex64::cis(angle).scale(c)
                        });
                assert!((value - slot).abs() < 1e-10, "slot {j} of {n}");
                power = power * 5 % (4 * n as u64);
            }
            let back = encoder.to_slots(&coefficients).unwrap();
            assert!(
                back.iter()
                    .zip(&slots)
                    .all(|(&a, &b)| (a - b).abs() < 1e-12)
            );
        }
    }

    #[test]
    fn a_periodic_vector_has_the_compact_coefficients_of_its_period() {
        let encoder = Encoder::new(6);
        let short = samples(8);
        let long: Vec<_> = short.iter().copied().cycle().take(64).collect();
        let (compact, full) = (
            encoder.to_coefficients(&short).unwrap(),
            encoder.to_coefficients(&long).unwrap(),
        );
        for (k, &c) in full.iter().enumerate() {
            let expected = if k % 8 == 0 { compact[k / 8] } else { 0.0 };
            assert!((c - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn rounding_is_that_of_the_library() {
        let mut values = vec![0.0, 0.5, 1.5, 2.5, 0.499_999_999_999_999_94, 1e-310];
        for power in 0..62 {
            let p = 2f64.powi(power);
            values.extend([p, p - 0.5, p + 0.5, p.next_down(), p.next_up(), p * 1.3]);
        }
        for x in values.iter().flat_map(|&x| [x, -x]) {
            assert_eq!(rounded(x), x.round() as i64, "{x}");
        }
    }

    #[test]
    fn coefficients_are_the_integers_nearest_to_zero() {
        let context = Context::new(heddle_params::named::toy(6).unwrap()).unwrap();
        for level in [0, 1, 2, 28] {
            let basis = crate::context::Basis::q(level);
            let q = context.modulus(0).value() as i64;
            let mut values: Vec<i64> = (0..64)
                .map(|i| (1 << (i / 2)) * (1 - 2 * (i % 2)))
                .collect();
            values[..6].copy_from_slice(&[0, 1, -1, q / 2, -(q / 2), 1 - q / 2]);
            let poly = RnsPoly::from_i64(&context, basis, &values);
            let back = centred_coefficients(&context, &poly, 5).unwrap();
            for (&x, &value) in back.iter().zip(&values) {
                assert_eq!(x, value as f64, "level {level}");
            }
        }
        // The ends of the range at level 1: Q/2 rounded down, and the negative of it.
        let (q0, q1) = (context.modulus(0).value(), context.modulus(1).value());
        let half = (i128::from(q0) * i128::from(q1)) / 2;
        let poly = RnsPoly::from_i128(&context, crate::context::Basis::q(1), &[half, half + 1]);
        let ends = centred_coefficients(&context, &poly, 0).unwrap();
        assert!(ends[0] > 0.0 && ends[1] < 0.0);
        assert!((ends[0] / half as f64 - 1.0).abs() < 1e-15 && ends[0] == -ends[1]);
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        let encoder = Encoder::new(4);
        for length in [0, 3, 32] {
            assert!(matches!(
                encoder.encode_real(&vec![0.0; length], 1.0),
                Err(Error::SlotCount { .. })
            ));
        }
        for value in [f64::NAN, f64::INFINITY, 1e30] {
            assert!(matches!(
                encoder.encode_real(&[value; 4], 1.0),
                Err(Error::ValueRange { .. })
            ));
        }
        assert!(encoder.to_slots(&[0.0; 3]).is_err());
    }
}
