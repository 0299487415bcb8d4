//! Sparse linear maps between packed feature maps.
//!
//! A map is a sum of terms, one for every operand; a term is a chain of the tensor graph's affine
//! operations between two layouts. The weights are referred to, not copied: matrices and diagonals
//! are expanded where they are needed, by compiler and runtime alike.
//!
//! Where the result's period is shorter than an operand's, every copy of the result could be computed
//! from diagonals of its own. It is cheaper to give each copy a share of every sum and to add the
//! copies up by rotations (the hybrid method of Juvekar, Vaikuntanathan and Chandrakasan, "GAZELLE",
//! USENIX Security 2018): an entry from slot `c` to row `r` lies on the diagonal `(c - r) mod P`, where
//! `P` is the result's period, so that there are `P` diagonals at most.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::layout::MultiplexedLayout;
use crate::nn::LinearOp;
use crate::weights::{Tensor, WeightId, Weights};

pub mod kernel;
mod matrix;
pub mod parallel;
pub mod siso;

pub use matrix::AffineMatrix;

/// Which plaintexts of a convolution operands are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductPart {
    /// The weights under each tap of a multiplexed parallel convolution's kernel; the operands are the
    /// convolution's operand rotated by
    /// [`kernel_rotations`](parallel::ParallelConvolution::kernel_rotations).
    Kernel,
    /// The masks that select each output channel of a multiplexed parallel convolution; the operands are
    /// the round's sum rotated by
    /// [`selection_rotation`](parallel::ParallelConvolution::selection_rotation).
    Selection,
    /// The masked weights under each tap of a SISO convolution, term by term; the operands are the terms'
    /// operands rotated by [`rotations`](siso::SisoConvolution::rotations).
    Taps,
}

/// One operand's part in a linear map.
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
    /// log2 of the number of shares: the terms sum to a value of `2^doublings` times the result's
    /// period, each copy of which holds a share of every sum. Adding its rotation by half its period,
    /// `doublings` times over, gives the result; then the bias is added.
    pub doublings: u32,
}

/// The non-zero diagonals of one term; the main one of a term that is zero throughout.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonals {
    /// Period of the operand: the index of a diagonal counts modulo this.
    pub input_period: usize,
    /// Period of the diagonals and of what they sum to: the larger of the operand's and the shares'.
    pub work_period: usize,
    /// `entries[d][i]` multiplies slot `i + d` of the operand on its way to slot `i` of the result.
    pub entries: BTreeMap<usize, Vec<f64>>,
}

impl LinearTerm {
    /// The term's operations as one matrix on row-major `C, H, W` elements, factor left out.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn matrix(&self, weights: &Weights) -> Result<AffineMatrix, Error> {
        let MultiplexedLayout {
            channels,
            height,
            width,
            ..
        } = self.input;
        AffineMatrix::of_chain(&self.ops, weights, [channels, height, width])
    }
}

impl LinearMap {
    /// Checks that a term's matrix ends in as many elements as the result's layout holds.
    fn term_matrix(&self, term: usize, weights: &Weights) -> Result<AffineMatrix, Error> {
        let matrix = self.terms[term].matrix(weights)?;
        let MultiplexedLayout {
            channels,
            height,
            width,
            ..
        } = self.output;
        if matrix.rows() != channels * height * width {
            return Err(Error::Shape {
                what: format!("term {term} of a linear map"),
                expected: format!("{channels}x{height}x{width} elements"),
                found: format!("{} elements", matrix.rows()),
            });
        }
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
        Ok(matrix.relabelled(
            &input.slots(),
            input.period(),
            &self.output.slots(),
            self.output.period(),
            *factor,
        ))
    }

    /// The period of the shares of the sums, in slots; the result's where there are no doublings.
    pub fn shared_period(&self) -> usize {
        self.output.period() << self.doublings
    }

    /// The period of one term's shares: a short operand repeats within [`Self::shared_period`], and
    /// so does what it contributes.
    fn term_period(&self, term: usize) -> usize {
        let (least, most) = (self.output.period(), self.shared_period());
        self.terms[term].input.period().clamp(least, most)
    }

