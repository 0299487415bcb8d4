//! How closely one slot vector follows another.

use std::fmt;

use crate::scheme::encode::Complex64;

/// The precision of computed slots against expected ones, in bits: `-log2 |error|`, absolute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// Of the mean error.
    pub mean_bits: f64,
    /// Of the median error.
    pub median_bits: f64,
    /// Of the largest error.
    pub worst_bits: f64,
    /// Of the root of the mean squared error.
    pub rms_bits: f64,
    /// The slot with the largest error.
    pub worst_slot: usize,
    /// The largest imaginary part of the error.
    pub worst_imaginary: f64,
}

impl Precision {
    /// Compares two vectors slot by slot, over the shorter of the two. Empty vectors agree
    /// perfectly, and a slot that is not a number counts as an infinite error.
    pub fn compare(expected: &[Complex64], got: &[Complex64]) -> Self {
        let differences: Vec<Complex64> = expected.iter().zip(got).map(|(&e, &g)| g - e).collect();
        let mut errors: Vec<f64> = differences
            .iter()
            .map(|d| d.abs())
            .map(|e| if e.is_nan() { f64::INFINITY } else { e })
            .collect();
        let (worst_slot, worst) = errors
            .iter()
            .copied()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((0, 0.0));
        let count = errors.len().max(1) as f64;
        let mean = errors.iter().sum::<f64>() / count;
        let squares = errors.iter().map(|e| e * e).sum::<f64>() / count;
        errors.sort_by(f64::total_cmp);
        let median = errors.get(errors.len() / 2).copied().unwrap_or(0.0);
        let bits = |error: f64| -error.log2();
        Self {
            mean_bits: bits(mean),
            median_bits: bits(median),
            worst_bits: bits(worst),
            rms_bits: bits(squares.sqrt()),
            worst_slot,
            worst_imaginary: differences.iter().fold(0.0, |m, d| m.max(d.im.abs())),
        }
    }

    /// [`Self::compare`] of real expectations.
    pub fn compare_real(expected: &[f64], got: &[Complex64]) -> Self {
        let expected: Vec<Complex64> = expected.iter().map(|&v| v.into()).collect();
        Self::compare(&expected, got)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} bits mean, {:.2} median, {:.2} worst (slot {})",
            self.mean_bits, self.median_bits, self.worst_bits, self.worst_slot
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_bits() {
        let expected = [0.0, 1.0, 2.0, 3.0];
        let got: Vec<Complex64> = [0.25, 1.0, 2.0, 3.0].map(Complex64::from).to_vec();
        let precision = Precision::compare_real(&expected, &got);
        assert_eq!((precision.worst_bits, precision.worst_slot), (2.0, 0));
        assert_eq!(precision.mean_bits, 4.0);
        assert_eq!(precision.rms_bits, 3.0);
        assert_eq!(precision.median_bits, f64::INFINITY);
    }

    #[test]
    fn not_a_number_is_the_worst() {
        let precision = Precision::compare_real(&[0.0, 0.0], &[0.5.into(), f64::NAN.into()]);
        assert_eq!(
            (precision.worst_bits, precision.worst_slot),
            (f64::NEG_INFINITY, 1)
        );
    }
}
