//! Convolution.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    Axis, AxisEntry, Chw, Filter, Gain, LinearOperation, Moments, OnChannels, ShowRow, Structure,
    data, element, misfit, optional_vector,
};
use crate::error::Error;
use crate::nn::shapes::{check_feature_map, check_vector, existing, slide};
use crate::nn::{TensorType, Window};
use crate::weights::{Tensor, WeightId, Weights};

mod tiled;

/// 2-D cross-correlation; weight `[M, C/groups, kH, kW]`, bias `[M]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// The filter.
    pub weight: WeightId,
    /// Bias tensor, one element per output channel.
    pub bias: Option<WeightId>,
    /// Extent, stride, padding and dilation of the filter.
    pub window: Window,
    /// Number of channel groups.
    pub groups: usize,
}

impl LinearOperation for Conv {
    fn shape(&self, operand: &TensorType, weights: &Weights) -> Result<TensorType, String> {
        check_feature_map(operand)?;
        let [c, h, w] = operand.chw();
        let [m, channels, rows, columns] = existing(weights, self.weight)?.shape[..] else {
            return Err("a convolution's filter needs four axes".into());
        };
        let extent = [rows, columns];
        if extent != self.window.kernel {
            return Err(format!(
                "filter {extent:?} and window {:?} differ",
                self.window.kernel
            ));
        }
        let groups = self.groups;
        if groups == 0 || !c.is_multiple_of(groups) || !m.is_multiple_of(groups) {
            return Err(format!(
                "{groups} groups divide neither {c} nor {m} channels"
            ));
        }
        if channels != c / groups {
            return Err(format!(
                "the filter takes {channels} channels per group, the operand has {}",
                c / groups
            ));
        }
        check_vector(weights, self.bias, m, "bias")?;
        let [h, w] = slide(&self.window, [c, h, w])?;
        Ok(TensorType::new([m, h, w]))
    }

    fn rows(&self, operand: Chw, weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let shape = self.checked_shape(operand, weights)?;
        let ([channels, height, width], [outputs, out_height, out_width]) = (operand, shape);
        let window = &self.window;
        let per_group = channels / self.groups;
        let filter = super::tensor(weights, self.weight)?;
        let bias = optional_vector(weights, self.bias, outputs)?;
        let rows = window.covered(0, height, out_height);
        let columns = window.covered(1, width, out_width);
        let mut entries = Vec::with_capacity(per_group * window.taps());
        for output in 0..outputs {
            let first_channel = output / (outputs / self.groups) * per_group;
            let offset = bias.map_or(0.0, |bias| f64::from(bias[output]));
            let taps = &filter.data[output * per_group * window.taps()..];
            for row in &rows {
                for column in &columns {
                    entries.clear();
                    for (inner, taps) in
                        taps.chunks_exact(window.taps()).take(per_group).enumerate()
                    {
                        let plane = (first_channel + inner) * height;
                        for (ky, y) in row {
                            let start = (plane + y) * width;
                            let taps = &taps[ky * window.kernel[1]..];
                            let along = column.iter();
                            entries.extend(along.map(|(kx, x)| (start + x, f64::from(taps[*kx]))));
                        }
                    }
                    show(&entries, offset);
                }
            }
        }
        Ok(shape)
    }

    fn offset(&self, operand: Chw, weights: &Weights) -> Result<(Vec<f64>, Chw), Error> {
        let shape = self.checked_shape(operand, weights)?;
        let [outputs, height, width] = shape;
        let bias = optional_vector(weights, self.bias, outputs)?;
        let of_output = |output| bias.map_or(0.0, |bias| f64::from(bias[output]));
        let offsets = (0..outputs).map(of_output);
        let offsets = offsets.flat_map(|offset| std::iter::repeat_n(offset, height * width));
        Ok((offsets.collect(), shape))
    }

    fn structure(&self, operand: Chw, weights: &Weights) -> Option<Structure> {
        let [outputs, height, width] = self.checked_shape(operand, weights).ok()?;
        let axis = |axis: usize, extent: usize, results: usize| {
            let covered = self.window.covered(axis, extent, results);
            Axis::new(covered.into_iter().map(|taps| {
                taps.into_iter().map(|(tap, index)| AxisEntry {
                    operand: index as u32,
                    tap: tap as u32,
                    weight: 1.0,
                })
            }))
        };
        let filter = Filter {
            weight: self.weight,
            per_group: operand[0] / self.groups,
            outputs_per_group: outputs / self.groups,
            taps: self.window.kernel,
        };
        let axes = [axis(0, operand[1], height)?, axis(1, operand[2], width)?];
        Structure::filtered(filter, [outputs, operand[0]], axes, weights)
    }

