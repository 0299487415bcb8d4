//! Compressed sparse rows with a bias, and the affine operations as such matrices.

use super::tensor;
use crate::error::Error;
use crate::nn::{LinearOp, PaddingInMean, Window};
use crate::weights::{Tensor, WeightId, Weights};

/// `y = A·x + b` with a sparse `A`, stored by rows.
#[derive(Clone, Debug, PartialEq)]
pub struct AffineMatrix {
    columns: usize,
    row_starts: Vec<usize>,
    column_indices: Vec<u32>,
    values: Vec<f64>,
    bias: Vec<f64>,
}

impl AffineMatrix {
    fn with_columns(columns: usize) -> Self {
        Self {
            columns,
            row_starts: vec![0],
            column_indices: Vec::new(),
            values: Vec::new(),
            bias: Vec::new(),
        }
    }

    fn push(&mut self, column: usize, value: f64) {
        if value != 0.0 {
            self.column_indices.push(column as u32);
            self.values.push(value);
        }
    }

    fn end_row(&mut self, bias: f64) {
        self.row_starts.push(self.values.len());
        self.bias.push(bias);
    }

    /// Length of the result.
    pub fn rows(&self) -> usize {
        self.bias.len()
    }

    /// Length of the operand.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of non-zero entries.
    pub fn entries(&self) -> usize {
        self.values.len()
    }

