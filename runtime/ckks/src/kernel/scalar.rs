//! The portable kernel: the specification of every other one.

use super::{CONVERT_BLOCK, Init};
use crate::tables::conversion::ConversionTable;
use crate::tables::modulus::{MAX_LAZY_PRODUCTS, Modulus, ShoupScalar};
use crate::tables::ntt::NttTable;

/// Each layer adds 2q to what bounds the values, and nothing is corrected before the end (Harvey,
/// arXiv 1205.2926, with all the margin above q). Layers run in pairs, an odd one first.
pub(super) fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    let (m, roots, n) = (table.modulus(), table.roots_64(), x.len());
    let q = m.value();
    let butterfly = |a: u64, b: u64, w: u64| {
        keep_scalar();
        let product = m.mul_montgomery_64(b, w);
        ((a + q).wrapping_add(product), (a + q).wrapping_sub(product))
    };
    let mut len = n;
    if n.ilog2() % 2 == 1 {
        let (low, high) = x.split_at_mut(n / 2);
        for (a, b) in low.iter_mut().zip(high) {
            (*a, *b) = butterfly(*a, *b, roots[1]);
        }
        len /= 2;
    }
    while len > 1 {
        for (k, block) in x.chunks_exact_mut(len).enumerate() {
            let node = n / len + k;
            let (w, [first, second]) = (roots[node], [roots[2 * node], roots[2 * node + 1]]);
            for (((a, b), c), d) in quarters(block) {
                let (p, r) = butterfly(*a, *c, w);
                let (q, s) = butterfly(*b, *d, w);
                (*a, *b) = butterfly(p, q, first);
                (*c, *d) = butterfly(r, s, second);
            }
        }
        len /= 4;
    }
    let bring_back = bring_back(m);
    for a in x {
        *a = m.correct(bring_back(*a));
    }
}

/// A pair of layers quadruples what bounds the values, which are brought back before they leave 63
/// bits. Layers run in pairs, an odd one last.
pub(super) fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    /// In multiples of q, the most that a pair of layers takes.
    const MOST: u64 = 1 << 11;
    let (m, roots, n) = (table.modulus(), table.roots_64(), x.len());
    let q = m.value();
    let butterfly = |a: u64, b: u64, w: u64, bound: u64| {
        keep_scalar();
        let product = m.mul_montgomery_64(b + bound - a, w);
        (a + b, product.wrapping_add(q))
    };
    let (mut bound, mut len) = (1, 4);
    while len <= n {
        if bound > MOST {
            let bring_back = bring_back(m);
            x.iter_mut().for_each(|a| *a = bring_back(*a));
            bound = 2;
        }
        let (once, twice) = (bound * q, 2 * bound * q);
        for (k, block) in x.chunks_exact_mut(len).enumerate() {
            // The layer read backwards, and with it the pairs of the layer below.
            let mirror = 2 * (n / len) - 1 - k;
            let (w, [second, first]) = (roots[mirror], [roots[2 * mirror], roots[2 * mirror + 1]]);
            for (((a, b), c), d) in quarters(block) {
                let (p, q) = butterfly(*a, *b, first, once);
                let (r, s) = butterfly(*c, *d, second, once);
                (*a, *c) = butterfly(p, r, w, twice);
                (*b, *d) = butterfly(q, s, w, twice);
            }
        }
        bound *= 4;
        len *= 4;
    }
    if len == 2 * n {
        let (low, high) = x.split_at_mut(n / 2);
        for (a, b) in low.iter_mut().zip(high) {
            (*a, *b) = butterfly(*a, *b, roots[1], bound * q);
        }
    }
    let scale = m.extend_montgomery(table.degree_inverse(n.ilog2()));
    for a in x {
        *a = m.correct(m.mul_montgomery_64(*a, scale).wrapping_add(q));
    }
}

/// Keeps a loop from being vectorised: the baseline's vectors have no product of 64-bit words, and
/// putting it together from smaller ones takes twice the time.
#[inline(always)]
fn keep_scalar() {
    std::hint::black_box(());
}

/// Brings words below 2^63 to [0, 2q): the quotient falls short by less than 1 for the floor and
/// 1/2 for the inverse.
fn bring_back(m: &Modulus) -> impl Fn(u64) -> u64 {
    let (q, inverse) = (m.value(), u64::MAX / m.value());
    move |x| x - ((u128::from(x) * u128::from(inverse)) >> 64) as u64 * q
}

/// The residues of a block's four quarters, side by side.
fn quarters(
    block: &mut [u64],
) -> impl Iterator<Item = (((&mut u64, &mut u64), &mut u64), &mut u64)> {
    let (low, high) = block.split_at_mut(block.len() / 2);
    let (a, b) = low.split_at_mut(low.len() / 2);
    let (c, d) = high.split_at_mut(high.len() / 2);
    a.iter_mut().zip(b).zip(c).zip(d)
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

/// Inlined, so that each kernel compiles it for its own vectors.
#[inline(always)]
pub(super) fn lift_small(m: &Modulus, out: &mut [u64], x: &[i8]) {
    for (value, &small) in out.iter_mut().zip(x) {
        let wide = i64::from(small);
        *value = (wide + ((wide >> 63) & m.value() as i64)) as u64;
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
