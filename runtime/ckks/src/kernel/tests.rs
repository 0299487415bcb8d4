//! One suite of properties, instantiated per kernel, against naive oracles in wide integers.

use super::{Init, Kernel};
use crate::tables::automorphism::Automorphism;
use crate::tables::conversion::ConversionTable;
use crate::tables::modulus::Modulus;
use crate::tables::ntt::{NttTable, reverse_bits};
use heddle_params::{GaloisElement, primes};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Primes of several sizes for ring degrees up to 2^12.
fn moduli() -> Vec<Modulus> {
    let (q, _) = primes::chains(12, &[50, 40, 40, 22, 48, 50, 30, 47, 46], &[]).unwrap();
    q.into_iter().map(Modulus::new).collect()
}

/// The primes and the ends of what a modulus may be: arithmetic without transforms and inverses
/// needs odd ones only.
fn odd_moduli() -> Vec<Modulus> {
    let odd = [5, 7, 4095, 4097, 8191, (1 << 47) + 1, (1 << 50) - 1].map(Modulus::new);
    moduli().into_iter().chain(odd).collect()
}

/// Residues, with the extremes over-represented.
fn residues(rng: &mut ChaCha20Rng, m: &Modulus, len: usize) -> Vec<u64> {
    (0..len)
        .map(|_| match rng.random_range(0..8) {
            0 => 0,
            1 => m.value() - 1,
            _ => rng.random_range(0..m.value()),
        })
        .collect()
}

fn mul(m: &Modulus, a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(m.value())) as u64
}

/// Runs `property` on sampled (seed, log2 length, prime).
fn check(
    log_len: std::ops::RangeInclusive<u32>,
    property: impl Fn(&mut ChaCha20Rng, u32, Modulus),
) {
    check_over(moduli(), log_len, property);
}

