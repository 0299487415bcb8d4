//! Sparse linear maps between packed feature maps.
//!
//! A map is a sum of terms, one for every operand; a term is a chain of the tensor graph's affine
//! operations between two layouts. A map refers to weights and does not copy them: compiler and
//! runtime make [single diagonals](LinearMap::diagonal_source) where they need them.
//!
//! Where the result's period is shorter than an operand's, every copy of the result could be
//! computed from diagonals of its own. It is cheaper to give each copy a share of every sum and to
//! add the copies up by rotations (the hybrid method of Juvekar, Vaikuntanathan and Chandrakasan,
//! "GAZELLE", USENIX Security 2018): an entry from slot `c` to row `r` lies on the diagonal
//! `(c - r) mod P`, where `P` is the result's period, so that there are `P` diagonals at most.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::layout::MultiplexedLayout;
use crate::nn::LinearOp;
use crate::weights::{Tensor, WeightId, Weights};

mod diagonals;
pub(crate) mod form;
pub mod parallel;
pub mod products;
pub mod siso;

pub use diagonals::DiagonalSource;

use form::TermForm;

pub use crate::matrix::AffineMatrix;

/// Which plaintexts of a convolution by products operands are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductPhase {
    /// The weights under each tap of a multiplexed parallel convolution's filter; the operands are
    /// the convolution's operand rotated by
    /// [`tap_rotations`](parallel::ParallelConvolution::tap_rotations).
    #[serde(rename = "kernel")]
    Weights,
    /// The masks that select each output channel of a multiplexed parallel convolution; the
    /// operands are the round's sum rotated by
    /// [`selection_rotation`](parallel::ParallelConvolution::selection_rotation).
    Selection,
    /// The masked weights under each tap of a SISO convolution, term by term; the operands are the
    /// terms' operands rotated by [`rotations`](siso::SisoConvolution::rotations).
    Taps,
}

/// One operand of a linear map and what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearTerm {
    /// Where the operand's elements lie.
    pub input: MultiplexedLayout,
    /// The affine operations, first to last; none is the identity.
    pub ops: Vec<LinearOp>,
    /// Multiplies the term: the operand's range over the result's.
    pub factor: f64,
}

/// `y = Σ factorᵢ·Aᵢ·xᵢ + bias_factor·Σ bᵢ`, where `Aᵢ·x + bᵢ` is what term i's operations do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearMap {
    /// One term for every operand.
    pub terms: Vec<LinearTerm>,
    /// Where the result's elements lie; every other slot of the result is zero.
    pub output: MultiplexedLayout,
    /// Multiplies the bias: one over the result's range.
    pub bias_factor: f64,
    /// log2 of the number of shares: the terms sum to a value of `2^log_shares` times the result's
    /// period, each copy of which holds a share of every sum. Adding its rotation by half its
    /// period, `log_shares` times over, gives the result; then the bias is added.
    #[serde(rename = "doublings")]
    pub log_shares: u32,
}

/// The non-zero diagonals of one term; the main one of a term that is zero throughout.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonals {
    /// Period of the operand: the index of a diagonal counts modulo this.
    pub input_period: usize,
    /// Period of the diagonals and of what they sum to: the larger of the operand's and the
    /// shares'.
    pub work_period: usize,
    /// `entries[d][i]` multiplies slot `i + d` of the operand on its way to slot `i` of the result.
    pub entries: BTreeMap<usize, Vec<f64>>,
}

/// The non-zero diagonals of a term for any number of shares: the distances from row to column,
/// modulo the result's period, at which its matrix has entries.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalResidues {
    input_period: usize,
    /// By distance modulo the result's period.
    present: Vec<bool>,
}

