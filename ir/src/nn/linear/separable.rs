//! One linear map along height and one along width.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    Axis, AxisEntry, Chw, Gain, LinearOperation, Moments, OnChannels, ShowRow, Structure, data,
    misfit, tensor,
};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::{check_feature_map, existing};
use crate::weights::{WeightId, Weights};

/// `y[c] = rows · x[c] · columnsᵀ`: the same linear map along height, and along width, in every
/// channel. An axis without a matrix stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Separable {
    /// Matrix `[H', H]` along height.
    pub rows: Option<WeightId>,
    /// Matrix `[W', W]` along width.
    pub columns: Option<WeightId>,
    /// How far apart `[height, width]` the elements lie that neighbouring results are made of, at
    /// least 1. It changes nothing about the numbers, but tells a layout where results belong.
    pub stride: [usize; 2],
}

impl LinearOperation for Separable {
    fn shape(&self, operand: &TensorType, weights: &Weights) -> Result<TensorType, String> {
        check_feature_map(operand)?;
        if self.stride.contains(&0) {
            return Err("a separable map with a stride of 0".into());
        }
        let [c, h, w] = operand.chw();
        let height = results_along(weights, self.rows, h, "height")?;
        let width = results_along(weights, self.columns, w, "width")?;
        Ok(TensorType::new([c, height, width]))
    }

    fn rows(
        &self,
        [channels, height, width]: Chw,
        weights: &Weights,
        show: ShowRow<'_>,
    ) -> Result<Chw, Error> {
        let rows = axis_rows(weights, self.rows, height)?;
        let columns = axis_rows(weights, self.columns, width)?;
        let mut entries = Vec::new();
        for channel in 0..channels {
            for row in &rows {
                for column in &columns {
                    entries.clear();
                    for (y, outer) in row {
                        let start = (channel * height + y) * width;
                        let along = column.iter();
                        entries.extend(along.map(|(x, inner)| (start + x, outer * inner)));
                    }
                    show(&entries, 0.0);
                }
            }
        }
        Ok([channels, rows.len(), columns.len()])
    }

    fn structure(&self, operand: Chw, weights: &Weights) -> Option<Structure> {
        let [channels, height, width] = operand;
        let axis = |id: Option<WeightId>, extent: usize| {
            Axis::new(axis_rows(weights, id, extent).ok()?.into_iter().map(|row| {
                row.into_iter().map(|(index, factor)| AxisEntry {
                    operand: index as u32,
                    tap: 0,
                    weight: factor,
                })
            }))
        };
        let rows = axis(self.rows, height)?;
        Structure::in_channels(channels, rows, axis(self.columns, width)?)
    }

    fn evaluate(
        &self,
        x: &[f32],
        [_, h, w]: Chw,
        [_, height, width]: Chw,
        weights: &Weights,
    ) -> Vec<f32> {
        let rows = self.rows.map(|id| entries(data(weights, id), h));
        let columns = self.columns.map(|id| entries(data(weights, id), w));
        let mut result = Vec::new();
        let mut along_width = vec![0.0; h * width];
        for plane in x.chunks_exact(h * w) {
            match &columns {
                None => along_width.copy_from_slice(plane),
                Some(matrix) => {
                    let results = along_width.chunks_exact_mut(width);
                    for (row, out) in plane.chunks_exact(w).zip(results) {
                        for (out, entries) in out.iter_mut().zip(matrix) {
                            *out = dot(entries, |x| row[x]);
                        }
                    }
                }
            }
            match &rows {
                None => result.extend_from_slice(&along_width),
                Some(matrix) => {
                    for entries in matrix.iter().take(height) {
                        let of_column =
                            |column: usize| dot(entries, |y| along_width[y * width + column]);
                        result.extend((0..width).map(of_column));
                    }
                }
            }
        }
        result
    }

    /// Neighbours that are added count as fully correlated, as in a mean, and those that are
    /// subtracted as independent of them.
    fn moments(&self, operand: Option<&Moments>, _from: Chw, weights: &Weights) -> Option<Moments> {
        let operand = operand?;
        let (mut gain, mut spread) = (0.0_f64, 0.0_f64);
        let columns = axis_sums(weights, self.columns);
        for [above, below] in axis_sums(weights, self.rows) {
            for [right, left] in &columns {
                let (added, removed) = (above * right + below * left, above * left + below * right);
                if (added - removed).abs() > gain.abs() {
                    gain = added - removed;
                }
                spread = spread.max(added.hypot(removed));
            }
        }
        Some(Moments {
            mean: operand.mean.iter().map(|mean| gain * mean).collect(),
            deviation: operand.deviation.iter().map(|d| spread * d).collect(),
        })
    }

    fn gains(&self, _channels: usize, weights: &Weights) -> Vec<Gain> {
        let largest = |id: Option<WeightId>| {
            let sums = axis_sums(weights, id).into_iter();
            sums.fold(0.0, |max: f64, [above, below]| max.max(above + below))
        };
        vec![Gain {
            gain: largest(self.rows) * largest(self.columns),
            shift: 0.0,
        }]
    }

