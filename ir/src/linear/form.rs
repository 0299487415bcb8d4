//! Terms of linear maps whose entries follow from their [`Structure`], without a matrix.
//!
//! The slot of an element is a sum of one part for its channel, one for its row and one for its
//! column. So the distances from row to column of a matrix are the sums of distances of channels,
//! rows and columns, tap by tap.

use super::{LinearMap, LinearTerm};
use crate::layout::MultiplexedLayout;
use crate::nn::linear::Structure;
use crate::weights::Weights;

mod distances;

use distances::Distances;

/// The slots of a layout by their parts.
#[derive(Clone, Debug)]
struct SlotParts {
    channels: Vec<usize>,
    rows: Vec<usize>,
    columns: Vec<usize>,
    period: usize,
}

impl SlotParts {
    fn of(layout: &MultiplexedLayout) -> Self {
        Self {
            channels: (0..layout.channels).map(|c| layout.slot(c, 0, 0)).collect(),
            rows: (0..layout.height).map(|y| layout.slot(0, y, 0)).collect(),
            columns: (0..layout.width).map(|x| layout.slot(0, 0, x)).collect(),
            period: layout.period(),
        }
    }

    /// For every slot of a period its element.
    fn elements(&self) -> Vec<Option<Element>> {
        let mut elements = vec![None; self.period];
        for (channel, of_channel) in (0..).zip(&self.channels) {
            for (row, of_row) in (0..).zip(&self.rows) {
                for (column, of_column) in (0..).zip(&self.columns) {
                    let element = Element {
                        channel,
                        row,
                        column,
                    };
                    elements[of_channel + of_row + of_column] = Some(element);
                }
            }
        }
        elements
    }
}

/// An element of a feature map.
#[derive(Clone, Copy, Debug)]
struct Element {
    channel: u32,
    row: u32,
    column: u32,
}

/// A term by its structure; entries include the term's factor.
#[derive(Clone, Debug)]
pub(crate) struct TermForm {
    structure: Structure,
    factor: f64,
    input: SlotParts,
    output: SlotParts,
}

impl TermForm {
    /// The form of a term of `map`, if it has a structure and ends in the shape of the result's
    /// layout. What is wrong with other terms, their matrix tells.
    pub(crate) fn of(map: &LinearMap, term: usize, weights: &Weights) -> Option<Self> {
        let LinearTerm { input, ops, factor } = map.terms.get(term)?;
        let shape = [input.channels, input.height, input.width];
        let structure = Structure::of_chain(ops, shape, weights)?;
        let output = &map.output;
        let fits = structure.shape() == [output.channels, output.height, output.width]
            && input.period().is_power_of_two()
            && output.period().is_power_of_two();
        fits.then(|| Self {
            structure,
            factor: *factor,
            input: SlotParts::of(input),
            output: SlotParts::of(output),
        })
    }

    /// By distance from row to column, modulo the result's period: whether there is an entry.
    pub(super) fn residues(&self, weights: &Weights) -> Vec<bool> {
        let all = Distances::new(self.output.period);
        if self.factor == 0.0 {
            return all.present();
        }
        match &self.structure.filter {
            None => self.plain_distances(all),
            Some(_) => self.filter_distances(all, weights),
        }
        .present()
    }

    /// By tap: the distances along height or width of the results that it leads from.
    fn along(&self, axis: Along) -> Vec<Vec<usize>> {
        let (axis, from, to) = match axis {
            Along::Height => (&self.structure.rows, &self.output.rows, &self.input.rows),
            Along::Width => (
                &self.structure.columns,
                &self.output.columns,
                &self.input.columns,
            ),
        };
        let mut by_tap: Vec<Vec<usize>> = Vec::new();
        for (result, from) in from.iter().enumerate() {
            for entry in axis.of(result) {
                let tap = entry.tap as usize;
                if by_tap.len() <= tap {
                    by_tap.resize(tap + 1, Vec::new());
                }
                let distance = self.distance(*from, to[entry.operand as usize]);
                // Mostly there is one distance a tap.
                if by_tap[tap].last() != Some(&distance) {
                    by_tap[tap].push(distance);
                }
            }
        }
        for distances in &mut by_tap {
            distances.sort_unstable();
            distances.dedup();
        }
        by_tap
    }

