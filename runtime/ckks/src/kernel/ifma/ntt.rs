//! The negacyclic transform.
//!
//! Butterflies multiply in Montgomery form at 52 bits: three multiply-adds whose accumulators also
//! take up additions that the butterfly needs anyway. Layers run three or four at a time in up to
//! sixteen registers of data (radix 8 or 16), depth first, so that each part is finished while it
//! is near the core; the last four layers, whose nodes span sixteen residues, work inside two
//! registers.
//!
//! Ranges. With q of 50 bits, values stay below 4q in the forward direction (the upper operand is
//! corrected to [0, 2q) in every butterfly) and below 2q in the inverse. With q below 2^41 the
//! forward direction corrects nothing, since each layer adds 2q and the sum stays below 2^47; the
//! inverse doubles and is brought back when a pass might exceed 1024q.

use super::{Field, LANES, V, Word8, load, splat, store};
use crate::tables::modulus::{Modulus, WORD_MASK};
use crate::tables::ntt::NttTable;
use std::arch::x86_64::*;

/// Shorter transforms go to the scalar kernel: below this there is no radix pass before the last
/// four layers.
const LEAST: usize = 64;

/// log2 of the residues of a block that is not cut further before its passes: 8 KiB. At 2^16 it
/// leaves two passes of three layers above it, whose strides do not crowd one set of the
/// first-level cache as sixteen would.
const LOG_LEAF: u32 = 10;

/// log2 of the residues that the in-register layers span.
const LOG_TAIL: u32 = 4;

/// Moduli below 2^this leave room for uncorrected layers.
const LAZY_BITS: u32 = 41;

/// In the inverse direction, lazy values stay below this multiple of q.
const LAZY_MULTIPLE: u64 = 1024;

/// The constants of the butterflies.
#[derive(Clone, Copy)]
struct Butterfly {
    field: Field,
    /// −q, which as an accumulator adds q to what it is subtracted from.
    minus_q: V,
    /// q^−1 mod 2^52.
    dual: V,
    two: V,
    /// A multiple of q that keeps differences positive in the inverse direction.
    offset: V,
    scalar_dual: u64,
}

/// Factors of a radix pass, by their index in the local tree: the factor and its dual.
type Factors = [(u64, u64); 16];

impl Butterfly {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new(m: &Modulus, lazy: bool) -> Self {
        let multiple = if lazy { LAZY_MULTIPLE } else { 2 };
        Self {
            field: Field::new(m),
            minus_q: splat(m.value().wrapping_neg()),
            dual: splat(m.inverse_mod_word()),
            two: splat(2),
            offset: splat(multiple * m.value()),
            scalar_dual: m.inverse_mod_word(),
        }
    }

    #[inline]
    fn with_dual(&self, w: u64) -> (u64, u64) {
        (w, w.wrapping_mul(self.scalar_dual) & WORD_MASK)
    }

