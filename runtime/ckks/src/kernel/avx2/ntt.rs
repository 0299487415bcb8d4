//! The negacyclic transform.
//!
//! Values are centred integers in doubles from the first layer to the last; words become doubles in
//! the first pass and residues again in the last. Passes of three layers keep eight registers of
//! data (radix 8), over whole blocks until they fit the first-level cache; the last four layers,
//! whose nodes span sixteen residues, work inside four registers.
//!
//! Ranges, in multiples of q. A factor of a product is bounded by 2^52, which is 4 where q is below
//! 2^50, and a product of |x| ≤ B has |r| ≤ 1/2 + B/8 ≤ 1 (see the head of [`super`]). A reduction
//! leaves 1/2 and less than one unit, hence at most (q+1)/2.
//!
//! Forwards, (a, b) → (a + wb, a − wb). The first pass takes [0, 1) through 1.63 and 2.33 to 3.12.
//! Every later one takes values up to 4, reduces the operands a of its first layer, and goes
//! through 1.5, 2.19 and 2.97 to 3.84 if it has four layers. A last reduction ends it.
//!
//! Backwards, (a, b) → (a + b, (b − a)w). The sum of two layers' sums quadruples. The first four
//! layers take [0, 1) to 4, reduce those sums, and reduce what the two other layers bring to 3.
//! Every later pass takes and gives at most 1 (by sums, q + 1, four times which is still at most
//! 2^52): with three layers, the sums of two layers' sums are reduced before the third, where they
//! become 1 and the other sums, at most 3, are reduced behind it. The last layer multiplies its
//! sums by 1/N and has it in its factor.
//!
//! With q below 2^47, 2^52 is 32, and the product 1/2 + B/64. Forwards nothing is reduced before
//! the end: sixteen layers reach 10.3 and twenty-four 16. Backwards a pass of three layers reduces
//! only its sum of eight, at most 8·2.3 from inputs up to 2.3; of the others the largest, a sum of
//! four products, is at most 4·(1/2 + 4.6/64) < 2.3. The first four layers reduce the sums of the
//! last, at most 16, and leave at most 1.25.

use super::{D, Field, LANES, Word4, load, store, to_doubles};
use crate::tables::ntt::NttTable;
use std::arch::x86_64::*;

/// Shorter transforms go to the scalar kernel: below this there is no radix pass before the last
/// four layers.
const LEAST: usize = 32;

/// log2 of the residues of a block that runs through all its passes before the next is begun: 32
/// KiB.
const LOG_BLOCK: u32 = 12;

/// log2 of the residues that the in-register layers span.
const LOG_TAIL: u32 = 4;

/// Moduli below 2^this leave room for unreduced layers.
const LAZY_BITS: u32 = 47;

/// Most layers of a pass.
const PASS: u32 = 3;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_doubles(x: &Word4) -> D {
    _mm256_castsi256_pd(load(x))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_doubles(x: &mut Word4, v: D) {
    store(x, _mm256_castpd_si256(v));
}

/// The index of the node whose root, negated, is the inverse of this node's: the layer read
/// backwards.
#[inline]
fn mirror(node: usize) -> usize {
    3 * (1 << node.ilog2()) - 1 - node
}

/// (a, b) → (a + wb, a − wb).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward(f: &Field, a: &mut D, b: &mut D, w: D) {
    let r = f.mul(*b, w);
    (*a, *b) = (_mm256_add_pd(*a, r), _mm256_sub_pd(*a, r));
}

/// (a, b) → (a + b, (b − a)w).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse(f: &Field, a: &mut D, b: &mut D, w: D) {
    let difference = _mm256_sub_pd(*b, *a);
    (*a, *b) = (_mm256_add_pd(*a, *b), f.mul(difference, w));
}

