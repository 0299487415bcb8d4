//! Operations that are a linear map along each axis, as sparse matrices.

use std::ops::Range;

use heddle_ir::nn::{PaddingInMean, Window};

/// An operation that is one linear map along height, one along width, and a choice of channels.
pub(super) struct AlongAxes {
    /// Along height; `None` for the identity.
    pub(super) rows: Option<Matrix>,
    /// Along width; `None` for the identity.
    pub(super) columns: Option<Matrix>,
    pub(super) channels: Channels,
    pub(super) stride: [usize; 2],
}

/// What becomes of the channels.
pub(super) enum Channels {
    Kept,
    Padded {
        before: usize,
    },
    Sliced {
        start: usize,
        end: usize,
        step: usize,
    },
}

/// A sparse matrix along one axis: for every result its operands with their factors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub(super) rows: Vec<Vec<(usize, f32)>>,
    pub(super) operands: usize,
}

impl Matrix {
    pub(super) fn new(rows: impl Iterator<Item = Vec<(usize, f32)>>, operands: usize) -> Self {
        Self {
            rows: rows.collect(),
            operands,
        }
    }

    pub(super) fn identity(extent: usize) -> Self {
        Self::picked(0..extent, 1, extent)
    }

    pub(super) fn dense(data: &[f32], operands: usize) -> Self {
        let row = |row: &[f32]| {
            let entries = row.iter().copied().enumerate();
            entries.filter(|(_, factor)| *factor != 0.0).collect()
        };
        Self::new(data.chunks_exact(operands).map(row), operands)
    }

    /// The mean of all operands.
    pub(super) fn mean(operands: usize) -> Self {
        let factor = 1.0 / operands as f32;
        let all = (0..operands).map(|operand| (operand, factor)).collect();
        Self::new(std::iter::once(all), operands)
    }

    /// The means over a window's positions along one axis.
    pub(super) fn means(
        window: &Window,
        padding: PaddingInMean,
        axis: usize,
        operands: usize,
        positions: usize,
    ) -> Self {
        let mean = |position: usize| {
            let taps = (0..window.kernel[axis])
                .filter_map(|tap| window.input_index(axis, position, tap, operands));
            let taps: Vec<usize> = taps.collect();
            let divisor = match padding {
                PaddingInMean::Counted => window.kernel[axis],
                PaddingInMean::Excluded => taps.len().max(1),
            };
            let factor = 1.0 / divisor as f32;
            taps.into_iter().map(|tap| (tap, factor)).collect()
        };
        Self::new((0..positions).map(mean), operands)
    }

    /// All operands behind `before` zeros, `results` in all.
    pub(super) fn padded(before: usize, operands: usize, results: usize) -> Self {
        let row = |result: usize| {
            let held = result.checked_sub(before).filter(|index| *index < operands);
            held.map(|index| (index, 1.0)).into_iter().collect()
        };
        Self::new((0..results).map(row), operands)
    }

    pub(super) fn picked(range: Range<usize>, step: usize, operands: usize) -> Self {
        Self::new(
            range.step_by(step).map(|index| vec![(index, 1.0)]),
            operands,
        )
    }

    /// Some results from some operands.
    pub(super) fn part(&self, results: &Range<usize>, operands: &Range<usize>) -> Self {
        let row = |row: &Vec<(usize, f32)>| {
            let held = row.iter().filter(|(operand, _)| operands.contains(operand));
            held.map(|(operand, factor)| (operand - operands.start, *factor))
                .collect()
        };
        Self::new(self.rows[results.clone()].iter().map(row), operands.len())
    }

    pub(super) fn is_identity(&self) -> bool {
        *self == Self::identity(self.operands)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.rows.iter().all(Vec::is_empty)
    }
}
