//! Baby-step giant-step plans for linear transforms (Halevi and Shoup, "Algorithms in HElib",
//! 2014).
//!
//! A transform with diagonals `d` is evaluated as `Σ_g rotate(Σ_b rotate(diag_{g+b}, −g) ·
//! rotate(x, b), g)`: the baby rotations `b` share one decomposition of the input, the giant ones
//! `g` act on the partial sums. Which `d` are present is highly structured (filter offsets times
//! plane offsets, butterflies), so that a search over ways to cut the bits of `d` between `b` and
//! `g` finds near-minimal plans.

use crate::{Error, GaloisElement};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Relative costs that choose between plans.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BsgsCost {
    /// One baby rotation, its decomposition shared.
    pub baby: f64,
    /// One giant rotation: a decomposition and a reduction of its own.
    pub giant: f64,
    /// The memory of one rotation key.
    pub key: f64,
}

impl Default for BsgsCost {
    fn default() -> Self {
        Self {
            baby: 1.0,
            giant: 2.2,
            key: 0.25,
        }
    }
}

/// A way to cut is cheaper than another if it costs less by this.
const MARGIN: f64 = 1e-9;

/// One giant rotation with the products of its partial sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Giant {
    /// The left rotation of the partial sum, modulo the plan's period.
    pub shift: usize,
    /// The products of the partial sum: (index into [`BsgsPlan::baby`], diagonal). Diagonals are
    /// named as they were given, that is modulo the input's period.
    pub diagonals: Vec<(usize, usize)>,
}

/// How a linear transform's diagonals are shared between baby and giant rotations.
///
/// Every shift is a residue modulo `period` with the least absolute value that the input's period
/// allows: with a `period` of all `N/2` slots, plans of different input periods name the same key
/// by the same shift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BsgsPlan {
    /// Shifts are modulo this, a power of two.
    pub period: usize,
    /// Left rotations of the input, ascending; 0 is listed when it is used.
    pub baby: Vec<usize>,
    /// Giant rotations by ascending shift.
    pub giants: Vec<Giant>,
}

/// A residue modulo `m`, a power of two, in `−m/2..m/2`.
fn centred(d: i64, m: i64) -> i64 {
    ((d + m / 2) & (m - 1)) - m / 2
}

/// Cuts `d` (modulo `period`) at the given powers of two into centred digits; odd-numbered digits
/// go to the second component.
fn split(d: i64, cuts: &[i64], period: i64) -> (i64, i64) {
    let (mut rest, mut parts) = (d, [0i64; 2]);
    for (i, &cut) in cuts.iter().enumerate() {
        let digit = centred(rest, cut);
        parts[i % 2] += digit;
        rest -= digit;
    }
    parts[cuts.len() % 2] += rest;
    (centred(parts[0], period), centred(parts[1], period))
}

/// Which digits of a diagonal are its baby rotation.
#[derive(Clone, Copy)]
enum Order {
    EvenFirst,
    OddFirst,
}

/// A way to cut diagonals into baby and giant rotations.
struct Cut {
    cuts: Vec<i64>,
    order: Order,
}

/// The search over ways to cut, which counts distinct rotations of each.
struct Search<'a> {
    diagonals: &'a [usize],
    period: i64,
    cost: BsgsCost,
    /// By rotation plus half the period: the last trial that had it, for either digits.
    seen: [Vec<u32>; 2],
    trial: u32,
}

impl<'a> Search<'a> {
    fn new(diagonals: &'a [usize], period: i64, cost: BsgsCost) -> Self {
        let seen = || vec![0; period as usize];
        Self {
            diagonals,
            period,
            cost,
            seen: [seen(), seen()],
            trial: 0,
        }
    }

    /// The cheapest way to cut at up to three places; the first of equals.
    fn cheapest(mut self) -> Cut {
        let log = self.period.trailing_zeros();
        let mut best = f64::INFINITY;
        let mut cut = Cut {
            cuts: Vec::new(),
            order: Order::EvenFirst,
        };
        for a in 0..=log {
            for b in a..=log {
                for c in b..=log {
                    if a < b && b == c {
                        // The cuts a and b were tried as a, a and b.
                        continue;
                    }
                    let mut cuts: Vec<i64> = [a, b, c].iter().map(|&bit| 1i64 << bit).collect();
                    cuts.dedup();
                    let Some(counts) = self.counts_below(best - MARGIN, &cuts) else {
                        continue;
                    };
                    for order in [Order::EvenFirst, Order::OddFirst] {
                        let found = self.cost_of(counts, order);
                        if found < best - MARGIN {
                            best = found;
                            cut = Cut {
                                cuts: cuts.clone(),
                                order,
                            };
                        }
                    }
                }
            }
        }
        cut
    }

