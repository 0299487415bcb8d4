//! Base conversion by sums of products, block by block.

use std::arch::x86_64::*;

use super::{D, Field, LANES, SumField, load, store, to_doubles};
use crate::kernel::CONVERT_BLOCK;
use crate::tables::conversion::CONVERT_SOURCES;
use crate::tables::conversion::ConversionTable;

/// Bits of a conversion's quotient, which is at most the number of sources.
const QUOTIENT_BITS: u32 = CONVERT_SOURCES.ilog2() + 1;

/// Coefficients of one block, in registers' shape.
type Block = [D; CONVERT_BLOCK / LANES];

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn convert(
    table: &ConversionTable,
    inputs: &[&[u64]],
    outputs: &mut [&mut [u64]],
) {
    let sources = table.sources.len();
    let len = inputs.first().map_or(0, |x| x.len());
    let whole = len / CONVERT_BLOCK * CONVERT_BLOCK;
    let bits = table.sources.iter().map(|s| s.modulus.bits());
    let bits = bits.max().unwrap_or(0).max(QUOTIENT_BITS);
    let mut scaled = vec![[_mm256_setzero_pd(); CONVERT_BLOCK / LANES]; sources + 1];
    let factors: Vec<f64> = (table.targets.iter())
        .flat_map(|target| target.factors.iter().map(|&factor| factor as f64))
        .collect();
    for start in (0..whole).step_by(CONVERT_BLOCK) {
        let mut fractions = [_mm256_set1_pd(0.5); CONVERT_BLOCK / LANES];
        for ((source, input), scaled) in table.sources.iter().zip(inputs).zip(&mut scaled) {
            let f = Field::new(&source.modulus);
            let factor = _mm256_set1_pd(source.factor.value as f64);
            let reciprocal = _mm256_set1_pd(source.reciprocal);
            let (runs, _) = input[start..start + CONVERT_BLOCK].as_chunks::<LANES>();
            for ((x, y), fraction) in runs.iter().zip(scaled).zip(&mut fractions) {
                *y = f.raise_doubles(f.mul(to_doubles(load(x)), factor));
                // Multiplied and added apart, as the scalar kernel does.
                *fraction = _mm256_add_pd(*fraction, _mm256_mul_pd(*y, reciprocal));
            }
        }
        for (v, fraction) in scaled[sources].iter_mut().zip(fractions) {
            *v = _mm256_floor_pd(fraction);
        }
        for ((target, factors), output) in (table.targets.iter())
            .zip(factors.chunks_exact(sources + 1))
            .zip(outputs.iter_mut())
        {
            convert_block(
                &SumField::new(&target.modulus, bits.max(target.modulus.bits())),
                &scaled,
                factors,
                &mut output[start..][..CONVERT_BLOCK],
            );
        }
    }
    if whole < len {
        let inputs: Vec<&[u64]> = inputs.iter().map(|x| &x[whole..]).collect();
        let mut outputs: Vec<&mut [u64]> = outputs.iter_mut().map(|x| &mut x[whole..]).collect();
        crate::kernel::scalar::convert(table, &inputs, &mut outputs);
    }
}

/// One block of one target: `out = Σ_i scaled[i]·factors[i]`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn convert_block(f: &SumField, scaled: &[Block], factors: &[f64], out: &mut [u64]) {
    /// Sums held in registers.
    const WIDE: usize = 4;
    let (runs, _) = out.as_chunks_mut::<LANES>();
    for (group, runs) in runs.chunks_exact_mut(WIDE).enumerate() {
        let mut low = [_mm256_setzero_pd(); WIDE];
        for (scaled, factors) in scaled.chunks(f.most).zip(factors.chunks(f.most)) {
            let mut sums = [(f.start, low[0]); WIDE];
            for (sum, &low) in sums.iter_mut().zip(&low) {
                sum.1 = low;
            }
            for (y, &factor) in scaled.iter().zip(factors) {
                let factor = _mm256_set1_pd(factor);
                for h in 0..WIDE {
                    f.add(&mut sums[h], y[WIDE * group + h], factor);
                }
            }
            for (low, sum) in low.iter_mut().zip(sums) {
                *low = f.reduce(sum);
            }
        }
        for (run, value) in runs.iter_mut().zip(low) {
            store(run, f.field.residues_of(value));
        }
    }
}
