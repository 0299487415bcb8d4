//! Zeros around the elements.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Axis, Chw, LinearOperation, Moments, OnChannels, ShowRow, Structure};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::with_extents;
use crate::weights::Weights;

/// Adds zeros before and after each of the axes C, H, W.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// Zeros before.
    pub before: [usize; 3],
    /// Zeros after.
    pub after: [usize; 3],
}

impl LinearOperation for Pad {
    fn shape(&self, operand: &TensorType, _weights: &Weights) -> Result<TensorType, String> {
        let mut shape = [0; 3];
        for (axis, extent) in operand.chw().into_iter().enumerate() {
            shape[axis] = extent
                .checked_add(self.before[axis])
                .and_then(|sum| sum.checked_add(self.after[axis]))
                .ok_or_else(|| format!("padding of axis {axis} overflows"))?;
        }
        with_extents(operand, shape)
    }

    fn rows(&self, shape: Chw, _weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let [_, height, width] = shape;
        let extents = [0, 1, 2].map(|axis| self.before[axis] + shape[axis] + self.after[axis]);
        let inside = |axis: usize, index: usize| {
            index
                .checked_sub(self.before[axis])
                .filter(|index| *index < shape[axis])
        };
        for channel in 0..extents[0] {
            for row in 0..extents[1] {
                for column in 0..extents[2] {
                    match (inside(0, channel), inside(1, row), inside(2, column)) {
                        (Some(c), Some(y), Some(x)) => {
                            show(&[((c * height + y) * width + x, 1.0)], 0.0);
                        }
                        _ => show(&[], 0.0),
                    }
                }
            }
        }
        Ok(extents)
    }

    fn structure(&self, shape: Chw, _weights: &Weights) -> Option<Structure> {
        let from = |axis: usize| {
            let extent = self.before[axis]
                .checked_add(shape[axis])?
                .checked_add(self.after[axis])?;
            let inside = move |index: usize| {
                let index = index.checked_sub(self.before[axis])?;
                (index < shape[axis]).then_some(index)
            };
            Some((0..extent).map(inside))
        };
        let channels = from(0)?.map(|channel| channel.map(|channel| (channel as u32, 1.0)));
        Some(Structure {
            outer: channels.collect(),
            filter: None,
            inner: Vec::new(),
            rows: Axis::selection(from(1)?)?,
            columns: Axis::selection(from(2)?)?,
        })
    }

    fn evaluate(&self, x: &[f32], [_, h, w]: Chw, to: Chw, _weights: &Weights) -> Vec<f32> {
        let [_, rows, columns] = to;
        let mut padded = vec![0.0; to.iter().product()];
        for (index, row) in x.chunks_exact(w).enumerate() {
            let (channel, y) = (index / h + self.before[0], index % h + self.before[1]);
            let start = (channel * rows + y) * columns + self.before[2];
            padded[start..start + w].copy_from_slice(row);
        }
        padded
    }

    fn moments(
        &self,
        operand: Option<&Moments>,
        _from: Chw,
        _weights: &Weights,
    ) -> Option<Moments> {
        let padded = |values: &[f64]| {
            let zeros = |count| std::iter::repeat_n(0.0, count);
            zeros(self.before[0])
                .chain(values.iter().copied())
                .chain(zeros(self.after[0]))
                .collect()
        };
        Some(operand?.rearranged(padded))
    }

    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        let Self { before, after } = self;
        let run = run.start + before[0]..run.end + before[0];
        if before[1..] == [0; 2] && after[1..] == [0; 2] {
            return OnChannels::Moved(run);
        }
        let pad = Self {
            before: [0, before[1], before[2]],
            after: [0, after[1], after[2]],
        };
        OnChannels::Applied(pad.into(), run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_rows_stay_in_order() {
        let x = [0.0, 2.0, 8.0, 10.0, 16.0, 18.0, 24.0, 26.0];
        let pad = Pad {
            before: [1, 0, 1],
            after: [1, 0, 0],
        };
        let padded = pad.evaluate(&x, [2, 2, 2], [4, 2, 3], &Weights::default());
        assert_eq!(padded[..6], [0.0; 6]);
        assert_eq!(padded[6..12], [0.0, 0.0, 2.0, 0.0, 8.0, 10.0]);
        assert_eq!(padded[18..], [0.0; 6]);
    }
}