    /// The numbers of distinct rotations, but for 0, of even and of odd digits; `None` as soon as
    /// they cost `bound` in either order.
    fn counts_below(&mut self, bound: f64, cuts: &[i64]) -> Option<[usize; 2]> {
        self.trial += 1;
        let half = self.period / 2;
        let mut counts = [0; 2];
        for diagonals in self.diagonals.chunks(64) {
            for &d in diagonals {
                let (even, odd) = split(d as i64, cuts, self.period);
                for (side, shift) in [even, odd].into_iter().enumerate() {
                    let seen = &mut self.seen[side][(shift + half) as usize];
                    counts[side] += usize::from(*seen != self.trial && shift != 0);
                    *seen = self.trial;
                }
            }
            let costs = [Order::EvenFirst, Order::OddFirst].map(|o| self.cost_of(counts, o));
            if costs.iter().all(|cost| *cost >= bound) {
                return None;
            }
        }
        Some(counts)
    }

    fn cost_of(&self, [even, odd]: [usize; 2], order: Order) -> f64 {
        let (babies, giants) = match order {
            Order::EvenFirst => (even as f64, odd as f64),
            Order::OddFirst => (odd as f64, even as f64),
        };
        babies * self.cost.baby + giants * self.cost.giant + (babies + giants) * self.cost.key
    }
}

impl BsgsPlan {
    /// The cheapest plan found for `diagonals` (ascending, each below `period_in`).
    ///
    /// `period_in` is the input's period and `period_work` that of the partial sums, at least
    /// `period_in`; both are powers of two. Rotations come out modulo `period_work`: give `N/2` to
    /// share keys between transforms of different periods, as any value of a smaller period also
    /// has that one.
    ///
    /// # Errors
    /// When a period is no power of two, or a diagonal is out of range, unordered or absent.
    pub fn for_diagonals(
        diagonals: &[usize],
        period_in: usize,
        period_work: usize,
        cost: BsgsCost,
    ) -> Result<Self, Error> {
        let fail = |detail: String| Error::Structure {
            what: "baby-step giant-step plan",
            detail,
        };
        if !period_in.is_power_of_two() || !period_work.is_power_of_two() || period_work < period_in
        {
            return Err(fail(format!(
                "periods {period_in} and {period_work} must be powers of two, the second at least the first"
            )));
        }
        if diagonals.is_empty()
            || diagonals.windows(2).any(|w| w[0] >= w[1])
            || diagonals[diagonals.len() - 1] >= period_in
        {
            return Err(fail(format!(
                "diagonals must be non-empty, ascending and below {period_in}"
            )));
        }
        let period = period_in as i64;
        let Cut { cuts, order } = Search::new(diagonals, period, cost).cheapest();
        Ok(Self::from_shifts(
            period_work,
            diagonals.iter().map(|&d| {
                let (even, odd) = split(d as i64, &cuts, period);
                let (b, g) = match order {
                    Order::EvenFirst => (even, odd),
                    Order::OddFirst => (odd, even),
                };
                (d, b, g)
            }),
        ))
    }

    /// A plan from given (diagonal, baby shift, giant shift) triples.
    pub(crate) fn from_shifts(
        period: usize,
        triples: impl Iterator<Item = (usize, i64, i64)> + Clone,
    ) -> Self {
        let residue = |s: i64| s.rem_euclid(period as i64) as usize;
        let baby: Vec<usize> = triples
            .clone()
            .map(|(_, b, _)| residue(b))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut giants: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (d, b, g) in triples {
            let index = baby
                .binary_search(&residue(b))
                .expect("every baby shift was collected above");
            giants.entry(residue(g)).or_default().push((index, d));
        }
        let giants = giants
            .into_iter()
            .map(|(shift, mut diagonals)| {
                diagonals.sort_unstable();
                Giant { shift, diagonals }
            })
            .collect();
        Self {
            period,
            baby,
            giants,
        }
    }