    fn row_entries(&self, weights: &Weights) -> usize {
        let operands = |id: Option<WeightId>| {
            id.and_then(|id| weights.try_get(id))
                .and_then(|matrix| matrix.shape.get(1).copied())
                .unwrap_or(1)
        };
        operands(self.rows).saturating_mul(operands(self.columns))
    }

    fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        self.rows.iter_mut().chain(&mut self.columns).collect()
    }

    fn strides(&self) -> [usize; 2] {
        self.stride
    }

    /// The matrices are those of all channels.
    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        OnChannels::Applied(self.clone().into(), run.clone())
    }
}

/// The number of results of a matrix along an axis of `extent` elements.
fn results_along(
    weights: &Weights,
    id: Option<WeightId>,
    extent: usize,
    axis: &str,
) -> Result<usize, String> {
    let Some(id) = id else { return Ok(extent) };
    let found = existing(weights, id)?;
    match found.shape[..] {
        [results, operands] if operands == extent => Ok(results),
        _ => Err(format!(
            "the matrix `{}` along {axis} has shape {:?}, expected [results, {extent}]",
            found.name, found.shape
        )),
    }
}

/// One axis as a matrix: for every result the elements that it is made of, with their factors.
fn axis_rows(
    weights: &Weights,
    id: Option<WeightId>,
    extent: usize,
) -> Result<Vec<Vec<(usize, f64)>>, Error> {
    let Some(id) = id else {
        return Ok((0..extent).map(|index| vec![(index, 1.0)]).collect());
    };
    let matrix = tensor(weights, id)?;
    match matrix.shape[..] {
        [_, columns] if columns == extent && extent > 0 => Ok(entries(&matrix.data, extent)),
        _ => Err(misfit(matrix, format!("[results, {extent}]"))),
    }
}

/// For every row of a matrix along an axis the sum of its positive entries and of the magnitudes of
/// its negative ones.
fn axis_sums(weights: &Weights, id: Option<WeightId>) -> Vec<[f64; 2]> {
    let Some(id) = id else {
        return vec![[1.0, 0.0]];
    };
    let matrix = weights.get(id);
    let extent = matrix.shape.last().copied().unwrap_or(1).max(1);
    let sums = |row: &[f32]| {
        row.iter().fold([0.0, 0.0], |[above, below], entry| {
            let entry = f64::from(*entry);
            [above + entry.max(0.0), below + (-entry).max(0.0)]
        })
    };
    matrix.data.chunks(extent).map(sums).collect()
}

/// The non-zero entries of every row of a matrix: a factor of 0 hides even an infinity.
fn entries(matrix: &[f32], extent: usize) -> Vec<Vec<(usize, f64)>> {
    let row = |row: &[f32]| {
        let entries = row.iter().map(|entry| f64::from(*entry)).enumerate();
        entries.filter(|(_, entry)| *entry != 0.0).collect()
    };
    matrix.chunks_exact(extent).map(row).collect()
}

fn dot(entries: &[(usize, f64)], x: impl Fn(usize) -> f32) -> f32 {
    let products = entries
        .iter()
        .map(|(index, factor)| factor * f64::from(x(*index)));
    products.sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Tensor;

    /// By hand, by evaluation and as a sparse matrix.
    #[test]
    fn a_separable_map_is_a_product_on_either_side() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -1.0, 0.0, 1.0, 0.0, 2.0, 0.0];
        let rows = vec![1.0, -1.0];
        let columns = vec![1.0, 0.0, 0.5, 0.0, 2.0, 0.0];
        // [[1, 2, 3], [4, 5, 6]] gives [-3, -3, -3], then [-3 - 1.5, -6].
        let expected = [-4.5, -6.0, -0.5, -4.0];
        let mut weights = Weights::default();
        let op = Separable {
            rows: Some(weights.push(Tensor::new("rows", vec![1, 2], rows))),
            columns: Some(weights.push(Tensor::new("columns", vec![2, 3], columns))),
            stride: [2, 1],
        };
        let found = op.evaluate(&x, [2, 2, 3], [2, 1, 2], &weights);
        assert_eq!(found, expected);
        let (matrix, shape) = op.matrix([2, 2, 3], &weights).unwrap();
        assert_eq!(shape, [2, 1, 2]);
        let mut product = vec![0.0; 4];
        matrix.apply_add(&x.map(f64::from), &mut product);
        assert_eq!(product, expected.map(f64::from));
        let along_height = Separable {
            columns: None,
            ..op
        };
        let found = along_height.evaluate(&x, [2, 2, 3], [2, 1, 3], &weights);
        assert_eq!(found, [-3.0, -3.0, -3.0, -1.0, -2.0, 1.0]);
    }
}
