//! The factors of the slot transforms: their values in double precision, and the encoded
//! transforms.
//!
//! Without the bit reversal of the special FFT: SlotToCoeff leaves slot `j` in coefficient
//! `brv(j)`, CoeffToSlot undoes exactly that, and EvalMod in between does not care about order.

use crate::Error;
use crate::circuits::linear::LinearTransform;
use crate::ring::context::Context;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::encode::{Complex64, Encoder};
use crate::scheme::eval::Evaluator;
use heddle_params::dft::{DftDirection, DftFactor, DftPlan};
use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::Arc;

/// Diagonals by signed offset; every vector has the factor's value period.
pub(super) type Diagonals = BTreeMap<i64, Vec<Complex64>>;

/// The butterfly of one stride as diagonals of period `period`, a multiple of `2·half`.
fn butterfly(direction: DftDirection, half: usize, period: usize) -> Diagonals {
    let order = 8 * half as u64;
    let mut power = 1u64;
    let twiddles: Vec<Complex64> = (0..half)
        .map(|_| {
            let w = Complex64::cis(2.0 * PI * power as f64 / order as f64);
            power = power * 5 % order;
            w
        })
        .collect();
    let one = Complex64::new(1.0, 0.0);
    let mut diagonals: Diagonals = [-(half as i64), 0, half as i64]
        .into_iter()
        .map(|offset| (offset, vec![Complex64::default(); period]))
        .collect();
    for i in 0..period {
        let w = twiddles[i % half];
        let low = i & half == 0;
        let (own, other) = match (direction, low) {
            (DftDirection::SlotToCoeff, true) => (one, w),
            (DftDirection::SlotToCoeff, false) => (-w, one),
            (DftDirection::CoeffToSlot, true) => (one, one),
            (DftDirection::CoeffToSlot, false) => (-w.conj(), w.conj()),
        };
        let partner = if low { half as i64 } else { -(half as i64) };
        for (offset, value) in [(0, own), (partner, other)] {
            if let Some(diagonal) = diagonals.get_mut(&offset) {
                diagonal[i] = value;
            }
        }
    }
    diagonals
}

/// The diagonals of `factor` times `constant`. Butterflies are not normalised: the product of all
/// CoeffToSlot factors is `n` times the inverse of the product of all SlotToCoeff factors.
///
/// `log_slots` is the size of the whole transform; offsets of the widest factor are reduced modulo
/// it.
pub(super) fn factor_diagonals(
    factor: &DftFactor,
    direction: DftDirection,
    log_slots: u32,
    constant: f64,
) -> Diagonals {
    let period = factor.value_period;
    let wraps = factor.strides.end == log_slots;
    let mut strides: Vec<u32> = factor.strides.clone().collect();
    if direction == DftDirection::CoeffToSlot {
        strides.reverse();
    }
    let mut product = Diagonals::from([(0, vec![Complex64::new(constant, 0.0); period])]);
    for stride in strides {
        let stage = butterfly(direction, 1 << stride, period);
        let mut next = Diagonals::new();
        for (&a, left) in &stage {
            for (&b, right) in &product {
                let offset = if wraps {
                    (a + b).rem_euclid(period as i64)
                } else {
                    a + b
                };
                let sum = next
                    .entry(offset)
                    .or_insert_with(|| vec![Complex64::default(); period]);
                for (i, value) in sum.iter_mut().enumerate() {
                    let shifted = (i as i64 + a).rem_euclid(period as i64) as usize;
                    *value += left[i] * right[shifted];
                }
            }
        }
        product = next;
    }
    product.retain(|offset, _| factor.offsets.binary_search(offset).is_ok());
    product
}

/// What a slot transform computes, and where in the chain.
pub(super) struct Placement {
    pub(super) direction: DftDirection,
    /// The transform has `2^log_slots` slots.
    pub(super) log_slots: u32,
    /// The number of factors, each of which takes a level.
    pub(super) factors: u32,
    /// The level of the operand.
    pub(super) level: usize,
    /// What multiplies the whole transform, spread evenly over the factors.
    pub(super) constant: f64,
    /// The scale of the result relative to that of the operand.
    pub(super) scale_ratio: f64,
}

/// A slot transform ready for use, one level a factor.
pub(super) struct SlotTransform {
    factors: Vec<LinearTransform>,
}