    fn evaluate(&self, x: &[f32], from: Chw, to: Chw, weights: &Weights) -> Vec<f32> {
        let filter = tiled::Filter {
            weight: data(weights, self.weight),
            bias: self.bias.map(|id| data(weights, id)),
            window: &self.window,
            groups: self.groups,
        };
        filter.apply(x, from, to)
    }

    /// Its taps see neighbouring pixels, whose correlation nothing tells.
    fn moments(
        &self,
        _operand: Option<&Moments>,
        _from: Chw,
        _weights: &Weights,
    ) -> Option<Moments> {
        None
    }

    fn gains(&self, channels: usize, weights: &Weights) -> Vec<Gain> {
        row_gains(self.weight, self.bias, channels, weights)
    }

    fn row_entries(&self, weights: &Weights) -> usize {
        elements_per_output(self.weight, weights)
    }

    fn has_offset(&self) -> bool {
        self.bias.is_some()
    }

    fn drop_offset(&mut self) -> bool {
        self.bias = None;
        true
    }

    fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        std::iter::once(&mut self.weight)
            .chain(&mut self.bias)
            .collect()
    }

    fn window(&self) -> Option<&Window> {
        Some(&self.window)
    }

    fn strides(&self) -> [usize; 2] {
        self.window.stride
    }

    fn on_channels(&self, _run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        OnChannels::Mixed
    }
}

impl Conv {
    /// The result's shape, if the filter fits the operand.
    fn checked_shape(
        &self,
        [channels, height, width]: Chw,
        weights: &Weights,
    ) -> Result<Chw, Error> {
        let Self { window, groups, .. } = self;
        let filter = super::tensor(weights, self.weight)?;
        let expected = || {
            let [height, width] = window.kernel;
            format!("[outputs, {channels}/{groups}, {height}, {width}]")
        };
        let [outputs, per_group, found_height, found_width] = filter.shape[..] else {
            return Err(misfit(filter, expected()));
        };
        let fits = *groups > 0
            && channels % groups == 0
            && per_group == channels / groups
            && outputs % groups == 0
            && [found_height, found_width] == window.kernel;
        match window.output(height, width).filter(|_| fits) {
            Some([rows, columns]) => Ok([outputs, rows, columns]),
            None => Err(misfit(filter, expected())),
        }
    }

    /// The filter from some input channels to some output channels, as that of a convolution in one
    /// group; its name is the whole filter's.
    pub fn filter_between(
        &self,
        inputs: &Range<usize>,
        outputs: &Range<usize>,
        weights: &Weights,
    ) -> Tensor {
        let filter = weights.get(self.weight);
        let (all_outputs, per_group) = (filter.shape[0], filter.shape[1]);
        let taps = filter.shape[2..].iter().product::<usize>();
        let mut data = vec![0.0; outputs.len() * inputs.len() * taps];
        for output in outputs.clone() {
            let first = output / (all_outputs / self.groups) * per_group;
            let channels = first.max(inputs.start)..(first + per_group).min(inputs.end);
            for channel in channels {
                let from = (output * per_group + channel - first) * taps;
                let row = (output - outputs.start) * inputs.len() + channel - inputs.start;
                data[row * taps..][..taps].copy_from_slice(&filter.data[from..][..taps]);
            }
        }
        let mut shape = vec![outputs.len(), inputs.len()];
        shape.extend(&filter.shape[2..]);
        Tensor::new(&filter.name, shape, data)
    }
}

/// The sum of magnitudes of every output's weights, with its offset.
pub(super) fn row_gains(
    weight: WeightId,
    bias: Option<WeightId>,
    outputs: usize,
    weights: &Weights,
) -> Vec<Gain> {
    let weight = data(weights, weight);
    let row_length = (weight.len() / outputs.max(1)).max(1);
    let rows = weight.chunks(row_length).enumerate();
    rows.map(|(row, weight)| Gain {
        gain: weight.iter().map(|w| f64::from(*w).abs()).sum(),
        shift: element(weights, bias, row, 0.0).abs(),
    })
    .collect()
}

/// How many elements a weight has per entry of its first axis.
pub(super) fn elements_per_output(weight: WeightId, weights: &Weights) -> usize {
    let shape = weights
        .try_get(weight)
        .map_or(&[][..], |tensor| &tensor.shape);
    shape
        .iter()
        .skip(1)
        .fold(1, |all: usize, extent| all.saturating_mul(*extent))
}
