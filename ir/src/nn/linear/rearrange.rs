//! Elements in another order: transposed, picked, repeated, or zero.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::moments::reach;
use super::{Chw, LinearOperation, Moments, OnChannels, ShowRow};
use crate::error::Error;
use crate::nn::shapes::check_type;
use crate::nn::{Region, TensorType};
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
    /// Where operand and result lie in the whole values that the axes count: both may be regions of
    /// larger values.
    pub parts: [Part; 2],
}

/// A region of a value of channels, height and width: some channels and rows, with all columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Channels, height and width of the region.
    pub shape: Chw,
    /// Height of the whole value.
    pub height: usize,
    /// The first channel and the first row.
    pub first: [usize; 2],
}

impl Part {
    /// All of a value.
    pub fn whole(shape: Chw) -> Self {
        Self {
            shape,
            height: shape[1],
            first: [0; 2],
        }
    }

    /// A region of a value of the given shape.
    pub fn of(region: &Region, [_, height, width]: Chw) -> Self {
        Self {
            shape: region.shape(width),
            height,
            first: [region.channels.start, region.rows.start],
        }
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    fn checked_elements(&self) -> Option<usize> {
        let mut extents = self.shape.iter();
        extents.try_fold(1_usize, |all, extent| all.checked_mul(*extent))
    }

    /// The place in the whole value of an element of the region.
    fn place(&self, element: usize) -> usize {
        let [_, rows, width] = self.shape;
        let (line, column) = (element / width, element % width);
        let [channel, row] = self.first;
        ((line / rows + channel) * self.height + line % rows + row) * width + column
    }

    /// The element of the region at a place in the whole value.
    fn element(&self, place: usize) -> Option<usize> {
        let [channels, rows, width] = self.shape;
        let (line, column) = (place / width, place % width);
        let within = |index: usize, first: usize, extent: usize| {
            index.checked_sub(first).filter(|index| *index < extent)
        };
        let channel = within(line / self.height, self.first[0], channels)?;
        let row = within(line % self.height, self.first[1], rows)?;
        Some((channel * rows + row) * width + column)
    }

    /// One past the largest place, if the region lies within its rows and no number is too large.
    fn end(&self) -> Option<usize> {
        let [channels, rows, width] = self.shape;
        let fits = self.first[1].checked_add(rows)? <= self.height;
        let lines = self.first[0]
            .checked_add(channels)?
            .checked_mul(self.height)?;
        lines
            .checked_mul(width)
            .filter(|end| fits && *end > 0 && !self.shape.contains(&0))
    }
}

impl Rearrange {
    /// A rearrangement of a whole value of shape `from` to a whole one of shape `to`.
    pub fn whole(axes: Vec<Vec<Option<u32>>>, from: Chw, to: impl Into<Vec<usize>>) -> Self {
        let to = to.into();
        let result = TensorType::new(to.clone()).chw();
        Self {
            axes,
            from,
            to,
            parts: [from, result].map(Part::whole),
        }
    }

    /// A whole rearrangement on one region of its operand alone, for one region of its result
    /// alone. `shape` is that of the operand: it may be a feature map that was flattened piece by
    /// piece. The features of any other vector are its channels.
    pub fn between(&self, shape: Chw, operand: &Region, result: &Region) -> Self {
        let parts = [Part::of(operand, shape), Part::of(result, self.result())];
        let is_flattened = self.from != shape;
        Self {
            axes: self.axes.clone(),
            from: match is_flattened {
                true => [parts[0].elements(), 1, 1],
                false => parts[0].shape,
            },
            to: match self.to.len() {
                1 => vec![parts[1].elements()],
                _ => parts[1].shape.to_vec(),
            },
            parts,
        }
    }

    /// Whether no element of the operand reaches the result.
    pub fn is_zero(&self) -> bool {
        self.sources().all(|source| source.is_none())
    }

    /// The operand's element at a place in the whole result.
    fn source(&self, place: usize) -> Option<usize> {
        let (mut rest, mut sum) = (place, 0_usize);
        for axis in self.axes.iter().rev() {
            let offset = axis[rest % axis.len()];
            rest /= axis.len();
            sum += offset? as usize;
        }
        self.parts[0].element(sum)
    }

