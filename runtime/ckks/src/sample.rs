//! Sampling of secrets, errors and uniform polynomials.
//!
//! Secrets and errors are sampled in constant time: no branch and no address depends on them.

use crate::Error;
use crate::context::{Basis, Context};
use crate::poly::{Coeff, RnsPoly};
use heddle_params::Secret;
use rand::rngs::OsRng;
use rand::{RngCore, SeedableRng, TryRngCore};
use rand_chacha::ChaCha20Rng;
use std::sync::{Arc, OnceLock};
use zeroize::Zeroize;

/// Standard deviation of errors.
pub const SIGMA: f64 = 3.19;

/// The generator of secrets and errors: ChaCha20.
pub type SecureRng = ChaCha20Rng;

/// A generator seeded by the operating system.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn os_rng() -> Result<SecureRng, Error> {
    let mut seed = [0u8; 32];
    OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|e| Error::Randomness(e.to_string()))?;
    let rng = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    Ok(rng)
}

/// Coefficients of a secret of the given distribution. The caller zeroises them.
pub fn secret(rng: &mut impl RngCore, n: usize, distribution: Secret) -> Vec<i8> {
    match distribution {
        Secret::DenseTernary => ternary(rng, n),
        Secret::SparseTernary(weight) => sparse_ternary(rng, n, weight as usize),
    }
}

/// Coefficients uniform in {−1, 0, 1}, up to a bias below 2^−62.
pub fn ternary(rng: &mut impl RngCore, n: usize) -> Vec<i8> {
    (0..n).map(|_| below(rng, 3) as i8 - 1).collect()
}

/// A vector with exactly `weight` coefficients in {−1, 1}, uniform up to a bias below 2^−46 a coefficient.
///
/// Selection sampling (Knuth, volume 2, algorithm S): coefficient `i` is taken with probability needed/left, and
/// every coefficient costs the same.
pub fn sparse_ternary(rng: &mut impl RngCore, n: usize, weight: usize) -> Vec<i8> {
    let mut needed = weight.min(n) as u64;
    (0..n)
        .map(|i| {
            // 1 when the draw is below what is needed, without a comparison that could become a branch.
            let taken = below(rng, (n - i) as u64).wrapping_sub(needed) >> 63;
            needed -= taken;
            let sign = (rng.next_u64() & 1) as i8 * 2 - 1;
            sign * taken as i8
        })
        .collect()
}

/// A draw below `bound` from 64 random bits: the bias is below `bound`·2^−64.
fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Magnitudes kept by the error distribution: 30 is 9.4 standard deviations, beyond which 2^−65 of the mass lies.
const TAIL: usize = 30;

/// The largest magnitude of an error's coefficient.
pub const MOST_ERROR: u64 = TAIL as u64;

/// Thresholds t_k = 2^63·Pr(|x| ≤ k): the magnitude is the number of thresholds not above a 63-bit draw.
fn gaussian_thresholds() -> &'static [u64; TAIL] {
    static TABLE: OnceLock<[u64; TAIL]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let weight = |k: usize| {
            let density = (-((k * k) as f64) / (2.0 * SIGMA * SIGMA)).exp();
            if k == 0 { density } else { 2.0 * density }
        };
        let total: f64 = (0..=TAIL).map(weight).sum();
        let mut table = [0; TAIL];
        let mut mass = 0.0;
        for (k, threshold) in table.iter_mut().enumerate() {
            mass += weight(k) / total;
            *threshold = ((mass * (1u64 << 63) as f64) as u64).min(1 << 63);
        }
        table
    })
}

/// Coefficients of the discrete Gaussian of standard deviation [`SIGMA`], from its cumulative table, scanned
/// whole for every coefficient. The caller zeroises them.
pub fn gaussian(rng: &mut impl RngCore, n: usize) -> Vec<i64> {
    let thresholds = gaussian_thresholds();
    (0..n)
        .map(|_| {
            let draw = rng.next_u64();
            let (sign, uniform) = ((draw >> 63) as i64, draw & (u64::MAX >> 1));
            // Both are below 2^63 (or equal to it), so the difference's top bit is the comparison.
            let magnitude: i64 = thresholds
                .iter()
                .map(|&t| 1 - (uniform.wrapping_sub(t) >> 63) as i64)
                .sum();
            (magnitude ^ -sign) + sign
        })
        .collect()
}

/// A standard normal deviate, by the transform of Box and Muller, for noise that need not be exact to the last
/// bits: masking a result before it is shared.
pub fn normal(rng: &mut impl RngCore) -> f64 {
    let mut unit = || ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (radius, angle) = (unit(), unit());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// An error polynomial in coefficients.
pub fn gaussian_poly(rng: &mut impl RngCore, ctx: &Arc<Context>, basis: Basis) -> RnsPoly<Coeff> {
    let mut coefficients = gaussian(rng, ctx.n());
    let poly = RnsPoly::from_i64(ctx, basis, &coefficients);
    coefficients.zeroize();
    poly
}

/// A uniform polynomial; the domain is the caller's to choose, since the transform permutes uniform polynomials.
/// Rejection sampling: exact, its time depends on public values only.
pub fn uniform<D>(rng: &mut impl RngCore, ctx: &Arc<Context>, basis: Basis) -> RnsPoly<D> {
    let mut poly = RnsPoly::stale(ctx, basis);
    for i in 0..basis.limbs() {
        let modulus = *ctx.limb_modulus(basis, i);
        let mask = u64::MAX >> (64 - modulus.bits());
        for value in poly.limb_mut(i) {
            *value = loop {
                let draw = rng.next_u64() & mask;
                if draw < modulus.value() {
                    break draw;
                }
            };
        }
    }
    poly
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ternary_samples_have_their_weight() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        for (n, weight) in [(1024, 32), (1024, 0), (64, 64), (4096, 192)] {
            let s = sparse_ternary(&mut rng, n, weight);
            assert_eq!(s.iter().filter(|&&x| x != 0).count(), weight);
            assert!(s.iter().all(|x| x.abs() <= 1));
        }
        let dense = ternary(&mut rng, 30_000);
        for value in -1..=1 {
            let count = dense.iter().filter(|&&x| x == value).count();
            assert!((9_500..10_500).contains(&count), "{value}: {count}");
        }
    }

    #[test]
    fn weighted_positions_are_spread_evenly() {
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let mut halves = [0usize; 2];
        for _ in 0..200 {
            for (i, &x) in sparse_ternary(&mut rng, 256, 32).iter().enumerate() {
                halves[i / 128] += usize::from(x != 0);
            }
        }
        assert!(
            halves.iter().all(|&h| (2_950..3_450).contains(&h)),
            "{halves:?}"
        );
    }

    #[test]
    fn gaussian_moments() {
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let n = 200_000;
        let samples = gaussian(&mut rng, n);
        let mean = samples.iter().sum::<i64>() as f64 / n as f64;
        let variance = samples.iter().map(|&x| (x * x) as f64).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!(
            (variance.sqrt() - SIGMA).abs() < 0.03,
            "{}",
            variance.sqrt()
        );
        let zeros = samples.iter().filter(|&&x| x == 0).count() as f64 / n as f64;
        assert!((zeros - 0.12506).abs() < 0.004, "{zeros}");
    }

    #[test]
    fn operating_system_seeds_differ() {
        assert_ne!(os_rng().unwrap().next_u64(), os_rng().unwrap().next_u64());
    }
}