    /// The duals of eight factors.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn duals(&self, w: V) -> V {
        _mm512_madd52lo_epu64(self.field.zero, w, self.dual)
    }

    /// (a, b) → (a + wb + q, a − wb + q): from [0, 4q) to (0, 4q), or lazily from [0, B) to (0,
    /// B + 2q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn forward<const LAZY: bool>(&self, a: &mut V, b: &mut V, w: V, dual: V) {
        let f = &self.field;
        let u = if LAZY {
            *a
        } else {
            _mm512_min_epu64(*a, _mm512_sub_epi64(*a, f.two_q))
        };
        let m = _mm512_madd52lo_epu64(f.zero, *b, dual);
        let sum = _mm512_madd52hi_epu64(u, *b, w);
        let twice = _mm512_madd52lo_epu64(f.two_q, u, self.two);
        let multiple = _mm512_madd52hi_epu64(self.minus_q, m, f.q);
        *a = _mm512_sub_epi64(sum, multiple);
        *b = _mm512_sub_epi64(twice, *a);
    }

    /// (a, b) → (a + b, (b − a)w): from [0, 2q) to [0, 2q), or lazily from [0, B) to [0, 2B) and
    /// (0, 2q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn inverse<const LAZY: bool>(&self, a: &mut V, b: &mut V, w: V, dual: V) {
        let f = &self.field;
        let sum = _mm512_add_epi64(*a, *b);
        let difference = _mm512_sub_epi64(_mm512_add_epi64(*b, self.offset), *a);
        *a = if LAZY {
            sum
        } else {
            _mm512_min_epu64(sum, _mm512_sub_epi64(sum, f.two_q))
        };
        *b = self.mul(difference, w, dual);
    }

    /// `x · w` in (0, 2q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn mul(&self, x: V, w: V, dual: V) -> V {
        let f = &self.field;
        let m = _mm512_madd52lo_epu64(f.zero, x, dual);
        let high = _mm512_madd52hi_epu64(f.q, x, w);
        _mm512_sub_epi64(high, _mm512_madd52hi_epu64(f.zero, m, f.q))
    }

    /// Any value below 2^52, brought to [0, 2q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn bring_back(&self, x: V) -> V {
        let f = &self.field;
        let quotient = _mm512_madd52hi_epu64(f.zero, x, f.inverse52);
        _mm512_sub_epi64(x, _mm512_madd52lo_epu64(f.zero, quotient, f.q))
    }

    /// The end of the forward direction: reduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn finish<const LAZY: bool>(&self, x: V) -> V {
        if LAZY {
            self.field.correct(self.bring_back(x))
        } else {
            self.field.correct_twice(x)
        }
    }
}

/// The same permutation of lanes for eight words, by index.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn lanes(order: [i64; 8]) -> V {
    let [a, b, c, d, e, f, g, h] = order;
    _mm512_set_epi64(h, g, f, e, d, c, b, a)
}

/// Where a pass reads its residues.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Where it writes them.
    Place,
    /// Elsewhere.
    Other(&'a [u64]),
}

impl Source<'_> {
    /// Part `k` of `len` residues each.
    fn part(self, k: usize, len: usize) -> Self {
        match self {
            Self::Place => Self::Place,
            Self::Other(x) => Self::Other(&x[k * len..][..len]),
        }
    }

    /// The first of `runs` runs to read, given the first to write.
    fn start(self, runs: usize, place: *mut Word8) -> *const Word8 {
        match self {
            Self::Place => place,
            Self::Other(x) => {
                let (source, _) = x.as_chunks::<LANES>();
                assert_eq!(source.len(), runs);
                source.as_ptr()
            }
        }
    }
}