impl SlotTransform {
    /// Encodes the factors.
    ///
    /// # Errors
    /// More slots than the ring has, or constants that cannot be encoded.
    pub(super) fn new(
        context: &Arc<Context>,
        encoder: &Encoder,
        placement: &Placement,
    ) -> Result<Self, Error> {
        let &Placement {
            direction,
            log_slots,
            factors,
            level,
            constant,
            scale_ratio,
        } = placement;
        let plan = DftPlan::new(direction, log_slots, context.log_n() - 1, factors)?;
        let fraction = 1.0 / plan.factors.len() as f64;
        let ring = 1i64 << plan.log_ring_slots;
        let factors = plan.factors.iter().enumerate().map(|(i, factor)| {
            let level = level - i;
            // Plans name diagonals modulo all slots of the ring.
            let diagonals: BTreeMap<usize, Vec<Complex64>> = factor_diagonals(
                factor,
                plan.direction,
                plan.log_slots,
                constant.powf(fraction),
            )
            .into_iter()
            .map(|(offset, values)| (offset.rem_euclid(ring) as usize, values))
            .collect();
            let scale = context.modulus(level).value() as f64 * scale_ratio.powf(fraction);
            let diagonal = |d: usize| diagonals.get(&d).cloned().unwrap_or_default();
            let mut transform = LinearTransform::new(
                encoder,
                factor.plan.clone(),
                factor.strides.end,
                scale,
                diagonal,
            )?;
            transform.prepare(
                context,
                level,
                context.parameters().key_switch_layout(level)?.specials,
            )?;
            Ok(transform)
        });
        Ok(Self {
            factors: factors.collect::<Result<_, Error>>()?,
        })
    }

    /// Keeps integer coefficients only, which are transformed at each use.
    pub(super) fn unprepare(&mut self) {
        self.factors.iter_mut().for_each(LinearTransform::unprepare);
    }

    /// Bytes of memory that the encoded diagonals take.
    pub(super) fn bytes(&self) -> usize {
        self.factors.iter().map(LinearTransform::bytes).sum()
    }

    /// Applies the factors, rescaling after each.
    ///
    /// # Errors
    /// A wrong level or missing keys.
    pub(super) fn apply(
        &self,
        evaluator: &Evaluator,
        ciphertext: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        let mut value = ciphertext.clone();
        for factor in &self.factors {
            value = evaluator.linear_transform_rescale(&[(&value, factor)])?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::encode::Encoder;

    fn apply(diagonals: &Diagonals, x: &[Complex64]) -> Vec<Complex64> {
        let n = x.len();
        (0..n)
            .map(|i| {
                diagonals
                    .iter()
                    .map(|(&d, v)| v[i % v.len()] * x[(i as i64 + d).rem_euclid(n as i64) as usize])
                    .fold(Complex64::default(), |sum, term| sum + term)
            })
            .collect()
    }

    fn transform(direction: DftDirection, log: u32, mut x: Vec<Complex64>) -> Vec<Complex64> {
        let plan = DftPlan::new(direction, log, log + 1, 3).unwrap();
        for factor in &plan.factors {
            let diagonals = factor_diagonals(factor, direction, log, 1.0);
            assert!(diagonals.keys().eq(factor.offsets.iter()));
            x = apply(&diagonals, &x);
        }
        x
    }

    fn ramp(n: usize) -> Vec<Complex64> {
        (0..n)
            .map(|i| Complex64::new((i as f64 * 0.37).sin(), (i as f64 * 0.91).cos()))
            .collect()
    }

    fn distance(a: &[Complex64], b: &[Complex64]) -> f64 {
        a.iter()
            .zip(b)
            .map(|(&x, &y)| (x - y).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn factors_are_the_embedding_up_to_bit_reversal() {
        for log in [1u32, 2, 3, 5, 8, 12] {
            let n = 1usize << log;
            let slots = ramp(n);
            let mut coefficients = vec![0.0; 2 * n];
            for (j, value) in slots.iter().enumerate() {
                let k = j.reverse_bits() >> (usize::BITS - log);
                coefficients[k] = value.re;
                coefficients[k + n] = value.im;
            }
            let expected = Encoder::new(log).to_slots(&coefficients).unwrap();
            let found = transform(DftDirection::SlotToCoeff, log, slots);
            assert!(
                distance(&expected, &found) < 1e-9 * n as f64,
                "2^{log} slots"
            );
        }
    }

    #[test]
    fn the_directions_are_inverse_up_to_the_size() {
        for log in [0u32, 1, 4, 6, 12] {
            let n = 1usize << log;
            let slots = ramp(n);
            let there = transform(DftDirection::SlotToCoeff, log, slots.clone());
            let back = transform(DftDirection::CoeffToSlot, log, there);
            let back: Vec<_> = back.iter().map(|v| v.scale(1.0 / n as f64)).collect();
            assert!(distance(&slots, &back) < 1e-10 * n as f64, "2^{log} slots");
        }
    }
}
