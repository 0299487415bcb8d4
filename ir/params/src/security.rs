//! Security estimates of parameter sets.
//!
//! The figures are fits to runs of the lattice estimator (MATZOV cost model; ternary secrets, σ =
//! 3.19) at the ring degrees and weights tabulated below, and to the guideline limits of ePrint
//! 2024/463. They answer "is this set above 128 bits", conservatively; they are no substitute for
//! an estimator run far from the tabulated points.

use serde::{Deserialize, Serialize};

/// The distribution of the main secret's coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// Each coefficient uniform in {−1, 0, 1}.
    DenseTernary,
    /// Exactly this many coefficients in {−1, 1}, the rest zero.
    SparseTernary(u32),
}

/// The security level every checked parameter set reaches.
pub const TARGET_BITS: f64 = 128.0;

/// An estimate for one parameter set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Security {
    /// Classical bits of the main key under the modulus QP.
    pub bits: f64,
    /// Largest log2(QP) that gives 128 bits at this ring degree and secret.
    pub limit: u32,
    /// Classical bits of the ephemeral sparse key under `q0·p0`, when the set encapsulates.
    pub encapsulation_bits: Option<f64>,
}

/// Largest log2(QP) with 128 bits for a dense ternary secret, by log2 N from 10 to 17.
const DENSE_LIMITS: [u32; 8] = [26, 53, 106, 214, 430, 868, 1746, 3522];

