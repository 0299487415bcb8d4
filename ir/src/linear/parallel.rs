//! Multiplexed parallel convolution: the algorithm MULTPARCONVBN of Lee et al., "Low-Complexity
//! Deep Convolutional Neural Networks on Fully Homomorphic Encryption Using Multiplexed Parallel
//! Convolutions", ICML 2022.
//!
//! The operand repeats `p` times in the ciphertext. Its rotation under every tap of the filter is
//! multiplied by the weights of `p` output channels at once, one in every copy; sums over the gap
//! and over the planes gather the input channels in the first slot of every cell. Each output
//! channel is then rotated to its place in the result's multiplexed layout and selected by a mask.
//! Two levels: weights and masks.

use std::ops::Range;

use super::{LinearMap, ProductPhase, tensor};
use crate::error::Error;
use crate::layout::MultiplexedLayout;
use crate::nn::{Conv, LinearOp, Window};
use crate::weights::Weights;

/// A sum of `count` slots that lie `stride` apart, by rotations and additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSum {
    /// Number of summands, at least 1.
    pub count: usize,
    /// Their distance, in slots.
    pub stride: usize,
}

/// One rotation of a [`SlotSum`]; [`SlotSum::rotations`] says how they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumRotation {
    /// `b ← b + rotate(b, by)`, where `b` starts as the operand.
    Double {
        /// Left rotation, in slots.
        by: usize,
    },
    /// Adds `rotate(b_j, by)` to the final sum, where `b_j` is `b` after `doublings` doublings.
    Remainder {
        /// Which `b`.
        doublings: usize,
        /// Left rotation, in slots.
        by: usize,
    },
}

impl SlotSum {
    /// The rotations in order: first ⌊log2 count⌋ doublings, whose last `b` is the sum so far, then
    /// one remainder for every other bit of `count` (the paper's SUMSLOTS).
    pub fn rotations(&self) -> Vec<SumRotation> {
        let Some(doublings) = self.count.checked_ilog2() else {
            return Vec::new();
        };
        let doubled = (0..doublings).map(|doubling| SumRotation::Double {
            by: self.stride << doubling,
        });
        let bits = (0..doublings).filter(|bit| self.count >> bit & 1 == 1);
        let remainders = bits.map(|bit| SumRotation::Remainder {
            doublings: bit as usize,
            by: (self.count >> (bit + 1) << (bit + 1)) * self.stride,
        });
        doubled.chain(remainders).collect()
    }
}

/// The rotations of one multiplexed parallel convolution; none of them is by nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParallelRotations {
    /// Of the operand, one for every tap of the filter off its origin.
    pub taps: usize,
    /// Inside the sums over gap and planes, of all rounds.
    pub sums: usize,
    /// Of sums to the places of their output channels.
    pub selection: usize,
    /// That repeat the result over the ciphertext.
    pub replication: usize,
}

impl ParallelRotations {
    /// All of them.
    pub fn total(&self) -> usize {
        self.taps + self.sums + self.selection + self.replication
    }
}

/// The structure of one multiplexed parallel convolution: packing and rotations, no weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ParallelConvolution {
    slots: usize,
    input: MultiplexedLayout,
    output: MultiplexedLayout,
    window: Window,
}