    /// Baby rotations that cost anything: all but 0.
    pub fn baby_rotations(&self) -> impl Iterator<Item = usize> + '_ {
        self.baby.iter().copied().filter(|&s| s != 0)
    }

    /// Giant rotations that cost anything: all but 0.
    pub fn giant_rotations(&self) -> impl Iterator<Item = usize> + '_ {
        self.giants.iter().map(|g| g.shift).filter(|&s| s != 0)
    }

    /// The distinct non-zero rotations, ascending: one key each.
    pub fn rotations(&self) -> Vec<usize> {
        let all: BTreeSet<usize> = self
            .baby_rotations()
            .chain(self.giant_rotations())
            .collect();
        all.into_iter().collect()
    }

    /// The Galois elements of [`BsgsPlan::rotations`] in a ring of degree `n`.
    pub fn galois_elements(&self, n: usize) -> Vec<GaloisElement> {
        self.rotations()
            .into_iter()
            .map(|s| GaloisElement::rotation(s as i64, n))
            .collect()
    }

    /// Number of diagonals: the plaintext products of the transform.
    pub fn diagonal_count(&self) -> usize {
        self.giants.iter().map(|g| g.diagonals.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Differences of all positions that a filter over a multiplexed layout touches: planes of 1024
    /// slots, rows of 32.
    fn convolution(planes: i64, reach: i64) -> Vec<usize> {
        let period = planes * 1024;
        let mut set = BTreeSet::new();
        for plane in 0..planes {
            for dy in -reach..=reach {
                for dx in -reach..=reach {
                    set.insert((plane * 1024 + dy * 32 + dx).rem_euclid(period) as usize);
                }
            }
        }
        set.into_iter().collect()
    }

    fn counts(plan: &BsgsPlan) -> (usize, usize) {
        (
            plan.baby_rotations().count(),
            plan.giant_rotations().count(),
        )
    }

    fn check_cover(plan: &BsgsPlan, diagonals: &[usize], period_in: usize) {
        let mut seen: Vec<usize> = Vec::new();
        for giant in &plan.giants {
            for &(b, d) in &giant.diagonals {
                assert_eq!((plan.baby[b] + giant.shift) % period_in, d);
                seen.push(d);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, diagonals);
    }

    #[test]
    fn convolution_plans_are_as_small_as_expected() {
        for (planes, reach, diagonals, most) in [(16, 1, 144, 23), (8, 3, 392, 43), (4, 7, 900, 63)]
        {
            let d = convolution(planes, reach);
            assert_eq!(d.len(), diagonals);
            let period = planes as usize * 1024;
            let plan = BsgsPlan::for_diagonals(&d, period, 1 << 15, BsgsCost::default()).unwrap();
            check_cover(&plan, &d, period);
            let (b, g) = counts(&plan);
            assert!(b + g <= most, "{diagonals} diagonals: {b} + {g}");
        }
        let d = convolution(16, 1);
        let plan = BsgsPlan::for_diagonals(&d, 1 << 14, 1 << 14, BsgsCost::default()).unwrap();
        let (b, g) = counts(&plan);
        assert_eq!(b + g, 23);
    }

    #[test]
    fn arbitrary_diagonals_are_covered() {
        for d in [
            vec![0],
            vec![5],
            vec![0, 1, 2, 3, 4, 5, 6, 7],
            vec![1, 7, 30, 31],
        ] {
            let plan = BsgsPlan::for_diagonals(&d, 32, 64, BsgsCost::default()).unwrap();
            check_cover(&plan, &d, 32);
        }
    }

    #[test]
    fn shifts_have_least_absolute_value_in_the_work_period() {
        let plan = BsgsPlan::for_diagonals(&[0, 1, 31], 32, 1 << 15, BsgsCost::default()).unwrap();
        assert_eq!(plan.rotations(), vec![1, (1 << 15) - 1]);
    }

    #[test]
    fn bad_requests_are_refused() {
        for (d, a, b) in [
            (vec![], 8, 8),
            (vec![8], 8, 8),
            (vec![1, 1], 8, 8),
            (vec![0], 12, 16),
            (vec![0], 16, 8),
        ] {
            assert!(BsgsPlan::for_diagonals(&d, a, b, BsgsCost::default()).is_err());
        }
    }
}