    /// The offset `b`.
    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    /// The non-zero entries of a row as (column, value).
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.row_starts[row]..self.row_starts[row + 1];
        self.column_indices[range.clone()]
            .iter()
            .map(|column| *column as usize)
            .zip(self.values[range].iter().copied())
    }

    /// Adds `A·x` to `y`; the bias is left out.
    ///
    /// # Panics
    /// If the lengths are not the matrix's.
    pub fn apply_add(&self, x: &[f64], y: &mut [f64]) {
        assert_eq!(
            (x.len(), y.len()),
            (self.columns, self.rows()),
            "lengths disagree"
        );
        for (row, result) in y.iter_mut().enumerate() {
            let range = self.row_starts[row]..self.row_starts[row + 1];
            let columns = &self.column_indices[range.clone()];
            let mut sum = 0.0;
            for (column, value) in columns.iter().zip(&self.values[range]) {
                sum += value * x[*column as usize];
            }
            *result += sum;
        }
    }

    /// As [`apply_add`](Self::apply_add) on `L` interleaved vectors: each entry is read once for
    /// all of them.
    ///
    /// # Panics
    /// If the lengths are not the matrix's.
    pub fn apply_add_lanes<const L: usize>(&self, x: &[[f64; L]], y: &mut [[f64; L]]) {
        assert_eq!(
            (x.len(), y.len()),
            (self.columns, self.rows()),
            "lengths disagree"
        );
        for (row, result) in y.iter_mut().enumerate() {
            let range = self.row_starts[row]..self.row_starts[row + 1];
            let columns = &self.column_indices[range.clone()];
            let mut sum = [0.0; L];
            for (column, value) in columns.iter().zip(&self.values[range]) {
                let operand = &x[*column as usize];
                for lane in 0..L {
                    sum[lane] += value * operand[lane];
                }
            }
            for lane in 0..L {
                result[lane] += sum[lane];
            }
        }
    }

    /// The identity on `len` elements.
    pub fn identity(len: usize) -> Self {
        let mut matrix = Self::with_columns(len);
        for element in 0..len {
            matrix.push(element, 1.0);
            matrix.end_row(0.0);
        }
        matrix
    }

    /// `self` after `inner`.
    fn after(&self, inner: &Self) -> Self {
        let mut product = Self::with_columns(inner.columns);
        let mut sums = vec![0.0; inner.columns];
        let mut touched = Vec::new();
        for row in 0..self.rows() {
            let mut bias = self.bias[row];
            for (middle, outer_value) in self.row(row) {
                bias += outer_value * inner.bias[middle];
                for (column, inner_value) in inner.row(middle) {
                    if sums[column] == 0.0 {
                        touched.push(column);
                    }
                    sums[column] += outer_value * inner_value;
                }
            }
            touched.sort_unstable();
            touched.dedup();
            for column in touched.drain(..) {
                product.push(column, std::mem::take(&mut sums[column]));
            }
            product.end_row(bias);
        }
        product
    }

    /// The matrix with its rows and columns moved to other positions and every entry multiplied by
    /// `factor`; rows at no position are empty. The bias is dropped.
    pub(super) fn relabelled(
        &self,
        column_positions: &[usize],
        columns: usize,
        row_positions: &[usize],
        rows: usize,
        factor: f64,
    ) -> Self {
        let mut row_at = vec![None; rows];
        for (row, position) in row_positions.iter().enumerate() {
            row_at[*position] = Some(row);
        }
        let mut moved = Self::with_columns(columns);
        for row in row_at {
            if let Some(row) = row {
                for (column, value) in self.row(row) {
                    moved.push(column_positions[column], factor * value);
                }
            }
            moved.end_row(0.0);
        }
        moved
    }

    /// The matrix with each row spread over the rows `row, row + P, …` below `period`, where `P` is the
    /// number of rows now and divides `period`: the entry of a column goes where column less row is
    /// nearest to zero modulo `P`. Entries are multiplied by `factor`; the bias is dropped.
    pub(super) fn in_shares(&self, period: usize, factor: f64) -> Self {
        let of_result = self.rows();
        let mut rows = vec![Vec::new(); period];
        for row in 0..of_result {
            for (column, value) in self.row(row) {
                let ahead = (column + of_result - row % of_result) % of_result;
                // Up to half of the result's period ahead, less than half behind.
                let slot = match 2 * ahead <= of_result {
                    true => column + period - ahead,
                    false => column + of_result - ahead,
                };
                rows[slot % period].push((column, factor * value));
            }
        }
        let mut shared = Self::with_columns(self.columns);
        for entries in rows {
            for (column, value) in entries {
                shared.push(column, value);
            }
            shared.end_row(0.0);
        }
        shared
    }

    /// A chain of operations, first to last, on a row-major `C, H, W` operand.
    ///
    /// # Errors
    /// If a weight is missing or its shape does not fit.
    pub fn of_chain(ops: &[LinearOp], weights: &Weights, shape: [usize; 3]) -> Result<Self, Error> {
        let mut shape = shape;
        let mut chain: Option<Self> = None;
        for op in ops {
            let (matrix, next) = Self::of_op(op, weights, shape)?;
            chain = Some(match chain {
                Some(inner) => matrix.after(&inner),
                None => matrix,
            });
            shape = next;
        }
        Ok(chain.unwrap_or_else(|| Self::identity(shape.iter().product())))
    }

    /// One operation, with the shape of its result as channels, height and width.
    fn of_op(
        op: &LinearOp,
        weights: &Weights,
        shape: [usize; 3],
    ) -> Result<(Self, [usize; 3]), Error> {
        let [channels, height, width] = shape;
        match op {
            LinearOp::Conv {
                weight,
                bias,
                window,
                groups,
            } => conv(weights, *weight, *bias, window, *groups, shape),
            LinearOp::BatchNorm {
                scale,
                bias,
                mean,
                variance,
                epsilon,
            } => {
                let read = |id| vector(weights, id, channels);
                let (scale, bias) = (read(*scale)?, read(*bias)?);
                let (mean, variance) = (read(*mean)?, read(*variance)?);
                let affine = |c: usize| {
                    let slope = f64::from(scale[c]) / (f64::from(variance[c]) + epsilon).sqrt();
                    (slope, f64::from(bias[c]) - slope * f64::from(mean[c]))
                };
                Ok((per_channel(shape, affine), shape))
            }
            LinearOp::ChannelAffine { scale, shift } => {
                let read =
                    |id: Option<WeightId>| id.map(|id| vector(weights, id, channels)).transpose();
                let (scale, shift) = (read(*scale)?, read(*shift)?);
                let affine = |c: usize| {
                    (
                        scale.map_or(1.0, |scale| f64::from(scale[c])),
                        shift.map_or(0.0, |shift| f64::from(shift[c])),
                    )
                };
                Ok((per_channel(shape, affine), shape))
            }
            LinearOp::ElementAffine { scale, shift } => {
                let elements = channels * height * width;
                let read = |id: Option<WeightId>| {
                    id.map(|id| {
                        let found = tensor(weights, id)?;
                        match found.data.len() == elements {
                            true => Ok(found.data.as_slice()),
                            false => Err(misfit(found, format!("{shape:?}"))),
                        }
                    })
                    .transpose()
                };
                let (scale, shift) = (read(*scale)?, read(*shift)?);
                let mut diagonal = Self::with_columns(elements);
                for element in 0..elements {
                    diagonal.push(element, scale.map_or(1.0, |scale| scale[element].into()));
                    diagonal.end_row(shift.map_or(0.0, |shift| shift[element].into()));
                }
                Ok((diagonal, shape))
            }
            LinearOp::AveragePool { window, padding } => pool(window, *padding, shape),
            LinearOp::GlobalAveragePool => {
                let window = Window {
                    kernel: [height, width],
                    stride: [1, 1],
                    pads: [0; 4],
                    dilation: [1, 1],
                };
                pool(&window, PaddingInMean::Counted, shape)
            }
            LinearOp::Flatten => {
                let elements = channels * height * width;
                Ok((Self::identity(elements), [elements, 1, 1]))
            }
            LinearOp::Gemm { weight, bias } => {
                let inputs = channels * height * width;
                let matrix = tensor(weights, *weight)?;
                let [outputs, columns] = matrix.shape[..] else {
                    return Err(misfit(matrix, format!("[outputs, {inputs}]")));
                };
                if columns != inputs {
                    return Err(misfit(matrix, format!("[outputs, {inputs}]")));
                }
                let bias = bias.map(|id| vector(weights, id, outputs)).transpose()?;
                let mut product = Self::with_columns(inputs);
                for output in 0..outputs {
                    for input in 0..inputs {
                        product.push(input, f64::from(matrix.data[output * inputs + input]));
                    }
                    product.end_row(bias.map_or(0.0, |bias| f64::from(bias[output])));
                }
                Ok((product, [outputs, 1, 1]))
            }
            LinearOp::Slice { start, end, step } => {
                let fits = (0..3).all(|axis| {
                    step[axis] > 0 && start[axis] < end[axis] && end[axis] <= shape[axis]
                });
                if !fits {
                    return Err(Error::Shape {
                        what: "slice".into(),
                        expected: format!("a non-empty part of {shape:?}"),
                        found: format!("{start:?}..{end:?} by {step:?}"),
                    });
                }
                let axis = |axis: usize| (start[axis]..end[axis]).step_by(step[axis]);
                let mut picked = Self::with_columns(channels * height * width);
                for channel in axis(0) {
                    for row in axis(1) {
                        for column in axis(2) {
                            picked.push((channel * height + row) * width + column, 1.0);
                            picked.end_row(0.0);
                        }
                    }
                }
                Ok((picked, [axis(0).count(), axis(1).count(), axis(2).count()]))
            }
            LinearOp::Separable { rows, columns, .. } => separable(weights, *rows, *columns, shape),
            LinearOp::Pad { before, after } => {
                let extents: Vec<usize> = (0..3)
                    .map(|axis| before[axis] + shape[axis] + after[axis])
                    .collect();
                let source = |axis: usize, index: usize| {
                    index
                        .checked_sub(before[axis])
                        .filter(|index| *index < shape[axis])
                };
                let mut padded = Self::with_columns(channels * height * width);
                for channel in 0..extents[0] {
                    for row in 0..extents[1] {
                        for column in 0..extents[2] {
                            if let (Some(c), Some(y), Some(x)) =
                                (source(0, channel), source(1, row), source(2, column))
                            {
                                padded.push((c * height + y) * width + x, 1.0);
                            }
                            padded.end_row(0.0);
                        }
                    }
                }
                Ok((padded, [extents[0], extents[1], extents[2]]))
            }
        }
    }
}