impl ParallelConvolution {
    /// The convolution that `map` is, in ciphertexts of `slots` slots; the map's layouts are
    /// consistent.
    ///
    /// # Errors
    /// [`Error::Shape`] if the map is not one convolution alone, its result's gap is not the
    /// operand's times the stride on each axis, the grids differ or are not of powers of two, the
    /// filter has more taps than there are slots, or `slots` is no power of two that holds both.
    pub fn of(map: &LinearMap, slots: usize) -> Result<Self, Error> {
        let misfit = |expected: &str, found: String| {
            Err(Error::Shape {
                what: "multiplexed parallel convolution".into(),
                expected: expected.into(),
                found,
            })
        };
        let [term] = map.terms.as_slice() else {
            return misfit("one term", format!("{} terms", map.terms.len()));
        };
        let [LinearOp::Conv(Conv { window, .. })] = term.ops.as_slice() else {
            return misfit("one convolution", format!("{} operations", term.ops.len()));
        };
        let (input, output) = (term.input, map.output);
        if !output.is_strided(&input, window.stride) {
            let (before, after, stride) = (input.gap, output.gap, window.stride);
            return misfit(
                "a gap that grows by the stride of each axis",
                format!("{before:?} to {after:?} at strides {stride:?}"),
            );
        }
        if [input.grid_height, input.grid_width] != [output.grid_height, output.grid_width] {
            return misfit("one grid", format!("{input} and {output}"));
        }
        if !input.grid_height.is_power_of_two() || !input.grid_width.is_power_of_two() {
            return misfit("a grid of powers of two", input.to_string());
        }
        let [rows, columns] = window.kernel;
        if rows.saturating_mul(columns) > slots {
            return misfit(
                &format!("a filter of at most {slots} taps"),
                format!("{rows}x{columns}"),
            );
        }
        let period = input.period().max(output.period());
        if !slots.is_power_of_two() || slots < period {
            return misfit(
                &format!("a power of two of at least {period} slots"),
                slots.to_string(),
            );
        }
        Ok(Self {
            slots,
            input,
            output,
            window: *window,
        })
    }

    /// Slots of a ciphertext.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The operand's copies in a ciphertext, the paper's `p_i`: output channels computed at once.
    pub fn copies(&self) -> usize {
        self.input.copies(self.slots)
    }

    /// Rounds of up to [`copies`](Self::copies) output channels each, the paper's `q`.
    pub fn rounds(&self) -> usize {
        self.output.channels.div_ceil(self.copies())
    }

    /// The output channels of a round, one in every copy.
    pub fn channels(&self, round: usize) -> Range<usize> {
        let end = |round: usize| {
            round
                .saturating_mul(self.copies())
                .min(self.output.channels)
        };
        end(round)..end(round.saturating_add(1))
    }

    /// Left rotations of the operand, one for every tap of the filter in row-major order, modulo
    /// the slots; 0 for the tap on the output's own pixel.
    pub fn tap_rotations(&self) -> Vec<usize> {
        let Window {
            kernel,
            pads,
            dilation,
            ..
        } = &self.window;
        let [down, right] = self.input.gap.map(|gap| gap as i64);
        let row = down * self.input.grid_width as i64;
        let offset = |axis: usize, tap: usize| {
            (tap as i64)
                .wrapping_mul(dilation[axis] as i64)
                .wrapping_sub(pads[axis] as i64)
        };
        let mut rotations = Vec::with_capacity(kernel[0] * kernel[1]);
        for ky in 0..kernel[0] {
            for kx in 0..kernel[1] {
                let by = row
                    .wrapping_mul(offset(0, ky))
                    .wrapping_add(right.wrapping_mul(offset(1, kx)));
                rotations.push(by.rem_euclid(self.slots as i64) as usize);
            }
        }
        rotations
    }

    /// The sums that gather a round's input channels: over the columns and the rows of a cell, then
    /// over the planes.
    pub fn sums(&self) -> [SlotSum; 3] {
        let MultiplexedLayout {
            gap: [down, right],
            grid_width,
            ..
        } = self.input;
        let sum = |count: usize, stride: usize| SlotSum { count, stride };
        [
            sum(right, 1),
            sum(down, grid_width),
            sum(self.input.planes(), self.input.plane()),
        ]
    }

    /// The left rotation, modulo the slots, that brings an output channel from its copy of the
    /// round's sum to its slots in the result.
    pub fn selection_rotation(&self, channel: usize) -> usize {
        let from = channel % self.copies() * self.input.period();
        let to = self.output.slot(channel, 0, 0);
        (from + self.slots - to % self.slots) % self.slots
    }

    /// Left rotations by which the result, one after the other added to itself, comes to repeat
    /// with its own period: the half of the slots first, the period last.
    pub fn replication(&self) -> Vec<usize> {
        let copies = self.output.copies(self.slots);
        (1..=copies.ilog2())
            .map(|halving| self.slots >> halving)
            .collect()
    }

    /// How many rotations an execution takes, those by nothing left out.
    pub fn rotations(&self) -> ParallelRotations {
        let taps = self.tap_rotations();
        let sums: usize = self.sums().iter().map(|sum| sum.rotations().len()).sum();
        ParallelRotations {
            taps: taps
                .iter()
                .filter(|by| **by % self.input.period() != 0)
                .count(),
            sums: sums * self.rounds(),
            selection: (0..self.output.channels)
                .filter(|channel| self.selection_rotation(*channel) != 0)
                .count(),
            replication: self.replication().len(),
        }
    }

