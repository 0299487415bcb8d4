//! How the maxima along one axis of a window are taken: the cheapest way to build runs of taps from
//! shorter ones.
//!
//! A run of n taps is the larger of a run of a taps at its start and one of b taps at its end, which
//! may overlap. The positions that a run is needed at say where the shorter ones are: those of a
//! stride of 2 need pairs of taps at every other position alone. Positions are always equally far
//! apart, so that a map of runs is a smaller feature map with a larger gap.

use std::collections::BTreeMap;

/// Runs up to this length are split in every way.
const EXACT: usize = 5;

/// Runs up to this length are split anywhere, but overlap only where the parts are equal. Longer
/// ones are halved.
const SEARCHED: usize = 8;

/// One axis of a window and of the map under it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowAxis {
    /// Elements of the map.
    pub(super) extent: usize,
    /// Number of taps.
    pub(super) kernel: usize,
    /// Distance between neighbouring windows.
    pub(super) stride: usize,
    /// Distance between neighbouring taps.
    pub(super) dilation: usize,
    /// Elements of padding before the map.
    pub(super) pad: usize,
    /// Number of windows.
    pub(super) results: usize,
}

/// Where runs start: `count` places from `first`, `step` apart. A start may lie outside the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Positions {
    pub(super) first: isize,
    /// At least 1; says nothing where there is one position.
    pub(super) step: isize,
    pub(super) count: usize,
}

impl Positions {
    fn last(self) -> isize {
        self.first + (self.count as isize - 1) * self.step
    }

    pub(super) fn iter(self) -> impl Iterator<Item = isize> {
        (0..self.count as isize).map(move |index| self.first + index * self.step)
    }

    /// The index of a position that there is.
    pub(super) fn index_of(self, position: isize) -> usize {
        ((position - self.first) / self.step) as usize
    }

    fn moved(self, by: isize) -> Self {
        Self {
            first: self.first + by,
            ..self
        }
    }

    /// The fewest equally spaced positions that hold both.
    fn merged(self, other: Self) -> Self {
        let step_of = |positions: Self| match positions.count {
            1 => 0,
            _ => positions.step,
        };
        let apart = (self.first - other.first).abs();
        let step = gcd(gcd(step_of(self), step_of(other)), apart);
        let first = self.first.min(other.first);
        let last = self.last().max(other.last());
        match step {
            0 => self,
            _ => Self {
                first,
                step,
                count: ((last - first) / step) as usize + 1,
            },
        }
    }
}

fn gcd(a: isize, b: isize) -> isize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

/// The part of a map of runs that ReLUs are counted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Slots that one position along the axis takes, for all channels.
    pub(super) slots: usize,
    /// Elements at one position along the axis, in all channels.
    pub(super) elements: usize,
    /// Slots of a ciphertext.
    pub(super) ciphertext: usize,
}

/// What ReLUs cost: ciphertexts first, since each is refreshed, then elements, then ReLUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    ciphertexts: usize,
    elements: usize,
    relus: usize,
}

impl Cost {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            ciphertexts: self.ciphertexts.saturating_add(other.ciphertexts),
            elements: self.elements.saturating_add(other.elements),
            relus: self.relus.saturating_add(other.relus),
        }
    }
}

/// The maxima of runs of so many taps, from those of two shorter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) taps: usize,
    pub(super) positions: Positions,
    /// Taps of the run at its start and of the one at its end.
    pub(super) parts: [usize; 2],
}

/// The maxima along one axis.
#[derive(Clone, Debug)]
pub(super) struct AxisMaxima {
    /// The axis with the window as it is built.
    pub(super) axis: WindowAxis,
    /// Where the maxima are needed.
    pub(super) results: Positions,
    /// By ascending taps; none where a window is one tap.
    pub(super) runs: Vec<Run>,
    /// What the runs' ReLUs cost.
    pub(super) cost: Cost,
}

impl AxisMaxima {
    /// The cheapest way to the maxima, where each position costs as `share` says.
    pub(super) fn new(axis: WindowAxis, share: Share) -> Self {
        let start = -(axis.pad as isize);
        if axis.results > 1 {
            let results = Positions {
                first: start,
                step: axis.stride as isize,
                count: axis.results,
            };
            return Search::run(axis, results, share);
        }
        // Of a single window only the taps inside the map matter. What lies behind it may be read
        // like padding, so that the window can be halved evenly.
        let dilation = axis.dilation as isize;
        let skipped = axis.pad.div_ceil(axis.dilation);
        let first = start + skipped as isize * dilation;
        let within = (axis.extent as isize - 1 - first).max(0) / dilation + 1;
        let taps = (axis.kernel.saturating_sub(skipped)).clamp(1, within as usize);
        let results = Positions {
            first,
            step: axis.extent.next_power_of_two() as isize,
            count: 1,
        };
        let seen = first + (taps as isize - 1) * dilation + 1;
        [taps, taps.next_power_of_two()]
            .map(|kernel| {
                let axis = WindowAxis {
                    extent: seen.clamp(1, axis.extent as isize) as usize,
                    kernel,
                    ..axis
                };
                Search::run(axis, results, share)
            })
            .into_iter()
            .min_by_key(|maxima| maxima.cost)
            .expect("there are two")
    }

