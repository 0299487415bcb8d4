//! Windows that slide over height and width.

use serde::{Deserialize, Serialize};

/// A window that slides over height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Extent `[height, width]`: what ONNX calls the kernel size.
    pub kernel: [usize; 2],
    /// Distance between neighbouring positions `[height, width]`.
    pub stride: [usize; 2],
    /// Zeros added at `[top, left, bottom, right]`.
    pub pads: [usize; 4],
    /// Distance between neighbouring taps `[height, width]`.
    pub dilation: [usize; 2],
}

impl Window {
    /// A window of extent `kernel` at every position: stride 1, neither padding nor dilation.
    pub fn plain(kernel: [usize; 2]) -> Self {
        Self {
            kernel,
            stride: [1; 2],
            pads: [0; 4],
            dilation: [1; 2],
        }
    }

    /// A square window with `kernel / 2` zeros on each side, without dilation.
    pub fn square(kernel: usize, stride: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            pads: [kernel / 2; 4],
            dilation: [1; 2],
        }
    }

    /// Output height and width for an input of `height`×`width`, or `None` when the window does
    /// not fit even once.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let extent = |axis: usize, input: usize, before: usize, after: usize| {
            let reach = self.dilation[axis] * (self.kernel[axis].checked_sub(1)?) + 1;
            let positions = (input + before + after).checked_sub(reach)?;
            Some(positions / self.stride[axis] + 1)
        };
        Some([
            extent(0, height, self.pads[0], self.pads[2])?,
            extent(1, width, self.pads[1], self.pads[3])?,
        ])
    }

    /// The input index under tap `tap` of output `output` on an axis (0: height, 1: width) of
    /// `extent` elements, or `None` in the padding.
    pub fn input_index(
        &self,
        axis: usize,
        output: usize,
        tap: usize,
        extent: usize,
    ) -> Option<usize> {
        (output * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.pads[axis])
            .filter(|index| *index < extent)
    }

    /// For every position on an axis the taps that read one of `extent` elements, with its index.
    pub(crate) fn covered(
        &self,
        axis: usize,
        extent: usize,
        positions: usize,
    ) -> Vec<Vec<(usize, usize)>> {
        let taps = |position: usize| {
            (0..self.kernel[axis])
                .filter_map(|tap| Some((tap, self.input_index(axis, position, tap, extent)?)))
                .collect()
        };
        (0..positions).map(taps).collect()
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
}