impl DiagonalResidues {
    /// The diagonals, ascending, where the term's shares have `share_period` slots; the main one
    /// of a term that is zero throughout.
    pub fn diagonals(&self, share_period: usize) -> Vec<usize> {
        let (result, input) = (self.present.len(), self.input_period);
        let mut reached = vec![false; input];
        let distances = (0..result).filter(|distance| self.present[*distance]);
        for distance in distances {
            // Within the input's period, every copy of the shares has a diagonal of its own.
            let first = input + nearest(distance, result, input);
            for diagonal in (first..first + input).step_by(share_period) {
                reached[diagonal % input] = true;
            }
        }
        reached[0] |= !reached.contains(&true);
        (0..input).filter(|diagonal| reached[*diagonal]).collect()
    }
}

/// Linear maps whose terms were expanded before, with what was found, so that none is expanded
/// twice.
#[derive(Clone, Debug, Default)]
pub struct ExpandedMaps(Vec<(LinearMap, Vec<DiagonalResidues>)>);

impl ExpandedMaps {
    /// Adds a map with the residues of all its terms.
    pub fn push(&mut self, map: LinearMap, residues: Vec<DiagonalResidues>) {
        self.0.push((map, residues));
    }

    /// The residues of the terms of `map`, whatever its number of shares; `None` for a map that
    /// was not expanded.
    pub fn residues(&self, map: &LinearMap) -> Option<&[DiagonalResidues]> {
        let same = |known: &&(LinearMap, _)| {
            let (known, _) = known;
            known.output == map.output && known.terms == map.terms
        };
        self.0
            .iter()
            .find(same)
            .map(|(_, residues)| residues.as_slice())
    }
}

/// A distance modulo `result` that is up to half of it ahead or less than half behind, modulo
/// `period`: an entry goes to the share that it reaches by this rotation.
fn nearest(distance: usize, result: usize, period: usize) -> usize {
    match 2 * distance <= result {
        true => distance % period,
        false => (period - (result - distance) % period) % period,
    }
}

impl LinearTerm {
    /// Channels, height and width of the operand.
    fn input_shape(&self) -> [usize; 3] {
        [self.input.channels, self.input.height, self.input.width]
    }

    /// The term's operations as one matrix on row-major `C, H, W` elements, factor left out.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn matrix(&self, weights: &Weights) -> Result<AffineMatrix, Error> {
        LinearOp::chain_matrix(&self.ops, self.input_shape(), weights)
    }
}

impl LinearMap {
    /// The sum of `terms`, not spread over shares.
    pub fn new(terms: Vec<LinearTerm>, output: MultiplexedLayout, bias_factor: f64) -> Self {
        Self {
            terms,
            output,
            bias_factor,
            log_shares: 0,
        }
    }

    /// Checks that a term ends in as many elements as the result's layout holds.
    fn check_elements(&self, term: usize, found: usize) -> Result<(), Error> {
        let MultiplexedLayout {
            channels,
            height,
            width,
            ..
        } = self.output;
        if found == channels * height * width {
            return Ok(());
        }
        Err(Error::Shape {
            what: format!("term {term} of a linear map"),
            expected: format!("{channels}x{height}x{width} elements"),
            found: format!("{found} elements"),
        })
    }

    fn term_matrix(&self, term: usize, weights: &Weights) -> Result<AffineMatrix, Error> {
        let matrix = self.terms[term].matrix(weights)?;
        self.check_elements(term, matrix.rows())?;
        Ok(matrix)
    }