    /// Elements of all matrices along the axis, of a map of `extent` elements: at most one for each
    /// run, before each run and for the result.
    pub(super) fn matrix_elements(&self, extent: usize) -> usize {
        let longest = self.runs.iter().map(|run| run.positions.count).max();
        let rows = longest.unwrap_or(0).max(self.results.count);
        let matrices = match self.is_identity(extent) {
            true => 0,
            false => (self.runs.len() + 1) * (self.runs.len() + 2) / 2,
        };
        rows.saturating_mul(extent).saturating_mul(matrices)
    }

    /// Whether the maxima are the map itself, of `extent` elements.
    pub(super) fn is_identity(&self, extent: usize) -> bool {
        let Positions { first, step, count } = self.results;
        let every = count == 1 || step == 1;
        self.runs.is_empty() && first == 0 && every && count == extent
    }
}

impl WindowAxis {
    /// Whether a run has a tap inside the map.
    pub(super) fn reaches_map(&self, taps: usize, start: isize) -> bool {
        let (dilation, extent) = (self.dilation as isize, self.extent as isize);
        // The first tap that is not before the map.
        let skipped = (-start).max(0) as usize;
        let skipped = skipped.div_ceil(self.dilation);
        skipped < taps && start + skipped as isize * dilation < extent
    }

    /// The positions without those at either end where a run has no tap inside the map; all of them
    /// if none has.
    fn trimmed(&self, taps: usize, positions: Positions) -> Positions {
        let outside = |position: &isize| !self.reaches_map(taps, *position);
        let before = positions.iter().take_while(outside).count();
        if before == positions.count {
            return positions;
        }
        let from_end = (0..positions.count as isize)
            .rev()
            .map(|index| positions.first + index * positions.step);
        let behind = from_end.take_while(|position| outside(position)).count();
        Positions {
            first: positions.first + before as isize * positions.step,
            count: positions.count - before - behind,
            ..positions
        }
    }
}

/// The runs that are needed, by their taps.
type Needed = BTreeMap<usize, Positions>;

/// [`Needed`] as a key.
type Runs = Vec<(usize, Positions)>;

/// What needed runs cost, and the taps of the parts of the longest.
type Split = (Cost, [usize; 2]);

struct Search {
    axis: WindowAxis,
    share: Share,
    /// What the needed runs cost at least, with the parts of the longest.
    known: BTreeMap<Runs, Split>,
}

impl Search {
    fn run(axis: WindowAxis, results: Positions, share: Share) -> AxisMaxima {
        let mut search = Self {
            axis,
            share,
            known: BTreeMap::new(),
        };
        let mut needed = Needed::from([(axis.kernel, results)]);
        let mut runs = Vec::new();
        let cost = search.cheapest(&needed).0;
        while let Some((taps, positions)) = needed.pop_last()
            && taps > 1
        {
            needed.insert(taps, positions);
            let (_, parts) = search.cheapest(&needed);
            runs.push(Run {
                taps,
                positions,
                parts,
            });
            needed = search.without_longest(&needed, parts);
        }
        runs.reverse();
        AxisMaxima {
            axis,
            results,
            runs,
            cost,
        }
    }

    /// The least cost of all needed runs, and the parts of the longest.
    fn cheapest(&mut self, needed: &Needed) -> (Cost, [usize; 2]) {
        let Some((&taps, &positions)) = needed.last_key_value().filter(|(taps, _)| **taps > 1)
        else {
            return (Cost::default(), [1; 2]);
        };
        let key: Vec<_> = needed.iter().map(|(taps, at)| (*taps, *at)).collect();
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let own = self.cost(positions);
        let mut best: Option<(Cost, [usize; 2])> = None;
        for parts in splits(taps, positions) {
            let rest = self.without_longest(needed, parts);
            let cost = own.plus(self.cheapest(&rest).0);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, parts));
            }
        }
        let best = best.expect("a run of two taps or more has parts");
        self.known.insert(key, best);
        best
    }

    /// What is needed once the longest run is made of these parts.
    fn without_longest(&self, needed: &Needed, [before, behind]: [usize; 2]) -> Needed {
        let mut rest = needed.clone();
        let Some((taps, positions)) = rest.pop_last() else {
            return rest;
        };
        let apart = (taps - behind) * self.axis.dilation;
        for (taps, positions) in [
            (before, positions),
            (behind, positions.moved(apart as isize)),
        ] {
            let positions = self.axis.trimmed(taps, positions);
            rest.entry(taps)
                .and_modify(|others| *others = others.merged(positions))
                .or_insert(positions);
        }
        rest
    }

    fn cost(&self, positions: Positions) -> Cost {
        let Share {
            slots,
            elements,
            ciphertext,
        } = self.share;
        let along = match positions.count {
            1 => 1,
            count => {
                let whole = self.axis.extent.next_power_of_two();
                count.max(whole.div_ceil(positions.step as usize))
            }
        };
        Cost {
            ciphertexts: slots.saturating_mul(along).div_ceil(ciphertext.max(1)),
            elements: elements.saturating_mul(positions.count),
            relus: 1,
        }
    }
}

