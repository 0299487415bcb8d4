//! Encoding of slot vectors: the canonical embedding restricted to the rotation group of 5.
//!
//! A vector of `n = 2^log_slots` complex numbers, repeated with period `n` over all `N/2` slots, is
//! a real polynomial in `Y = X^(N/2n)` of degree below `2n`: its values at `zeta^(5^j)`,
//! `zeta = exp(i pi / 2n)`, are the slots. The transform is the special FFT of Cheon, Han, Kim, Kim
//! and Song (EUROCRYPT 2018): coefficient `k` is the real part and coefficient `k + n` the
//! imaginary part of the `k`-th output.
//!
//! *Compact coefficients* are the `2n` coefficients of that polynomial in `Y`.
//!
//! *Constant time.* Encoding and decoding take a time that depends on the number of slots alone:
//! doubles are added, multiplied, compared without a branch and converted, never divided by;
//! rounding is done here, since the library's looks at the exponent. Visible is only whether a
//! value cannot be encoded, and which one. A processor may take longer for subnormal doubles.
//! *Memory.* Intermediate vectors are wiped; results are the caller's.

use std::f64::consts::PI;
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

use zeroize::{DefaultIsZeroes, Zeroizing};

use crate::Error;

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

/// The special FFT for every slot count up to a maximum, and the encoding that rests on it.
///
/// A vector of `n = 2^log_slots` complex numbers, repeated over all `N/2` slots, is a polynomial in
/// `Y = X^(N/2n)` of degree below `2n`; its *compact coefficients* are these `2n` numbers.
///
/// The twiddles of the stage with half length `h` are `exp(2 pi i (5^j mod 8h) / 8h)` for `j < h`,
/// whatever the slot count; they are stored at `h..2h`.
pub struct Encoder {
    log_max_slots: u32,
    twiddles: Vec<Complex64>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("log_max_slots", &self.log_max_slots)
            .finish_non_exhaustive()
    }
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

    /// Slots to the folded coefficients: entry `k` holds coefficients `k` (real) and `k + n`
    /// (imaginary).
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
    /// [`Error::SlotCount`] for a bad length, [`Error::ValueRange`] when a coefficient is not
    /// finite or reaches 2^62; its index is that of the coefficient.
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

/// `round(value * scale)` when it fits the signed 62-bit range of compact coefficients; `index`
/// says in errors which value it was.
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

pub(crate) fn slot_count(found: usize, expected: usize) -> Error {
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
