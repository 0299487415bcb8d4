//! When two scales count as equal.

/// Relative difference up to which the scales of two ciphertexts are equal: rescaling by primes
/// close to a power of two leaves rounding errors far below it.
pub const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// Difference up to which the log2 of two scales in a schedule are equal. Both are computed from
/// the same primes, so that only the rounding of the logarithms is allowed for.
pub const LOG_SCALE_TOLERANCE: f64 = 1.5 / (1_u64 << 40) as f64;

/// Whether two scales are equal but for rounding.
pub fn same_scale(left: f64, right: f64) -> bool {
    (left / right - 1.0).abs() <= SCALE_TOLERANCE
}

/// Whether two scales of a schedule, given as log2, are equal but for rounding.
pub fn same_log_scale(left: f64, right: f64) -> bool {
    (left - right).abs() <= LOG_SCALE_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_differ_by_less_than_the_noise_or_not_at_all() {
        let scale = 2_f64.powi(40);
        assert!(same_scale(scale, scale * (1.0 + 0.9 * SCALE_TOLERANCE)));
        assert!(!same_scale(scale, scale * (1.0 + 1.1 * SCALE_TOLERANCE)));
        assert!(same_log_scale(40.0, 40.0 + 0.9 * LOG_SCALE_TOLERANCE));
        assert!(!same_log_scale(40.0, 40.0 + 1.1 * LOG_SCALE_TOLERANCE));
        assert!(!same_scale(f64::NAN, scale) && !same_log_scale(f64::NAN, 40.0));
    }
}