/// The taps of two shorter runs, at start and end, that make one of `taps` taps. Where runs are
/// needed everywhere, the longer one may always come first.
fn splits(taps: usize, positions: Positions) -> Vec<[usize; 2]> {
    if taps <= SEARCHED {
        let everywhere = positions.count > 1 && positions.step == 1;
        let all = (1..taps).flat_map(|before| (taps - before..taps).map(move |b| [before, b]));
        let tried = all.filter(|[before, behind]| {
            let overlaps = before + behind > taps;
            let is_exact = taps <= EXACT || !overlaps || before == behind;
            is_exact && (before >= behind || !everywhere)
        });
        return tried.collect();
    }
    let half = taps.div_ceil(2);
    let power = half.next_power_of_two();
    vec![[half; 2], [power; 2], [power, taps - power]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(extent: usize, kernel: usize, stride: usize) -> WindowAxis {
        WindowAxis {
            extent,
            kernel,
            stride,
            dilation: 1,
            pad: 0,
            results: (extent - kernel) / stride + 1,
        }
    }

    /// Every position takes a slot.
    fn maxima(axis: WindowAxis, ciphertext: usize) -> AxisMaxima {
        let share = Share {
            slots: 1,
            elements: 1,
            ciphertext,
        };
        AxisMaxima::new(axis, share)
    }

    /// Taps and number of positions of every run.
    fn found(maxima: &AxisMaxima) -> Vec<(usize, usize)> {
        let runs = maxima.runs.iter();
        runs.map(|run| (run.taps, run.positions.count)).collect()
    }

    #[test]
    fn a_stride_thins_every_run() {
        assert_eq!(found(&maxima(plain(64, 2, 2), 1)), [(2, 32)]);
        assert_eq!(found(&maxima(plain(65, 3, 2), 1)), [(2, 32), (3, 32)]);
        assert_eq!(found(&maxima(plain(64, 4, 4), 1)), [(2, 32), (4, 16)]);
        assert_eq!(found(&maxima(plain(64, 3, 1), 1)), [(2, 62), (3, 62)]);
        assert_eq!(found(&maxima(plain(66, 3, 3), 1)), [(2, 22), (3, 22)]);
    }

    /// With large ciphertexts the number of ReLUs counts, with small ones the number of elements.
    #[test]
    fn the_cost_decides_between_few_runs_and_short_maps() {
        let few = maxima(plain(65, 7, 2), 1 << 15);
        assert_eq!(few.runs.len(), 3);
        let short = maxima(plain(65, 7, 2), 1);
        assert_eq!(short.runs.len(), 4);
        let elements = |maxima: &AxisMaxima| -> usize {
            maxima.runs.iter().map(|run| run.positions.count).sum()
        };
        assert!(elements(&short) < elements(&few));
    }

    #[test]
    fn a_single_window_is_halved() {
        assert_eq!(found(&maxima(plain(8, 8, 1), 16)), [(2, 4), (4, 2), (8, 1)]);
        assert_eq!(found(&maxima(plain(7, 7, 1), 16)), [(2, 4), (4, 2), (8, 1)]);
        assert_eq!(maxima(plain(1000, 1000, 1), 1 << 15).runs.len(), 10);
    }

    #[test]
    fn one_tap_needs_no_run() {
        let every = maxima(plain(9, 1, 1), 16);
        assert!(every.runs.is_empty() && every.is_identity(9));
        let other = maxima(plain(9, 1, 2), 16);
        assert!(other.runs.is_empty() && !other.is_identity(9));
    }

    /// A large window at every position is found at once.
    #[test]
    fn long_runs_are_found_quickly() {
        for kernel in [9, 63, 64, 65, 1023, 1024] {
            let runs = maxima(plain(2000, kernel, 1), 1 << 15).runs.len();
            assert_eq!(
                runs,
                kernel.next_power_of_two().ilog2() as usize,
                "{kernel}"
            );
        }
    }
}
