//! Mean over windows.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Axis, AxisEntry, Chw, LinearOperation, OnChannels, ShowRow, Structure};
use crate::error::Error;
use crate::nn::shapes::{check_feature_map, slide};
use crate::nn::{TensorType, Window};
use crate::weights::Weights;

/// Mean over each window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AveragePool {
    /// Window; dilation is 1.
    pub window: Window,
    /// Whether padding counts in the divisor.
    pub padding: PaddingInMean,
}

/// Whether an average pool's divisor counts padded elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingInMean {
    /// The divisor is the window's size.
    Counted,
    /// The divisor is the number of real elements under the window.
    Excluded,
}

impl LinearOperation for AveragePool {
    fn shape(&self, operand: &TensorType, _weights: &Weights) -> Result<TensorType, String> {
        check_feature_map(operand)?;
        let window = &self.window;
        if window.dilation != [1, 1] {
            return Err(format!(
                "average pooling with dilation {:?}",
                window.dilation
            ));
        }
        let [top, left, bottom, right] = window.pads;
        if top.max(bottom) >= window.kernel[0] || left.max(right) >= window.kernel[1] {
            return Err(format!(
                "pads {:?} reach past a window of {:?}",
                window.pads, window.kernel
            ));
        }
        let channels = operand.chw()[0];
        let [height, width] = slide(window, operand.chw())?;
        Ok(TensorType::new([channels, height, width]))
    }

    fn rows(
        &self,
        [channels, height, width]: Chw,
        _weights: &Weights,
        show: ShowRow<'_>,
    ) -> Result<Chw, Error> {
        let window = &self.window;
        let Some([out_height, out_width]) = window.output(height, width) else {
            return Err(Error::Shape {
                what: "average pool".into(),
                expected: format!("a window within {height}x{width}"),
                found: format!("{:?}", window.kernel),
            });
        };
        let rows = window.covered(0, height, out_height);
        let columns = window.covered(1, width, out_width);
        let mut entries = Vec::new();
        for channel in 0..channels {
            for row in &rows {
                for column in &columns {
                    let divisor = match self.padding {
                        PaddingInMean::Counted => window.taps(),
                        PaddingInMean::Excluded => (row.len() * column.len()).max(1),
                    };
                    entries.clear();
                    for (_, y) in row {
                        let start = (channel * height + y) * width;
                        let taps = column.iter();
                        entries.extend(taps.map(|(_, x)| (start + x, 1.0 / divisor as f64)));
                    }
                    show(&entries, 0.0);
                }
            }
        }
        Ok([channels, out_height, out_width])
    }

    fn structure(&self, operand: Chw, _weights: &Weights) -> Option<Structure> {
        let [channels, height, width] = operand;
        let [rows, columns] = self.window.output(height, width)?;
        let axis = |axis: usize, extent: usize, results: usize| {
            let covered = self.window.covered(axis, extent, results);
            Axis::new(covered.into_iter().map(|taps| {
                let divisor = match (self.padding, axis) {
                    (PaddingInMean::Excluded, _) => taps.len(),
                    (PaddingInMean::Counted, 0) => self.window.taps(),
                    (PaddingInMean::Counted, _) => 1,
                };
                taps.into_iter().map(move |(_, index)| AxisEntry {
                    operand: index as u32,
                    tap: 0,
                    weight: 1.0 / divisor as f64,
                })
            }))
        };
        Structure::in_channels(channels, axis(0, height, rows)?, axis(1, width, columns)?)
    }

    fn evaluate(
        &self,
        x: &[f32],
        [_, h, w]: Chw,
        [c, rows, columns]: Chw,
        _weights: &Weights,
    ) -> Vec<f32> {
        let window = &self.window;
        let [top, left, _, _] = window.pads;
        let mut means = Vec::with_capacity(c * rows * columns);
        for plane in x.chunks_exact(h * w) {
            for y in 0..rows {
                let first = y * window.stride[0];
                let covered_rows = first.max(top)..(first + window.kernel[0]).min(h + top);
                for column in 0..columns {
                    let first = column * window.stride[1];
                    let covered = first.max(left)..(first + window.kernel[1]).min(w + left);
                    let columns = covered.start - left..covered.end - left;
                    let sum: f64 = covered_rows
                        .clone()
                        .flat_map(|y| &plane[(y - top) * w..][columns.clone()])
                        .map(|x| f64::from(*x))
                        .sum();
                    let divisor = match self.padding {
                        PaddingInMean::Counted => window.taps(),
                        PaddingInMean::Excluded => covered_rows.len() * covered.len(),
                    };
                    means.push((sum / divisor as f64) as f32);
                }
            }
        }
        means
    }

    fn row_entries(&self, _weights: &Weights) -> usize {
        self.window.taps()
    }

    fn window(&self) -> Option<&Window> {
        Some(&self.window)
    }

    fn strides(&self) -> [usize; 2] {
        self.window.stride
    }

    fn is_whole_mean(&self, [_, height, width]: Chw) -> bool {
        self.window.kernel == [height, width] && self.window.pads == [0; 4]
    }

    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        OnChannels::Applied(self.clone().into(), run.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divisor_counts_padding_as_told() {
        let window = Window {
            kernel: [2, 2],
            stride: [2, 2],
            pads: [1, 1, 0, 0],
            dilation: [1, 1],
        };
        let x: Vec<f32> = (1..=9).map(|x| x as f32).collect();
        let pool = |padding| {
            let pool = AveragePool { window, padding };
            pool.evaluate(&x, [1, 3, 3], [1, 2, 2], &Weights::default())
        };
        assert_eq!(pool(PaddingInMean::Counted), [0.25, 1.25, 2.75, 7.0]);
        assert_eq!(pool(PaddingInMean::Excluded), [1.0, 2.5, 5.5, 7.0]);
    }
}
