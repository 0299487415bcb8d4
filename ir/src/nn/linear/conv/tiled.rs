//! Convolution on plain numbers, fast enough to observe ranges on a thousand images: a tile of
//! outputs stays in registers.

use crate::nn::Window;

/// Adjacent output columns that are computed together.
const COLUMNS: usize = 8;

/// Output channels that are computed together.
const BLOCK: usize = 4;

/// A convolution's weights, as the model stores them.
pub(super) struct Filter<'a> {
    pub(super) weight: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) window: &'a Window,
    pub(super) groups: usize,
}

impl Filter<'_> {
    /// The result's elements for an operand of shape `from`; the result's is `to`.
    pub(super) fn apply(&self, x: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
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
                for offset in 0..block {
                    let filter = &self.weight[(first + offset) * taps.len()..][..taps.len()];
                    for (packed, weight) in packed.iter_mut().zip(filter) {
                        packed[offset] = *weight;
                    }
                }
                for y in 0..rows {
                    let row = group_start + y * self.window.stride[0] * planes.row;
                    for column in (0..columns).step_by(COLUMNS) {
                        let tile = tile(&planes.data[row + column..], &taps, &packed);
                        let width = COLUMNS.min(columns - column);
                        for (offset, sums) in tile[..block].iter().enumerate() {
                            let channel = first + offset;
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

/// Sums of `weight · x[tap + column]` for a block of output channels and a run of output columns.
#[inline(always)]
fn tile(x: &[f32], taps: &[usize], packed: &[[f32; BLOCK]]) -> [[f32; COLUMNS]; BLOCK] {
    let mut sums = [[0.0_f32; COLUMNS]; BLOCK];
    for (tap, weights) in taps.iter().zip(packed) {
        let (x, _) = x[*tap..]
            .split_first_chunk::<COLUMNS>()
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
        let row = columns.next_multiple_of(COLUMNS) + reach;
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
                    let elements = &x[(channel * h + y) * w..][first..w];
                    let start = channel * plane + index * phase + (y + top) * row;
                    let row = &mut data[start + skipped..start + row];
                    for (place, x) in row.iter_mut().zip(elements.iter().step_by(stride)) {
                        *place = *x;
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

    /// Offsets of all taps of `channels` channels, in the order of the filter's elements.
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
    use crate::test_support::ramp;

    /// Convolution straight from its definition.
    fn naive(filter: &Filter<'_>, x: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
        let ([c, h, w], [m, rows, columns]) = (from, to);
        let window = filter.window;
        let channels = c / filter.groups;
        let mut out = Vec::new();
        for o in 0..m {
            let group = o / (m / filter.groups);
            for y in 0..rows {
                for column in 0..columns {
                    let mut sum = filter.bias.map_or(0.0, |bias| f64::from(bias[o]));
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
                                    sum += f64::from(filter.weight[index]) * f64::from(x);
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
            let weight = ramp(m * from[0] / groups * kernel[0] * kernel[1], 1);
            let bias = ramp(m, 2);
            let filter = Filter {
                weight: &weight,
                bias: Some(&bias),
                window: &window,
                groups,
            };
            let x = ramp(from.iter().product(), 3);
            let to = [m, rows, columns];
            let (got, want) = (filter.apply(&x, from, to), naive(&filter, &x, from, to));
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 1e-4, "{window:?}: {got} {want}");
            }
        }
    }
}