    /// Plaintext products of an execution: the weights of every round, and one mask per channel.
    pub fn products(&self) -> usize {
        self.tap_rotations().len() * self.rounds() + self.output.channels
    }

    /// How many operands a phase of a round has.
    pub fn operands(&self, phase: ProductPhase, round: usize) -> usize {
        match phase {
            ProductPhase::Weights => self.tap_rotations().len(),
            ProductPhase::Selection => self.channels(round).len(),
            ProductPhase::Taps => 0,
        }
    }

    /// The rotations of the operands of a phase of a round.
    pub fn operand_rotations(&self, phase: ProductPhase, round: usize) -> Vec<usize> {
        match phase {
            ProductPhase::Weights => self.tap_rotations(),
            ProductPhase::Selection => self
                .channels(round)
                .map(|channel| self.selection_rotation(channel))
                .collect(),
            ProductPhase::Taps => Vec::new(),
        }
    }
}

/// A multiplexed parallel convolution with its weights: gives the plaintexts.
#[derive(Clone, Debug)]
pub struct ParallelFilter {
    convolution: ParallelConvolution,
    /// `[outputs, inputs per group, filter height, filter width]`, the map's factor included.
    taps: Vec<f64>,
    per_group: usize,
    outputs_per_group: usize,
}

impl ParallelFilter {
    /// The filter of `map` in ciphertexts of `slots` slots.
    ///
    /// # Errors
    /// As [`ParallelConvolution::of`], and if the weight is missing or its shape does not fit.
    pub fn new(map: &LinearMap, slots: usize, weights: &Weights) -> Result<Self, Error> {
        let convolution = ParallelConvolution::of(map, slots)?;
        let term = &map.terms[0];
        let LinearOp::Conv(Conv {
            weight,
            window,
            groups,
            ..
        }) = &term.ops[0]
        else {
            unreachable!("`of` takes convolutions only");
        };
        let (inputs, outputs) = (term.input.channels, map.output.channels);
        let tensor = tensor(weights, *weight)?;
        let [height, width] = window.kernel;
        let fits = *groups > 0
            && inputs % groups == 0
            && outputs % groups == 0
            && tensor.shape == [outputs, inputs / groups, height, width];
        if !fits {
            return Err(Error::Shape {
                what: format!("weight `{}`", tensor.name),
                expected: format!("[{outputs}, {inputs}/{groups}, {height}, {width}]"),
                found: format!("{:?}", tensor.shape),
            });
        }
        Ok(Self {
            convolution,
            taps: tensor
                .data
                .iter()
                .map(|tap| term.factor * f64::from(*tap))
                .collect(),
            per_group: inputs / groups,
            outputs_per_group: outputs / groups,
        })
    }

    /// The structure.
    pub fn convolution(&self) -> &ParallelConvolution {
        &self.convolution
    }

    /// The plaintexts of a phase of a round, one per operand, each of all slots.
    pub fn plaintexts(&self, phase: ProductPhase, round: usize) -> Vec<Vec<f64>> {
        match phase {
            ProductPhase::Weights => {
                let taps = self.convolution.window.kernel.iter().product();
                (0..taps).map(|tap| self.weights(round, tap)).collect()
            }
            ProductPhase::Selection => self
                .convolution
                .channels(round)
                .map(|channel| self.mask(channel))
                .collect(),
            ProductPhase::Taps => Vec::new(),
        }
    }

