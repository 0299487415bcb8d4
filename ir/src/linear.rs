//! Sparse linear maps between packed feature maps.
//!
//! A map is a sum of terms, one for every operand; a term is a chain of the tensor graph's affine
//! operations between two layouts. The weights are referred to, not copied: matrices and diagonals
//! are expanded where they are needed, by compiler and runtime alike.

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

/// One operand's share of a linear map.
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
}

/// The non-zero diagonals of one term; the main one of a term that is zero throughout.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonals {
    /// Period of the operand: the index of a diagonal counts modulo this.
    pub input_period: usize,
    /// Period of the diagonals and of the partial sums: the larger of the operand's and the
    /// result's.
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
    /// The result repeats with its own period, so every copy of it within the work period takes
    /// its inputs from the diagonals that reach them.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn diagonals(&self, term: usize, weights: &Weights) -> Result<Diagonals, Error> {
        let matrix = self.slot_matrix(term, weights)?;
        let input_period = self.terms[term].input.period();
        let output_period = self.output.period();
        let work_period = input_period.max(output_period);
        let mut by_index: Vec<Option<Vec<f64>>> = vec![None; input_period];
        for copy in (0..work_period).step_by(output_period) {
            for row in 0..output_period {
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

    fn ramp(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + seed * 11) % 23) as f32 / 23.0 - 0.4)
            .collect()
    }

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

    /// Diagonals, applied as the encrypted machine applies them, agree with the matrix.
    fn check(map: &LinearMap, weights: &Weights) -> usize {
        let diagonals = map.diagonals(0, weights).unwrap();
        let matrix = map.slot_matrix(0, weights).unwrap();
        let packed: Vec<f64> = ramp(diagonals.input_period, 3)
            .into_iter()
            .map(f64::from)
            .collect();
        let mut result = vec![0.0; diagonals.work_period];
        for (diagonal, entries) in &diagonals.entries {
            for (slot, entry) in entries.iter().enumerate() {
                result[slot] += entry * packed[(slot + diagonal) % diagonals.input_period];
            }
        }
        let mut expected = vec![0.0; map.output.period()];
        matrix.apply_add(&packed, &mut expected);
        for (slot, value) in result.iter().enumerate() {
            assert!((value - expected[slot % expected.len()]).abs() < 1e-9);
        }
        diagonals.entries.len()
    }

    #[test]
    fn resnet20_convolutions_have_the_known_numbers_of_diagonals() {
        let image = MultiplexedLayout::dense(16, 32, 32);
        let middle = image.on_same_grid(2, 32, 16, 16);
        let small = image.on_same_grid(4, 64, 8, 8);
        for (input, output, stride, expected) in [
            (image, image, 1, 144),
            (image, middle, 2, 256),
            (middle, middle, 1, 392),
            (middle, small, 2, 648),
            (small, small, 1, 900),
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
            };
            assert_eq!(check(&map, &weights), expected);
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
        };
        assert_eq!(check(&map, &weights), 36);
    }
}