    /// From a slot of the result to one of the operand, modulo the result's period.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.output.period - 1)
    }

    fn plain_distances(&self, mut all: Distances) -> Distances {
        let mut channels = Distances::new(self.output.period);
        for (result, channel) in self.structure.outer.iter().enumerate() {
            if let Some((channel, factor)) = channel
                && *factor != 0.0
            {
                let (from, to) = (self.output.channels[result], *channel as usize);
                channels.add(self.distance(from, self.input.channels[to]));
            }
        }
        let mut lines = Distances::new(self.output.period);
        for distance in self.along(Along::Width).into_iter().flatten() {
            lines.add_shifted(&channels, distance);
        }
        for distance in self.along(Along::Height).into_iter().flatten() {
            all.add_shifted(&lines, distance);
        }
        all
    }

    fn filter_distances(&self, mut all: Distances, weights: &Weights) -> Distances {
        let Structure {
            outer,
            filter: Some(filter),
            inner,
            ..
        } = &self.structure
        else {
            return all;
        };
        let data = &weights.get(filter.weight).data;
        let along_width = self.along(Along::Width);
        for (ky, rows) in self.along(Along::Height).into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let mut line = Distances::new(self.output.period);
            for (block, columns) in along_width.chunks(TAPS).enumerate() {
                let first = ky * filter.taps[1] + block * TAPS;
                let mut by_tap = vec![Distances::new(self.output.period); columns.len()];
                for (result, channel) in outer.iter().enumerate() {
                    let Some((output, _)) = channel.filter(|(_, factor)| *factor != 0.0) else {
                        continue;
                    };
                    let from = self.output.channels[result];
                    let output = output as usize;
                    let inputs = filter.first_input(output)..;
                    for input in inputs.take(filter.per_group) {
                        let Some((operand, factor)) = inner[input] else {
                            continue;
                        };
                        let Some(start) = filter.start(output, input).filter(|_| factor != 0.0)
                        else {
                            continue;
                        };
                        let to = self.input.channels[operand as usize];
                        let distance = self.distance(from, to);
                        let taps = &data[start + first..][..columns.len()];
                        for (weight, distances) in taps.iter().zip(&mut by_tap) {
                            if *weight != 0.0 {
                                distances.add(distance);
                            }
                        }
                    }
                }
                for (distances, columns) in by_tap.iter().zip(columns) {
                    for distance in columns {
                        line.add_shifted(distances, *distance);
                    }
                }
            }
            for distance in rows {
                all.add_shifted(&line, distance);
            }
        }
        all
    }

    /// What makes single diagonals.
    pub(super) fn entries(self) -> FormEntries {
        let mut inverse = vec![None; self.input.channels.len()];
        for (channel, operand) in (0..).zip(&self.structure.inner) {
            if let Some((operand, factor)) = operand {
                inverse[*operand as usize] = Some((channel, *factor));
            }
        }
        let filter = self.structure.filter;
        let result = |channel: &Option<(u32, f64)>| {
            let (channel, factor) = (*channel)?;
            let output = channel as usize;
            Some(ResultChannel {
                channel,
                first_input: filter.map_or(0, |filter| filter.first_input(output)),
                start: filter.map_or(0, |filter| output * filter.per_group * filter.taps()),
                factor: self.factor * factor,
            })
        };
        FormEntries {
            results: self.structure.outer.iter().map(result).collect(),
            inverse,
            rows: self.output.elements(),
            columns: self.input.elements(),
            form: self,
        }
    }

    /// Adds the term of `L` interleaved operands to `sums`: one period of the shares of the sums,
    /// all entries multiplied by `share_factor`.
    pub(crate) fn apply_add_lanes<const L: usize>(
        &self,
        weights: &Weights,
        share_factor: f64,
        operand: &[[f64; L]],
        sums: &mut [[f64; L]],
    ) {
        let Structure { rows, columns, .. } = &self.structure;
        let mut channel = ChannelWeights::default();
        let mut reached: Vec<Reached> = Vec::new();
        let is_plain = rows.is_plain() && columns.is_plain();
        let (result, shares) = (self.output.period, sums.len());
        for m in 0..self.structure.outer.len() {
            if !self.weights_of(m, weights, share_factor, &mut channel) {
                continue;
            }
            for i in 0..rows.results() {
                for j in 0..columns.results() {
                    self.reach(i, j, &mut reached);
                    let row = self.output.channels[m] + self.output.rows[i];
                    let row = row + self.output.columns[j];
                    let terms = channel.terms(&reached);
                    if shares != result {
                        for (column, weight, along) in terms {
                            let share = share(row, column, result, shares);
                            let value = weight * along;
                            for lane in 0..L {
                                sums[share][lane] += value * operand[column][lane];
                            }
                        }
                        continue;
                    }
                    let mut sum = [0.0; L];
                    if is_plain {
                        for (column, value, _) in terms {
                            let operand = &operand[column];
                            for lane in 0..L {
                                sum[lane] += value * operand[lane];
                            }
                        }
                    } else {
                        for (column, weight, along) in terms {
                            let value = weight * along;
                            let operand = &operand[column];
                            for lane in 0..L {
                                sum[lane] += value * operand[lane];
                            }
                        }
                    }
                    for lane in 0..L {
                        sums[row][lane] += sum[lane];
                    }
                }
            }
        }
    }

    /// Collects what a channel of the result is made of; whether there is anything.
    fn weights_of(
        &self,
        result: usize,
        weights: &Weights,
        share_factor: f64,
        channel: &mut ChannelWeights,
    ) -> bool {
        channel.operands.clear();
        channel.weights.clear();
        let Structure {
            outer,
            filter,
            inner,
            ..
        } = &self.structure;
        let Some((output, outer)) = outer[result] else {
            return false;
        };
        let output = output as usize;
        let scaled = |weight: f64| share_factor * (self.factor * (outer * weight));
        let Some(filter) = filter else {
            channel.operands.push(self.input.channels[output]);
            channel.weights.push(scaled(1.0));
            channel.taps = 1;
            channel.width = 0;
            return true;
        };
        let data = &weights.get(filter.weight).data;
        channel.taps = filter.taps();
        channel.width = filter.taps[1];
        for input in (filter.first_input(output)..).take(filter.per_group) {
            let Some((operand, factor)) = inner[input] else {
                continue;
            };
            let Some(start) = filter.start(output, input) else {
                continue;
            };
            channel.operands.push(self.input.channels[operand as usize]);
            let taps = data[start..][..channel.taps].iter();
            let taps = taps.map(|weight| scaled(f64::from(*weight) * factor));
            channel.weights.extend(taps);
        }
        true
    }

    /// Collects the operand's positions that a position of the result is made of.
    fn reach(&self, i: usize, j: usize, reached: &mut Vec<Reached>) {
        reached.clear();
        let width = self.structure.filter.map_or(0, |filter| filter.taps[1]);
        for row in self.structure.rows.of(i) {
            let line = self.input.rows[row.operand as usize];
            let tap = row.tap as usize * width;
            reached.extend(self.structure.columns.of(j).iter().map(|column| Reached {
                slot: line + self.input.columns[column.operand as usize],
                tap: tap + column.tap as usize,
                weight: row.weight * column.weight,
            }));
        }
    }
}