/// `LOG_R` layers over the residues at node `node` of the tree, forwards.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_pass<const LOG_R: usize, const LAZY: bool, const FIRST: bool>(
    f: &Field,
    roots: &[f64],
    node: usize,
    x: &mut [u64],
) {
    let mut factors = [0.0; 8];
    for layer in 0..LOG_R {
        let roots = &roots[node << layer..];
        factors[1 << layer..][..1 << layer].copy_from_slice(&roots[..1 << layer]);
    }
    let (runs, _) = x.as_chunks_mut::<LANES>();
    let stride = runs.len() >> LOG_R;
    let start = runs.as_mut_ptr();
    for i in 0..stride {
        let mut v = [_mm256_setzero_pd(); 8];
        for (t, v) in v[..1 << LOG_R].iter_mut().enumerate() {
            // SAFETY: i < stride and t < 2^LOG_R, so the index is below
            // stride·2^LOG_R ≤ runs.len().
            let run = unsafe { &*start.add(i + t * stride) };
            *v = if FIRST {
                to_doubles(load(run))
            } else {
                load_doubles(run)
            };
            if !LAZY && !FIRST && t < 1 << (LOG_R - 1) {
                *v = f.reduce(*v);
            }
        }
        macro_rules! layer {
            ($(($a:literal $b:literal $t:literal))*) => {$(
                let (mut a, mut b) = (v[$a], v[$b]);
                forward(f, &mut a, &mut b, _mm256_set1_pd(factors[$t]));
                (v[$a], v[$b]) = (a, b);
            )*};
        }
        match LOG_R {
            1 => {
                layer!((0 1 1));
            }
            2 => {
                layer!((0 2 1) (1 3 1));
                layer!((0 1 2) (2 3 3));
            }
            3 => {
                layer!((0 4 1) (1 5 1) (2 6 1) (3 7 1));
                layer!((0 2 2) (1 3 2) (4 6 3) (5 7 3));
                layer!((0 1 4) (2 3 5) (4 5 6) (6 7 7));
            }
            _ => unreachable!("passes have one to three layers"),
        }
        for (t, &v) in v[..1 << LOG_R].iter().enumerate() {
            // SAFETY: as for the load.
            store_doubles(unsafe { &mut *start.add(i + t * stride) }, v);
        }
    }
}

/// `LOG_R` layers over the residues at node `node`, backwards. With `scale`, this is the last pass:
/// the results are multiplied by it and reduced.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_pass<const LOG_R: usize, const LAZY: bool, const LAST: bool>(
    f: &Field,
    roots: &[f64],
    node: usize,
    x: &mut [u64],
    scale: Scale,
) {
    let mut factors = [0.0; 8];
    for layer in 0..LOG_R {
        for k in 0..1 << layer {
            factors[(1 << layer) + k] = roots[mirror((node << layer) + k)];
        }
    }
    if LAST {
        factors[1] = scale.differences;
    }
    let sum_scale = _mm256_set1_pd(scale.sums);
    let (runs, _) = x.as_chunks_mut::<LANES>();
    let stride = runs.len() >> LOG_R;
    let start = runs.as_mut_ptr();
    for i in 0..stride {
        let mut v = [_mm256_setzero_pd(); 8];
        for (t, v) in v[..1 << LOG_R].iter_mut().enumerate() {
            // SAFETY: i < stride and t < 2^LOG_R, so the index is below
            // stride·2^LOG_R ≤ runs.len().
            *v = load_doubles(unsafe { &*start.add(i + t * stride) });
        }
        macro_rules! layer {
            ($(($a:literal $b:literal $t:literal))*) => {$(
                let (mut a, mut b) = (v[$a], v[$b]);
                inverse(f, &mut a, &mut b, _mm256_set1_pd(factors[$t]));
                (v[$a], v[$b]) = (a, b);
            )*};
        }
        match LOG_R {
            1 => {
                layer!((0 1 1));
            }
            2 => {
                layer!((0 1 2) (2 3 3));
                layer!((0 2 1) (1 3 1));
            }
            3 => {
                layer!((0 1 4) (2 3 5) (4 5 6) (6 7 7));
                layer!((0 2 2) (1 3 2) (4 6 3) (5 7 3));
                if !LAZY {
                    (v[0], v[4]) = (f.reduce(v[0]), f.reduce(v[4]));
                }
                layer!((0 4 1) (1 5 1) (2 6 1) (3 7 1));
            }
            _ => unreachable!("passes have one to three layers"),
        }
        let sums = 1 << (LOG_R - 1);
        for (t, &v) in v[..1 << LOG_R].iter().enumerate() {
            // SAFETY: as for the load.
            let run = unsafe { &mut *start.add(i + t * stride) };
            if LAST {
                let v = if t < sums { f.mul(v, sum_scale) } else { v };
                store(run, f.residues_of(v));
            } else {
                let large = if LAZY {
                    t == 0
                } else {
                    t < sums && (LOG_R < 3 || t > 0)
                };
                store_doubles(run, if large { f.reduce(v) } else { v });
            }
        }
    }
}

