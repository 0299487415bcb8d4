//! The portable kernel: the specification of every other one.

use super::{CONVERT_BLOCK, Init};
use crate::modulus::{MAX_LAZY_PRODUCTS, Modulus, ShoupScalar};
use crate::ntt::NttTable;
use crate::rns::ConversionTable;

/// Values stay below 4q between layers (Harvey, arXiv 1205.2926).
pub(super) fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    let m = table.modulus();
    let two_q = 2 * m.value();
    let n = x.len();
    let mut half = n / 2;
    while half >= 1 {
        let nodes = n / (2 * half);
        for (pair, &w) in x.chunks_exact_mut(2 * half).zip(&table.roots()[nodes..]) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let u = (*a).min(a.wrapping_sub(two_q));
                let v = m.mul_montgomery_lazy(*b, w);
                *a = u + v;
                *b = u + two_q - v;
            }
        }
        half /= 2;
    }
    for a in x {
        *a = m.correct((*a).min(a.wrapping_sub(two_q)));
    }
}

/// Values stay below 2q between layers.
pub(super) fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    let m = table.modulus();
    let two_q = 2 * m.value();
    let n = x.len();
    let mut half = 1;
    while half < n {
        let nodes = n / (2 * half);
        let roots = &table.roots()[nodes..2 * nodes];
        for (pair, &w) in x.chunks_exact_mut(2 * half).zip(roots.iter().rev()) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let (u, v) = (*a, *b);
                *a = (u + v).min((u + v).wrapping_sub(two_q));
                *b = m.mul_montgomery_lazy(v + two_q - u, w);
            }
        }
        half *= 2;
    }
    let scale = table.degree_inverse(n.trailing_zeros());
    for a in x {
        *a = m.correct(m.mul_montgomery_lazy(*a, scale));
    }
}

pub(super) fn ntt_forward_from(table: &NttTable, out: &mut [u64], x: &[u64]) {
    out.copy_from_slice(x);
    ntt_forward(table, out);
}

pub(super) fn ntt_inverse_from(table: &NttTable, out: &mut [u64], x: &[u64]) {
    out.copy_from_slice(x);
    ntt_inverse(table, out);
}

pub(super) fn add(m: &Modulus, x: &mut [u64], y: &[u64]) {
    for (a, &b) in x.iter_mut().zip(y) {
        *a = m.add(*a, b);
    }
}

pub(super) fn sub(m: &Modulus, x: &mut [u64], y: &[u64]) {
    for (a, &b) in x.iter_mut().zip(y) {
        *a = m.sub(*a, b);
    }
}

pub(super) fn neg(m: &Modulus, x: &mut [u64]) {
    for a in x {
        *a = m.neg(*a);
    }
}

pub(super) fn mul(m: &Modulus, x: &mut [u64], y: &[u64], log_rep: u32) {
    for (i, a) in x.iter_mut().enumerate() {
        *a = m.mul(*a, y[i >> log_rep]);
    }
}

pub(super) fn mul_sub(m: &Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    for ((acc, &a), &b) in acc.iter_mut().zip(a).zip(b) {
        *acc = m.sub(*acc, m.mul(a, b));
    }
}

pub(super) fn mul_scalar(m: &Modulus, x: &mut [u64], s: ShoupScalar) {
    for a in x {
        *a = m.mul_shoup(*a, s);
    }
}

pub(super) fn mul_scalar_add(m: &Modulus, acc: &mut [u64], x: &[u64], s: ShoupScalar) {
    for (a, &b) in acc.iter_mut().zip(x) {
        *a = m.add(*a, m.mul_shoup(b, s));
    }
}

pub(super) fn sub_mul_scalar(m: &Modulus, x: &mut [u64], y: &[u64], s: ShoupScalar) {
    for (a, &b) in x.iter_mut().zip(y) {
        *a = m.mul_shoup(*a + m.value() - b, s);
    }
}

pub(super) fn dot(
    m: &Modulus,
    out: &mut [u64],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: &[&[u64]],
) {
    for (i, value) in out.iter_mut().enumerate() {
        let mut acc = match init {
            Init::Replace => 0,
            Init::Accumulate => u128::from(*value),
        };
        for (s, f) in shared
            .chunks(MAX_LAZY_PRODUCTS)
            .zip(factors.chunks(MAX_LAZY_PRODUCTS))
        {
            for (s, f) in s.iter().zip(f) {
                acc += u128::from(s[i >> log_rep]) * u128::from(f[i]);
            }
            acc = u128::from(m.reduce_wide(acc));
        }
        *value = acc as u64;
    }
}

