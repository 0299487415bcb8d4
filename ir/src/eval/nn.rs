//! Reference interpreter of the tensor graph, in 32-bit floats.
//!
//! It defines what the later stages must reproduce, and it is fast enough to observe ranges on a
//! thousand images: convolutions keep a tile of outputs in registers.

use crate::Error;
use crate::graph::ValueId;
use crate::nn::{LinearOp, Model, Op, TensorType, Window};
use crate::weights::{WeightId, Weights};

mod window;

/// Adjacent output columns that are computed together.
const LANES: usize = 8;

/// Output channels that are computed together.
const BLOCK: usize = 4;

/// The model's output for one image.
///
/// `input` is preprocessed and row-major in the order of the graph's input, channels, height and
/// width, whatever axis order the model's file uses.
///
/// # Errors
/// [`Error::Shape`] if `input` does not have the input's number of elements.
///
/// # Panics
/// If `model` does not pass [`crate::verify::nn::verify`].
pub fn run(model: &Model, input: &[f32]) -> Result<Vec<f32>, Error> {
    run_with(model, input, |_, _| {})
}

/// Every value of the model for one image, by [`ValueId`]; errors and panics as in [`run`].
pub fn run_all(model: &Model, input: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
    let mut values = Vec::with_capacity(model.graph.len());
    run_with(model, input, |_, elements| values.push(elements.to_vec()))?;
    Ok(values)
}

/// As [`run`], and shows every value to `observe`, in topological order, as soon as it is known.
///
/// # Errors
/// As in [`run`].
///
/// # Panics
/// As in [`run`].
pub fn run_with(
    model: &Model,
    input: &[f32],
    mut observe: impl FnMut(ValueId, &[f32]),
) -> Result<Vec<f32>, Error> {
    let graph = &model.graph;
    let last_uses = graph.last_uses();
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); graph.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let operands = graph.operands(value);
        let operand = |position: usize| values[operands[position].index()].as_slice();
        let result = match &node.op {
            Op::Input => {
                if input.len() != node.ty.elements() {
                    return Err(Error::Shape {
                        what: format!("input `{}`", node.name),
                        expected: node.ty.to_string(),
                        found: format!("{} elements", input.len()),
                    });
                }
                input.to_vec()
            }
            Op::Linear(linear) => linear_op(
                linear,
                &model.weights,
                operand(0),
                graph.ty(operands[0]),
                &node.ty,
            ),
            Op::Activation(activation) => operand(0)
                .iter()
                .map(|x| activation.apply(f64::from(*x)) as f32)
                .collect(),
            Op::Add => operand(0)
                .iter()
                .zip(operand(1))
                .map(|(a, b)| a + b)
                .collect(),
            Op::MaxPool { window } => window::max_pool(
                operand(0),
                graph.ty(operands[0]).chw(),
                node.ty.chw(),
                window,
            ),
            Op::Identity => operand(0).to_vec(),
        };
        observe(value, &result);
        values[value.index()] = result;
        for operand in operands {
            if last_uses[operand.index()] == Some(value) {
                values[operand.index()] = Vec::new();
            }
        }
    }
    Ok(std::mem::take(&mut values[model.output().index()]))
}

