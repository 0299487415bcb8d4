//! Polynomials in the Chebyshev basis of the first kind on `[−1, 1]`: what compiler, interpreters
//! and engine must compute alike.

/// Levels that the evaluation of a polynomial of this degree uses: `⌈log2(degree + 1)⌉`.
pub fn depth(degree: usize) -> usize {
    (usize::BITS - degree.leading_zeros()) as usize
}

/// `Σ c_k·T_k(x)` by Clenshaw's recurrence; 0 without coefficients.
pub fn evaluate(coefficients: &[f64], x: f64) -> f64 {
    let (mut b1, mut b2) = (0.0, 0.0);
    for c in coefficients.iter().skip(1).rev() {
        (b1, b2) = (c + 2.0 * x * b1 - b2, b1);
    }
    coefficients.first().copied().unwrap_or(0.0) + x * b1 - b2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_the_logarithm_of_the_number_of_coefficients() {
        for degree in 0..300_usize {
            let expected = (degree as f64 + 1.0).log2().ceil() as usize;
            assert_eq!(depth(degree), expected, "{degree}");
        }
    }

    #[test]
    fn a_value_is_the_sum_of_cosines() {
        let coefficients = [0.5, -1.25, 0.0, 2.0, 0.75];
        for i in -10..=10 {
            let x = f64::from(i) / 10.0;
            let terms = coefficients.iter().enumerate();
            let sum: f64 = terms.map(|(k, c)| c * (x.acos() * k as f64).cos()).sum();
            assert!((evaluate(&coefficients, x) - sum).abs() < 1e-12, "{x}");
        }
        assert_eq!(evaluate(&[], 0.3), 0.0);
        assert_eq!(evaluate(&[4.0], 0.3), 4.0);
    }
}
