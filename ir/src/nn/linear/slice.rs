//! Selection of elements along each axis.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Axis, Chw, LinearOperation, Moments, OnChannels, ShowRow, Structure};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::with_extents;
use crate::weights::Weights;

/// Keeps elements `start, start+step, …` below `end` on each of the axes C, H, W.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// First index per axis.
    pub start: [usize; 3],
    /// One past the last index per axis.
    pub end: [usize; 3],
    /// Distance between kept elements per axis, at least 1.
    pub step: [usize; 3],
}

impl Slice {
    /// The indices that are kept of an axis.
    fn kept(&self, axis: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        (self.start[axis]..self.end[axis]).step_by(self.step[axis])
    }
}

impl LinearOperation for Slice {
    fn shape(&self, operand: &TensorType, _weights: &Weights) -> Result<TensorType, String> {
        let mut shape = [0; 3];
        for (axis, extent) in operand.chw().into_iter().enumerate() {
            let (start, end, step) = (self.start[axis], self.end[axis], self.step[axis]);
            if step == 0 || start >= end || end > extent {
                return Err(format!(
                    "slice {start}..{end} by {step} does not fit axis {axis} of {operand}"
                ));
            }
            shape[axis] = (end - start).div_ceil(step);
        }
        with_extents(operand, shape)
    }

    fn rows(&self, shape: Chw, _weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let Self { start, end, step } = self;
        let fits = (0..3)
            .all(|axis| step[axis] > 0 && start[axis] < end[axis] && end[axis] <= shape[axis]);
        if !fits {
            return Err(Error::Shape {
                what: "slice".into(),
                expected: format!("a non-empty part of {shape:?}"),
                found: format!("{start:?}..{end:?} by {step:?}"),
            });
        }
        let [_, height, width] = shape;
        for channel in self.kept(0) {
            for row in self.kept(1) {
                for column in self.kept(2) {
                    show(&[((channel * height + row) * width + column, 1.0)], 0.0);
                }
            }
        }
        Ok([0, 1, 2].map(|axis| self.kept(axis).count()))
    }

    fn structure(&self, shape: Chw, _weights: &Weights) -> Option<Structure> {
        let fits = (0..3).all(|axis| {
            let (start, end) = (self.start[axis], self.end[axis]);
            self.step[axis] > 0 && start < end && end <= shape[axis]
        });
        fits.then_some(())?;
        let channels = self.kept(0).map(|channel| Some((channel as u32, 1.0)));
        Some(Structure {
            outer: channels.collect(),
            filter: None,
            inner: Vec::new(),
            rows: Axis::selection(self.kept(1).map(Some))?,
            columns: Axis::selection(self.kept(2).map(Some))?,
        })
    }

    fn evaluate(&self, x: &[f32], [_, h, w]: Chw, _to: Chw, _weights: &Weights) -> Vec<f32> {
        let rows = self.kept(1);
        self.kept(0)
            .flat_map(|c| rows.clone().map(move |y| (c * h + y) * w))
            .flat_map(|row| self.kept(2).map(move |column| x[row + column]))
            .collect()
    }

    fn moments(
        &self,
        operand: Option<&Moments>,
        _from: Chw,
        _weights: &Weights,
    ) -> Option<Moments> {
        let picked = |values: &[f64]| {
            let end = self.end[0].min(values.len());
            (self.start[0]..end)
                .step_by(self.step[0].max(1))
                .map(|channel| values[channel])
                .collect()
        };
        Some(operand?.rearranged(picked))
    }

    fn strides(&self) -> [usize; 2] {
        [self.step[1], self.step[2]]
    }

    /// Element j of the result is channel `start + j·step`.
    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        let (start, end, step) = (self.start[0], self.end[0], self.step[0]);
        let index = |channel: usize| channel.saturating_sub(start).div_ceil(step);
        let reached = index(run.start)..index(run.end.min(end));
        if reached.is_empty() {
            return OnChannels::Dropped;
        }
        let first = start + reached.start * step - run.start;
        let last = start + (reached.end - 1) * step - run.start;
        let slice = Self {
            start: [first, self.start[1], self.start[2]],
            end: [last + 1, self.end[1], self.end[2]],
            step: self.step,
        };
        OnChannels::Applied(slice.into(), reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_rows_stay_in_order() {
        let x: Vec<f32> = (0..32).map(|x| x as f32).collect();
        let slice = Slice {
            start: [0; 3],
            end: [2, 4, 4],
            step: [1, 2, 2],
        };
        let small = slice.evaluate(&x, [2, 4, 4], [2, 2, 2], &Weights::default());
        assert_eq!(small, [0.0, 2.0, 8.0, 10.0, 16.0, 18.0, 24.0, 26.0]);
    }
}