/// `log_r` layers over the `len` residues at node `node` of the tree, forwards.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn forward_pass<const LOG_R: usize, const LAZY: bool>(
    c: &Butterfly,
    roots: &[u64],
    node: usize,
    from: Source<'_>,
    x: &mut [u64],
) {
    let mut factors: Factors = [(0, 0); 16];
    for layer in 0..LOG_R {
        for k in 0..1 << layer {
            factors[(1 << layer) + k] = c.with_dual(roots[(node << layer) + k]);
        }
    }
    let (runs, _) = x.as_chunks_mut::<LANES>();
    let stride = runs.len() >> LOG_R;
    let start = runs.as_mut_ptr();
    let source = from.start(runs.len(), start);
    for i in 0..stride {
        let mut v = [c.field.zero; 16];
        for (t, v) in v[..1 << LOG_R].iter_mut().enumerate() {
            // SAFETY: i < stride and t < 2^LOG_R, so the index is below
            // stride·2^LOG_R ≤ runs.len(), which is the source's too; the reference ends before the
            // next store.
            *v = load(unsafe { &*source.add(i + t * stride) });
        }
        macro_rules! layer {
            ($(($a:literal $b:literal $t:literal))*) => {$(
                let (mut a, mut b) = (v[$a], v[$b]);
                c.forward::<LAZY>(&mut a, &mut b, splat(factors[$t].0), splat(factors[$t].1));
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
            4 => {
                layer!((0 8 1) (1 9 1) (2 10 1) (3 11 1) (4 12 1) (5 13 1) (6 14 1) (7 15 1));
                layer!((0 4 2) (1 5 2) (2 6 2) (3 7 2) (8 12 3) (9 13 3) (10 14 3) (11 15 3));
                layer!((0 2 4) (1 3 4) (4 6 5) (5 7 5) (8 10 6) (9 11 6) (12 14 7) (13 15 7));
                layer!((0 1 8) (2 3 9) (4 5 10) (6 7 11) (8 9 12) (10 11 13) (12 13 14) (14 15 15));
            }
            _ => unreachable!("passes have one to four layers"),
        }
        for (t, &v) in v[..1 << LOG_R].iter().enumerate() {
            // SAFETY: as for the load.
            store(unsafe { &mut *start.add(i + t * stride) }, v);
        }
    }
}

/// What an inverse pass does besides its layers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Extra {
    /// Bring the inputs back to [0, 2q).
    bring_back: bool,
    /// Multiply the outputs by this factor and reduce them.
    scale: Option<(u64, u64)>,
}

/// `log_r` layers over the residues at node `node`, which lies in the layer of `nodes` nodes,
/// backwards.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_pass<const LOG_R: usize, const LAZY: bool>(
    c: &Butterfly,
    roots: &[u64],
    nodes: usize,
    node: usize,
    x: &mut [u64],
    extra: Extra,
) {
    let mut factors: Factors = [(0, 0); 16];
    for layer in 0..LOG_R {
        for k in 0..1 << layer {
            factors[(1 << layer) + k] =
                c.with_dual(roots[3 * (nodes << layer) - 1 - ((node << layer) + k)]);
        }
    }
    let (runs, _) = x.as_chunks_mut::<LANES>();
    let stride = runs.len() >> LOG_R;
    let start = runs.as_mut_ptr();
    for i in 0..stride {
        let mut v = [c.field.zero; 16];
        for (t, v) in v[..1 << LOG_R].iter_mut().enumerate() {
            // SAFETY: i < stride and t < 2^LOG_R, so the index is below
            // stride·2^LOG_R ≤ runs.len().
            *v = load(unsafe { &*start.add(i + t * stride) });
            if extra.bring_back {
                *v = c.bring_back(*v);
            }
        }
        macro_rules! layer {
            ($(($a:literal $b:literal $t:literal))*) => {$(
                let (mut a, mut b) = (v[$a], v[$b]);
                c.inverse::<LAZY>(&mut a, &mut b, splat(factors[$t].0), splat(factors[$t].1));
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
                layer!((0 4 1) (1 5 1) (2 6 1) (3 7 1));
            }
            4 => {
                layer!((0 1 8) (2 3 9) (4 5 10) (6 7 11) (8 9 12) (10 11 13) (12 13 14) (14 15 15));
                layer!((0 2 4) (1 3 4) (4 6 5) (5 7 5) (8 10 6) (9 11 6) (12 14 7) (13 15 7));
                layer!((0 4 2) (1 5 2) (2 6 2) (3 7 2) (8 12 3) (9 13 3) (10 14 3) (11 15 3));
                layer!((0 8 1) (1 9 1) (2 10 1) (3 11 1) (4 12 1) (5 13 1) (6 14 1) (7 15 1));
            }
            _ => unreachable!("passes have one to four layers"),
        }
        for (t, v) in v[..1 << LOG_R].iter_mut().enumerate() {
            if let Some((w, dual)) = extra.scale {
                *v = c.field.correct(c.mul(*v, splat(w), splat(dual)));
            }
            // SAFETY: as for the load.
            store(unsafe { &mut *start.add(i + t * stride) }, *v);
        }
    }
}

/// Eight factors from `base` on, each lane taking the one that `order` names. `roots` must hold all
/// eight words, which it does: the layers read here have at least eight nodes or are followed by
/// others.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn factors_at(roots: &[u64], base: usize, order: V) -> V {
    let words: &Word8 = roots[base..]
        .first_chunk()
        .expect("a table of at least 64 roots reaches past its layers");
    _mm512_permutexvar_epi64(order, load(words))
}