/// The factors that carry 1/N through the last layer backwards.
#[derive(Clone, Copy, Default)]
struct Scale {
    /// 1/N.
    sums: f64,
    /// The layer's factor over N.
    differences: f64,
}

/// Four factors from `base` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn factors_at(roots: &[f64], base: usize) -> D {
    let four: &[f64; LANES] = roots[base..]
        .first_chunk()
        .expect("a layer of at least four nodes");
    // SAFETY: the reference covers the 32 bytes read; the load has no alignment requirement.
    unsafe { _mm256_loadu_pd(four.as_ptr()) }
}

/// x0 x1 x2 x3, y0 y1 y2 y3 → x0 x1 y0 y1, x2 x3 y2 y3; its own inverse.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn swap_pairs(x: D, y: D) -> (D, D) {
    (
        _mm256_permute2f128_pd::<0x20>(x, y),
        _mm256_permute2f128_pd::<0x31>(x, y),
    )
}

/// x0 x1 y0 y1, x2 x3 y2 y3 → x0 x2 y0 y2, x1 x3 y1 y3; its own inverse.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn swap_ones(u: D, v: D) -> (D, D) {
    (_mm256_unpacklo_pd(u, v), _mm256_unpackhi_pd(u, v))
}

/// The last four layers forwards, over sixteen residues a step; `first` is the node of the first
/// sixteen.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_tail<const LAZY: bool>(f: &Field, roots: &[f64], first: usize, x: &mut [u64]) {
    for (b, runs) in x.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let node = first + b;
        let runs = runs.as_chunks_mut::<LANES>().0;
        let mut v = [
            load_doubles(&runs[0]),
            load_doubles(&runs[1]),
            load_doubles(&runs[2]),
            load_doubles(&runs[3]),
        ];
        if !LAZY {
            (v[0], v[1]) = (f.reduce(v[0]), f.reduce(v[1]));
        }
        let [p, q, r, s] = &mut v;
        let w = _mm256_set1_pd(roots[node]);
        forward(f, p, r, w);
        forward(f, q, s, w);
        forward(f, p, q, _mm256_set1_pd(roots[2 * node]));
        forward(f, r, s, _mm256_set1_pd(roots[2 * node + 1]));
        let quarters = factors_at(roots, 4 * node);
        let quarters = [
            _mm256_permute4x64_pd::<0b01_01_00_00>(quarters),
            _mm256_permute4x64_pd::<0b11_11_10_10>(quarters),
        ];
        for (half, (pair, runs)) in v.chunks_exact(2).zip(runs.chunks_exact_mut(2)).enumerate() {
            let (mut a, mut b) = swap_pairs(pair[0], pair[1]);
            forward(f, &mut a, &mut b, quarters[half]);
            (a, b) = swap_ones(a, b);
            forward(f, &mut a, &mut b, factors_at(roots, 8 * node + 4 * half));
            (a, b) = swap_ones(a, b);
            (a, b) = swap_pairs(a, b);
            store(&mut runs[0], f.residues_of(f.reduce(a)));
            store(&mut runs[1], f.residues_of(f.reduce(b)));
        }
    }
}

