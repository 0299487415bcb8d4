//! The AVX-512 IFMA kernel: eight residues a register, products at 52 bits.
//!
//! `vpmadd52luq`/`vpmadd52huq` multiply the low 52 bits of their operands and add the low or high
//! 52 bits of the product to a 64-bit accumulator. Every function here needs the features that
//! [`super::Kernel::ifma`] checks.

mod ntt;
mod vaes;

use super::{CONVERT_BLOCK, Init};
use crate::tables::conversion::ConversionTable;
use crate::tables::modulus::{MAX_LAZY_PRODUCTS, Modulus, ShoupScalar, WORD_MASK};
use std::arch::x86_64::*;

pub(super) use ntt::{ntt_forward, ntt_forward_from, ntt_inverse, ntt_inverse_from};
pub(crate) use vaes::RoundKeys;
pub(super) use vaes::uniform;

/// Residues in a register.
const LANES: usize = 8;

type V = __m512i;
type Word8 = [u64; LANES];

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn load(x: &Word8) -> V {
    // SAFETY: the reference covers the 64 bytes read; the load has no alignment requirement.
    unsafe { _mm512_loadu_epi64(x.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn store(x: &mut Word8, v: V) {
    // SAFETY: the reference covers the 64 bytes written; the store has no alignment requirement.
    unsafe { _mm512_storeu_epi64(x.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn load_held(x: &[u64]) -> [V; HELD] {
    let (runs, _) = x[..HELD * LANES].as_chunks::<LANES>();
    [
        load(&runs[0]),
        load(&runs[1]),
        load(&runs[2]),
        load(&runs[3]),
    ]
}

/// Up to eight words, zeros behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn load_partial(x: &[u64]) -> V {
    let mask = (1u16 << x.len().min(LANES)).wrapping_sub(1) as u8;
    // SAFETY: only lanes below the slice's length are read; masked lanes are not accessed.
    unsafe { _mm512_maskz_loadu_epi64(mask, x.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn store_partial(x: &mut [u64], v: V) {
    let mask = (1u16 << x.len().min(LANES)).wrapping_sub(1) as u8;
    // SAFETY: only lanes below the slice's length are written.
    unsafe { _mm512_mask_storeu_epi64(x.as_mut_ptr().cast(), mask, v) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn splat(x: u64) -> V {
    _mm512_set1_epi64(x as i64)
}

/// A modulus in registers.
#[derive(Clone, Copy)]
struct Field {
    q: V,
    two_q: V,
    mask: V,
    /// floor(2^52/q).
    inverse52: V,
    /// 2^52 mod q and its Shoup quotient.
    word: V,
    word_quotient: V,
    zero: V,
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new(m: &Modulus) -> Self {
        Self {
            q: splat(m.value()),
            two_q: splat(2 * m.value()),
            mask: splat(WORD_MASK),
            inverse52: splat(m.inverse52()),
            word: splat(m.word().value),
            word_quotient: splat(m.word().quotient),
            zero: _mm512_setzero_si512(),
        }
    }

    /// [0, 2q) to [0, q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn correct(&self, x: V) -> V {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, self.q))
    }

    /// [0, 4q) to [0, q).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn correct_twice(&self, x: V) -> V {
        self.correct(_mm512_min_epu64(x, _mm512_sub_epi64(x, self.two_q)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn add(&self, a: V, b: V) -> V {
        self.correct(_mm512_add_epi64(a, b))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn sub(&self, a: V, b: V) -> V {
        let d = _mm512_sub_epi64(a, b);
        _mm512_min_epu64(d, _mm512_add_epi64(d, self.q))
    }

    /// Sums of low and of high product words, at most [`MAX_LAZY_PRODUCTS`] of each and a residue,
    /// to a residue.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn reduce_wide(&self, low: V, high: V) -> V {
        let high = _mm512_add_epi64(high, _mm512_srli_epi64::<52>(low));
        let estimate = _mm512_madd52hi_epu64(self.zero, high, self.word_quotient);
        let estimate = _mm512_madd52hi_epu64(estimate, low, self.inverse52);
        let value = _mm512_madd52lo_epu64(low, high, self.word);
        let multiple = _mm512_madd52lo_epu64(self.zero, estimate, self.q);
        self.correct_twice(_mm512_and_si512(
            _mm512_sub_epi64(value, multiple),
            self.mask,
        ))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn mul(&self, a: V, b: V) -> V {
        let low = _mm512_madd52lo_epu64(self.zero, a, b);
        let high = _mm512_madd52hi_epu64(self.zero, a, b);
        self.reduce_wide(low, high)
    }

    /// `x · s` reduced, for any `x` below 2^52.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn mul_shoup(&self, x: V, value: V, quotient: V) -> V {
        let estimate = _mm512_madd52hi_epu64(self.zero, x, quotient);
        let product = _mm512_madd52lo_epu64(self.zero, x, value);
        let multiple = _mm512_madd52lo_epu64(self.zero, estimate, self.q);
        self.correct(_mm512_and_si512(
            _mm512_sub_epi64(product, multiple),
            self.mask,
        ))
    }
}

/// `$x[i] = $f($x[i], $y[i]…)` in runs of eight, the last one masked.
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

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn add(m: &Modulus, x: &mut [u64], y: &[u64]) {
    let f = Field::new(m);
    map!(x; y; |a, b| f.add(a, b));
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn sub(m: &Modulus, x: &mut [u64], y: &[u64]) {
    let f = Field::new(m);
    map!(x; y; |a, b| f.sub(a, b));
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn neg(m: &Modulus, x: &mut [u64]) {
    let f = Field::new(m);
    map!(x; ; |a| f.sub(f.zero, a));
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn mul(m: &Modulus, x: &mut [u64], y: &[u64], log_rep: u32) {
    let f = Field::new(m);
    if log_rep == 0 {
        map!(x; y; |a, b| f.mul(a, b));
    } else if log_rep < 3 {
        let spread = Spread::new(log_rep);
        let (runs, tail) = x.as_chunks_mut::<LANES>();
        for (run, y) in runs.iter_mut().zip(y.chunks_exact(spread.words)) {
            let product = f.mul(load(run), spread.load(y));
            store(run, product);
        }
        super::scalar::mul(m, tail, &y[y.len() - (tail.len() >> log_rep)..], log_rep);
    } else {
        for (run, &y) in x.chunks_exact_mut(1 << log_rep).zip(y) {
            let b = splat(y);
            map!(run; ; |a| f.mul(a, b));
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn mul_sub(m: &Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    let f = Field::new(m);
    map!(acc; a, b; |x, y, z| f.sub(x, f.mul(y, z)));
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn mul_scalar(m: &Modulus, x: &mut [u64], s: ShoupScalar) {
    let (f, value, quotient) = (Field::new(m), splat(s.value), splat(s.quotient));
    map!(x; ; |a| f.mul_shoup(a, value, quotient));
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn mul_scalar_add(m: &Modulus, acc: &mut [u64], x: &[u64], s: ShoupScalar) {
    let (f, value, quotient) = (Field::new(m), splat(s.value), splat(s.quotient));
    map!(acc; x; |a, b| f.add(a, f.mul_shoup(b, value, quotient)));
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn sub_mul_scalar(m: &Modulus, x: &mut [u64], y: &[u64], s: ShoupScalar) {
    let (f, value, quotient) = (Field::new(m), splat(s.value), splat(s.quotient));
    map!(x; y; |a, b| {
        f.mul_shoup(_mm512_sub_epi64(_mm512_add_epi64(a, f.q), b), value, quotient)
    });
}

/// Reads `8 >> log_rep` words and repeats each `1 << log_rep` times, for `log_rep` of 0 to 2.
struct Spread {
    words: usize,
    lanes: V,
}

impl Spread {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new(log_rep: u32) -> Self {
        let lanes = _mm512_srl_epi64(
            _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0),
            _mm_cvtsi64_si128(log_rep.into()),
        );
        Self {
            words: LANES >> log_rep,
            lanes,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn load(&self, y: &[u64]) -> V {
        _mm512_permutexvar_epi64(self.lanes, load_partial(&y[..self.words]))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn load_held(&self, y: &[u64]) -> [V; HELD] {
        std::array::from_fn(|h| self.load(&y[h * self.words..]))
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn dot(
    m: &Modulus,
    out: &mut [u64],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: &[&[u64]],
) {
    dots(m, [out], init, shared, log_rep, [factors]);
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn dot_pair(
    m: &Modulus,
    out: [&mut [u64]; 2],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: [&[&[u64]]; 2],
) {
    dots(m, out, init, shared, log_rep, factors);
}

/// Runs of eight that [`dots`] and [`convert`] hold in registers at once.
const HELD: usize = 4;

/// `K` sums of products that share one side. The accumulators of a run stay in registers over all
/// terms.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn dots<const K: usize>(
    m: &Modulus,
    out: [&mut [u64]; K],
    init: Init,
    shared: &[&[u64]],
    log_rep: u32,
    factors: [&[&[u64]]; K],
) {
    const STEP: usize = HELD * LANES;
    let f = Field::new(m);
    let spread = Spread::new(log_rep.min(2));
    let terms = shared.len();
    let whole = out[0].len() / STEP * STEP;
    for start in (0..whole).step_by(STEP) {
        let mut low = [[f.zero; HELD]; K];
        let mut high = [[f.zero; HELD]; K];
        if init == Init::Accumulate {
            for k in 0..K {
                low[k] = load_held(&out[k][start..]);
            }
        }
        for t in 0..terms {
            let s = match log_rep {
                0 => load_held(&shared[t][start..]),
                1 | 2 => spread.load_held(&shared[t][start >> log_rep..]),
                3 | 4 => {
                    let words = &shared[t][start >> log_rep..];
                    std::array::from_fn(|h| splat(words[(LANES * h) >> log_rep]))
                }
                _ => [splat(shared[t][start >> log_rep]); HELD],
            };
            for k in 0..K {
                let x = load_held(&factors[k][t][start..]);
                for h in 0..HELD {
                    low[k][h] = _mm512_madd52lo_epu64(low[k][h], s[h], x[h]);
                    high[k][h] = _mm512_madd52hi_epu64(high[k][h], s[h], x[h]);
                }
            }
            if (t + 1) % MAX_LAZY_PRODUCTS == 0 && t + 1 < terms {
                for k in 0..K {
                    for h in 0..HELD {
                        low[k][h] = f.reduce_wide(low[k][h], high[k][h]);
                        high[k][h] = f.zero;
                    }
                }
            }
        }
        for k in 0..K {
            let (runs, _) = out[k][start..start + STEP].as_chunks_mut::<LANES>();
            for (h, run) in runs.iter_mut().enumerate() {
                store(run, f.reduce_wide(low[k][h], high[k][h]));
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

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn permute(blocks: &[u32], patterns: &[[u64; 8]; 8], out: &mut [u64], x: &[u64]) {
    let lanes = [0, 1, 2, 3, 4, 5, 6, 7].map(|p| load(&patterns[p]));
    let (runs, _) = x.as_chunks::<LANES>();
    let within = runs.len() - 1;
    for (run, &entry) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(blocks) {
        let source = load(&runs[(entry >> 3) as usize & within]);
        store(
            run,
            _mm512_permutexvar_epi64(lanes[(entry & 7) as usize], source),
        );
    }
}

/// Eight residues span `bits` bytes. Each lane takes the four 16-bit words from the one in which
/// its residue begins, and shifts: residues of even `bits` begin at even bits, those of odd ones
/// have one bit less, so that 64 bits suffice.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn unpack(bits: u32, out: &mut [u64], packed: &[u64]) {
    let (mut words, mut shifts) = ([0u16; 32], [0u64; LANES]);
    for lane in 0..LANES {
        let at = lane * bits as usize;
        shifts[lane] = (at % 16) as u64;
        for k in 0..4 {
            words[4 * lane + k] = (at / 16 + k) as u16;
        }
    }
    // SAFETY: the array covers the 64 bytes read; the load has no alignment requirement.
    let words = unsafe { _mm512_loadu_epi16(words.as_ptr().cast()) };
    let (shifts, mask) = (load(&shifts), splat((1 << bits) - 1));
    let step = bits as usize;
    let bytes = 8 * packed.len();
    let start = packed.as_ptr().cast::<i8>();
    let (runs, tail) = out.as_chunks_mut::<LANES>();
    // Groups that 64 bytes can be read from come first, the others are masked.
    let whole = bytes.checked_sub(64).map_or(0, |last| last / step + 1);
    let (first, last) = runs.split_at_mut(whole.min(runs.len()));
    for (g, run) in first.iter_mut().enumerate() {
        // SAFETY: g < whole, so that g·step + 64 ≤ bytes.
        let span = unsafe { _mm512_loadu_epi8(start.add(g * step)) };
        let residues = _mm512_srlv_epi64(_mm512_permutexvar_epi16(words, span), shifts);
        store(run, _mm512_and_si512(residues, mask));
    }
    for (g, run) in last.iter_mut().enumerate() {
        let at = (whole + g) * step;
        // SAFETY: only bytes below the end of `packed` are read; masked ones are not accessed.
        let span = unsafe { _mm512_maskz_loadu_epi8((1 << (bytes - at)) - 1, start.add(at)) };
        let residues = _mm512_srlv_epi64(_mm512_permutexvar_epi16(words, span), shifts);
        store(run, _mm512_and_si512(residues, mask));
    }
    debug_assert!(tail.is_empty(), "limbs have a multiple of eight residues");
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn split_conjugates(
    m: &Modulus,
    a: &mut [u64],
    b: &mut [u64],
    half: ShoupScalar,
    factor: ShoupScalar,
) {
    let f = Field::new(m);
    let (half_value, half_quotient) = (splat(half.value), splat(half.quotient));
    let (value, quotient) = (splat(factor.value), splat(factor.quotient));
    let backwards = _mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    let whole = a.len() / 2 / LANES * LANES;
    let rest = whole..a.len() - whole;
    super::scalar::split_conjugates(m, &mut a[rest.clone()], &mut b[rest], half, factor);
    let behind = a.len() - whole;
    let (a, a_behind) = a.split_at_mut(behind);
    let (b, b_behind) = b.split_at_mut(behind);
    let first = a[..whole].as_chunks_mut::<LANES>().0.iter_mut();
    let first = first.zip(b[..whole].as_chunks_mut::<LANES>().0);
    let last = a_behind.as_chunks_mut::<LANES>().0.iter_mut();
    let last = last.zip(b_behind.as_chunks_mut::<LANES>().0).rev();
    for ((a, b), (a_mirrored, b_mirrored)) in first.zip(last) {
        let c = load(a);
        let mirrored = _mm512_permutexvar_epi64(backwards, load(a_mirrored));
        let sum = f.mul_shoup(f.add(c, mirrored), half_value, half_quotient);
        let difference = f.mul_shoup(f.sub(c, mirrored), value, quotient);
        store(a, sum);
        store(b, difference);
        store(a_mirrored, _mm512_permutexvar_epi64(backwards, sum));
        store(b_mirrored, _mm512_permutexvar_epi64(backwards, difference));
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn reduce_signed(m: &Modulus, out: &mut [u64], x: &[i64]) {
    let f = Field::new(m);
    let (runs, tail) = out.as_chunks_mut::<LANES>();
    let (signed, signed_tail) = x.as_chunks::<LANES>();
    for (out, x) in runs.iter_mut().zip(signed) {
        // SAFETY: the reference covers the 64 bytes read; the load has no alignment requirement.
        let x = unsafe { _mm512_loadu_epi64(x.as_ptr()) };
        // The word above 52 bits counts as the high half of a product.
        let residue = f.reduce_wide(_mm512_abs_epi64(x), f.zero);
        let negated = f.sub(f.zero, residue);
        store(
            out,
            _mm512_mask_mov_epi64(residue, _mm512_movepi64_mask(x), negated),
        );
    }
    super::scalar::reduce_signed(m, tail, signed_tail);
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn lift_small(m: &Modulus, out: &mut [u64], x: &[i8]) {
    super::scalar::lift_small(m, out, x);
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn switch_modulus(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    let f = Field::new(to);
    let (half, from_residue) = (splat(from.value() / 2), splat(to.reduce(from.value())));
    map!(out; x; |_old, x| {
        let quotient = _mm512_madd52hi_epu64(f.zero, x, f.inverse52);
        let multiple = _mm512_madd52lo_epu64(f.zero, quotient, f.q);
        let residue = f.correct(_mm512_sub_epi64(x, multiple));
        let above = _mm512_cmpgt_epu64_mask(x, half);
        _mm512_mask_mov_epi64(residue, above, f.sub(residue, from_residue))
    });
}

/// Coefficients of one block, in registers' shape.
type Block = [V; CONVERT_BLOCK / LANES];

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn convert(table: &ConversionTable, inputs: &[&[u64]], outputs: &mut [&mut [u64]]) {
    let sources = table.sources.len();
    let len = inputs.first().map_or(0, |x| x.len());
    let zero = _mm512_setzero_si512();
    let mut scaled = vec![[zero; CONVERT_BLOCK / LANES]; sources + 1];
    let whole = len / CONVERT_BLOCK * CONVERT_BLOCK;
    for start in (0..whole).step_by(CONVERT_BLOCK) {
        let mut fractions = [_mm512_set1_pd(0.5); CONVERT_BLOCK / LANES];
        for ((source, input), scaled) in table.sources.iter().zip(inputs).zip(&mut scaled) {
            let f = Field::new(&source.modulus);
            let (value, quotient) = (splat(source.factor.value), splat(source.factor.quotient));
            let reciprocal = _mm512_set1_pd(source.reciprocal);
            let (runs, _) = input[start..start + CONVERT_BLOCK].as_chunks::<LANES>();
            for ((x, y), fraction) in runs.iter().zip(scaled).zip(&mut fractions) {
                *y = f.mul_shoup(load(x), value, quotient);
                // Multiplied and added apart, as the scalar kernel does.
                let part = _mm512_mul_pd(_mm512_cvtepu64_pd(*y), reciprocal);
                *fraction = _mm512_add_pd(*fraction, part);
            }
        }
        for (v, fraction) in scaled[sources].iter_mut().zip(fractions) {
            *v = _mm512_cvttpd_epu64(fraction);
        }
        for (target, output) in table.targets.iter().zip(outputs.iter_mut()) {
            convert_block(
                &Field::new(&target.modulus),
                &scaled,
                &target.factors,
                &mut output[start..][..CONVERT_BLOCK],
            );
        }
    }
    if whole < len {
        let inputs: Vec<&[u64]> = inputs.iter().map(|x| &x[whole..]).collect();
        let mut outputs: Vec<&mut [u64]> = outputs.iter_mut().map(|x| &mut x[whole..]).collect();
        super::scalar::convert(table, &inputs, &mut outputs);
    }
}

/// One block of one target: `out = Σ_i scaled[i]·factors[i]`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn convert_block(f: &Field, scaled: &[Block], factors: &[u64], out: &mut [u64]) {
    /// Accumulator pairs held in registers.
    const WIDE: usize = 8;
    let (runs, _) = out.as_chunks_mut::<LANES>();
    for (group, runs) in runs.chunks_exact_mut(WIDE).enumerate() {
        let mut low = [f.zero; WIDE];
        for (scaled, factors) in scaled
            .chunks(MAX_LAZY_PRODUCTS)
            .zip(factors.chunks(MAX_LAZY_PRODUCTS))
        {
            let mut high = [f.zero; WIDE];
            for (y, &factor) in scaled.iter().zip(factors) {
                let factor = splat(factor);
                for h in 0..WIDE {
                    let y = y[WIDE * group + h];
                    low[h] = _mm512_madd52lo_epu64(low[h], y, factor);
                    high[h] = _mm512_madd52hi_epu64(high[h], y, factor);
                }
            }
            for h in 0..WIDE {
                low[h] = f.reduce_wide(low[h], high[h]);
            }
        }
        for (run, value) in runs.iter_mut().zip(low) {
            store(run, value);
        }
    }
}