/// Runs `property` on sampled (seed, log2 length, modulus).
fn check_over(
    moduli: Vec<Modulus>,
    log_len: std::ops::RangeInclusive<u32>,
    property: impl Fn(&mut ChaCha20Rng, u32, Modulus),
) {
    let inputs = (any::<u64>(), log_len, 0..moduli.len());
    let mut runner = TestRunner::new(Config {
        cases: 8 * moduli.len() as u32,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&inputs, |(seed, log_len, m)| {
            property(&mut ChaCha20Rng::seed_from_u64(seed), log_len, moduli[m]);
            Ok(())
        })
        .unwrap();
}

pub(super) fn transform_evaluates_at_the_roots(kernel: Kernel) {
    check(4..=9, |rng, log_n, m| {
        let table = NttTable::new(m, log_n);
        let x = residues(rng, &m, 1 << log_n);
        let mut y = x.clone();
        kernel.ntt_forward(&table, &mut y);
        let psi = m.primitive_root(2 << log_n);
        for i in [0, 1, 2, 5, 13, (1 << log_n) - 1] {
            let point = m.pow(psi, 2 * reverse_bits(i, log_n) as u64 + 1);
            let value = x
                .iter()
                .rev()
                .fold(0, |acc, &c| m.add(mul(&m, acc, point), c));
            assert_eq!(y[i], value, "index {i} of 2^{log_n}");
        }
        kernel.ntt_inverse(&table, &mut y);
        assert_eq!(x, y);
    });
}

pub(super) fn transform_agrees_with_scalar(kernel: Kernel) {
    for log_n in [4, 5, 6, 7, 8, 9, 10, 11, 12] {
        for m in moduli() {
            let table = NttTable::new(m, 12);
            let mut rng = ChaCha20Rng::seed_from_u64(log_n);
            let (largest, half) = (m.value() - 1, m.value() / 2);
            let mut either = |pair: [u64; 2]| -> Vec<u64> {
                (0..1 << log_n)
                    .map(|_| pair[rng.random_range(0..2)])
                    .collect()
            };
            for x in [
                either([0, largest]),
                either([half, largest]),
                either([half, half + 1]),
                vec![largest; 1 << log_n],
                residues(&mut rng, &m, 1 << log_n),
            ] {
                let (mut fast, mut slow) = (x.clone(), x.clone());
                kernel.ntt_inverse(&table, &mut fast);
                Kernel::scalar().ntt_inverse(&table, &mut slow);
                assert_eq!(fast, slow, "inverse 2^{log_n} modulo {}", m.value());
                let (mut fast, mut slow) = (x.clone(), x.clone());
                kernel.ntt_forward(&table, &mut fast);
                Kernel::scalar().ntt_forward(&table, &mut slow);
                assert_eq!(fast, slow, "forward 2^{log_n} modulo {}", m.value());
                let mut elsewhere = vec![1; x.len()];
                kernel.ntt_forward_from(&table, &mut elsewhere, &x);
                assert_eq!(
                    elsewhere,
                    slow,
                    "forward elsewhere 2^{log_n} modulo {}",
                    m.value()
                );
                kernel.ntt_inverse_from(&table, &mut elsewhere, &fast);
                assert_eq!(
                    elsewhere,
                    x,
                    "inverse elsewhere 2^{log_n} modulo {}",
                    m.value()
                );
                kernel.ntt_inverse(&table, &mut fast);
                assert_eq!(fast, x, "inverse 2^{log_n} modulo {}", m.value());
            }
        }
    }
}

pub(super) fn large_transforms_agree_with_scalar(kernel: Kernel) {
    let (q, _) = primes::chains(16, &[50, 40], &[]).unwrap();
    for log_n in [13, 14, 15, 16] {
        for &q in &q {
            let m = Modulus::new(q);
            let table = NttTable::new(m, log_n);
            let x = residues(&mut ChaCha20Rng::seed_from_u64(q), &m, 1 << log_n);
            let (mut fast, mut slow) = (x.clone(), x.clone());
            kernel.ntt_forward(&table, &mut fast);
            Kernel::scalar().ntt_forward(&table, &mut slow);
            assert!(fast == slow, "forward 2^{log_n} modulo {q}");
            let mut elsewhere = vec![1; x.len()];
            kernel.ntt_forward_from(&table, &mut elsewhere, &x);
            assert!(elsewhere == slow, "forward elsewhere 2^{log_n} modulo {q}");
            kernel.ntt_inverse_from(&table, &mut elsewhere, &slow);
            assert!(elsewhere == x, "inverse elsewhere 2^{log_n} modulo {q}");
            kernel.ntt_inverse(&table, &mut fast);
            assert!(fast == x, "inverse 2^{log_n} modulo {q}");
        }
    }
}

pub(super) fn compact_transform_repeats(kernel: Kernel) {
    check(4..=8, |rng, log_len, m| {
        let log_n = 10;
        let table = NttTable::new(m, log_n);
        let mut compact = residues(rng, &m, 1 << log_len);
        let gap = 1usize << (log_n - log_len);
        let mut full = vec![0; 1 << log_n];
        compact
            .iter()
            .enumerate()
            .for_each(|(j, &c)| full[j * gap] = c);
        kernel.ntt_forward(&table, &mut compact);
        kernel.ntt_forward(&table, &mut full);
        assert!(full.iter().enumerate().all(|(i, &v)| v == compact[i / gap]));
    });
}

pub(super) fn pointwise(kernel: Kernel) {
    check_over(odd_moduli(), 0..=8, |rng, log_len, m| {
        // Odd lengths exercise the tails of vector loops.
        let len = (1usize << log_len) + rng.random_range(0..9);
        let (x, y, z) = (
            residues(rng, &m, len),
            residues(rng, &m, len),
            residues(rng, &m, len),
        );
        let s = m.shoup(residues(rng, &m, 1)[0]);
        let run = |f: &dyn Fn(&mut [u64]), expected: &dyn Fn(usize) -> u64, name: &str| {
            let mut out = x.clone();
            f(&mut out);
            for (i, &v) in out.iter().enumerate() {
                assert_eq!(
                    v,
                    expected(i),
                    "{name} at {i} of {len} modulo {}",
                    m.value()
                );
            }
        };
        run(&|v| kernel.add(&m, v, &y), &|i| m.add(x[i], y[i]), "add");
        run(&|v| kernel.sub(&m, v, &y), &|i| m.sub(x[i], y[i]), "sub");
        run(&|v| kernel.neg(&m, v), &|i| m.neg(x[i]), "neg");
        run(
            &|v| kernel.mul(&m, v, &y, 0),
            &|i| mul(&m, x[i], y[i]),
            "mul",
        );
        run(
            &|v| kernel.mul_sub(&m, v, &y, &z),
            &|i| m.sub(x[i], mul(&m, y[i], z[i])),
            "mul_sub",
        );
        run(
            &|v| kernel.mul_scalar(&m, v, s),
            &|i| mul(&m, x[i], s.value),
            "mul_scalar",
        );
        run(
            &|v| kernel.mul_scalar_add(&m, v, &y, s),
            &|i| m.add(x[i], mul(&m, y[i], s.value)),
            "mul_scalar_add",
        );
        run(
            &|v| kernel.sub_mul_scalar(&m, v, &y, s),
            &|i| mul(&m, m.sub(x[i], y[i]), s.value),
            "sub_mul_scalar",
        );
        let wide: Vec<i64> = (0..len)
            .map(|i| match i % 4 {
                0 => rng.random::<i64>(),
                1 => rng.random_range(-(1i64 << 51)..1 << 51),
                2 => [i64::MIN, i64::MAX, 0, -1, (1 << 51) - 1, -(1 << 51)][rng.random_range(0..6)],
                _ => rng.random_range(-1..=1),
            })
            .collect();
        for from in odd_moduli() {
            let y = residues(rng, &from, len);
            run(
                &|v| kernel.switch_modulus(&from, &m, v, &y),
                &|i| m.from_i64(from.centred(y[i])),
                "switch_modulus",
            );
        }
        run(
            &|v| kernel.reduce_signed(&m, v, &wide),
            &|i| i128::from(wide[i]).rem_euclid(m.value().into()) as u64,
            "reduce_signed",
        );
        if m.value() > 128 {
            let small: Vec<i8> = (0..len).map(|_| rng.random()).collect();
            run(
                &|v| kernel.lift_small(&m, v, &small),
                &|i| i64::from(small[i]).rem_euclid(m.value() as i64) as u64,
                "lift_small",
            );
        }
    });
}

pub(super) fn dots(kernel: Kernel) {
    check_over(odd_moduli(), 4..=8, |rng, log_len, m| {
        let len = 1usize << log_len;
        let log_rep = rng.random_range(0..=log_len);
        let terms = rng.random_range(1..40);
        let vectors = |rng: &mut ChaCha20Rng, len: usize| -> Vec<Vec<u64>> {
            (0..terms)
                .map(|t| {
                    if t % 3 < 2 {
                        vec![m.value() - 1; len]
                    } else {
                        residues(rng, &m, len)
                    }
                })
                .collect()
        };
        let (shared, a, b) = (
            vectors(rng, len >> log_rep),
            vectors(rng, len),
            vectors(rng, len),
        );
        fn views(v: &[Vec<u64>]) -> Vec<&[u64]> {
            v.iter().map(Vec::as_slice).collect()
        }
        let start = residues(rng, &m, len);
        for init in [Init::Replace, Init::Accumulate] {
            let expected = |f: &[Vec<u64>], i: usize| {
                let first = if init == Init::Replace { 0 } else { start[i] };
                (0..terms).fold(first, |acc, t| {
                    m.add(acc, mul(&m, shared[t][i >> log_rep], f[t][i]))
                })
            };
            let (mut x, mut y) = (start.clone(), start.clone());
            kernel.dot(&m, &mut x, init, &views(&shared), log_rep, &views(&a));
            assert!(
                (0..len).all(|i| x[i] == expected(&a, i)),
                "dot, rep 2^{log_rep}"
            );
            x.copy_from_slice(&start);
            kernel.dot_pair(
                &m,
                [&mut x, &mut y],
                init,
                &views(&shared),
                log_rep,
                [&views(&a), &views(&b)],
            );
            assert!(
                (0..len).all(|i| x[i] == expected(&a, i)),
                "first of pair, rep 2^{log_rep}"
            );
            assert!(
                (0..len).all(|i| y[i] == expected(&b, i)),
                "second of pair, rep 2^{log_rep}"
            );
        }
        let compact = residues(rng, &m, len >> log_rep);
        let mut x = start.clone();
        kernel.mul(&m, &mut x, &compact, log_rep);
        assert!(
            (0..len).all(|i| x[i] == mul(&m, start[i], compact[i >> log_rep])),
            "mul, rep 2^{log_rep}"
        );
    });
}

pub(super) fn permutations(kernel: Kernel) {
    check(4..=9, |rng, log_n, m| {
        let n = 1usize << log_n;
        let table = NttTable::new(m, log_n);
        let galois = GaloisElement::new(2 * rng.random_range(0..n as u64) + 1, n).unwrap();
        let x = residues(rng, &m, n);
        let mut image = vec![0; n];
        for (i, &c) in x.iter().enumerate() {
            let e = (i * galois.exponent() as usize) % (2 * n);
            image[e % n] = if e < n { c } else { m.neg(c) };
        }
        kernel.ntt_forward(&table, &mut image);
        let mut values = x;
        kernel.ntt_forward(&table, &mut values);
        let permutation = Automorphism::new(galois);
        let mut permuted = vec![0; n];
        kernel.permute(&permutation, &mut permuted, &values);
        assert_eq!(permuted, image, "{galois:?} at 2^{log_n}");
    });
}

/// One value per coefficient, converted and compared with its centred integer.
pub(super) fn conversions(kernel: Kernel) {
    let all = moduli();
    check(0..=8, |rng, log_len, _| {
        let len = (1usize << log_len) + rng.random_range(0..9);
        let sources: Vec<Modulus> = all[..rng.random_range(1..=2)].to_vec();
        let table = ConversionTable::new(&sources, &all);
        let product: i128 = sources.iter().map(|m| i128::from(m.value())).product();
        let values: Vec<i128> = (0..len)
            .map(|i| match i % 4 {
                0 => rng.random_range(-3..=3),
                _ => rng.random_range(-(product / 2) + 1..product / 2),
            })
            .collect();
        let inputs: Vec<Vec<u64>> = sources
            .iter()
            .map(|m| values.iter().map(|&v| m.from_i128(v)).collect())
            .collect();
        let mut outputs = vec![vec![0u64; len]; all.len()];
        let views: Vec<&[u64]> = inputs.iter().map(Vec::as_slice).collect();
        kernel.convert(
            &table,
            &views,
            &mut outputs
                .iter_mut()
                .map(Vec::as_mut_slice)
                .collect::<Vec<_>>(),
        );
        for (m, output) in all.iter().zip(&outputs) {
            for (i, &v) in values.iter().enumerate() {
                assert_eq!(
                    output[i],
                    m.from_i128(v),
                    "coefficient {i} modulo {}",
                    m.value()
                );
            }
        }
    });
}

/// Many sources exceed what the lazy accumulators hold and need intermediate reductions.
pub(super) fn wide_conversions_agree_with_scalar(kernel: Kernel) {
    let (q, p) = primes::chains(12, &[50; 40], &[48; 5]).unwrap();
    let moduli =
        |primes: Vec<u64>| -> Vec<Modulus> { primes.into_iter().map(Modulus::new).collect() };
    let (sources, targets) = (moduli(q), moduli(p));
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    for count in [3, 14, 15, 16, 31, 40] {
        let table = ConversionTable::new(&sources[..count], &targets);
        let inputs: Vec<Vec<u64>> = sources[..count]
            .iter()
            .map(|m| residues(&mut rng, m, 256))
            .collect();
        let views: Vec<&[u64]> = inputs.iter().map(Vec::as_slice).collect();
        let run = |kernel: Kernel| {
            let mut out = vec![vec![0u64; 256]; targets.len()];
            kernel.convert(
                &table,
                &views,
                &mut out.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
            );
            out
        };
        assert_eq!(run(kernel), run(Kernel::scalar()), "{count} sources");
    }
}

macro_rules! suite {
    ($name:ident, $kernel:expr; $($property:ident),* $(,)?) => {
        mod $name {
            use super::super::Kernel;
            $(
                #[test]
                fn $property() {
                    match $kernel {
                        Some(kernel) => super::$property(kernel),
                        None => println!("skipped: this machine lacks the kernel"),
                    }
                }
            )*
        }
    };
    ($name:ident, $kernel:expr) => {
        suite!($name, $kernel; transform_evaluates_at_the_roots, transform_agrees_with_scalar,
            large_transforms_agree_with_scalar, compact_transform_repeats, pointwise, dots, permutations, conversions,
            wide_conversions_agree_with_scalar);
    };
}

suite!(scalar, Some(Kernel::scalar()));
suite!(avx2, Kernel::avx2());
suite!(ifma, Kernel::ifma());

#[test]
fn kernels_are_found_by_name() {
    for kernel in Kernel::available() {
        assert_eq!(Kernel::by_name(kernel.name()).unwrap(), kernel);
    }
    let message = Kernel::by_name("abacus").unwrap_err().to_string();
    assert!(
        message.contains("`abacus`") && message.contains("HEDDLE_KERNEL"),
        "{message}"
    );
}