/// The last four layers forwards, over sixteen residues a step; `first` is the node of the first
/// sixteen.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn forward_tail<const LAZY: bool>(c: &Butterfly, roots: &[u64], first: usize, x: &mut [u64]) {
    // Lanes hold residues x and y of the two registers in the orders left by the shuffles.
    let halves = lanes([0, 0, 0, 0, 1, 1, 1, 1]);
    let quarters = lanes([0, 0, 2, 2, 1, 1, 3, 3]);
    let eighths = lanes([0, 1, 4, 5, 2, 3, 6, 7]);
    let (to_x, to_y) = (
        lanes([0, 8, 1, 9, 4, 12, 5, 13]),
        lanes([2, 10, 3, 11, 6, 14, 7, 15]),
    );
    let (runs, _) = x.as_chunks_mut::<LANES>();
    let (pairs, _) = runs.as_chunks_mut::<2>();
    for (b, [low, high]) in pairs.iter_mut().enumerate() {
        let node = first + b;
        let (mut u, mut v) = (load(low), load(high));
        let step = |u: &mut V, v: &mut V, w: V| c.forward::<LAZY>(u, v, w, c.duals(w));
        step(&mut u, &mut v, splat(roots[node]));
        // x0–3 y0–3 against x4–7 y4–7.
        (u, v) = (
            _mm512_shuffle_i64x2::<0x44>(u, v),
            _mm512_shuffle_i64x2::<0xEE>(u, v),
        );
        step(&mut u, &mut v, factors_at(roots, 2 * node, halves));
        // x01 y01 x45 y45 against x23 y23 x67 y67.
        (u, v) = (
            _mm512_shuffle_i64x2::<0x88>(u, v),
            _mm512_shuffle_i64x2::<0xDD>(u, v),
        );
        step(&mut u, &mut v, factors_at(roots, 4 * node, quarters));
        // Even against odd.
        (u, v) = (_mm512_unpacklo_epi64(u, v), _mm512_unpackhi_epi64(u, v));
        step(&mut u, &mut v, factors_at(roots, 8 * node, eighths));
        let (u, v) = (c.finish::<LAZY>(u), c.finish::<LAZY>(v));
        store(low, _mm512_permutex2var_epi64(u, to_x, v));
        store(high, _mm512_permutex2var_epi64(u, to_y, v));
    }
}

/// The first four layers backwards; the mirror of [`forward_tail`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_tail<const LAZY: bool>(
    c: &Butterfly,
    roots: &[u64],
    nodes: usize,
    first: usize,
    from: Source<'_>,
    x: &mut [u64],
) {
    let halves = lanes([1, 1, 0, 0, 1, 1, 0, 0]);
    let quarters = lanes([3, 3, 1, 1, 2, 2, 0, 0]);
    let eighths = lanes([7, 6, 3, 2, 5, 4, 1, 0]);
    let (evens, odds) = (
        lanes([0, 2, 8, 10, 4, 6, 12, 14]),
        lanes([1, 3, 9, 11, 5, 7, 13, 15]),
    );
    let (runs, _) = x.as_chunks_mut::<LANES>();
    let start = runs.as_mut_ptr();
    let source = from.start(runs.len(), start);
    for b in 0..runs.len() / 2 {
        // Node `nodes + k` is mirrored to `2·nodes − 1 − k`; its 2^j descendants start at 2^j times
        // that.
        let mirror = 3 * nodes - 1 - (first + b);
        // SAFETY: 2b + 1 is below the number of runs, which is the source's too; the references end
        // before the store.
        let (x, y) = unsafe { (load(&*source.add(2 * b)), load(&*source.add(2 * b + 1))) };
        let step = |u: &mut V, v: &mut V, w: V| c.inverse::<LAZY>(u, v, w, c.duals(w));
        let (mut u, mut v) = (
            _mm512_permutex2var_epi64(x, evens, y),
            _mm512_permutex2var_epi64(x, odds, y),
        );
        step(&mut u, &mut v, factors_at(roots, 8 * mirror, eighths));
        (u, v) = (_mm512_unpacklo_epi64(u, v), _mm512_unpackhi_epi64(u, v));
        step(&mut u, &mut v, factors_at(roots, 4 * mirror, quarters));
        (u, v) = (
            _mm512_shuffle_i64x2::<0x44>(u, v),
            _mm512_shuffle_i64x2::<0xEE>(u, v),
        );
        step(&mut u, &mut v, factors_at(roots, 2 * mirror, halves));
        (u, v) = (
            _mm512_shuffle_i64x2::<0x88>(u, v),
            _mm512_shuffle_i64x2::<0xDD>(u, v),
        );
        step(&mut u, &mut v, splat(roots[mirror]));
        // SAFETY: as for the loads.
        let (low, high) = unsafe { (&mut *start.add(2 * b), &mut *start.add(2 * b + 1)) };
        store(low, u);
        store(high, v);
    }
}