    /// For every element of the result the operand's element that it is.
    fn sources(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        let [_, result] = self.parts;
        (0..result.elements()).map(move |element| self.source(result.place(element)))
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
        let [operand, result] = &self.parts;
        // The types were checked: these products are small.
        let extents = [
            self.from.iter().product::<usize>(),
            self.to.iter().product(),
        ];
        let fits = [operand.checked_elements(), result.checked_elements()] == extents.map(Some);
        match (whole, operand.end(), result.end()) {
            (Some(whole), Some(_), Some(end)) if fits && end <= whole => Ok(()),
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
        let [_, result] = self.parts;
        let distance = |element: usize| {
            let here = self.source(result.place(0))?;
            Some(here.abs_diff(self.source(result.place(element))?))
        };
        let down = (rows > 1)
            .then(|| distance(columns))
            .flatten()
            .filter(|distance| distance.is_multiple_of(width))
            .map(|distance| distance / width)
            .filter(|down| (1..height).contains(down));
        let right = (columns > 1).then(|| distance(1)).flatten();
        let right = right.filter(|right| (1..width).contains(right));
        [down.unwrap_or(1), right.unwrap_or(1)]
    }

    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        let [_, height, width] = self.from;
        let [_, rows, columns] = self.result();
        let plane = rows * columns;
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
            Some(reached) => {
                let region = |channels: &Range<usize>, height| Region {
                    channels: channels.clone(),
                    rows: 0..height,
                };
                let part = self.between(self.from, &region(run, height), &region(&reached, rows));
                OnChannels::Applied(part.into(), reached)
            }
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

    fn region(channels: Range<usize>, rows: Range<usize>) -> Region {
        Region { channels, rows }
    }

    /// The pieces of all regions add up to the whole.
    #[test]
    fn regions_add_up() {
        let op = space_to_depth();
        let x: Vec<f32> = (1..49_u8).map(f32::from).collect();
        let weights = &mut Weights::default();
        let whole = op.evaluate(&x, op.from, [8, 2, 3], weights);
        let operands = [region(0..1, 0..4), region(1..2, 0..1), region(1..2, 1..4)];
        let results = [region(0..3, 0..2), region(3..8, 0..1), region(3..8, 1..2)];
        for result in results {
            let mut sum = vec![0.0; result.shape(3).iter().product()];
            for operand in &operands {
                let part = op.between(op.from, operand, &result);
                assert!(part.check().is_ok());
                let held = operand.cut(&x, op.from);
                let piece = part.evaluate(&held, part.from, part.result(), weights);
                sum.iter_mut()
                    .zip(piece)
                    .for_each(|(sum, element)| *sum += element);
            }
            assert_eq!(sum, result.cut(&whole, [8, 2, 3]));
        }
        let between = |operand, result| op.between(op.from, &operand, &result);
        assert!(between(region(1..2, 0..4), region(0..4, 0..2)).is_zero());
        let part = between(region(1..2, 0..4), region(4..8, 0..2));
        let applied = OnChannels::Applied(part.into(), 4..8);
        assert_eq!(op.on_channels(&(1..2), weights), applied);
    }

    #[test]
    fn a_map_that_was_flattened_in_bands_is_read_band_by_band() {
        let shape = [2, 3, 2];
        let reversed = (0..12).rev().map(Some).collect();
        let op = Rearrange::whole(vec![reversed], [12, 1, 1], [12]);
        let x: Vec<f32> = (1..13_u8).map(f32::from).collect();
        let weights = &Weights::default();
        let mut sum = [0.0; 12];
        for operand in [region(0..2, 0..1), region(0..2, 1..3)] {
            let part = op.between(shape, &operand, &region(0..12, 0..1));
            let held = operand.cut(&x, shape);
            let piece = part.evaluate(&held, part.from, [12, 1, 1], weights);
            sum.iter_mut()
                .zip(piece)
                .for_each(|(sum, element)| *sum += element);
        }
        assert!(sum.iter().eq(x.iter().rev()));
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
        assert!(refused(|op| op.parts[1].first[0] = 1).contains("do not hold"));
        assert!(refused(|op| op.parts[1].first[1] = 1).contains("do not hold"));
        assert!(refused(|op| op.parts[0].height = usize::MAX).contains("do not hold"));
        assert!(refused(|op| op.parts[0].shape[1] = 3).contains("do not hold"));
        assert!(refused(|op| op.axes = vec![vec![None]; 33]).contains("33 axes"));
        assert!(refused(|op| op.from = [2, 6, 4]).contains("the operand is"));
        assert!(refused(|op| op.to = vec![2, 2]).contains("neither"));
    }
}