/// The first four layers backwards; the mirror of [`forward_tail`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_tail<const LAZY: bool>(f: &Field, roots: &[f64], first: usize, x: &mut [u64]) {
    for (b, runs) in x.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // The 2^j descendants of a node have mirrors from 2^j times the node's on, in reverse
        // order.
        let mirror = mirror(first) - b;
        let runs = runs.as_chunks_mut::<LANES>().0;
        let quarters = factors_at(roots, 4 * mirror);
        let quarters = [
            _mm256_permute4x64_pd::<0b10_10_11_11>(quarters),
            _mm256_permute4x64_pd::<0b00_00_01_01>(quarters),
        ];
        let mut v = [_mm256_setzero_pd(); 4];
        for (half, (pair, runs)) in v.chunks_exact_mut(2).zip(runs.chunks_exact(2)).enumerate() {
            let (a, b) = (to_doubles(load(&runs[0])), to_doubles(load(&runs[1])));
            let (a, b) = swap_pairs(a, b);
            let (mut a, mut b) = swap_ones(a, b);
            let eighths = factors_at(roots, 8 * mirror + 4 - 4 * half);
            let eighths = _mm256_permute4x64_pd::<0b00_01_10_11>(eighths);
            inverse(f, &mut a, &mut b, eighths);
            (a, b) = swap_ones(a, b);
            inverse(f, &mut a, &mut b, quarters[half]);
            if !LAZY {
                a = f.reduce(a);
            }
            (pair[0], pair[1]) = swap_pairs(a, b);
        }
        let [p, q, r, s] = &mut v;
        inverse(f, p, q, _mm256_set1_pd(roots[2 * mirror + 1]));
        inverse(f, r, s, _mm256_set1_pd(roots[2 * mirror]));
        let w = _mm256_set1_pd(roots[mirror]);
        inverse(f, p, r, w);
        inverse(f, q, s, w);
        *p = f.reduce(*p);
        if !LAZY {
            *q = f.reduce(*q);
        }
        for (run, &v) in runs.iter_mut().zip(&v) {
            store_doubles(run, v);
        }
    }
}

/// Cuts `layers` into passes of at most [`PASS`], as even as possible.
fn passes(layers: u32) -> impl DoubleEndedIterator<Item = u32> {
    let count = layers.div_ceil(PASS);
    (0..count).map(move |i| (layers + i) / count)
}

