//! Windows that slide over some rows of a feature map.

use std::ops::Range;

use heddle_ir::nn::Window;

use super::common;

/// A window on some rows of an operand, whose positions are some rows of the result.
pub(super) struct BandWindow {
    /// The rows of the operand that it takes.
    pub(super) reads: Range<usize>,
    pub(super) window: Window,
}

impl BandWindow {
    /// The part of `window` that leads from the rows `held` to the rows `wanted`, if it is not
    /// empty.
    pub(super) fn of(window: &Window, wanted: &Range<usize>, held: &Range<usize>) -> Option<Self> {
        let (stride, pad) = (window.stride[0], window.pads[0]);
        let reach = window.dilation[0] * (window.kernel[0] - 1) + 1;
        // Counted from the first row of padding.
        let span = wanted.start * stride..(wanted.end - 1) * stride + reach;
        let reads = common(&span, &(held.start + pad..held.end + pad));
        if reads.is_empty() {
            return None;
        }
        let [_, left, _, right] = window.pads;
        Some(Self {
            window: Window {
                pads: [reads.start - span.start, left, span.end - reads.end, right],
                ..*window
            },
            reads: reads.start - pad..reads.end - pad,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_on_bands_read_what_whole_windows_read() {
        for (kernel, stride, pad, dilation, height) in [
            (3, 1, 1, 1, 16),
            (3, 2, 1, 1, 16),
            (7, 2, 3, 1, 17),
            (1, 2, 0, 1, 16),
            (3, 1, 2, 2, 13),
            (2, 3, 0, 1, 16),
            (5, 1, 4, 1, 9),
        ] {
            let window = Window {
                kernel: [kernel, 1],
                stride: [stride, 1],
                pads: [pad, 0, pad, 0],
                dilation: [dilation, 1],
            };
            let [results, _] = window.output(height, 1).unwrap();
            for size in [2, 3, 5] {
                let cut = |extent: usize| {
                    let starts = (0..extent).step_by(size);
                    starts.map(move |start| start..extent.min(start + size))
                };
                for wanted in cut(results) {
                    for held in cut(height) {
                        check(&window, height, &wanted, &held);
                    }
                }
            }
        }
    }

    /// Every tap that reads a held row is there, at its place, and no other.
    fn check(window: &Window, height: usize, wanted: &Range<usize>, held: &Range<usize>) {
        let taps = |window: &Window, position: usize, extent: usize| {
            let taps = 0..window.kernel[0];
            taps.map(move |tap| window.input_index(0, position, tap, extent))
                .collect::<Vec<_>>()
        };
        let band = BandWindow::of(window, wanted, held);
        if let Some(band) = &band {
            let rows = band.window.output(band.reads.len(), 1).unwrap()[0];
            assert_eq!(rows, wanted.len());
        }
        for (local, position) in wanted.clone().enumerate() {
            let whole = taps(window, position, height);
            let whole: Vec<_> = whole
                .into_iter()
                .map(|index| index.filter(|index| held.contains(index)))
                .collect();
            let found = match &band {
                None => vec![None; window.kernel[0]],
                Some(BandWindow { reads, window }) => taps(window, local, reads.len())
                    .into_iter()
                    .map(|index| index.map(|index| index + reads.start))
                    .collect(),
            };
            assert_eq!(found, whole, "{window:?} {wanted:?} {held:?}");
        }
    }
}