/// One row of the sparse-secret table: log2 N, weight, then (log2 modulus, bits) in increasing
/// modulus.
struct Row(u32, u32, &'static [(f64, f64)]);

const SPARSE: &[Row] = &[
    Row(14, 64, &[(260.0, 128.0), (270.0, 124.8)]),
    Row(14, 128, &[(360.0, 130.1), (366.0, 128.0), (372.0, 126.7)]),
    Row(14, 192, &[(402.0, 128.0), (410.0, 125.0)]),
    Row(
        15,
        32,
        &[
            (80.0, 153.9),
            (100.0, 146.4),
            (121.0, 140.4),
            (150.0, 134.8),
        ],
    ),
    Row(15, 64, &[(519.0, 128.0), (540.0, 125.4), (557.0, 123.2)]),
    Row(15, 128, &[(731.0, 128.9), (738.0, 128.0), (754.0, 126.0)]),
    Row(15, 192, &[(768.0, 133.9), (808.0, 128.2)]),
    Row(
        16,
        32,
        &[
            (80.0, 177.1),
            (100.0, 169.8),
            (121.0, 163.4),
            (250.0, 146.5),
            (300.0, 135.6),
        ],
    ),
    Row(
        16,
        64,
        &[
            (1046.0, 128.0),
            (1125.0, 124.0),
            (1160.0, 122.3),
            (1750.0, 98.1),
        ],
    ),
    Row(
        16,
        128,
        &[(1490.0, 128.6), (1498.0, 128.0), (1537.0, 125.8)],
    ),
    Row(
        16,
        192,
        &[
            (1501.0, 137.9),
            (1553.0, 134.0),
            (1587.0, 131.4),
            (1630.0, 128.0),
            (1637.0, 127.4),
        ],
    ),
    Row(
        17,
        192,
        &[(3216.0, 131.1), (3304.0, 128.0), (3316.0, 127.5)],
    ),
];

/// Bits that the combinatorial part of a hybrid attack loses when the ring degree halves at equal
/// N/log2(QP), rounded up from the weight-32 rows.
const BITS_PER_HALVING: f64 = 8.0;

/// Bits above the target that an ephemeral key keeps after the allowance for automorphisms.
const ENCAPSULATION_MARGIN: f64 = 3.3;

/// Prime products deviate from their nominal size by far less than this many bits.
const SIZE_TOLERANCE: f64 = 0.01;

fn dense_limit(log_n: u32) -> f64 {
    match log_n {
        10..=17 => f64::from(DENSE_LIMITS[log_n as usize - 10]),
        0..10 => f64::from(DENSE_LIMITS[0]) / f64::from(1 << (10 - log_n)),
        _ => f64::from(DENSE_LIMITS[7]),
    }
}

/// The exponent of [`dense_bits`]: the least that the estimator's uSVP and BDD figures show.
const DENSE_EXPONENT: f64 = 1.05;

/// Bits against attacks that do not use sparsity: a power law through the 128-bit limit.
fn dense_bits(log_n: u32, log_modulus: f64) -> f64 {
    TARGET_BITS * (dense_limit(log_n) / log_modulus).powf(DENSE_EXPONENT)
}

/// Interpolates `bits` in the logarithms; below the first point the first segment's slope goes on,
/// beyond the last one bits fall as those of dense secrets do, which is steeper than any segment.
fn interpolate(points: &[(f64, f64)], log_modulus: f64) -> f64 {
    let last = points.len() - 2;
    let (end, bits) = points[points.len() - 1];
    if log_modulus > end {
        return bits * (end / log_modulus).powf(DENSE_EXPONENT);
    }
    let segment = (0..last)
        .find(|&i| log_modulus < points[i + 1].0)
        .unwrap_or(last);
    let ((x0, y0), (x1, y1)) = (points[segment], points[segment + 1]);
    let t = (log_modulus / x0).ln() / (x1 / x0).ln();
    (y0.ln() + t * (y1 / y0).ln()).exp()
}

/// The hybrid-attack estimate at a tabulated weight: that of the ring degree's own row, or the
/// least of those scaled from other degrees.
fn tabulated_bits(log_n: u32, weight: u32, log_modulus: f64) -> f64 {
    let rows = || SPARSE.iter().filter(|row| row.1 == weight);
    let scaled_from = |row: &Row| {
        let scaled = log_modulus * f64::from(row.0 as i32 - log_n as i32).exp2();
        // A larger ring is never easier, so only smaller ones are corrected.
        let correction = BITS_PER_HALVING * f64::from(row.0.saturating_sub(log_n));
        interpolate(row.2, scaled) - correction
    };
    match rows().find(|row| row.0 == log_n) {
        Some(row) => scaled_from(row),
        None => rows().map(scaled_from).fold(f64::INFINITY, f64::min),
    }
}

fn sparse_bits(log_n: u32, weight: u32, log_modulus: f64) -> f64 {
    const WEIGHTS: [u32; 4] = [32, 64, 128, 192];
    let at = |w: u32| tabulated_bits(log_n, w, log_modulus);
    if weight < WEIGHTS[0] {
        // No row knows so few: never enough.
        let at_most = at(WEIGHTS[0]).min(TARGET_BITS - 1.0);
        return at_most * f64::from(weight) / f64::from(WEIGHTS[0]);
    }
    // More weight is never weaker, and nothing is known between two rows: the best of those of at
    // most this weight.
    let rows = WEIGHTS.iter().filter(|tabulated| **tabulated <= weight);
    rows.map(|tabulated| at(*tabulated)).fold(0.0, f64::max)
}

/// Classical bits of a secret of the given distribution at ring degree `2^log_n` under a modulus of
/// `log_modulus` bits. Exactly at a 128-bit limit the answer is 128.
pub fn estimate_bits(log_n: u32, secret: Secret, log_modulus: f64) -> f64 {
    let dense = dense_bits(log_n, log_modulus);
    let bits = match secret {
        Secret::DenseTernary => dense,
        Secret::SparseTernary(weight) => dense.min(sparse_bits(log_n, weight, log_modulus)),
    };
    bits.max(0.0)
}

/// Whether `log_modulus` is within `limit`, allowing for the deviation of primes from their nominal
/// size.
pub fn within(log_modulus: f64, limit: u32) -> bool {
    log_modulus <= f64::from(limit) + SIZE_TOLERANCE
}

/// Largest whole log2(QP) that gives 128 bits.
pub fn modulus_limit(log_n: u32, secret: Secret) -> u32 {
    let mut limit = dense_limit(log_n) as u32;
    while limit > 0 && estimate_bits(log_n, secret, f64::from(limit)) < TARGET_BITS - 1e-9 {
        limit -= 1;
    }
    limit
}

/// Largest log2(q0·p0) allowed for an ephemeral key: never above 121 bits, and still above the
/// target once log2 N bits are given up to the ring's automorphisms, which the estimator ignores.
pub fn encapsulation_limit(log_n: u32, weight: u32) -> u32 {
    (1..=121u32)
        .rev()
        .find(|&log_modulus| {
            let bits = estimate_bits(log_n, Secret::SparseTernary(weight), f64::from(log_modulus));
            bits - f64::from(log_n) >= TARGET_BITS + ENCAPSULATION_MARGIN
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_limits_are_the_tables() {
        for (log_n, limit) in [(13, 214), (14, 430), (15, 868), (16, 1746), (17, 3522)] {
            assert_eq!(modulus_limit(log_n, Secret::DenseTernary), limit);
        }
        assert!(estimate_bits(16, Secret::DenseTernary, 1747.0) < 128.0);
    }

    #[test]
    fn known_sparse_sets() {
        let bits = |h, modulus| estimate_bits(16, Secret::SparseTernary(h), modulus);
        assert!((bits(64, 1750.0) - 98.1).abs() < 0.2);
        assert!((bits(192, 1501.0) - 137.9).abs() < 0.2);
        assert!((bits(192, 1553.0) - 134.0).abs() < 0.2);
        assert!((bits(32, 100.0) - 169.9).abs() < 0.2);
        assert_eq!(modulus_limit(16, Secret::SparseTernary(192)), 1630);
        assert_eq!(modulus_limit(16, Secret::SparseTernary(64)), 1046);
        assert_eq!(modulus_limit(15, Secret::SparseTernary(64)), 519);
    }

    /// A ring of twice the degree at the same ratio is never easier, and more weight never weaker:
    /// no estimate may say much else, in particular not between the rows of the table and beyond
    /// their ends.
    #[test]
    fn no_estimate_is_above_that_of_a_larger_ring_or_weight() {
        for log_n in 11..17 {
            for weight in 1..=256 {
                let secret = Secret::SparseTernary(weight);
                let limit = f64::from(modulus_limit(log_n, secret));
                if limit == 0.0 {
                    continue;
                }
                let here = estimate_bits(log_n, secret, limit);
                let twice = estimate_bits(log_n + 1, secret, 2.0 * limit);
                // The table's own rows differ by up to two and a half bits.
                assert!(here <= twice + 3.0, "2^{log_n}, {weight}: {here} {twice}");
                let heavier = estimate_bits(log_n, Secret::SparseTernary(weight + 1), limit);
                assert!(here <= heavier, "2^{log_n}, {weight}: {here} {heavier}");
            }
        }
    }

    #[test]
    fn a_weight_between_two_rows_counts_as_the_lower() {
        let bits = |weight| estimate_bits(15, Secret::SparseTernary(weight), 325.0);
        assert!(bits(40) < 100.0 && bits(40) == bits(32), "{}", bits(40));
        assert!(bits(64) > 128.0 && bits(100) >= bits(64));
    }

    #[test]
    fn encapsulation_limits() {
        assert_eq!(encapsulation_limit(16, 32), 121);
        assert_eq!(encapsulation_limit(15, 32), 100);
        assert!(encapsulation_limit(12, 32) < 2 * crate::primes::least_bits(12));
    }

    #[test]
    fn estimates_fall_with_the_modulus_and_rise_with_the_weight() {
        for log_n in 10..=17 {
            for h in [16, 32, 48, 64, 100, 128, 192, 256] {
                let secret = Secret::SparseTernary(h);
                let at = |f: f64| estimate_bits(log_n, secret, f * dense_limit(log_n));
                assert!(at(0.5) >= at(0.7) && at(0.7) >= at(1.0), "{log_n} {h}");
                assert!(
                    at(0.5) <= estimate_bits(log_n, Secret::DenseTernary, 0.5 * dense_limit(log_n))
                );
            }
        }
    }
}