/// Layers of the first pass over `len` residues.
fn first_pass(len: usize) -> u32 {
    let layers = len.ilog2() - LOG_TAIL;
    passes(layers).next().unwrap_or(0)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn any_forward_pass<const LAZY: bool, const FIRST: bool>(
    log_r: u32,
    f: &Field,
    roots: &[f64],
    node: usize,
    x: &mut [u64],
) {
    match log_r {
        1 => forward_pass::<1, LAZY, FIRST>(f, roots, node, x),
        2 => forward_pass::<2, LAZY, FIRST>(f, roots, node, x),
        _ => forward_pass::<3, LAZY, FIRST>(f, roots, node, x),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn any_inverse_pass<const LAZY: bool, const LAST: bool>(
    log_r: u32,
    f: &Field,
    roots: &[f64],
    node: usize,
    x: &mut [u64],
    scale: Scale,
) {
    match log_r {
        1 => inverse_pass::<1, LAZY, LAST>(f, roots, node, x, scale),
        2 => inverse_pass::<2, LAZY, LAST>(f, roots, node, x, scale),
        _ => inverse_pass::<3, LAZY, LAST>(f, roots, node, x, scale),
    }
}

/// All layers below node `node`, whose residues are doubles already.
#[target_feature(enable = "avx2,fma")]
fn forward_below<const LAZY: bool>(f: &Field, roots: &[f64], node: usize, x: &mut [u64]) {
    let layers = x.len().ilog2() - LOG_TAIL;
    if x.len() > 1 << LOG_BLOCK {
        let log_r = first_pass(x.len());
        any_forward_pass::<LAZY, false>(log_r, f, roots, node, x);
        for (k, part) in x.chunks_exact_mut(x.len() >> log_r).enumerate() {
            forward_below::<LAZY>(f, roots, (node << log_r) + k, part);
        }
        return;
    }
    let mut depth = 0;
    for log_r in passes(layers) {
        for (k, part) in x.chunks_exact_mut(x.len() >> depth).enumerate() {
            any_forward_pass::<LAZY, false>(log_r, f, roots, (node << depth) + k, part);
        }
        depth += log_r;
    }
    forward_tail::<LAZY>(f, roots, node << layers, x);
}

#[target_feature(enable = "avx2,fma")]
fn forward_all<const LAZY: bool>(table: &NttTable, x: &mut [u64]) {
    let (f, roots) = (Field::new(table.modulus()), table.centred_roots());
    let log_r = first_pass(x.len());
    any_forward_pass::<LAZY, true>(log_r, &f, roots, 1, x);
    for (k, part) in x.chunks_exact_mut(x.len() >> log_r).enumerate() {
        forward_below::<LAZY>(&f, roots, (1 << log_r) + k, part);
    }
}

/// All layers below node `node` backwards, from residues to doubles.
#[target_feature(enable = "avx2,fma")]
fn inverse_below<const LAZY: bool>(f: &Field, roots: &[f64], node: usize, x: &mut [u64]) {
    let layers = x.len().ilog2() - LOG_TAIL;
    let scale = Scale::default();
    if x.len() > 1 << LOG_BLOCK {
        let log_r = first_pass(x.len());
        for (k, part) in x.chunks_exact_mut(x.len() >> log_r).enumerate() {
            inverse_below::<LAZY>(f, roots, (node << log_r) + k, part);
        }
        any_inverse_pass::<LAZY, false>(log_r, f, roots, node, x, scale);
        return;
    }
    inverse_tail::<LAZY>(f, roots, node << layers, x);
    let mut depth = layers;
    for log_r in passes(layers).rev() {
        depth -= log_r;
        for (k, part) in x.chunks_exact_mut(x.len() >> depth).enumerate() {
            let node = (node << depth) + k;
            any_inverse_pass::<LAZY, false>(log_r, f, roots, node, part, scale);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_all<const LAZY: bool>(table: &NttTable, x: &mut [u64]) {
    let (m, roots) = (table.modulus(), table.centred_roots());
    let f = Field::new(m);
    let log_r = first_pass(x.len());
    for (k, part) in x.chunks_exact_mut(x.len() >> log_r).enumerate() {
        inverse_below::<LAZY>(&f, roots, (1 << log_r) + k, part);
    }
    let inverse_n = table.degree_inverse(x.len().ilog2());
    let root = table.roots()[mirror(1)];
    let scale = Scale {
        sums: table.centred(inverse_n),
        differences: table.centred(m.correct(m.mul_montgomery_lazy(root, inverse_n))),
    };
    any_inverse_pass::<LAZY, true>(log_r, &f, roots, 1, x, scale);
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    if x.len() < LEAST {
        crate::kernel::scalar::ntt_forward(table, x);
    } else if table.modulus().value() >> LAZY_BITS == 0 {
        forward_all::<true>(table, x);
    } else {
        forward_all::<false>(table, x);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    if x.len() < LEAST {
        crate::kernel::scalar::ntt_inverse(table, x);
    } else if table.modulus().value() >> LAZY_BITS == 0 {
        inverse_all::<true>(table, x);
    } else {
        inverse_all::<false>(table, x);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn ntt_forward_from(table: &NttTable, out: &mut [u64], x: &[u64]) {
    out.copy_from_slice(x);
    ntt_forward(table, out);
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn ntt_inverse_from(table: &NttTable, out: &mut [u64], x: &[u64]) {
    out.copy_from_slice(x);
    ntt_inverse(table, out);
}