/// Cuts `layers` into passes of at most four layers, as even as possible.
fn passes(layers: u32) -> impl DoubleEndedIterator<Item = u32> {
    let count = layers.div_ceil(4);
    (0..count).map(move |i| (layers + i) / count)
}

/// Layers of the pass over a block of 2^`log_len` residues that is no leaf.
fn outer_layers(log_len: u32) -> u32 {
    (log_len - LOG_LEAF).min(3)
}

/// The block at node `node`, forwards: a pass, and then the parts that it leaves one after another,
/// so that each is finished while it is in the nearest cache that holds it.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn forward_block<const LAZY: bool>(
    c: &Butterfly,
    roots: &[u64],
    node: usize,
    from: Source<'_>,
    x: &mut [u64],
) {
    let log_len = x.len().trailing_zeros();
    if log_len <= LOG_LEAF {
        return forward_leaf::<LAZY>(c, roots, node, from, x);
    }
    let log_r = outer_layers(log_len);
    match log_r {
        1 => forward_pass::<1, LAZY>(c, roots, node, from, x),
        2 => forward_pass::<2, LAZY>(c, roots, node, from, x),
        _ => forward_pass::<3, LAZY>(c, roots, node, from, x),
    }
    for (k, part) in x.chunks_exact_mut(1 << (log_len - log_r)).enumerate() {
        forward_block::<LAZY>(c, roots, (node << log_r) + k, Source::Place, part);
    }
}

/// A block that the first-level cache holds, forwards.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn forward_leaf<const LAZY: bool>(
    c: &Butterfly,
    roots: &[u64],
    node: usize,
    mut from: Source<'_>,
    x: &mut [u64],
) {
    let mut depth = 0;
    for log_r in passes(x.len().trailing_zeros() - LOG_TAIL) {
        let len = x.len() >> depth;
        for (k, block) in x.chunks_exact_mut(len).enumerate() {
            let (node, from) = ((node << depth) + k, from.part(k, len));
            match log_r {
                1 => forward_pass::<1, LAZY>(c, roots, node, from, block),
                2 => forward_pass::<2, LAZY>(c, roots, node, from, block),
                3 => forward_pass::<3, LAZY>(c, roots, node, from, block),
                _ => forward_pass::<4, LAZY>(c, roots, node, from, block),
            }
        }
        depth += log_r;
        from = Source::Place;
    }
    forward_tail::<LAZY>(c, roots, node << depth, x);
}

/// The block at node `node` of the layer of `nodes` nodes, backwards: the parts one after another,
/// then the pass that joins them. Returns the multiple of q below which values are.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_block<const LAZY: bool>(
    c: &Butterfly,
    roots: &[u64],
    (nodes, node): (usize, usize),
    from: Source<'_>,
    x: &mut [u64],
    scale: Option<(u64, u64)>,
) -> u64 {
    let log_len = x.len().trailing_zeros();
    if log_len <= LOG_LEAF {
        return inverse_leaf::<LAZY>(c, roots, (nodes, node), from, x, scale);
    }
    let log_r = outer_layers(log_len);
    let len = 1 << (log_len - log_r);
    let mut bound = 0;
    for (k, part) in x.chunks_exact_mut(len).enumerate() {
        let at = (nodes << log_r, (node << log_r) + k);
        bound = inverse_block::<LAZY>(c, roots, at, from.part(k, len), part, None);
    }
    let (bound, bring_back) = grown::<LAZY>(bound, log_r);
    let extra = Extra { bring_back, scale };
    match log_r {
        1 => inverse_pass::<1, LAZY>(c, roots, nodes, node, x, extra),
        2 => inverse_pass::<2, LAZY>(c, roots, nodes, node, x, extra),
        _ => inverse_pass::<3, LAZY>(c, roots, nodes, node, x, extra),
    }
    bound
}

