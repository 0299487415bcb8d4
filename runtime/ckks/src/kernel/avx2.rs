//! The AVX2 kernel: four residues a register, products by fused multiply-adds in double precision.
//!
//! Residues are integers held exactly in doubles; an integer of at most 2^53 in absolute value that
//! is the result of one operation is the exact result.
//!
//! Products. Take integers |x| ≤ 2^52 and |w| ≤ (q−1)/2. With rounding to nearest, h = x·w and
//! l = x·w − h, which a fused multiply-add gives exactly. The nearest integer c to h·(1/q) comes
//! from adding and subtracting 1.5·2^52: as |h/q| stays below 2^51, the sum lies where doubles are
//! the integers. Both h and 1/q are off by a relative 2^−53, so |c − x·w/q| < 1/2 + |x|·2^−53, and
//!
//! > r = (h − c·q) + l = x·w − c·q with |r| < q·(1/2 + |x|·2^−53) ≤ q.
//!
//! Since |l| ≤ 2^48, the bracket is an integer below 2^51: the multiply-add and the addition are
//! exact. For x and w in (−q, q) the error of the quotient is below q·2^−52 < 1/4, and |r| < 3q/4.
//! For w = 1 there is no l: an integer |x| ≤ 2^53 with |x| < 2^51·q is brought to |r| < q/2 + 1.
//!
//! Sums of products of factors in [0, 2^b). A sum H of high parts starts at 2^(b+53), where doubles
//! are the multiples of 2^(b+1). Each H' = fma(x, w, H) rounds; H − H' is exact, and so is the low
//! part x·w + (H − H'), at most 2^b in absolute value. Up to 2^(53−b) − 2 products keep H below
//! 2^(b+54) and, with a residue before and one after them, the sum of low parts within 2^53. At the
//! end H − 2^(b+53) is g·2^(b+1) with 0 ≤ g < 2^52, and g times the centred 2^(b+1) mod q is a
//! product as above.
//!
//! Every function here needs the features that [`super::Kernel::avx2`] checks.

mod convert;
mod ntt;
mod unpack;
mod vaes;

use super::Init;
use crate::tables::modulus::{Modulus, ShoupScalar};
use std::arch::x86_64::*;

pub(super) use convert::convert;
pub(super) use ntt::{ntt_forward, ntt_forward_from, ntt_inverse, ntt_inverse_from};
pub(super) use unpack::unpack;
pub(crate) use vaes::RoundKeys;
pub(super) use vaes::uniform;

/// Residues in a register.
const LANES: usize = 4;

/// Words.
type V = __m256i;
/// Doubles.
type D = __m256d;
type Word4 = [u64; LANES];

/// The bits of 2^52: a word below 2^52 put beneath them is that much more.
const TWO_52: u64 = 0x4330_0000_0000_0000;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(x: &Word4) -> V {
    // SAFETY: the reference covers the 32 bytes read; the load has no alignment requirement.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(x: &mut Word4, v: V) {
    // SAFETY: the reference covers the 32 bytes written; the store has no alignment requirement.
    unsafe { _mm256_storeu_si256(x.as_mut_ptr().cast(), v) }
}

/// Up to four words, zeros behind them.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_partial(x: &[u64]) -> V {
    let mut words = [0; LANES];
    words[..x.len()].copy_from_slice(x);
    load(&words)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_partial(x: &mut [u64], v: V) {
    let mut words = [0; LANES];
    store(&mut words, v);
    x.copy_from_slice(&words[..x.len()]);
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn splat(x: u64) -> V {
    _mm256_set1_epi64x(x as i64)
}

/// The lane of `b` where that of `sign` is negative, else the lane of `a`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn where_negative(sign: V, a: V, b: V) -> V {
    let pd = |v| _mm256_castsi256_pd(v);
    _mm256_castpd_si256(_mm256_blendv_pd(pd(a), pd(b), pd(sign)))
}