/// Taps that are gone through at once: their distances stay in the cache.
const TAPS: usize = 64;

#[derive(Clone, Copy)]
enum Along {
    Height,
    Width,
}

/// A position of the operand: its slot in the first channel, the tap that leads there, the factor.
struct Reached {
    slot: usize,
    tap: usize,
    weight: f64,
}

/// What a channel of the result is made of: the slots of the operand's channels, and their weights
/// by tap.
#[derive(Default)]
struct ChannelWeights {
    operands: Vec<usize>,
    weights: Vec<f64>,
    taps: usize,
    width: usize,
}

impl ChannelWeights {
    /// Column, weight and the factor along height and width of each entry that is not 0.
    fn terms<'a>(&'a self, reached: &'a [Reached]) -> impl Iterator<Item = (usize, f64, f64)> + 'a {
        let channels = self
            .operands
            .iter()
            .zip(self.weights.chunks_exact(self.taps));
        channels.flat_map(move |(slot, weights)| {
            reached.iter().filter_map(move |reached| {
                let weight = weights[reached.tap];
                (weight != 0.0).then(|| (slot + reached.slot, weight, reached.weight))
            })
        })
    }
}

/// The slot of the shares that an entry belongs to; see
/// [`nearest`](super::nearest).
pub(crate) fn share(row: usize, column: usize, result: usize, shares: usize) -> usize {
    let ahead = column.wrapping_sub(row) & (result - 1);
    let distance = match 2 * ahead <= result {
        true => ahead,
        false => ahead.wrapping_sub(result),
    };
    column.wrapping_sub(distance) & (shares - 1)
}

