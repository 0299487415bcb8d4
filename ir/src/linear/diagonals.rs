//! Single diagonals of a term, made when they are needed.
//!
//! Slot `s` of diagonal `d` holds the entry from slot `s + d` of the operand to slot `s` of the
//! shares, both modulo their periods. Which share an entry belongs to depends on its distance from
//! row to column alone, so that a diagonal has all its entries or none. With a [`TermForm`] each
//! entry follows from the two slots. Other terms keep their entries by distance, ten bytes each.

use super::form::{FormEntries, TermForm};
use super::{DiagonalResidues, LinearMap, LinearTerm};
use crate::error::Error;
use crate::weights::Weights;

/// Bytes for each slot of a term with a form: its element, and its diagonal.
const TABLE_BYTES: usize = 40;

/// Bytes for each entry of a term without one.
const ENTRY_BYTES: usize = size_of::<u16>() + size_of::<f64>();

/// What makes the non-zero diagonals of one term, one by one and in any order; see
/// [`LinearMap::diagonal_source`].
#[derive(Clone, Debug)]
pub struct DiagonalSource {
    input_period: usize,
    work_period: usize,
    factor: f64,
    indices: Vec<usize>,
    entries: Entries,
}

#[derive(Clone, Debug)]
enum Entries {
    Form(Box<FormEntries>),
    ByDistance(ByDistance),
}

impl DiagonalSource {
    /// Period of the operand: the index of a diagonal counts modulo this.
    pub fn input_period(&self) -> usize {
        self.input_period
    }

    /// Period of the diagonals and of what they sum to: the larger of the operand's and the
    /// shares'.
    pub fn work_period(&self) -> usize {
        self.work_period
    }

    /// The diagonals that are not zero, ascending; the main one of a term that is zero throughout.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The entries of one of [`indices`](Self::indices), one [`work_period`](Self::work_period):
    /// entry `i` multiplies slot `i + index` of the operand on its way to slot `i` of the result.
    /// `weights` are those that the source was made with.
    pub fn diagonal(&self, index: usize, weights: &Weights) -> Vec<f64> {
        let mut entries = vec![0.0; self.work_period];
        match &self.entries {
            Entries::Form(form) => form.fill(index, self.factor, weights, &mut entries),
            Entries::ByDistance(stored) => {
                let distance = index & (stored.period() - 1);
                for (slot, value) in stored.of_distance(distance) {
                    let slot = match stored.slots {
                        Slots::Column => slot.wrapping_sub(index) & (self.work_period - 1),
                        Slots::Row => slot,
                    };
                    entries[slot] += self.factor * value;
                }
            }
        }
        entries
    }

    /// Bytes that the source of a term of so many diagonals takes; an estimate from above.
    pub(super) fn bytes(
        map: &LinearMap,
        term: usize,
        diagonals: usize,
        weights: &Weights,
    ) -> usize {
        let LinearTerm { input, ops, .. } = &map.terms[term];
        let (output, periods) = (&map.output, input.period() + map.output.period());
        if TermForm::of(map, term, weights).is_some() {
            return periods * TABLE_BYTES;
        }
        let entries = ops.iter().fold(1usize, |all, op| {
            all.saturating_mul(op.as_operation().row_entries(weights))
        });
        let entries = entries.min(input.channels * input.height * input.width);
        let rows = output.channels * output.height * output.width;
        let dense = diagonals.saturating_mul(input.period().max(output.period()));
        let entries = rows.saturating_mul(entries).min(dense);
        entries.saturating_mul(ENTRY_BYTES)
    }

    /// The source of a term of `map`.
    pub(super) fn of(map: &LinearMap, term: usize, weights: &Weights) -> Result<Self, Error> {
        let input_period = map.terms[term].input.period();
        let work_period = input_period.max(map.term_period(term));
        let result = map.output.period();
        let (entries, present) = match TermForm::of(map, term, weights) {
            Some(form) => {
                let present = form.residues(weights);
                (Entries::Form(Box::new(form.entries())), present)
            }
            None => {
                let stored = ByDistance::of(map, term, weights)?;
                let reached =
                    |distance: &usize| stored.starts[*distance] < stored.starts[distance + 1];
                let present = match stored.slots {
                    Slots::Column => (0..result).map(|distance| reached(&distance)).collect(),
                    // An operand repeats within the result.
                    Slots::Row => {
                        let found = (0..input_period).filter(reached).collect::<Vec<_>>();
                        let mut present = vec![false; result];
                        found
                            .into_iter()
                            .for_each(|distance| present[distance] = true);
                        present
                    }
                };
                (Entries::ByDistance(stored), present)
            }
        };
        let residues = DiagonalResidues {
            input_period,
            present,
        };
        Ok(Self {
            input_period,
            work_period,
            factor: map.share_factor(term),
            indices: map.diagonal_indices(term, &residues),
            entries,
        })
    }
}

/// Which slot of an entry is kept; the other one follows from the diagonal.
#[derive(Clone, Copy, Debug)]
enum Slots {
    /// The operand's, where its period is the longer one.
    Column,
    /// The result's.
    Row,
}

/// The entries of a matrix by the distance from row to column modulo the shorter period.
#[derive(Clone, Debug)]
struct ByDistance {
    slots: Slots,
    /// By distance: where its entries begin.
    starts: Vec<usize>,
    kept: Vec<u16>,
    values: Vec<f64>,
}

impl ByDistance {
    fn of(map: &LinearMap, term: usize, weights: &Weights) -> Result<Self, Error> {
        let (input, result) = (map.terms[term].input.period(), map.output.period());
        let (slots, period) = match input >= result {
            true => (Slots::Column, result),
            false => (Slots::Row, input),
        };
        let distance = |row: usize, column: usize| column.wrapping_sub(row) & (period - 1);
        let mut starts = vec![0; period + 1];
        map.each_entry(term, weights, |row, column, _| {
            starts[distance(row, column) + 1] += 1;
        })?;
        for distance in 0..period {
            starts[distance + 1] += starts[distance];
        }
        let mut next = starts.clone();
        let mut kept = vec![0; starts[period]];
        let mut values = vec![0.0; starts[period]];
        map.each_entry(term, weights, |row, column, value| {
            let at = &mut next[distance(row, column)];
            let slot = match slots {
                Slots::Column => column,
                Slots::Row => row,
            };
            // Layouts have 2^16 slots at most.
            kept[*at] = slot as u16;
            values[*at] = value;
            *at += 1;
        })?;
        Ok(Self {
            slots,
            starts,
            kept,
            values,
        })
    }

    fn period(&self) -> usize {
        self.starts.len() - 1
    }

    /// The kept slots and values of a distance.
    fn of_distance(&self, distance: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.starts[distance]..self.starts[distance + 1];
        let slots = self.kept[range.clone()]
            .iter()
            .map(|slot| usize::from(*slot));
        slots.zip(self.values[range].iter().copied())
    }
}