fn linear_op(
    linear: &LinearOp,
    weights: &Weights,
    x: &[f32],
    from: &TensorType,
    to: &TensorType,
) -> Vec<f32> {
    let [c, h, w] = from.chw();
    let data = |id: WeightId| weights.get(id).data.as_slice();
    match linear {
        LinearOp::Conv {
            weight,
            bias,
            window,
            groups,
        } => {
            let kernel = Kernel {
                weight: data(*weight),
                bias: bias.map(data),
                window,
                groups: *groups,
            };
            kernel.apply(x, [c, h, w], to.chw())
        }
        LinearOp::BatchNorm {
            scale,
            bias,
            mean,
            variance,
            epsilon,
        } => {
            let [scale, bias, mean, variance] = [scale, bias, mean, variance].map(|id| data(*id));
            per_channel(x, c, |channel| {
                let factor =
                    f64::from(scale[channel]) / (f64::from(variance[channel]) + epsilon).sqrt();
                let shift = f64::from(bias[channel]) - f64::from(mean[channel]) * factor;
                (factor as f32, shift as f32)
            })
        }
        LinearOp::ChannelAffine { scale, shift } => per_channel(x, c, |channel| {
            (
                scale.map_or(1.0, |id| data(id)[channel]),
                shift.map_or(0.0, |id| data(id)[channel]),
            )
        }),
        LinearOp::ElementAffine { scale, shift } => {
            let (scale, shift) = (scale.map(data), shift.map(data));
            let factor = |element: usize| scale.map_or(1.0, |scale| scale[element]);
            let offset = |element: usize| shift.map_or(0.0, |shift| shift[element]);
            let elements = x.iter().enumerate();
            elements
                .map(|(element, x)| factor(element) * x + offset(element))
                .collect()
        }
        LinearOp::AveragePool { window, padding } => {
            window::average_pool(x, [c, h, w], to.chw(), window, *padding)
        }
        LinearOp::GlobalAveragePool => x
            .chunks_exact(h * w)
            .map(|plane| {
                (plane.iter().map(|x| f64::from(*x)).sum::<f64>() / plane.len() as f64) as f32
            })
            .collect(),
        LinearOp::Flatten => x.to_vec(),
        LinearOp::Gemm { weight, bias } => data(*weight)
            .chunks_exact(x.len())
            .enumerate()
            .map(|(row, weight)| {
                let products = weight
                    .iter()
                    .zip(x)
                    .map(|(w, x)| f64::from(*w) * f64::from(*x));
                let bias = bias.map_or(0.0, |id| f64::from(data(id)[row]));
                (products.sum::<f64>() + bias) as f32
            })
            .collect(),
        LinearOp::Slice { start, end, step } => {
            let axis = |axis: usize| (start[axis]..end[axis]).step_by(step[axis]);
            axis(0)
                .flat_map(|c| axis(1).map(move |y| (c * h + y) * w))
                .flat_map(|row| axis(2).map(move |column| x[row + column]))
                .collect()
        }
        LinearOp::Separable { rows, columns, .. } => {
            let matrix = |id: &Option<WeightId>| id.map(data);
            window::separable(x, [c, h, w], to.chw(), matrix(rows), matrix(columns))
        }
        LinearOp::Pad { before, .. } => {
            let [_, rows, columns] = to.chw();
            let mut padded = vec![0.0; to.elements()];
            for (index, row) in x.chunks_exact(w).enumerate() {
                let (channel, y) = (index / h + before[0], index % h + before[1]);
                let start = (channel * rows + y) * columns + before[2];
                padded[start..start + w].copy_from_slice(row);
            }
            padded
        }
    }
}

fn per_channel(x: &[f32], channels: usize, affine: impl Fn(usize) -> (f32, f32)) -> Vec<f32> {
    x.chunks_exact(x.len() / channels)
        .enumerate()
        .flat_map(|(channel, plane)| {
            let (scale, shift) = affine(channel);
            plane.iter().map(move |x| scale * x + shift)
        })
        .collect()
}

/// A convolution's weights, as the model stores them.
struct Kernel<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    window: &'a Window,
    groups: usize,
}

