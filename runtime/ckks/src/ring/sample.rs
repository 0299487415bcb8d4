//! Sampling of secrets and errors.
//!
//! Secrets and errors are sampled in constant time: no branch and no address depends on them, and
//! the time of each coefficient is the same. The exception is [`normal`], whose logarithm and
//! cosine may take longer for some deviates.
//!
//! What is sampled is wiped when dropped, and so is the state of [`SecureRng`], from which it could
//! be drawn again.

use crate::Error;
use crate::ring::context::{Basis, Context, SIGMA};
use crate::ring::poly::{Coeff, Eval, RnsPoly};
use crate::ring::seed::Seed;
use chacha20::ChaCha20Legacy;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use heddle_params::Secret;
use rand::rngs::OsRng;
use rand::{CryptoRng, RngCore, TryRngCore};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// Bytes of the keystream made at once: whole blocks, so that the cipher keeps none back.
const KEYSTREAM: usize = 1024;

/// The generator of secrets and errors: the keystream of ChaCha20 with a counter of 64 bits. Its
/// key and the bytes not yet drawn are wiped when it is dropped. It lives on the heap, so that
/// moving it leaves no copy.
pub struct SecureRng(Box<SecureState>);

struct SecureState {
    cipher: ChaCha20Legacy,
    bytes: Zeroizing<[u8; KEYSTREAM]>,
    drawn: usize,
}

/// Without the state, from which it could be drawn again.
impl std::fmt::Debug for SecureRng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureRng").finish_non_exhaustive()
    }
}

impl SecureRng {
    /// The generator of a seed, which is as secret as what is drawn.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(SecureState {
            cipher: ChaCha20Legacy::new(seed.into(), &Default::default()),
            bytes: Zeroizing::new([0; KEYSTREAM]),
            drawn: KEYSTREAM,
        }))
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let state = &mut *self.0;
        if state.drawn + N > KEYSTREAM {
            state.bytes.fill(0);
            state.cipher.apply_keystream(&mut state.bytes[..]);
            state.drawn = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&state.bytes[state.drawn..][..N]);
        state.drawn += N;
        out
    }
}

impl RngCore for SecureRng {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    #[inline]
    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        out.fill_with(|| u8::from_le_bytes(self.take()));
    }
}

impl CryptoRng for SecureRng {}

/// A generator seeded by the operating system.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn os_rng() -> Result<SecureRng, Error> {
    #[cfg(test)]
    if let Some(rng) = repeatable::next() {
        return Ok(rng);
    }
    let mut seed = Zeroizing::new([0; 32]);
    OsRng
        .try_fill_bytes(&mut seed[..])
        .map_err(|e| Error::Randomness(e.to_string()))?;
    Ok(SecureRng::from_seed(&seed))
}

/// Randomness that repeats, for known answers. It is part of this crate's own unit tests and of no
/// other build, whatever the features.
#[cfg(test)]
pub(crate) mod repeatable {
    use super::SecureRng;
    use std::cell::Cell;

    thread_local! {
        /// How many generators this thread has made; `None` on threads that take them from the
        /// operating system.
        static MADE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Runs `f` on a thread of its own, on which every generator has a seed that counts up from
    /// zero. What `f` does in parallel happens on that thread too, and in the same order each time.
    pub(crate) fn run<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
        let pool = pool.build().expect("a thread starts");
        pool.install(|| {
            MADE.set(Some(0));
            f()
        })
    }

    /// The next generator of a thread whose randomness repeats.
    pub(super) fn next() -> Option<SecureRng> {
        let made = MADE.get()?;
        MADE.set(Some(made + 1));
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&made.to_le_bytes());
        Some(SecureRng::from_seed(&seed))
    }
}

/// Coefficients of a secret of the given distribution.
pub fn secret(rng: &mut impl RngCore, n: usize, distribution: Secret) -> Zeroizing<Vec<i8>> {
    match distribution {
        Secret::DenseTernary => ternary(rng, n),
        Secret::SparseTernary(weight) => sparse_ternary(rng, n, weight as usize),
    }
}

/// Coefficients uniform in {−1, 0, 1}, up to a bias below 2^−62.
pub fn ternary(rng: &mut impl RngCore, n: usize) -> Zeroizing<Vec<i8>> {
    coefficients(n, |_| below(rng, 3) as i8 - 1)
}