pub(super) fn dot_pair(
    m: &Modulus,
    out: [&mut [u64]; 2],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: [&[&[u64]]; 2],
) {
    let [first, second] = out;
    dot(m, first, init, shared, log_rep, factors[0]);
    dot(m, second, init, shared, log_rep, factors[1]);
}

pub(super) fn permute(blocks: &[u32], patterns: &[[u64; 8]; 8], out: &mut [u64], x: &[u64]) {
    let within = x.len() / 8 - 1;
    for (eight, &entry) in out.chunks_exact_mut(8).zip(blocks) {
        let source = 8 * ((entry >> 3) as usize & within);
        let pattern = &patterns[(entry & 7) as usize];
        for (value, &lane) in eight.iter_mut().zip(pattern) {
            *value = x[source + lane as usize];
        }
    }
}

pub(super) fn unpack(bits: u32, out: &mut [u64], packed: &[u64]) {
    let (mut pending, mut held) = (0u128, 0);
    let mut words = packed.iter();
    let mask = (1u64 << bits) - 1;
    for value in out {
        if held < bits {
            pending |= u128::from(words.next().copied().unwrap_or(0)) << held;
            held += 64;
        }
        *value = pending as u64 & mask;
        pending >>= bits;
        held -= bits;
    }
}

pub(super) fn split_conjugates(
    m: &Modulus,
    a: &mut [u64],
    b: &mut [u64],
    half: ShoupScalar,
    factor: ShoupScalar,
) {
    let len = a.len();
    for i in 0..len / 2 {
        let (c, mirrored) = (a[i], a[len - 1 - i]);
        let first = m.mul_shoup(m.add(c, mirrored), half);
        let second = m.mul_shoup(m.sub(c, mirrored), factor);
        (a[i], a[len - 1 - i]) = (first, first);
        (b[i], b[len - 1 - i]) = (second, second);
    }
}

pub(super) fn reduce_signed(m: &Modulus, out: &mut [u64], x: &[i64]) {
    for (value, &signed) in out.iter_mut().zip(x) {
        *value = m.from_i64(signed);
    }
}

pub(super) fn switch_modulus(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    let from_residue = to.reduce(from.value());
    for (value, &x) in out.iter_mut().zip(x) {
        let residue = to.reduce(x);
        *value = if x > from.value() / 2 {
            to.sub(residue, from_residue)
        } else {
            residue
        };
    }
}

pub(super) fn convert(table: &ConversionTable, inputs: &[&[u64]], outputs: &mut [&mut [u64]]) {
    let sources = table.sources.len();
    let mut scaled = vec![[0u64; CONVERT_BLOCK]; sources + 1];
    let len = inputs.first().map_or(0, |x| x.len());
    for start in (0..len).step_by(CONVERT_BLOCK) {
        let block = start..len.min(start + CONVERT_BLOCK);
        let mut fractions = [0.5f64; CONVERT_BLOCK];
        for (i, source) in table.sources.iter().enumerate() {
            for (e, &x) in inputs[i][block.clone()].iter().enumerate() {
                let y = source.modulus.mul_shoup(x, source.factor);
                scaled[i][e] = y;
                fractions[e] += y as f64 * source.reciprocal;
            }
        }
        for (quotient, fraction) in scaled[sources].iter_mut().zip(fractions) {
            *quotient = fraction as u64;
        }
        for (target, output) in table.targets.iter().zip(outputs.iter_mut()) {
            for (e, value) in output[block.clone()].iter_mut().enumerate() {
                let mut acc = 0u128;
                for (y, f) in scaled[..=sources]
                    .chunks(MAX_LAZY_PRODUCTS)
                    .zip(target.factors.chunks(MAX_LAZY_PRODUCTS))
                {
                    for (y, &f) in y.iter().zip(f) {
                        acc += u128::from(y[e]) * u128::from(f);
                    }
                    acc = u128::from(target.modulus.reduce_wide(acc));
                }
                *value = acc as u64;
            }
        }
    }
}