impl Kernel<'_> {
    fn apply(&self, x: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
        let [m, rows, columns] = to;
        let (per_group, channels) = (m / self.groups, from[0] / self.groups);
        let planes = Planes::new(x, from, columns, self.window);
        let taps = planes.taps(channels, self.window);
        let mut out = vec![0.0; m * rows * columns];
        let mut packed = vec![[0.0; BLOCK]; taps.len()];
        for group in 0..self.groups {
            let group_start = group * channels * planes.plane;
            for first in (0..per_group).step_by(BLOCK) {
                let first = group * per_group + first;
                let block = BLOCK.min((group + 1) * per_group - first);
                for lane in 0..block {
                    let kernel = &self.weight[(first + lane) * taps.len()..][..taps.len()];
                    for (packed, weight) in packed.iter_mut().zip(kernel) {
                        packed[lane] = *weight;
                    }
                }
                for y in 0..rows {
                    let row = group_start + y * self.window.stride[0] * planes.row;
                    for column in (0..columns).step_by(LANES) {
                        let tile = tile(&planes.data[row + column..], &taps, &packed);
                        let width = LANES.min(columns - column);
                        for (lane, sums) in tile[..block].iter().enumerate() {
                            let channel = first + lane;
                            let bias = self.bias.map_or(0.0, |bias| bias[channel]);
                            let start = (channel * rows + y) * columns + column;
                            for (out, sum) in out[start..start + width].iter_mut().zip(sums) {
                                *out = sum + bias;
                            }
                        }
                    }
                }
            }
        }
        out
    }
}

/// Sums of `weight · x[tap + lane]` for a block of output channels and a run of output columns.
#[inline(always)]
fn tile(x: &[f32], taps: &[usize], packed: &[[f32; BLOCK]]) -> [[f32; LANES]; BLOCK] {
    let mut sums = [[0.0_f32; LANES]; BLOCK];
    for (tap, weights) in taps.iter().zip(packed) {
        let (x, _) = x[*tap..]
            .split_first_chunk::<LANES>()
            .expect("rows have slack for a tile");
        for (sums, weight) in sums.iter_mut().zip(weights) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += weight * x;
            }
        }
    }
    sums
}

/// The padded input, columns sorted by their residue modulo the stride, so that neighbouring
/// outputs read neighbouring elements.
struct Planes {
    data: Vec<f32>,
    /// Residues that some tap reads.
    phases: Vec<usize>,
    /// Elements of one row of one phase.
    row: usize,
    /// Elements of one phase of a channel.
    phase: usize,
    /// Elements of a channel.
    plane: usize,
}

impl Planes {
    fn new(x: &[f32], [c, h, w]: [usize; 3], columns: usize, window: &Window) -> Self {
        let stride = window.stride[1];
        let [top, left, bottom, _] = window.pads;
        let mut phases: Vec<usize> = (0..window.kernel[1])
            .map(|tap| tap * window.dilation[1] % stride)
            .collect();
        phases.sort_unstable();
        phases.dedup();
        let reach = (window.kernel[1] - 1) * window.dilation[1] / stride;
        let row = columns.next_multiple_of(LANES) + reach;
        let phase = (h + top + bottom) * row;
        let plane = phases.len() * phase;
        let mut data = vec![0.0; c * plane];
        for channel in 0..c {
            for (index, residue) in phases.iter().enumerate() {
                // The first column of this residue that is not padding.
                let skipped = left.saturating_sub(*residue).div_ceil(stride);
                let first = skipped * stride + residue - left;
                if first >= w || skipped >= row {
                    continue;
                }
                for y in 0..h {
                    let source = &x[(channel * h + y) * w..][first..w];
                    let start = channel * plane + index * phase + (y + top) * row;
                    let target = &mut data[start + skipped..start + row];
                    for (target, x) in target.iter_mut().zip(source.iter().step_by(stride)) {
                        *target = *x;
                    }
                }
            }
        }
        Self {
            data,
            phases,
            row,
            phase,
            plane,
        }
    }