    /// A term as a matrix from the operand's slots to the result's slots, in the first copy of
    /// each, factor included, bias left out.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn slot_matrix(&self, term: usize, weights: &Weights) -> Result<AffineMatrix, Error> {
        let matrix = self.term_matrix(term, weights)?;
        let LinearTerm { input, factor, .. } = &self.terms[term];
        Ok(matrix.moved(
            &input.slots(),
            input.period(),
            &self.output.slots(),
            self.output.period(),
            *factor,
        ))
    }

    /// Shows every non-zero entry of [`Self::slot_matrix`] as row, column and value, without
    /// storing that matrix.
    pub(crate) fn each_entry(
        &self,
        term: usize,
        weights: &Weights,
        mut show: impl FnMut(usize, usize, f64),
    ) -> Result<(), Error> {
        let LinearTerm { input, factor, ops } = &self.terms[term];
        let (rows, columns) = (self.output.slots(), input.slots());
        let mut found = 0;
        let shape = self.terms[term].input_shape();
        LinearOp::chain_rows(ops, shape, weights, &mut |entries, _| {
            // A row too many is an error below.
            if let Some(row) = rows.get(found) {
                for (column, value) in entries {
                    let value = factor * value;
                    if value != 0.0 {
                        show(*row, columns[*column], value);
                    }
                }
            }
            found += 1;
        })?;
        self.check_elements(term, found)
    }

    /// The period of the shares of the sums, in slots; the result's where there is one share.
    pub fn shared_period(&self) -> usize {
        self.output.period() << self.log_shares
    }

    /// The period of one term's shares: a short operand repeats within [`Self::shared_period`], and
    /// so does what it contributes.
    pub(crate) fn term_period(&self, term: usize) -> usize {
        let (least, most) = (self.output.period(), self.shared_period());
        self.terms[term].input.period().clamp(least, most)
    }

    /// What a term's entries are multiplied by in its shares: what repeats is added as often as it
    /// repeats.
    pub(crate) fn share_factor(&self, term: usize) -> f64 {
        self.term_period(term) as f64 / self.shared_period() as f64
    }

    /// A term as a matrix from the operand's slots to the slots that hold its shares of the sums;
    /// [`Self::slot_matrix`] where there is one share. It has as many rows as the term's shares
    /// have slots, which divides [`Self::shared_period`] and repeats in it.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn share_matrix(&self, term: usize, weights: &Weights) -> Result<AffineMatrix, Error> {
        let whole = self.slot_matrix(term, weights)?;
        Ok(match self.log_shares {
            0 => whole,
            _ => whole.in_shares(self.term_period(term), self.share_factor(term)),
        })
    }

    /// The bias in one period of the result's slots, or `None` where it is zero throughout.
    ///
    /// # Errors
    /// If a weight of a term with an offset is missing or its shape does not fit.
    pub fn bias(&self, weights: &Weights) -> Result<Option<Vec<f64>>, Error> {
        let mut packed = vec![0.0; self.output.period()];
        let slots = self.output.slots();
        for (index, term) in self.terms.iter().enumerate() {
            if !term.ops.iter().any(LinearOp::has_offset) {
                continue;
            }
            let offsets = LinearOp::chain_offset(&term.ops, term.input_shape(), weights)?;
            self.check_elements(index, offsets.len())?;
            for (slot, offset) in slots.iter().zip(offsets) {
                packed[*slot] += self.bias_factor * offset;
            }
        }
        Ok(packed.iter().any(|bias| *bias != 0.0).then_some(packed))
    }

    /// What makes the non-zero diagonals of a term one by one.
    ///
    /// The shares repeat with their own period, so every copy of them within the work period takes
    /// its inputs from the diagonals that reach them.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn diagonal_source(&self, term: usize, weights: &Weights) -> Result<DiagonalSource, Error> {
        DiagonalSource::of(self, term, weights)
    }

    /// Bytes that the [source](Self::diagonal_source) of a term of so many diagonals takes; an
    /// estimate from above.
    pub fn source_bytes(&self, term: usize, diagonals: usize, weights: &Weights) -> usize {
        DiagonalSource::bytes(self, term, diagonals, weights)
    }

    /// All non-zero diagonals of a term at once; [`Self::diagonal_source`] takes less memory.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn diagonals(&self, term: usize, weights: &Weights) -> Result<Diagonals, Error> {
        let source = self.diagonal_source(term, weights)?;
        let diagonal = |index: &usize| (*index, source.diagonal(*index, weights));
        Ok(Diagonals {
            input_period: source.input_period(),
            work_period: source.work_period(),
            entries: source.indices().iter().map(diagonal).collect(),
        })
    }

    /// Where a term has diagonals, whatever the number of shares.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn diagonal_residues(
        &self,
        term: usize,
        weights: &Weights,
    ) -> Result<DiagonalResidues, Error> {
        let present = match TermForm::of(self, term, weights) {
            Some(form) => form.residues(weights),
            None => {
                let period = self.output.period();
                let mut present = vec![false; period];
                self.each_entry(term, weights, |row, column, _| {
                    present[column.wrapping_sub(row) & (period - 1)] = true;
                })?;
                present
            }
        };
        Ok(DiagonalResidues {
            input_period: self.terms[term].input.period(),
            present,
        })
    }

    /// The indices of [`Self::diagonals`], ascending, from the term's residues.
    pub fn diagonal_indices(&self, term: usize, residues: &DiagonalResidues) -> Vec<usize> {
        residues.diagonals(self.term_period(term))
    }
}

