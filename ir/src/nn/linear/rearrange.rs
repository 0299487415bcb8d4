//! Elements in another order: transposed, picked, repeated, or zero.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::moments::reach;
use super::{Chw, LinearOperation, Moments, OnChannels, ShowRow};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::check_type;
use crate::weights::Weights;

/// Most axes: one of a single position is of no use, and 28 of two make the largest value.
const MAX_AXES: usize = 32;

/// Every element of the result is an element of the operand, or zero.
///
/// The result counts through [`axes`](Self::axes), the last one fastest. The element at positions
/// `i, j, …` is the operand's element `axes[0][i] + axes[1][j] + …` in row-major order; it is zero
/// if one of these offsets is missing, or if the operand does not hold that element. So a reshape,
/// a transpose and another reshape are one operation, and so are a selection, a repetition and
/// a reflection along any axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rearrange {
    /// For every axis, slowest first, and every position along it an offset in the whole operand.
    pub axes: Vec<Vec<Option<u32>>>,
    /// Channels, height and width of the operand.
    pub from: Chw,
    /// Shape of the result: `[C, H, W]` or `[F]`.
    pub to: Vec<usize>,
    /// How many elements of the whole operand come before the operand, and how many of the whole
    /// result before the result: both may be runs of channels of larger values.
    pub skipped: [usize; 2],
}

impl Rearrange {
    /// A rearrangement of a whole value of shape `from` to a whole one of shape `to`.
    pub fn whole(axes: Vec<Vec<Option<u32>>>, from: Chw, to: impl Into<Vec<usize>>) -> Self {
        Self {
            axes,
            from,
            to: to.into(),
            skipped: [0; 2],
        }
    }

    /// The same on the channels `operand` of its operand alone, for the channels `result` of its
    /// result alone. The features of a vector are its channels.
    pub fn between(&self, operand: &Range<usize>, result: &Range<usize>) -> Self {
        let mut part = self.clone();
        let [_, height, width] = self.from;
        part.from[0] = operand.len();
        part.skipped[0] += operand.start * height * width;
        part.skipped[1] += result.start * self.plane();
        if let Some(channels) = part.to.first_mut() {
            *channels = result.len();
        }
        part
    }

    /// Whether no element of the operand reaches the result.
    pub fn is_zero(&self) -> bool {
        self.sources().all(|source| source.is_none())
    }

    /// Elements of one channel of the result.
    fn plane(&self) -> usize {
        self.to.iter().skip(1).product()
    }

    /// The operand's element at an index of the whole result.
    fn source(&self, index: usize) -> Option<usize> {
        let (mut rest, mut sum) = (index, 0_usize);
        for axis in self.axes.iter().rev() {
            let offset = axis[rest % axis.len()];
            rest /= axis.len();
            sum += offset? as usize;
        }
        let held = sum.checked_sub(self.skipped[0])?;
        (held < self.from.iter().product()).then_some(held)
    }

    /// For every element of the result the operand's element that it is.
    fn sources(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        let first = self.skipped[1];
        let count = self.to.iter().product::<usize>();
        (first..first + count).map(|index| self.source(index))
    }

    /// Whether shapes and axes fit each other, in one sentence if not.
    fn check(&self) -> Result<(), String> {
        if self.axes.len() > MAX_AXES {
            return Err(format!(
                "a rearrangement of {} axes, at most {MAX_AXES} are supported",
                self.axes.len()
            ));
        }
        check_type(&TensorType::new(self.from))?;
        check_type(&TensorType::new(self.to.clone()))?;
        let whole = self
            .axes
            .iter()
            .try_fold(1_usize, |all, axis| all.checked_mul(axis.len()));
        let end = self.skipped[1].checked_add(self.to.iter().product());
        match (whole, end) {
            (Some(whole), Some(end)) if end <= whole => Ok(()),
            _ => Err(format!(
                "a rearrangement whose axes do not hold the elements of {:?}",
                self.to
            )),
        }
    }

    /// The shape of the result as channels, height and width.
    fn result(&self) -> Chw {
        TensorType::new(self.to.clone()).chw()
    }
}

impl LinearOperation for Rearrange {
    fn shape(&self, operand: &TensorType, _weights: &Weights) -> Result<TensorType, String> {
        self.check()?;
        if operand.chw() != self.from {
            return Err(format!(
                "rearranges the elements of {:?}, the operand is {operand}",
                self.from
            ));
        }
        Ok(TensorType::new(self.to.clone()))
    }

    fn rows(&self, operand: Chw, _weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        if operand != self.from || self.check().is_err() {
            return Err(Error::Shape {
                what: "rearrangement".into(),
                expected: format!("an operand of {:?}", self.from),
                found: format!("{operand:?}"),
            });
        }
        for source in self.sources() {
            match source {
                Some(source) => show(&[(source, 1.0)], 0.0),
                None => show(&[], 0.0),
            }
        }
        Ok(self.result())
    }

    fn evaluate(&self, x: &[f32], _from: Chw, _to: Chw, _weights: &Weights) -> Vec<f32> {
        let elements = self.sources();
        elements
            .map(|source| source.map_or(0.0, |source| x[source]))
            .collect()
    }