    /// Offsets of all taps of `channels` channels, in the order of the kernel tensor.
    fn taps(&self, channels: usize, window: &Window) -> Vec<usize> {
        let mut taps = Vec::with_capacity(channels * window.kernel[0] * window.kernel[1]);
        for channel in 0..channels {
            for y in 0..window.kernel[0] {
                for x in 0..window.kernel[1] {
                    let column = x * window.dilation[1];
                    let phase = self
                        .phases
                        .partition_point(|p| *p < column % window.stride[1]);
                    taps.push(
                        channel * self.plane
                            + phase * self.phase
                            + y * window.dilation[0] * self.row
                            + column / window.stride[1],
                    );
                }
            }
        }
        taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    /// Convolution straight from its definition.
    fn naive(kernel: &Kernel<'_>, x: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
        let ([c, h, w], [m, rows, columns]) = (from, to);
        let window = kernel.window;
        let channels = c / kernel.groups;
        let mut out = Vec::new();
        for o in 0..m {
            let group = o / (m / kernel.groups);
            for y in 0..rows {
                for column in 0..columns {
                    let mut sum = kernel.bias.map_or(0.0, |bias| f64::from(bias[o]));
                    for i in 0..channels {
                        for ky in 0..window.kernel[0] {
                            for kx in 0..window.kernel[1] {
                                let iy = (y * window.stride[0] + ky * window.dilation[0])
                                    .wrapping_sub(window.pads[0]);
                                let ix = (column * window.stride[1] + kx * window.dilation[1])
                                    .wrapping_sub(window.pads[1]);
                                if iy < h && ix < w {
                                    let index = ((o * channels + i) * window.kernel[0] + ky)
                                        * window.kernel[1]
                                        + kx;
                                    let x = x[((group * channels + i) * h + iy) * w + ix];
                                    sum += f64::from(kernel.weight[index]) * f64::from(x);
                                }
                            }
                        }
                    }
                    out.push(sum as f32);
                }
            }
        }
        out
    }

    #[test]
    fn tiled_convolution_follows_the_definition() {
        let cases = [
            ([3, 9, 11], 5, [3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1),
            ([4, 8, 8], 6, [3, 3], [2, 2], [1, 1, 1, 1], [1, 1], 2),
            ([4, 7, 10], 4, [2, 4], [3, 2], [0, 3, 2, 1], [2, 3], 4),
            ([2, 5, 19], 9, [1, 1], [2, 4], [0, 0, 0, 0], [1, 1], 1),
            ([2, 4, 4], 3, [5, 5], [1, 3], [2, 6, 2, 7], [1, 1], 1),
        ];
        for (from, m, kernel, stride, pads, dilation, groups) in cases {
            let window = Window {
                kernel,
                stride,
                pads,
                dilation,
            };
            let [rows, columns] = window.output(from[1], from[2]).unwrap();
            let weight = ramp(m * from[0] / groups * kernel[0] * kernel[1]);
            let bias = ramp(m);
            let kernel = Kernel {
                weight: &weight,
                bias: Some(&bias),
                window: &window,
                groups,
            };
            let x = ramp(from.iter().product());
            let to = [m, rows, columns];
            let (got, want) = (kernel.apply(&x, from, to), naive(&kernel, &x, from, to));
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 1e-4, "{window:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn slice_and_pad_keep_rows_in_order() {
        let from = TensorType::new([2, 4, 4]);
        let x: Vec<f32> = (0..32).map(|x| x as f32).collect();
        let slice = LinearOp::Slice {
            start: [0; 3],
            end: [2, 4, 4],
            step: [1, 2, 2],
        };
        let sliced = TensorType::new([2, 2, 2]);
        let weights = Weights::default();
        let small = linear_op(&slice, &weights, &x, &from, &sliced);
        assert_eq!(small, [0.0, 2.0, 8.0, 10.0, 16.0, 18.0, 24.0, 26.0]);
        let pad = LinearOp::Pad {
            before: [1, 0, 1],
            after: [1, 0, 0],
        };
        let padded = linear_op(&pad, &weights, &small, &sliced, &TensorType::new([4, 2, 3]));
        assert_eq!(padded[..6], [0.0; 6]);
        assert_eq!(padded[6..12], [0.0, 0.0, 2.0, 0.0, 8.0, 10.0]);
        assert_eq!(padded[18..], [0.0; 6]);
    }
}