fn misfit(tensor: &Tensor, expected: String) -> Error {
    Error::Shape {
        what: format!("weight `{}`", tensor.name),
        expected,
        found: format!("{:?}", tensor.shape),
    }
}

/// A weight of `len` elements, whatever its shape.
fn vector(weights: &Weights, id: WeightId, len: usize) -> Result<&[f32], Error> {
    let tensor = tensor(weights, id)?;
    if tensor.data.len() == len {
        Ok(&tensor.data)
    } else {
        Err(misfit(tensor, format!("{len} elements")))
    }
}

/// `y = slope(c)·x + offset(c)`.
fn per_channel(shape: [usize; 3], affine: impl Fn(usize) -> (f64, f64)) -> AffineMatrix {
    let plane = shape[1] * shape[2];
    let mut matrix = AffineMatrix::with_columns(shape[0] * plane);
    for channel in 0..shape[0] {
        let (slope, offset) = affine(channel);
        for element in 0..plane {
            matrix.push(channel * plane + element, slope);
            matrix.end_row(offset);
        }
    }
    matrix
}

fn conv(
    weights: &Weights,
    weight: WeightId,
    bias: Option<WeightId>,
    window: &Window,
    groups: usize,
    shape: [usize; 3],
) -> Result<(AffineMatrix, [usize; 3]), Error> {
    let [channels, height, width] = shape;
    let kernel = tensor(weights, weight)?;
    let [kernel_height, kernel_width] = window.kernel;
    let grouped = groups > 0 && channels % groups == 0;
    let expected = || format!("[outputs, {channels}/{groups}, {kernel_height}, {kernel_width}]");
    let [outputs, per_group, found_height, found_width] = kernel.shape[..] else {
        return Err(misfit(kernel, expected()));
    };
    let fits = grouped
        && per_group == channels / groups
        && outputs % groups == 0
        && [found_height, found_width] == window.kernel;
    let Some([out_height, out_width]) = window.output(height, width).filter(|_| fits) else {
        return Err(misfit(kernel, expected()));
    };
    let bias = bias.map(|id| vector(weights, id, outputs)).transpose()?;
    let mut matrix = AffineMatrix::with_columns(channels * height * width);
    for output in 0..outputs {
        let first_channel = output / (outputs / groups) * per_group;
        for row in 0..out_height {
            for column in 0..out_width {
                for inner in 0..per_group {
                    let taps = (output * per_group + inner) * kernel_height * kernel_width;
                    let plane = (first_channel + inner) * height;
                    for ky in 0..kernel_height {
                        let Some(y) = window.source(0, row, ky, height) else {
                            continue;
                        };
                        for kx in 0..kernel_width {
                            let Some(x) = window.source(1, column, kx, width) else {
                                continue;
                            };
                            let tap = kernel.data[taps + ky * kernel_width + kx];
                            matrix.push((plane + y) * width + x, f64::from(tap));
                        }
                    }
                }
                matrix.end_row(bias.map_or(0.0, |bias| f64::from(bias[output])));
            }
        }
    }
    Ok((matrix, [outputs, out_height, out_width]))
}