/// What a channel of the result is made of.
#[derive(Clone, Copy, Debug)]
struct ResultChannel {
    /// The channel of the filter's result; of the operand without a filter.
    channel: u32,
    first_input: usize,
    /// Where its weights begin.
    start: usize,
    /// The term's factor included.
    factor: f64,
}

/// A form with the tables that find the entry between two slots.
#[derive(Clone, Debug)]
pub(super) struct FormEntries {
    form: TermForm,
    /// By channel of the result.
    results: Vec<Option<ResultChannel>>,
    /// By channel of the operand: that of the filter's operand, with its factor.
    inverse: Vec<Option<(u32, f64)>>,
    /// By slot of the result.
    rows: Vec<Option<Element>>,
    /// By slot of the operand.
    columns: Vec<Option<Element>>,
}

impl FormEntries {
    /// Sets the entries of a diagonal: `entries[s]` is that of slot `s` of the result and slot
    /// `s + diagonal` of the operand, times `factor`, both modulo their periods.
    pub(super) fn fill(
        &self,
        diagonal: usize,
        factor: f64,
        weights: &Weights,
        entries: &mut [f64],
    ) {
        let data = match &self.form.structure.filter {
            Some(filter) => weights.get(filter.weight).data.as_slice(),
            None => &[],
        };
        let (row_mask, column_mask) = (self.rows.len() - 1, self.columns.len() - 1);
        for (slot, entry) in entries.iter_mut().enumerate() {
            if let Some(row) = self.rows[slot & row_mask]
                && let Some(column) = self.columns[(slot + diagonal) & column_mask]
                && let Some(value) = self.entry(row, column, data)
            {
                *entry = factor * value;
            }
        }
    }

    fn entry(&self, row: Element, column: Element, data: &[f32]) -> Option<f64> {
        let Structure {
            filter,
            rows,
            columns,
            ..
        } = &self.form.structure;
        let result = self.results[row.channel as usize]?;
        let y = rows.find(row.row as usize, column.row)?;
        let x = columns.find(row.column as usize, column.column)?;
        let along = y.weight * x.weight;
        let Some(filter) = filter else {
            return (result.channel == column.channel).then_some(result.factor * along);
        };
        let (input, factor) = self.inverse[column.channel as usize]?;
        let inner = (input as usize).checked_sub(result.first_input)?;
        if inner >= filter.per_group {
            return None;
        }
        let tap = y.tap as usize * filter.taps[1] + x.tap as usize;
        let weight = f64::from(data[result.start + inner * filter.taps() + tap]);
        Some(result.factor * (weight * factor * along))
    }
}

#[cfg(test)]
mod tests;
