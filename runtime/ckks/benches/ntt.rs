//! Kernels at full size; labels are `operation/degree/limbs/kernel`.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use heddle_ckks::kernel::{Init, Kernel};
use heddle_ckks::tables::Automorphism;
use heddle_ckks::tables::ConversionTable;
use heddle_ckks::tables::Modulus;
use heddle_ckks::tables::NttTable;
use heddle_params::{GaloisElement, primes};
use std::hint::black_box;

const LOG_N: u32 = 16;
const N: usize = 1 << LOG_N;

/// Residues that differ between limbs; the kernels' time does not depend on them.
fn limb(m: &Modulus, seed: u64) -> Vec<u64> {
    (0..N as u64)
        .map(|i| (i * 0x9E37_79B9 + seed) * 0x2545_F491 % m.value())
        .collect()
}

fn transforms(c: &mut Criterion) {
    let (q, _) = primes::chains(LOG_N, &[50; 30], &[]).expect("thirty primes of 50 bits exist");
    for limbs in [1, 30] {
        let tables: Vec<NttTable> = q[..limbs]
            .iter()
            .map(|&q| NttTable::new(Modulus::new(q), LOG_N))
            .collect();
        let mut data: Vec<Vec<u64>> = tables.iter().map(|t| limb(t.modulus(), 1)).collect();
        for kernel in Kernel::available() {
            let name = kernel.name();
            c.bench_function(&format!("ntt_forward/{N}/{limbs}/{name}"), |b| {
                b.iter(|| {
                    tables
                        .iter()
                        .zip(&mut data)
                        .for_each(|(t, x)| kernel.ntt_forward(t, black_box(x)))
                });
            });
            c.bench_function(&format!("ntt_inverse/{N}/{limbs}/{name}"), |b| {
                b.iter(|| {
                    tables
                        .iter()
                        .zip(&mut data)
                        .for_each(|(t, x)| kernel.ntt_inverse(t, black_box(x)))
                });
            });
        }
    }
}

fn products(c: &mut Criterion) {
    let (q, _) = primes::chains(LOG_N, &[50; 20], &[]).expect("twenty primes of 50 bits exist");
    let moduli: Vec<Modulus> = q.into_iter().map(Modulus::new).collect();
    let m = moduli[0];
    let limbs: Vec<Vec<u64>> = (0..9).map(|i| limb(&m, i)).collect();
    let views: Vec<&[u64]> = limbs.iter().map(Vec::as_slice).collect();
    let compact: Vec<&[u64]> = limbs.iter().map(|x| &x[..N / 16]).collect();
    let (mut x, mut y) = (limb(&m, 20), limb(&m, 21));
    let automorphism = Automorphism::new(GaloisElement::rotation(5, N));
    let table = ConversionTable::new(&moduli[..10], &moduli[10..]);
    for kernel in Kernel::available() {
        let name = kernel.name();
        c.bench_function(&format!("mul/{N}/1/{name}"), |b| {
            b.iter(|| kernel.mul(&m, black_box(&mut x), views[0], 0))
        });
        c.bench_function(&format!("dot_pair_3/{N}/1/{name}"), |b| {
            b.iter(|| {
                let sides = [&views[3..6], &views[6..9]];
                kernel.dot_pair(
                    &m,
                    [&mut x, &mut y],
                    Init::Replace,
                    black_box(&views[..3]),
                    0,
                    sides,
                );
            });
        });
        c.bench_function(&format!("dot_pair_compact_4/{N}/1/{name}"), |b| {
            b.iter(|| {
                let sides = [&views[..4], &views[4..8]];
                kernel.dot_pair(
                    &m,
                    [&mut x, &mut y],
                    Init::Replace,
                    black_box(&compact[..4]),
                    4,
                    sides,
                );
            });
        });
        c.bench_function(&format!("permute/{N}/1/{name}"), |b| {
            b.iter(|| kernel.permute(&automorphism, black_box(&mut x), views[0]));
        });
        let inputs: Vec<Vec<u64>> = moduli[..10].iter().map(|m| limb(m, 3)).collect();
        let mut outputs: Vec<Vec<u64>> = vec![vec![0; N]; 10];
        c.bench_function(&format!("convert_10_to_10/{N}/10/{name}"), |b| {
            b.iter(|| {
                for start in (0..N).step_by(1024) {
                    let parts: Vec<&[u64]> =
                        inputs.iter().map(|x| &x[start..start + 1024]).collect();
                    let mut columns: Vec<&mut [u64]> = outputs
                        .iter_mut()
                        .map(|x| &mut x[start..start + 1024])
                        .collect();
                    kernel.convert(&table, &parts, &mut columns);
                }
            });
        });
    }
}

criterion_group!(benches, transforms, products);
criterion_main!(benches);