fn pool(
    window: &Window,
    padding: PaddingInMean,
    shape: [usize; 3],
) -> Result<(AffineMatrix, [usize; 3]), Error> {
    let [channels, height, width] = shape;
    let Some([out_height, out_width]) = window.output(height, width) else {
        return Err(Error::Shape {
            what: "average pool".into(),
            expected: format!("a window within {height}x{width}"),
            found: format!("{:?}", window.kernel),
        });
    };
    let mut matrix = AffineMatrix::with_columns(channels * height * width);
    for channel in 0..channels {
        for row in 0..out_height {
            for column in 0..out_width {
                let taps: Vec<usize> = (0..window.kernel[0])
                    .filter_map(|ky| window.source(0, row, ky, height))
                    .flat_map(|y| {
                        (0..window.kernel[1])
                            .filter_map(move |kx| window.source(1, column, kx, width))
                            .map(move |x| (channel * height + y) * width + x)
                    })
                    .collect();
                let divisor = match padding {
                    PaddingInMean::Counted => window.kernel[0] * window.kernel[1],
                    PaddingInMean::Excluded => taps.len().max(1),
                };
                for tap in taps {
                    matrix.push(tap, 1.0 / divisor as f64);
                }
                matrix.end_row(0.0);
            }
        }
    }
    Ok((matrix, [channels, out_height, out_width]))
}

/// One axis of a separable map: for every result the sources with their factors.
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
        [_, columns] if columns == extent && extent > 0 => Ok(matrix
            .data
            .chunks_exact(extent)
            .map(|row| {
                let entries = row.iter().map(|entry| f64::from(*entry)).enumerate();
                entries.filter(|(_, entry)| *entry != 0.0).collect()
            })
            .collect()),
        _ => Err(misfit(matrix, format!("[results, {extent}]"))),
    }
}

fn separable(
    weights: &Weights,
    rows: Option<WeightId>,
    columns: Option<WeightId>,
    [channels, height, width]: [usize; 3],
) -> Result<(AffineMatrix, [usize; 3]), Error> {
    let rows = axis_rows(weights, rows, height)?;
    let columns = axis_rows(weights, columns, width)?;
    let mut matrix = AffineMatrix::with_columns(channels * height * width);
    for channel in 0..channels {
        for row in &rows {
            for column in &columns {
                for (y, outer) in row {
                    for (x, inner) in column {
                        matrix.push((channel * height + y) * width + x, outer * inner);
                    }
                }
                matrix.end_row(0.0);
            }
        }
    }
    Ok((matrix, [channels, rows.len(), columns.len()]))
}
