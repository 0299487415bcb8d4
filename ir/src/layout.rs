//! Multiplexed packing: where the elements of a feature map lie among the slots.
//!
//! Source: Lee et al., "Low-Complexity Deep Convolutional Neural Networks on Fully Homomorphic
//! Encryption Using Multiplexed Parallel Convolutions", ICML 2022.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The slots of a feature map of `channels×height×width`.
///
/// A *plane* is a grid of `grid_height×grid_width` slots, row-major, not necessarily powers of two.
/// With gap `[d, r]`, neighbouring pixels of one channel are `d` rows or `r` columns apart, and the
/// `d×r` slots of a [`cell`] hold as many channels: channel `c` lies in plane `c / dr`, at row `(c
/// mod dr) / r` and column `c mod r` of every cell. Planes follow one another; the whole repeats
/// with [`period`].
///
/// [`cell`]: MultiplexedLayout::cell
/// [`period`]: MultiplexedLayout::period
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiplexedLayout {
    /// Spacing `[down, right]` of neighbouring pixels of one channel, in rows and columns of the
    /// grid. The two differ where an operation's strides did.
    pub gap: [usize; 2],
    /// Rows of the feature map.
    pub height: usize,
    /// Columns of the feature map.
    pub width: usize,
    /// Channels of the feature map.
    pub channels: usize,
    /// Rows of a plane, in slots; at least `height` times the gap down.
    pub grid_height: usize,
    /// Columns of a plane, in slots; at least `width` times the gap to the right.
    pub grid_width: usize,
}

impl MultiplexedLayout {
    /// The layout of an image as the client packs it: gap 1, planes of the image's size rounded
    /// up to powers of two.
    pub fn dense(channels: usize, height: usize, width: usize) -> Self {
        Self {
            gap: [1; 2],
            height,
            width,
            channels,
            grid_height: height.next_power_of_two(),
            grid_width: width.next_power_of_two(),
        }
    }

    /// A layout on the same grid for another feature map.
    pub fn on_same_grid(
        self,
        gap: [usize; 2],
        channels: usize,
        height: usize,
        width: usize,
    ) -> Self {
        Self {
            gap,
            height,
            width,
            channels,
            ..self
        }
    }

    /// Slots of one plane.
    pub fn plane(&self) -> usize {
        self.grid_height * self.grid_width
    }

    /// Slots of a cell: how many channels share a plane.
    pub fn cell(&self) -> usize {
        self.gap[0] * self.gap[1]
    }

    /// Number of planes in use.
    pub fn planes(&self) -> usize {
        self.channels.div_ceil(self.cell())
    }

    /// The number of slots after which the packing repeats: the planes, rounded up to a power of
    /// two.
    pub fn period(&self) -> usize {
        (self.planes() * self.plane()).next_power_of_two()
    }

    /// How often the packing repeats in `slots` slots.
    pub fn copies(&self, slots: usize) -> usize {
        slots / self.period()
    }

    /// The slot of an element in the first copy.
    pub fn slot(&self, channel: usize, row: usize, column: usize) -> usize {
        let ([down, right], cell) = (self.gap, self.cell());
        let (plane, inner) = (channel / cell, channel % cell);
        plane * self.plane()
            + (row * down + inner / right) * self.grid_width
            + column * right
            + inner % right
    }

    /// The slots of all elements in row-major `C, H, W` order.
    pub fn slots(&self) -> Vec<usize> {
        let mut slots = Vec::with_capacity(self.channels * self.height * self.width);
        for channel in 0..self.channels {
            for row in 0..self.height {
                for column in 0..self.width {
                    slots.push(self.slot(channel, row, column));
                }
            }
        }
        slots
    }

    /// Packs a row-major `C, H, W` tensor into one period of slots; unused slots are zero.
    ///
    /// # Panics
    /// If the tensor's size is not the layout's.
    pub fn pack(&self, tensor: &[f64]) -> Vec<f64> {
        let slots = self.slots();
        assert_eq!(slots.len(), tensor.len(), "tensor and layout disagree");
        let mut packed = vec![0.0; self.period()];
        for (slot, value) in slots.into_iter().zip(tensor) {
            packed[slot] = *value;
        }
        packed
    }

    /// The inverse of [`pack`](Self::pack): reads a row-major `C, H, W` tensor from the first
    /// period of a slot vector.
    pub fn unpack(&self, slots: &[f64]) -> Vec<f64> {
        self.slots().into_iter().map(|slot| slots[slot]).collect()
    }

    /// Whether the pixels lie where a window with the stride `[down, right]` leaves those of an
    /// operand's: the gap is the operand's times the stride on each axis.
    pub fn is_strided(&self, operand: &Self, stride: [usize; 2]) -> bool {
        (0..2).all(|axis| {
            stride[axis] > 0 && operand.gap[axis].checked_mul(stride[axis]) == Some(self.gap[axis])
        })
    }

    /// Whether every element has a slot of its own.
    pub fn is_consistent(&self) -> bool {
        !self.gap.contains(&0)
            && self.height * self.gap[0] <= self.grid_height
            && self.width * self.gap[1] <= self.grid_width
            && self.channels > 0
    }
}

impl fmt::Display for MultiplexedLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "multiplexed<{}x{}x{}, gap={}",
            self.channels, self.height, self.width, self.gap[0]
        )?;
        if self.gap[0] != self.gap[1] {
            write!(f, "x{}", self.gap[1])?;
        }
        write!(f, ", grid={}x{}>", self.grid_height, self.grid_width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_its_own_slot() {
        for (gap, height, width) in [([4, 4], 8, 8), ([2, 8], 16, 4), ([1, 16], 32, 2)] {
            let layout = MultiplexedLayout {
                gap,
                height,
                width,
                channels: 64,
                grid_height: 32,
                grid_width: 32,
            };
            assert!(layout.is_consistent());
            assert_eq!(layout.period(), 4096);
            let mut slots = layout.slots();
            slots.sort_unstable();
            slots.dedup();
            assert_eq!(slots.len(), 4096);
        }
    }

    #[test]
    fn the_gap_differs_between_the_axes_where_strides_did() {
        let layout = MultiplexedLayout::dense(3, 4, 4).on_same_grid([1, 2], 3, 4, 2);
        assert_eq!(layout.to_string(), "multiplexed<3x4x2, gap=1x2, grid=4x4>");
        // Two channels a plane, side by side.
        assert_eq!([layout.slot(1, 3, 1), layout.slot(2, 0, 0)], [15, 16]);
        assert!(!layout.on_same_grid([2, 2], 3, 4, 2).is_consistent());
    }

    #[test]
    fn packing_and_unpacking_are_inverse() {
        let layout = MultiplexedLayout::dense(16, 32, 32).on_same_grid([2; 2], 32, 16, 16);
        let tensor: Vec<f64> = (0..32 * 256)
            .map(|element| f64::from(element as u32))
            .collect();
        assert_eq!(layout.unpack(&layout.pack(&tensor)), tensor);
    }
}