/// `n` coefficients, written where they stay: a vector that grows leaves copies behind.
fn coefficients(n: usize, mut draw: impl FnMut(usize) -> i8) -> Zeroizing<Vec<i8>> {
    let mut coefficients = Zeroizing::new(vec![0; n]);
    for (i, coefficient) in coefficients.iter_mut().enumerate() {
        *coefficient = draw(i);
    }
    coefficients
}

/// A vector with exactly `weight` coefficients in {−1, 1}, uniform up to a bias below 2^−46 a
/// coefficient.
///
/// Selection sampling (Knuth, volume 2, algorithm S): coefficient `i` is taken with probability
/// needed/left, and every coefficient costs the same.
pub fn sparse_ternary(rng: &mut impl RngCore, n: usize, weight: usize) -> Zeroizing<Vec<i8>> {
    let mut needed = weight.min(n) as u64;
    coefficients(n, |i| {
        // 1 when the draw is below what is needed, without a comparison that could become a branch.
        let taken = below(rng, (n - i) as u64).wrapping_sub(needed) >> 63;
        needed -= taken;
        let sign = (rng.next_u64() & 1) as i8 * 2 - 1;
        sign * taken as i8
    })
}

/// A draw below `bound` from 64 random bits: the bias is below `bound`·2^−64.
fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Magnitudes kept by the error distribution: 30 is 9.4 standard deviations, beyond which 2^−65 of
/// the mass lies.
const TAIL: usize = 30;

/// The largest magnitude of an error's coefficient.
pub const MOST_ERROR: u64 = TAIL as u64;

/// Thresholds t_k = 2^63·Pr(|x| ≤ k): the magnitude is the number of thresholds not above a 63-bit
/// draw.
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

/// Coefficients of the discrete Gaussian of standard deviation [`SIGMA`], from its cumulative
/// table, scanned whole for every coefficient.
pub fn gaussian(rng: &mut impl RngCore, n: usize) -> Zeroizing<Vec<i8>> {
    let thresholds = gaussian_thresholds();
    coefficients(n, |_| {
        let draw = rng.next_u64();
        let (sign, uniform) = ((draw >> 63) as i64, draw & (u64::MAX >> 1));
        // Both are below 2^63 (or equal to it), so the difference's top bit is the comparison.
        let magnitude: i64 = thresholds
            .iter()
            .map(|&t| 1 - (uniform.wrapping_sub(t) >> 63) as i64)
            .sum();
        ((magnitude ^ -sign) + sign) as i8
    })
}

/// A standard normal deviate, by the transform of Box and Muller, for noise that need not be exact
/// to the last bits: masking a result before it is shared.
pub fn normal(rng: &mut impl RngCore) -> f64 {
    let mut unit = || ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (radius, angle) = (unit(), unit());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// A fresh error polynomial, declared secret until it is part of an encryption.
pub(crate) fn fresh_error(context: &Arc<Context>, basis: Basis) -> Result<RnsPoly<Eval>, Error> {
    let error = gaussian(&mut os_rng()?, context.n());
    Ok(RnsPoly::<Coeff>::secret_from_i8(context, basis, &error).into_eval())
}

/// A public seed from the operating system.
pub(crate) fn fresh_seed() -> Result<Seed, Error> {
    let mut seed = Seed::default();
    os_rng()?.fill_bytes(&mut seed);
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    /// The stream is that of the generator of `rand_chacha`, which is ChaCha20 with a counter of 64
    /// bits too.
    #[test]
    fn secure_streams_are_chacha20() {
        let seed = std::array::from_fn(|i| 5 * i as u8);
        let (mut ours, mut theirs) = (SecureRng::from_seed(&seed), ChaCha20Rng::from_seed(seed));
        for _ in 0..1000 {
            assert_eq!(ours.next_u64(), theirs.next_u64());
        }
        let mut bytes = [0; 100];
        SecureRng::from_seed(&seed).fill_bytes(&mut bytes);
        let mut expected = [0; 100];
        ChaCha20Rng::from_seed(seed).fill_bytes(&mut expected);
        assert_eq!(bytes, expected);
    }

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
        let mean = samples.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let variance = samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
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