/// Words below 2^52 as doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_doubles(x: V) -> D {
    let raised = _mm256_castsi256_pd(_mm256_or_si256(x, splat(TWO_52)));
    _mm256_sub_pd(raised, _mm256_set1_pd((1u64 << 52) as f64))
}

/// A modulus in registers.
#[derive(Clone, Copy)]
struct Field {
    q: D,
    /// 1/q.
    inverse: D,
    /// 1.5·2^52, whose sum with a small double is rounded to an integer.
    round: D,
    q_word: V,
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(m: &Modulus) -> Self {
        Self {
            q: _mm256_set1_pd(m.value() as f64),
            inverse: _mm256_set1_pd(1.0 / m.value() as f64),
            round: _mm256_set1_pd((3u64 << 51) as f64),
            q_word: splat(m.value()),
        }
    }

    /// The integer nearest to x/q.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn quotient(&self, x: D) -> D {
        _mm256_sub_pd(_mm256_fmadd_pd(x, self.inverse, self.round), self.round)
    }

    /// Any |x| ≤ 2^53 below 2^51·q, brought to |x| < q/2 + 1.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(&self, x: D) -> D {
        _mm256_fnmadd_pd(self.quotient(x), self.q, x)
    }

    /// `x · w` within q·(1/2 + |x|·2^−53) for |x| ≤ 2^52 and centred `w`, within 3q/4 for both in
    /// (−q, q).
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn mul(&self, x: D, w: D) -> D {
        let high = _mm256_mul_pd(x, w);
        let low = _mm256_fmsub_pd(x, w, high);
        let r = _mm256_fnmadd_pd(self.quotient(high), self.q, high);
        _mm256_add_pd(r, low)
    }

    /// Doubles in [−q, q) as residues.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn residues_of(&self, x: D) -> V {
        let raised = _mm256_castpd_si256(_mm256_add_pd(x, self.round));
        self.raise(_mm256_sub_epi64(raised, _mm256_castpd_si256(self.round)))
    }

    /// Doubles in [−q, q) brought to [0, q).
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn raise_doubles(&self, x: D) -> D {
        let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
        _mm256_add_pd(x, _mm256_and_pd(negative, self.q))
    }

    /// Signed words in [−q, q) brought to [0, q).
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn raise(&self, x: V) -> V {
        where_negative(x, x, _mm256_add_epi64(x, self.q_word))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(&self, a: V, b: V) -> V {
        self.raise(_mm256_add_epi64(a, _mm256_sub_epi64(b, self.q_word)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn sub(&self, a: V, b: V) -> V {
        self.raise(_mm256_sub_epi64(a, b))
    }

    /// The product of words below q and doubles in (−q, q), as residues.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn mul_words(&self, a: V, b: D) -> V {
        self.residues_of(self.mul(to_doubles(a), b))
    }
}

/// `$x[i] = $f($x[i], $y[i]…)` in runs of four, the last one partial.
macro_rules! map {
    ($x:expr; $($y:expr),*; |$a:ident $(, $b:ident)*| $body:expr) => {{
        let x: &mut [u64] = $x;
        let (runs, tail) = x.as_chunks_mut::<LANES>();
        map!(@zip runs, ($($y),*), ($a $(, $b)*), $body);
        if !tail.is_empty() {
            let $a = load_partial(tail);
            $(let $b = load_partial($y.as_chunks::<LANES>().1);)*
            store_partial(tail, $body);
        }
    }};
    (@zip $runs:ident, (), ($a:ident), $body:expr) => {
        for run in $runs {
            let $a = load(run);
            store(run, $body);
        }
    };
    (@zip $runs:ident, ($y:expr), ($a:ident, $b:ident), $body:expr) => {
        for (run, y) in $runs.iter_mut().zip($y.as_chunks::<LANES>().0) {
            let ($a, $b) = (load(run), load(y));
            store(run, $body);
        }
    };
    (@zip $runs:ident, ($y:expr, $z:expr), ($a:ident, $b:ident, $c:ident), $body:expr) => {
        for ((run, y), z) in $runs.iter_mut().zip($y.as_chunks::<LANES>().0).zip($z.as_chunks::<LANES>().0) {
            let ($a, $b, $c) = (load(run), load(y), load(z));
            store(run, $body);
        }
    };
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn add(m: &Modulus, x: &mut [u64], y: &[u64]) {
    let f = Field::new(m);
    map!(x; y; |a, b| f.add(a, b));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn sub(m: &Modulus, x: &mut [u64], y: &[u64]) {
    let f = Field::new(m);
    map!(x; y; |a, b| f.sub(a, b));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn neg(m: &Modulus, x: &mut [u64]) {
    let f = Field::new(m);
    map!(x; ; |a| f.sub(_mm256_setzero_si256(), a));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul(m: &Modulus, x: &mut [u64], y: &[u64], log_rep: u32) {
    let f = Field::new(m);
    match log_rep {
        0 => map!(x; y; |a, b| f.mul_words(a, to_doubles(b))),
        1 => {
            let ((runs, tail), (pairs, last)) =
                (x.as_chunks_mut::<LANES>(), y.as_chunks::<{ LANES / 2 }>());
            for (run, &[first, second]) in runs.iter_mut().zip(pairs) {
                let product = f.mul_words(load(run), twice(first, second));
                store(run, product);
            }
            super::scalar::mul(m, tail, last, log_rep);
        }
        _ => {
            for (run, &y) in x.chunks_exact_mut(1 << log_rep).zip(y) {
                let b = _mm256_set1_pd(y as f64);
                map!(run; ; |a| f.mul_words(a, b));
            }
        }
    }
}

/// Two residues, each in two lanes, as doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn twice(first: u64, second: u64) -> D {
    to_doubles(_mm256_set_epi64x(
        second as i64,
        second as i64,
        first as i64,
        first as i64,
    ))
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_sub(m: &Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    let f = Field::new(m);
    map!(acc; a, b; |x, y, z| f.sub(x, f.mul_words(y, to_doubles(z))));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_scalar(m: &Modulus, x: &mut [u64], s: ShoupScalar) {
    let (f, factor) = (Field::new(m), _mm256_set1_pd(s.value as f64));
    map!(x; ; |a| f.mul_words(a, factor));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_scalar_add(m: &Modulus, acc: &mut [u64], x: &[u64], s: ShoupScalar) {
    let (f, factor) = (Field::new(m), _mm256_set1_pd(s.value as f64));
    map!(acc; x; |a, b| f.add(a, f.mul_words(b, factor)));
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn sub_mul_scalar(m: &Modulus, x: &mut [u64], y: &[u64], s: ShoupScalar) {
    let (f, factor) = (Field::new(m), _mm256_set1_pd(s.value as f64));
    map!(x; y; |a, b| {
        f.residues_of(f.mul(_mm256_sub_pd(to_doubles(a), to_doubles(b)), factor))
    });
}

/// The constants of a sum of products, see the head of this file.
#[derive(Clone, Copy)]
struct SumField {
    field: Field,
    /// 2^(b+53), where the high parts start.
    start: D,
    /// The centred 2^(b+1) mod q, divided by 2^(b+1).
    unit: D,
    /// Products between two reductions.
    most: usize,
}

impl SumField {
    /// For factors below 2^`bits`, of which the modulus has no more.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(m: &Modulus, bits: u32) -> Self {
        let unit = 1u64 << (bits + 1);
        Self {
            field: Field::new(m),
            start: _mm256_set1_pd(unit as f64 * (1u64 << 52) as f64),
            unit: _mm256_set1_pd(m.centred(m.reduce(unit)) as f64 / unit as f64),
            most: (1 << (53 - bits)) - 2,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(&self, (high, low): &mut (D, D), x: D, w: D) {
        let sum = _mm256_fmadd_pd(x, w, *high);
        let part = _mm256_fmadd_pd(x, w, _mm256_sub_pd(*high, sum));
        *low = _mm256_add_pd(*low, part);
        *high = sum;
    }

    /// The sum as |r| < q/2 + 1.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(&self, (high, low): (D, D)) -> D {
        let high = self.field.mul(_mm256_sub_pd(high, self.start), self.unit);
        self.field.reduce(_mm256_add_pd(high, low))
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn dot(
    m: &Modulus,
    out: &mut [u64],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: &[&[u64]],
) {
    dots::<1, 4>(m, [out], init, shared, log_rep, [factors]);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn dot_pair(
    m: &Modulus,
    out: [&mut [u64]; 2],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: [&[&[u64]]; 2],
) {
    dots::<2, 2>(m, out, init, shared, log_rep, factors);
}

/// Four words from `start` on, as doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn doubles_at(x: &[u64], start: usize) -> D {
    let words = x[start..].first_chunk().expect("a whole run of words");
    to_doubles(load(words))
}

/// `K` sums of products that share one side. The accumulators of `HELD` runs stay in registers over
/// all terms.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dots<const K: usize, const HELD: usize>(
    m: &Modulus,
    mut out: [&mut [u64]; K],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: [&[&[u64]]; K],
) {
    let step = HELD * LANES;
    let f = SumField::new(m, m.bits());
    let terms = shared.len();
    let whole = out[0].len() / step * step;
    for start in (0..whole).step_by(step) {
        let mut sums = [[(f.start, _mm256_setzero_pd()); K]; HELD];
        if init == Init::Accumulate {
            for (h, sums) in sums.iter_mut().enumerate() {
                for (sum, out) in sums.iter_mut().zip(&out) {
                    sum.1 = doubles_at(out, start + h * LANES);
                }
            }
        }
        let mut left = f.most;
        for t in 0..terms {
            if left == 0 {
                for sum in sums.iter_mut().flatten() {
                    *sum = (f.start, f.reduce(*sum));
                }
                left = f.most;
            }
            left -= 1;
            for (h, sums) in sums.iter_mut().enumerate() {
                let (at, words) = (start + h * LANES, shared[t]);
                let s = match log_rep {
                    0 => doubles_at(words, at),
                    1 => twice(words[at >> 1], words[(at >> 1) + 1]),
                    _ => _mm256_set1_pd(words[at >> log_rep] as f64),
                };
                for (sum, factors) in sums.iter_mut().zip(factors) {
                    f.add(sum, s, doubles_at(factors[t], at));
                }
            }
        }
        for (h, sums) in sums.into_iter().enumerate() {
            for (sum, out) in sums.into_iter().zip(&mut out) {
                let run = out[start + h * LANES..].first_chunk_mut();
                let run = run.expect("a whole run of words");
                store(run, f.field.residues_of(f.reduce(sum)));
            }
        }
    }
    if whole < out[0].len() {
        let from = whole >> log_rep;
        let tails = |rows: &[&[u64]], from: usize| -> Vec<Vec<u64>> {
            rows.iter().map(|r| r[from..].to_vec()).collect()
        };
        let shared = tails(shared, from);
        let shared: Vec<&[u64]> = shared.iter().map(Vec::as_slice).collect();
        for (out, factors) in out.into_iter().zip(factors) {
            let factors = tails(factors, whole);
            let factors: Vec<&[u64]> = factors.iter().map(Vec::as_slice).collect();
            super::scalar::dot(m, &mut out[whole..], init, &shared, log_rep, &factors);
        }
    }
}

/// How four words come from eight: a permutation of the lower four and of the upper four alike, and
/// the lanes that take the upper's.
#[derive(Clone, Copy)]
struct Choice {
    order: V,
    upper: D,
}

impl Choice {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(from: &Word4) -> Self {
        let (mut order, mut upper) = ([0; LANES], [0; LANES]);
        for ((order, upper), &lane) in order.iter_mut().zip(&mut upper).zip(from) {
            // The halves of a word, as the permutation of 32-bit lanes names them.
            let first = 2 * (lane & 3);
            *order = first | ((first + 1) << 32);
            *upper = if lane < 4 { 0 } else { u64::MAX };
        }
        Self {
            order: load(&order),
            upper: _mm256_castsi256_pd(load(&upper)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn of(&self, low: V, high: V) -> V {
        let permuted = |v| _mm256_castsi256_pd(_mm256_permutevar8x32_epi32(v, self.order));
        let chosen = _mm256_blendv_pd(permuted(low), permuted(high), self.upper);
        _mm256_castpd_si256(chosen)
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn permute(blocks: &[u32], patterns: &[[u64; 8]; 8], out: &mut [u64], x: &[u64]) {
    let mut choices = [[Choice::new(&[0; LANES]); 2]; 8];
    for (choice, pattern) in choices.iter_mut().zip(patterns) {
        let (halves, _) = pattern.as_chunks::<LANES>();
        *choice = [Choice::new(&halves[0]), Choice::new(&halves[1])];
    }
    let (runs, _) = x.as_chunks::<LANES>();
    let within = runs.len() / 2 - 1;
    for (pair, &entry) in out
        .as_chunks_mut::<LANES>()
        .0
        .chunks_exact_mut(2)
        .zip(blocks)
    {
        let source = 2 * ((entry >> 3) as usize & within);
        let (low, high) = (load(&runs[source]), load(&runs[source + 1]));
        let [first, second] = &choices[(entry & 7) as usize];
        store(&mut pair[0], first.of(low, high));
        store(&mut pair[1], second.of(low, high));
    }
}

/// A small part of the transform that comes before it.
#[target_feature(enable = "avx2,fma")]
pub(super) fn split_conjugates(
    m: &Modulus,
    a: &mut [u64],
    b: &mut [u64],
    half: ShoupScalar,
    factor: ShoupScalar,
) {
    super::scalar::split_conjugates(m, a, b, half, factor);
}

/// Moduli of fewer bits leave quotients of 64-bit integers that a double's 52 bits do not hold.
const SIGNED_BITS: u32 = 13;

#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce_signed(m: &Modulus, out: &mut [u64], x: &[i64]) {
    if m.bits() < SIGNED_BITS {
        return super::scalar::reduce_signed(m, out, x);
    }
    let f = Field::new(m);
    // 2^84 + 2^63: the sign bit turned, a word's upper half beneath 2^84 counts from −2^31, in
    // units of 2^32.
    let raised_84 = splat(0x4530_0000_8000_0000);
    let two_84 = _mm256_set1_pd(2f64.powi(84) + 2f64.powi(63));
    let lower_mask = splat(u64::from(u32::MAX));
    let (runs, tail) = out.as_chunks_mut::<LANES>();
    let (signed, signed_tail) = x.as_chunks::<LANES>();
    for (out, x) in runs.iter_mut().zip(signed) {
        // SAFETY: the reference covers the 32 bytes read; the load has no alignment requirement.
        let x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
        let upper = _mm256_xor_si256(_mm256_srli_epi64::<32>(x), raised_84);
        let upper = _mm256_sub_pd(_mm256_castsi256_pd(upper), two_84);
        let lower = to_doubles(_mm256_and_si256(x, lower_mask));
        // The upper part over q is below 2^51, so that its remainder is exact and below q/2 + 2^10.
        let sum = _mm256_add_pd(f.reduce(upper), lower);
        store(out, f.residues_of(f.reduce(sum)));
    }
    super::scalar::reduce_signed(m, tail, signed_tail);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn lift_small(m: &Modulus, out: &mut [u64], x: &[i8]) {
    super::scalar::lift_small(m, out, x);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn switch_modulus(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    let f = Field::new(to);
    let half = _mm256_set1_pd((from.value() / 2) as f64);
    let modulus = _mm256_set1_pd(from.value() as f64);
    map!(out; x; |_old, x| {
        let x = to_doubles(x);
        let above = _mm256_cmp_pd::<_CMP_GT_OQ>(x, half);
        let centred = _mm256_sub_pd(x, _mm256_and_pd(above, modulus));
        f.residues_of(f.reduce(centred))
    });
}