    /// A term as a matrix from the operand's slots to the slots that hold its shares of the sums;
    /// [`Self::slot_matrix`] where there are no doublings. It has as many rows as the term's shares
    /// have slots, which divides [`Self::shared_period`] and repeats in it.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn share_matrix(&self, term: usize, weights: &Weights) -> Result<AffineMatrix, Error> {
        let whole = self.slot_matrix(term, weights)?;
        Ok(match self.doublings {
            0 => whole,
            _ => self.in_shares(term, &whole),
        })
    }

    /// [`Self::share_matrix`] from [`Self::slot_matrix`].
    fn in_shares(&self, term: usize, whole: &AffineMatrix) -> AffineMatrix {
        let period = self.term_period(term);
        // What repeats is added as often as it repeats.
        let factor = period as f64 / self.shared_period() as f64;
        whole.in_shares(period, factor)
    }

    /// The bias in one period of the result's slots, or `None` where it is zero throughout.
    ///
    /// # Errors
    /// If a weight of a term with an offset is missing or its shape does not fit.
    pub fn bias(&self, weights: &Weights) -> Result<Option<Vec<f64>>, Error> {
        let mut packed = vec![0.0; self.output.period()];
        let slots = self.output.slots();
        let with_offset = (0..self.terms.len()).filter(|term| {
            let ops = &self.terms[*term].ops;
            ops.iter().any(LinearOp::has_offset)
        });
        for term in with_offset {
            let matrix = self.term_matrix(term, weights)?;
            for (slot, bias) in slots.iter().zip(matrix.bias()) {
                packed[*slot] += self.bias_factor * bias;
            }
        }
        Ok(packed.iter().any(|bias| *bias != 0.0).then_some(packed))
    }

    /// The non-zero diagonals of a term.
    ///
    /// The shares repeat with their own period, so every copy of them within the work period takes
    /// its inputs from the diagonals that reach them.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn diagonals(&self, term: usize, weights: &Weights) -> Result<Diagonals, Error> {
        let matrix = self.share_matrix(term, weights)?;
        let input_period = self.terms[term].input.period();
        let share_period = matrix.rows();
        let work_period = input_period.max(share_period);
        let mut by_index: Vec<Option<Vec<f64>>> = vec![None; input_period];
        for copy in (0..work_period).step_by(share_period) {
            for row in 0..share_period {
                let slot = copy + row;
                for (column, value) in matrix.row(row) {
                    let diagonal = (column + work_period - slot) % input_period;
                    by_index[diagonal].get_or_insert_with(|| vec![0.0; work_period])[slot] += value;
                }
            }
        }
        if by_index.iter().all(Option::is_none) {
            by_index[0] = Some(vec![0.0; work_period]);
        }
        let entries = by_index
            .into_iter()
            .enumerate()
            .filter_map(|(diagonal, entries)| entries.map(|entries| (diagonal, entries)))
            .collect();
        Ok(Diagonals {
            input_period,
            work_period,
            entries,
        })
    }

    /// The indices of [`Self::diagonals`], ascending, without their entries.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn diagonal_indices(&self, term: usize, weights: &Weights) -> Result<Vec<usize>, Error> {
        Ok(self.diagonal_indices_of(term, &self.slot_matrix(term, weights)?))
    }

    /// [`Self::diagonal_indices`] of a term whose [`Self::slot_matrix`] is `whole`: that does not depend on the doublings.
    pub fn diagonal_indices_of(&self, term: usize, whole: &AffineMatrix) -> Vec<usize> {
        let matrix = self.in_shares(term, whole);
        let period = self.terms[term].input.period();
        let share_period = matrix.rows();
        // Within the work period, a copy of the shares shifts every diagonal by their period.
        let copies = period.div_ceil(share_period);
        let mut present = vec![false; period];
        for row in 0..share_period {
            for (column, _) in matrix.row(row) {
                for copy in 0..copies {
                    let slot = (copy * share_period + row) % period;
                    present[(column + period - slot) % period] = true;
                }
            }
        }
        present[0] |= !present.contains(&true);
        (0..period).filter(|diagonal| present[*diagonal]).collect()
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
    use crate::nn::Window;
    use crate::test_support::ramp;

    fn conv(weights: &mut Weights, outputs: usize, inputs: usize, stride: usize) -> LinearOp {
        let shape = vec![outputs, inputs, 3, 3];
        let data = ramp(outputs * inputs * 9, outputs);
        let weight = weights.push(Tensor::new("weight", shape, data));
        let window = Window {
            kernel: [3, 3],
            stride: [stride, stride],
            pads: [1, 1, 1, 1],
            dilation: [1, 1],
        };
        LinearOp::Conv {
            weight,
            bias: None,
            window,
            groups: 1,
        }
    }

    /// Diagonals, applied and added up as the encrypted machine does it, agree with the matrix. Returns how many there are.
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
            assert_eq!(map.diagonal_indices(term, weights).unwrap(), indices);
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
        for _ in 0..map.doublings {
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

    /// The number of diagonals at every number of doublings, each checked.
    fn counts(map: &LinearMap, weights: &Weights) -> Vec<usize> {
        let longest = map.terms.iter().map(|term| term.input.period()).max();
        let ratio = longest.unwrap() / map.output.period();
        let shared = |doublings| LinearMap {
            doublings,
            ..map.clone()
        };
        (0..=ratio.max(1).ilog2())
            .map(|doublings| check(&shared(doublings), weights))
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
            ops: vec![LinearOp::Flatten, LinearOp::Gemm { weight, bias: None }],
            factor: 0.25,
        };
        let map = LinearMap {
            terms: vec![term],
            output,
            bias_factor: 1.0,
            doublings: 0,
        };
        let counts = counts(&map, &weights);
        assert_eq!((counts[0], counts[5]), (512, 16));
    }

    #[test]
    fn terms_of_different_periods_share_their_sums() {
        let wide = MultiplexedLayout::dense(4, 8, 8);
        let output = wide.on_same_grid(2, 4, 4, 4);
        let vector = MultiplexedLayout::dense(4, 1, 1);
        let mut weights = Weights::default();
        let op = conv(&mut weights, 4, 4, 2);
        let weight = weights.push(Tensor::new("weight", vec![64, 4], ramp(256, 7)));
        let term = |input, ops, factor| LinearTerm { input, ops, factor };
        let gemm = LinearOp::Gemm { weight, bias: None };
        for other in [term(output, Vec::new(), 0.5), term(vector, vec![gemm], 2.0)] {
            let map = LinearMap {
                terms: vec![term(wide, vec![op.clone()], 0.75), other],
                output,
                bias_factor: 1.0,
                doublings: 0,
            };
            assert_eq!(counts(&map, &weights).len(), 3);
        }
    }

    #[test]
    fn resnet20_convolutions_have_the_known_numbers_of_diagonals() {
        let image = MultiplexedLayout::dense(16, 32, 32);
        let middle = image.on_same_grid(2, 32, 16, 16);
        let small = image.on_same_grid(4, 64, 8, 8);
        for (input, output, stride, expected) in [
            (image, image, 1, vec![144]),
            (image, middle, 2, vec![256, 128]),
            (middle, middle, 1, vec![392]),
            (middle, small, 2, vec![648, 324]),
            (small, small, 1, vec![900]),
        ] {
            let mut weights = Weights::default();
            let op = conv(&mut weights, output.channels, input.channels, stride);
            let term = LinearTerm {
                input,
                ops: vec![op],
                factor: 0.5,
            };
            let map = LinearMap {
                terms: vec![term],
                output,
                bias_factor: 1.0,
                doublings: 0,
            };
            assert_eq!(counts(&map, &weights), expected);
        }
    }

    #[test]
    fn a_zero_map_has_one_diagonal() {
        let layout = MultiplexedLayout::dense(2, 4, 4);
        let mut weights = Weights::default();
        let weight = weights.push(Tensor::new("weight", vec![2, 2, 3, 3], vec![0.0; 36]));
        let LinearOp::Conv { window, .. } = conv(&mut weights, 2, 2, 1) else {
            unreachable!("it is a convolution");
        };
        let op = LinearOp::Conv {
            weight,
            bias: None,
            window,
            groups: 1,
        };
        let term = LinearTerm {
            input: layout,
            ops: vec![op],
            factor: 1.0,
        };
        let map = LinearMap {
            terms: vec![term],
            output: layout,
            bias_factor: 1.0,
            doublings: 0,
        };
        assert_eq!(check(&map, &weights), 1);
    }

    #[test]
    fn a_stem_reads_an_operand_of_smaller_period() {
        let input = MultiplexedLayout::dense(3, 32, 32);
        let output = input.on_same_grid(1, 16, 32, 32);
        let mut weights = Weights::default();
        let op = conv(&mut weights, 16, 3, 1);
        let term = LinearTerm {
            input,
            ops: vec![op],
            factor: 1.0,
        };
        let map = LinearMap {
            terms: vec![term],
            output,
            bias_factor: 1.0,
            doublings: 0,
        };
        assert_eq!(check(&map, &weights), 36);
    }
}