/// The bound after `log_r` more layers, and whether values must be brought back before.
fn grown<const LAZY: bool>(bound: u64, log_r: u32) -> (u64, bool) {
    let bring_back = LAZY && bound << log_r > LAZY_MULTIPLE;
    (if bring_back { 2 } else { bound } << log_r, bring_back)
}

/// A block that the first-level cache holds, backwards.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_leaf<const LAZY: bool>(
    c: &Butterfly,
    roots: &[u64],
    (nodes, node): (usize, usize),
    from: Source<'_>,
    x: &mut [u64],
    scale: Option<(u64, u64)>,
) -> u64 {
    let mut depth = x.len().trailing_zeros() - LOG_TAIL;
    inverse_tail::<LAZY>(c, roots, nodes << depth, node << depth, from, x);
    // Inputs are reduced, and four layers double each.
    let mut bound = 1 << LOG_TAIL;
    for log_r in passes(depth).rev() {
        depth -= log_r;
        let bring_back;
        (bound, bring_back) = grown::<LAZY>(bound, log_r);
        let extra = Extra {
            bring_back,
            scale: scale.filter(|_| depth == 0),
        };
        let nodes = nodes << depth;
        let len = x.len() >> depth;
        for (k, block) in x.chunks_exact_mut(len).enumerate() {
            let node = (node << depth) + k;
            match log_r {
                1 => inverse_pass::<1, LAZY>(c, roots, nodes, node, block, extra),
                2 => inverse_pass::<2, LAZY>(c, roots, nodes, node, block, extra),
                3 => inverse_pass::<3, LAZY>(c, roots, nodes, node, block, extra),
                _ => inverse_pass::<4, LAZY>(c, roots, nodes, node, block, extra),
            }
        }
    }
    bound
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn forward_all<const LAZY: bool>(table: &NttTable, from: Source<'_>, x: &mut [u64]) {
    let c = Butterfly::new(table.modulus(), LAZY);
    forward_block::<LAZY>(&c, table.roots(), 1, from, x);
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_all<const LAZY: bool>(table: &NttTable, from: Source<'_>, x: &mut [u64]) {
    let c = Butterfly::new(table.modulus(), LAZY);
    let scale = c.with_dual(table.degree_inverse(x.len().trailing_zeros()));
    inverse_block::<LAZY>(&c, table.roots(), (1, 1), from, x, Some(scale));
}

macro_rules! transform {
    ($name:ident, $name_from:ident, $all:ident) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
        pub(in crate::kernel) fn $name(table: &NttTable, x: &mut [u64]) {
            if x.len() < LEAST {
                crate::kernel::scalar::$name(table, x);
            } else if table.modulus().value() >> LAZY_BITS == 0 {
                $all::<true>(table, Source::Place, x);
            } else {
                $all::<false>(table, Source::Place, x);
            }
        }

        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
        pub(in crate::kernel) fn $name_from(table: &NttTable, out: &mut [u64], x: &[u64]) {
            if x.len() < LEAST {
                out.copy_from_slice(x);
                crate::kernel::scalar::$name(table, out);
            } else if table.modulus().value() >> LAZY_BITS == 0 {
                $all::<true>(table, Source::Other(x), out);
            } else {
                $all::<false>(table, Source::Other(x), out);
            }
        }
    };
}

transform!(ntt_forward, ntt_forward_from, forward_all);
transform!(ntt_inverse, ntt_inverse_from, inverse_all);
