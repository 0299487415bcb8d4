//! Deterministic prime chains.
//!
//! Every prime is 1 modulo `2N` (so that the negacyclic transform exists) and below 2^50 (so that
//! lazily reduced values, up to four times the modulus, fit a 52-bit multiplier). Primes of 50 bits
//! descend from 2^50; smaller sizes alternate above and below their power of two, nearest first, so
//! that rescaling hardly moves the scale. The chain depends on the ring degree and the list of
//! sizes alone.

use crate::Error;
use std::collections::BTreeMap;

/// The largest prime size, in bits.
pub const MAX_BITS: u32 = 50;

/// The least prime size, in bits, at ring degree `2^log_n`.
pub fn least_bits(log_n: u32) -> u32 {
    (log_n + 6).max(20)
}

fn mul_mod(a: u64, b: u64, m: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(m)) as u64
}

/// `base^exponent mod modulus`.
pub fn pow_mod(base: u64, mut exponent: u64, modulus: u64) -> u64 {
    let (mut base, mut result) = (base % modulus, 1 % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul_mod(result, base, modulus);
        }
        base = mul_mod(base, base, modulus);
        exponent >>= 1;
    }
    result
}

/// Whether `n` is prime: Miller–Rabin over the first twelve primes, which is exact for all 64-bit
/// integers.
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    for p in BASES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    let shift = (n - 1).trailing_zeros();
    let odd = (n - 1) >> shift;
    BASES.iter().all(|&base| {
        let mut x = pow_mod(base, odd, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..shift).any(|_| {
            x = mul_mod(x, x, n);
            x == n - 1
        })
    })
}

/// The primes of `bits` bits for ring degree `2^log_n`, in the order in which chains use them.
fn primes_of_size(bits: u32, log_n: u32, wanted: usize) -> Result<Vec<u64>, Error> {
    let step = 1u64 << (log_n + 1);
    let centre = 1u64 << bits;
    let (floor, ceiling) = (
        centre - (centre >> 2),
        (centre + (centre >> 2)).min(1 << MAX_BITS),
    );
    let mut up = (0..)
        .map(|i| centre + 1 + i * step)
        .take_while(|&c| c < ceiling)
        .filter(|&c| is_prime(c));
    let mut down = (1..)
        .map(|i| centre + 1 - i * step)
        .take_while(|&c| c > floor)
        .filter(|&c| is_prime(c));
    let mut primes = Vec::with_capacity(wanted);
    while primes.len() < wanted {
        let before = primes.len();
        primes.extend(down.next());
        primes.extend(up.next());
        if primes.len() == before {
            return Err(Error::NotEnoughPrimes {
                bits,
                wanted,
                modulus_log: log_n + 1,
            });
        }
    }
    primes.truncate(wanted);
    Ok(primes)
}

/// The primes of both chains, in the order of the sizes given; all distinct.
///
/// # Errors
/// When a size is outside [`least_bits`]..=[`MAX_BITS`] or has too few primes.
pub fn chains(log_n: u32, log_q: &[u32], log_p: &[u32]) -> Result<(Vec<u64>, Vec<u64>), Error> {
    let least = least_bits(log_n);
    let mut counts = BTreeMap::<u32, usize>::new();
    for (chain, sizes) in [("log_q", log_q), ("log_p", log_p)] {
        for &bits in sizes {
            if !(least..=MAX_BITS).contains(&bits) {
                return Err(Error::PrimeSize { chain, bits, least });
            }
            *counts.entry(bits).or_default() += 1;
        }
    }
    let mut pools = BTreeMap::new();
    for (bits, wanted) in counts {
        // The windows of neighbouring sizes do not meet: [3/4, 5/4)·2^bits.
        pools.insert(bits, primes_of_size(bits, log_n, wanted)?.into_iter());
    }
    let mut take = |sizes: &[u32]| -> Vec<u64> {
        sizes
            .iter()
            .filter_map(|bits| pools.get_mut(bits).and_then(Iterator::next))
            .collect()
    };
    let q = take(log_q);
    let p = take(log_p);
    Ok((q, p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primality_agrees_with_trial_division() {
        for n in 0u64..3000 {
            let naive = n >= 2 && (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0);
            assert_eq!(is_prime(n), naive, "{n}");
        }
        assert!(
            !is_prime(3_215_031_751),
            "a strong pseudoprime to bases 2, 3, 5 and 7"
        );
        assert!(is_prime((1 << 61) - 1));
    }

    #[test]
    fn chains_are_distinct_and_congruent() {
        let (q, p) = chains(16, &[50, 40, 40, 40, 48, 48, 50], &[50, 50]).unwrap();
        let mut all: Vec<u64> = q.iter().chain(&p).copied().collect();
        assert!(
            all.iter()
                .all(|&m| is_prime(m) && m % (1 << 17) == 1 && m < 1 << 50)
        );
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
        assert!(q[1] < 1 << 40 && q[2] > 1 << 40 && q[3] < q[1]);
    }

    #[test]
    fn forty_bit_primes_stay_near_their_power() {
        let (q, _) = chains(16, &[40; 18], &[]).unwrap();
        for m in q {
            assert!((m as f64 / (1u64 << 40) as f64 - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn bad_sizes_are_refused() {
        assert!(matches!(
            chains(16, &[51], &[50]),
            Err(Error::PrimeSize { bits: 51, .. })
        ));
        assert!(matches!(
            chains(16, &[19], &[50]),
            Err(Error::PrimeSize { .. })
        ));
        assert!(matches!(
            chains(16, &[22; 40], &[50]),
            Err(Error::NotEnoughPrimes { .. })
        ));
    }
}