    /// The weights under one tap: in copy `j` those of the round's `j`-th output channel, at the
    /// slots of every input channel where the output's pixel lies; zero where the tap reads
    /// padding.
    fn weights(&self, round: usize, tap: usize) -> Vec<f64> {
        let ParallelConvolution {
            slots,
            input,
            output,
            window,
        } = &self.convolution;
        let [ky, kx] = [tap / window.kernel[1], tap % window.kernel[1]];
        let taps = window.kernel[0] * window.kernel[1];
        let inside = |axis: usize, extent: usize, tap: usize, of: usize| -> Vec<usize> {
            (0..of)
                .filter(|at| window.input_index(axis, *at, tap, extent).is_some())
                .collect()
        };
        let rows = inside(0, input.height, ky, output.height);
        let columns = inside(1, input.width, kx, output.width);
        let mut plaintext = vec![0.0; *slots];
        for (copy, channel) in self.convolution.channels(round).enumerate() {
            let first = channel / self.outputs_per_group * self.per_group;
            for inner in 0..self.per_group {
                let weight = self.taps[(channel * self.per_group + inner) * taps + tap];
                for row in &rows {
                    for column in &columns {
                        let pixel = [row * window.stride[0], column * window.stride[1]];
                        let slot = input.slot(first + inner, pixel[0], pixel[1]);
                        plaintext[copy * input.period() + slot] = weight;
                    }
                }
            }
        }
        plaintext
    }

    /// One at the slots of an output channel in the result's first copy.
    fn mask(&self, channel: usize) -> Vec<f64> {
        let output = &self.convolution.output;
        let mut mask = vec![0.0; self.convolution.slots];
        for row in 0..output.height {
            for column in 0..output.width {
                mask[output.slot(channel, row, column)] = 1.0;
            }
        }
        mask
    }

    /// The result's slots, one period, for an operand of any period up to the ciphertext's; the
    /// bias is left out.
    pub fn apply(&self, operand: &[f64]) -> Vec<f64> {
        let convolution = &self.convolution;
        let slots = convolution.slots;
        let mut operand = operand.to_vec();
        while operand.len() < slots {
            operand.extend_from_within(..);
        }
        let mut result = vec![0.0; slots];
        let products = |phase, round, operand: &[f64], sum: &mut Vec<f64>| {
            let rotations = convolution.operand_rotations(phase, round);
            for (by, plaintext) in rotations.iter().zip(self.plaintexts(phase, round)) {
                for (slot, (sum, weight)) in sum.iter_mut().zip(&plaintext).enumerate() {
                    *sum += weight * operand[(slot + by) % slots];
                }
            }
        };
        for round in 0..convolution.rounds() {
            let mut sum = vec![0.0; slots];
            products(ProductPhase::Weights, round, &operand, &mut sum);
            for sums in convolution.sums() {
                sum = summed(&sum, sums);
            }
            products(ProductPhase::Selection, round, &sum, &mut result);
        }
        for by in convolution.replication() {
            result = added(&result, &result, by);
        }
        result.truncate(convolution.output.period());
        result
    }
}

/// `x + rotate(y, by)`.
fn added(x: &[f64], y: &[f64], by: usize) -> Vec<f64> {
    let rotated = y.iter().cycle().skip(by % y.len());
    x.iter().zip(rotated).map(|(x, y)| x + y).collect()
}

fn summed(operand: &[f64], sum: SlotSum) -> Vec<f64> {
    let mut doubled = vec![operand.to_vec()];
    let mut total = None;
    for rotation in sum.rotations() {
        match rotation {
            SumRotation::Double { by } => {
                let last = &doubled[doubled.len() - 1];
                doubled.push(added(last, last, by));
            }
            SumRotation::Remainder { doublings, by } => {
                let so_far = total.as_ref().unwrap_or(&doubled[doubled.len() - 1]);
                total = Some(added(so_far, &doubled[doublings], by));
            }
        }
    }
    total.unwrap_or_else(|| doubled.pop().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_take_the_logarithm_and_the_further_bits() {
        for count in 1..70_usize {
            for stride in [1, 3] {
                let sum = SlotSum { count, stride };
                let expected = count.ilog2() as usize + count.count_ones() as usize - 1;
                assert_eq!(sum.rotations().len(), expected, "{count}");
                let slots: Vec<f64> = (0..512).map(f64::from).map(f64::sin).collect();
                let found = summed(&slots, sum);
                for (at, found) in found.iter().enumerate() {
                    let terms = (0..count).map(|term| slots[(at + term * stride) % 512]);
                    assert!((found - terms.sum::<f64>()).abs() < 1e-9, "{count} {at}");
                }
            }
        }
        let nothing = SlotSum {
            count: 0,
            stride: 1,
        };
        assert_eq!(nothing.rotations(), []);
    }
}