fn tensor(weights: &Weights, id: WeightId) -> Result<&Tensor, Error> {
    weights
        .try_get(id)
        .ok_or(Error::MissingWeight { weight: id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv, Gemm, Window};
    use crate::test_support::ramp;

    fn one_term(
        input: MultiplexedLayout,
        op: LinearOp,
        factor: f64,
        output: MultiplexedLayout,
    ) -> LinearMap {
        let ops = vec![op];
        LinearMap::new(vec![LinearTerm { input, ops, factor }], output, 1.0)
    }

    fn conv(weights: &mut Weights, outputs: usize, inputs: usize, stride: usize) -> LinearOp {
        let shape = vec![outputs, inputs, 3, 3];
        let data = ramp(outputs * inputs * 9, outputs);
        let weight = weights.push(Tensor::new("weight", shape, data));
        let window = Window::square(3, stride);
        LinearOp::Conv(Conv {
            weight,
            bias: None,
            window,
            groups: 1,
        })
    }

    /// Diagonals, applied and added up as an encrypted run does it, agree with the matrix. Returns
    /// how many there are.
    fn check(map: &LinearMap, weights: &Weights) -> usize {
        let operands: Vec<Vec<f64>> = (map.terms.iter().enumerate())
            .map(|(index, term)| ramp(term.input.period(), 3 + index))
            .map(|slots| slots.into_iter().map(f64::from).collect())
            .collect();
        let mut result = vec![0.0; map.shared_period()];
        let mut expected = vec![0.0; map.output.period()];
        let mut count = 0;
        for (term, packed) in operands.iter().enumerate() {
            let matrix = map.slot_matrix(term, weights).unwrap();
            matrix.apply_add(packed, &mut expected);
            let diagonals = map.diagonals(term, weights).unwrap();
            let indices: Vec<usize> = diagonals.entries.keys().copied().collect();
            let residues = map.diagonal_residues(term, weights).unwrap();
            assert_eq!(map.diagonal_indices(term, &residues), indices);
            count += indices.len();
            // A sum that repeats with less than the work period is the same in every copy of it.
            let mut sum = vec![0.0; diagonals.work_period];
            for (diagonal, entries) in &diagonals.entries {
                for (slot, entry) in entries.iter().enumerate() {
                    sum[slot] += entry * packed[(slot + diagonal) % diagonals.input_period];
                }
            }
            let slots = result.len().max(sum.len());
            for slot in 0..slots {
                let share = sum[slot % sum.len()];
                match slot < result.len() {
                    true => result[slot] += share,
                    false => assert!((share - sum[slot % result.len()]).abs() < 1e-9),
                }
            }
        }
        for _ in 0..map.log_shares {
            let rotated = result.split_off(result.len() / 2);
            result
                .iter_mut()
                .zip(rotated)
                .for_each(|(sum, share)| *sum += share);
        }
        for (value, expected) in result.iter().zip(&expected) {
            assert!((value - expected).abs() < 1e-9);
        }
        count
    }

    /// The number of diagonals at every number of shares, each checked.
    fn counts(map: &LinearMap, weights: &Weights) -> Vec<usize> {
        let longest = map.terms.iter().map(|term| term.input.period()).max();
        let ratio = longest.unwrap() / map.output.period();
        let shared = |log_shares| LinearMap {
            log_shares,
            ..map.clone()
        };
        (0..=ratio.max(1).ilog2())
            .map(|log_shares| check(&shared(log_shares), weights))
            .collect()
    }

    #[test]
    fn shares_take_as_many_diagonals_as_the_result_has_slots_at_most() {
        let input = MultiplexedLayout::dense(8, 8, 8);
        let output = MultiplexedLayout::dense(10, 1, 1);
        let mut weights = Weights::default();
        let weight = weights.push(Tensor::new("weight", vec![10, 512], ramp(5120, 5)));
        let term = LinearTerm {
            input,
            ops: vec![
                LinearOp::Flatten,
                LinearOp::Gemm(Gemm { weight, bias: None }),
            ],
            factor: 0.25,
        };
        let map = LinearMap::new(vec![term], output, 1.0);
        let counts = counts(&map, &weights);
        assert_eq!((counts[0], counts[5]), (512, 16));
    }

    #[test]
    fn terms_of_different_periods_share_their_sums() {
        let wide = MultiplexedLayout::dense(4, 8, 8);
        let output = wide.on_same_grid([2; 2], 4, 4, 4);
        let vector = MultiplexedLayout::dense(4, 1, 1);
        let mut weights = Weights::default();
        let op = conv(&mut weights, 4, 4, 2);
        let weight = weights.push(Tensor::new("weight", vec![64, 4], ramp(256, 7)));
        let term = |input, ops, factor| LinearTerm { input, ops, factor };
        let gemm = LinearOp::Gemm(Gemm { weight, bias: None });
        for other in [term(output, Vec::new(), 0.5), term(vector, vec![gemm], 2.0)] {
            let map = LinearMap::new(vec![term(wide, vec![op.clone()], 0.75), other], output, 1.0);
            assert_eq!(counts(&map, &weights).len(), 3);
        }
    }

    #[test]
    fn resnet20_convolutions_have_the_known_numbers_of_diagonals() {
        let image = MultiplexedLayout::dense(16, 32, 32);
        let middle = image.on_same_grid([2; 2], 32, 16, 16);
        let small = image.on_same_grid([4; 2], 64, 8, 8);
        for (input, output, stride, expected) in [
            (image, image, 1, vec![144]),
            (image, middle, 2, vec![256, 128]),
            (middle, middle, 1, vec![392]),
            (middle, small, 2, vec![648, 324]),
            (small, small, 1, vec![900]),
        ] {
            let mut weights = Weights::default();
            let op = conv(&mut weights, output.channels, input.channels, stride);
            let map = one_term(input, op, 0.5, output);
            assert_eq!(counts(&map, &weights), expected);
        }
    }

    #[test]
    fn a_zero_map_has_one_diagonal() {
        let layout = MultiplexedLayout::dense(2, 4, 4);
        let mut weights = Weights::default();
        let weight = weights.push(Tensor::new("weight", vec![2, 2, 3, 3], vec![0.0; 36]));
        let LinearOp::Conv(Conv { window, .. }) = conv(&mut weights, 2, 2, 1) else {
            unreachable!("it is a convolution");
        };
        let op = LinearOp::Conv(Conv {
            weight,
            bias: None,
            window,
            groups: 1,
        });
        let map = one_term(layout, op, 1.0, layout);
        assert_eq!(check(&map, &weights), 1);
    }

    #[test]
    fn a_stem_reads_an_operand_of_smaller_period() {
        let input = MultiplexedLayout::dense(3, 32, 32);
        let output = input.on_same_grid([1; 2], 16, 32, 32);
        let mut weights = Weights::default();
        let op = conv(&mut weights, 16, 3, 1);
        let map = one_term(input, op, 1.0, output);
        assert_eq!(check(&map, &weights), 36);
    }
}