    /// A channel that comes from several counts as the one of them that goes farthest.
    fn moments(
        &self,
        operand: Option<&Moments>,
        [_, height, width]: Chw,
        _weights: &Weights,
    ) -> Option<Moments> {
        let operand = operand?;
        let [channels, rows, columns] = self.result();
        let mut moments = Moments {
            mean: vec![0.0; channels],
            deviation: vec![0.0; channels],
        };
        for (index, source) in self.sources().enumerate() {
            let Some(from) = source.map(|source| source / (height * width)) else {
                continue;
            };
            let (mean, deviation) = (*operand.mean.get(from)?, *operand.deviation.get(from)?);
            let channel = index / (rows * columns);
            let known = reach(moments.mean[channel], moments.deviation[channel]);
            if reach(mean, deviation) > known {
                (moments.mean[channel], moments.deviation[channel]) = (mean, deviation);
            }
        }
        Some(moments)
    }

    fn strides(&self) -> [usize; 2] {
        let [_, height, width] = self.from;
        let [_, rows, columns] = self.result();
        let first = self.skipped[1];
        let distance = |elements: usize| {
            let (here, there) = (self.source(first)?, self.source(first + elements)?);
            Some(here.abs_diff(there))
        };
        let down = distance(columns)
            .filter(|distance| rows > 1 && distance.is_multiple_of(width))
            .map(|distance| distance / width)
            .filter(|down| (1..height).contains(down));
        let right = distance(1).filter(|right| columns > 1 && (1..width).contains(right));
        [down.unwrap_or(1), right.unwrap_or(1)]
    }

    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        let plane = self.plane();
        let [_, height, width] = self.from;
        let held = run.start * height * width..run.end * height * width;
        let mut reached: Option<Range<usize>> = None;
        for (index, source) in self.sources().enumerate() {
            if source.is_some_and(|source| held.contains(&source)) {
                let channel = index / plane;
                let start = reached.as_ref().map_or(channel, |range| range.start);
                reached = Some(start..channel + 1);
            }
        }
        match reached {
            Some(reached) => OnChannels::Applied(self.between(run, &reached).into(), reached),
            None => OnChannels::Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions `0, step, …` of an axis.
    fn axis(extent: u32, step: u32) -> Vec<Option<u32>> {
        (0..extent).map(|index| Some(index * step)).collect()
    }

    /// Blocks of 2×2 pixels become channels, as PyTorch's pixel unshuffle does it.
    fn space_to_depth() -> Rearrange {
        let [c, dy, dx] = [axis(2, 24), axis(2, 6), axis(2, 1)];
        let [y, x] = [axis(2, 12), axis(3, 2)];
        Rearrange::whole(vec![c, dy, dx, y, x], [2, 4, 6], [8, 2, 3])
    }

    #[test]
    fn blocks_become_channels() {
        let x: Vec<f32> = (0..48_u8).map(f32::from).collect();
        let op = space_to_depth();
        let found = op.evaluate(&x, op.from, [8, 2, 3], &Weights::default());
        assert_eq!(found[..6], [0.0, 2.0, 4.0, 12.0, 14.0, 16.0]);
        assert_eq!(found[6..12], [1.0, 3.0, 5.0, 13.0, 15.0, 17.0]);
        assert_eq!(found[24..27], [24.0, 26.0, 28.0]);
        assert_eq!(op.strides(), [2, 2]);
    }

    #[test]
    fn offsets_that_lead_nowhere_are_zero() {
        let op = Rearrange::whole(vec![vec![Some(1), None, Some(0), Some(7)]], [2, 1, 1], [4]);
        let found = op.evaluate(&[3.0, 5.0], op.from, [4, 1, 1], &Weights::default());
        assert_eq!(found, [5.0, 0.0, 3.0, 0.0]);
    }

    /// The pieces of all runs of channels add up to the whole.
    #[test]
    fn runs_of_channels_add_up() {
        let op = space_to_depth();
        let x: Vec<f32> = (1..49_u8).map(f32::from).collect();
        let weights = &mut Weights::default();
        let whole = op.evaluate(&x, op.from, [8, 2, 3], weights);
        let mut sum = vec![0.0; whole.len()];
        for operand in [0..1, 1..2] {
            let held = &x[operand.start * 24..operand.end * 24];
            for result in [0..3, 3..8] {
                let part = op.between(&operand, &result);
                let piece = part.evaluate(held, part.from, part.result(), weights);
                for (index, element) in piece.iter().enumerate() {
                    sum[result.start * 6 + index] += element;
                }
            }
        }
        assert_eq!(sum, whole);
        assert!(op.between(&(1..2), &(0..4)).is_zero());
        let part = op.between(&(1..2), &(4..8));
        let applied = OnChannels::Applied(part.into(), 4..8);
        assert_eq!(op.on_channels(&(1..2), weights), applied);
    }

    #[test]
    fn refuses_axes_that_do_not_fit() {
        let refused = |edit: fn(&mut Rearrange)| {
            let mut op = space_to_depth();
            edit(&mut op);
            let operand = TensorType::new([2, 4, 6]);
            op.shape(&operand, &Weights::default()).unwrap_err()
        };
        assert!(refused(|op| op.axes.push(Vec::new())).contains("do not hold"));
        assert!(refused(|op| op.skipped[1] = 1).contains("do not hold"));
        assert!(refused(|op| op.skipped[1] = usize::MAX).contains("do not hold"));
        assert!(refused(|op| op.axes = vec![vec![None]; 33]).contains("33 axes"));
        assert!(refused(|op| op.from = [2, 6, 4]).contains("the operand is"));
        assert!(refused(|op| op.to = vec![2, 2]).contains("neither"));
    }
}
