//! Factors of the homomorphic transforms between slots and coefficients.
//!
//! The special Fourier transform over `n` slots (Cheon, Han, Kim, Kim and Song, ePrint 2018/1043)
//! is a product of `log2 n` butterflies of strides `1, 2, …, n/2`. Merging runs of neighbouring
//! strides gives few factors of few diagonals (Chen, Chillotti and Song, ePrint 2018/1034; Han,
//! Hhan and Cheon, ePrint 2018/1073). A factor of the strides `2^a … 2^(b−1)` has diagonals that
//! are multiples of `2^a` with values of period `2^b`, whatever `n` is.

use crate::Error;
use crate::bsgs::BsgsPlan;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// From slots to coefficients or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DftDirection {
    /// The transform that takes slot values to coefficients (SlotToCoeff): strides ascend.
    SlotToCoeff,
    /// Its inverse (CoeffToSlot): strides descend.
    CoeffToSlot,
}

/// One factor: a product of neighbouring butterflies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DftFactor {
    /// log2 of the strides of its butterflies; empty for an identity that only carries a constant.
    pub strides: Range<u32>,
    /// Period of the diagonals' values, in slots.
    pub value_period: usize,
    /// Signed offsets of the diagonals, ascending: diagonal `d` multiplies the input rotated left
    /// by `d`.
    pub offsets: Vec<i64>,
    /// The plan, with shifts modulo the ring's `N/2` slots; it names diagonals modulo `N/2` too.
    pub plan: BsgsPlan,
}

/// The factors of one transform, in order of application; each uses one level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DftPlan {
    /// Which way it goes.
    pub direction: DftDirection,
    /// log2 of the number of slots transformed.
    pub log_slots: u32,
    /// log2 of the ring's `N/2` slots.
    pub log_ring_slots: u32,
    /// The factors in order of application.
    pub factors: Vec<DftFactor>,
}

/// Runs of strides, ascending. From 2^12 slots on, three runs are cut at fixed strides, so that two
/// of the three are the same for every size and their keys are shared; smaller transforms are cut
/// evenly.
fn stride_runs(log_slots: u32, factors: u32) -> Vec<Range<u32>> {
    if factors == 3 && log_slots >= 12 {
        return vec![0..5, 5..10, 10..log_slots];
    }
    let cut = |i: u32| i * log_slots / factors;
    (0..factors).map(|i| cut(i)..cut(i + 1)).collect()
}

impl DftFactor {
    fn new(strides: Range<u32>, log_slots: u32, log_ring_slots: u32) -> Self {
        let unit = 1i64 << strides.start;
        let size = 1i64 << (strides.end - strides.start);
        // The widest butterfly of the whole transform wraps around, all others reach to both sides.
        let wraps = strides.end == log_slots;
        let steps = if wraps { 0..size } else { 1 - size..size };
        // A giant rotation costs several times as much as a baby rotation, but each baby rotation
        // takes a key. Babies are counted from the middle where diagonals lie on both sides, and
        // from zero where they wrap around: then those of a smaller transform are among those of a
        // larger one.
        let babies = if wraps {
            size.min(8)
        } else {
            (3 * size / 8 + 1) | 1
        };
        let first = if wraps { 0 } else { -(babies / 2) };
        let offsets: Vec<i64> = steps.map(|s| s * unit).collect();
        let ring = 1usize << log_ring_slots;
        let plan = BsgsPlan::from_shifts(
            ring,
            offsets.iter().map(|&d| {
                let b = (d / unit - first).rem_euclid(babies) + first;
                (d.rem_euclid(ring as i64) as usize, b * unit, d - b * unit)
            }),
        );
        Self {
            value_period: 1 << strides.end,
            strides,
            offsets,
            plan,
        }
    }
}

impl DftPlan {
    /// Plans the transform of `2^log_slots` slots in `factors` factors, in a ring of
    /// `2^log_ring_slots` slots.
    ///
    /// # Errors
    /// When there are more slots than the ring has, or no factor.
    pub fn new(
        direction: DftDirection,
        log_slots: u32,
        log_ring_slots: u32,
        factors: u32,
    ) -> Result<Self, Error> {
        if log_slots > log_ring_slots || factors == 0 {
            return Err(Error::Structure {
                what: "slot transform",
                detail: format!(
                    "2^{log_slots} slots in {factors} factors do not fit a ring of 2^{log_ring_slots} slots"
                ),
            });
        }
        let mut runs = stride_runs(log_slots, factors);
        if direction == DftDirection::CoeffToSlot {
            runs.reverse();
        }
        let factors = runs
            .into_iter()
            .map(|strides| DftFactor::new(strides, log_slots, log_ring_slots))
            .collect();
        Ok(Self {
            direction,
            log_slots,
            log_ring_slots,
            factors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_size_factors_share_diagonals_and_rotations() {
        let plan = |log| DftPlan::new(DftDirection::CoeffToSlot, log, 15, 3).unwrap();
        let (large, small) = (plan(14), plan(12));
        assert_eq!(large.factors[1..], small.factors[1..]);
        let counts: Vec<_> = large.factors.iter().map(|f| f.offsets.len()).collect();
        assert_eq!(counts, [16, 63, 63]);
        let rotations = |p: &DftPlan| -> Vec<Vec<usize>> {
            p.factors.iter().map(|f| f.plan.rotations()).collect()
        };
        assert_eq!(
            rotations(&large).iter().map(Vec::len).collect::<Vec<_>>(),
            [8, 16, 16]
        );
        for log in [12, 13] {
            for (few, many) in rotations(&plan(log)).iter().zip(rotations(&large)) {
                assert!(few.iter().all(|r| many.contains(r)));
            }
        }
    }

    #[test]
    fn directions_mirror_each_other() {
        for log in 0..12 {
            let there = DftPlan::new(DftDirection::SlotToCoeff, log, 12, 3).unwrap();
            let mut back = DftPlan::new(DftDirection::CoeffToSlot, log, 12, 3).unwrap();
            back.factors.reverse();
            assert_eq!(there.factors, back.factors);
            let strides: u32 = there.factors.iter().map(|f| f.strides.len() as u32).sum();
            assert_eq!(strides, log);
        }
    }

    #[test]
    fn oversized_transforms_are_refused() {
        assert!(DftPlan::new(DftDirection::SlotToCoeff, 9, 8, 3).is_err());
        assert!(DftPlan::new(DftDirection::SlotToCoeff, 4, 8, 0).is_err());
    }
}
