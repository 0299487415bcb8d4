//! Multiplexed packing: where the elements of a feature map lie among the slots.
//!
//! Source: Lee et al., "Low-Complexity Deep Convolutional Neural Networks on Fully Homomorphic
//! Encryption Using Multiplexed Parallel Convolutions", ICML 2022.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The slots of a feature map of `channels×height×width`.
///
/// A *plane* is a grid of `grid_height×grid_width` slots, row-major, not necessarily powers of two.
/// With gap `g`, neighbouring
/// pixels of one channel are `g` slots apart on either axis, and the `g×g` slots of a cell hold
/// `g²` different channels: channel `c` lies in plane `c / g²`, at row `(c mod g²) / g` and column
/// `c mod g` of every cell. Planes follow one another; the whole repeats with [`period`].
///
/// [`period`]: MultiplexedLayout::period
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiplexedLayout {
    /// Spacing of neighbouring pixels of one channel, in slots.
    pub gap: usize,
    /// Rows of the feature map.
    pub height: usize,
    /// Columns of the feature map.
    pub width: usize,
    /// Channels of the feature map.
    pub channels: usize,
    /// Rows of a plane, in slots; at least `height·gap`.
    pub grid_height: usize,
    /// Columns of a plane, in slots; at least `width·gap`.
    pub grid_width: usize,
}

impl MultiplexedLayout {
    /// The layout of an image as the client packs it: gap 1, planes of the image's size rounded
    /// up to powers of two.
    pub fn dense(channels: usize, height: usize, width: usize) -> Self {
        Self {
            gap: 1,
            height,
            width,
            channels,
            grid_height: height.next_power_of_two(),
            grid_width: width.next_power_of_two(),
        }
    }

    /// A layout on the same grid for another feature map.
    pub fn on_same_grid(self, gap: usize, channels: usize, height: usize, width: usize) -> Self {
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

    /// Number of planes in use.
    pub fn planes(&self) -> usize {
        self.channels.div_ceil(self.gap * self.gap)
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
        let cell = self.gap * self.gap;
        let (plane, inner) = (channel / cell, channel % cell);
        plane * self.plane()
            + (row * self.gap + inner / self.gap) * self.grid_width
            + column * self.gap
            + inner % self.gap
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

    /// Whether every element has a slot of its own.
    pub fn is_consistent(&self) -> bool {
        self.gap > 0
            && self.height * self.gap <= self.grid_height
            && self.width * self.gap <= self.grid_width
            && self.channels > 0
    }
}

impl fmt::Display for MultiplexedLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "multiplexed<{}x{}x{}, gap={}, grid={}x{}>",
            self.channels, self.height, self.width, self.gap, self.grid_height, self.grid_width
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_its_own_slot() {
        let layout = MultiplexedLayout {
            gap: 4,
            height: 8,
            width: 8,
            channels: 64,
            grid_height: 32,
            grid_width: 32,
        };
        assert_eq!(layout.period(), 4096);
        let mut slots = layout.slots();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), 4096);
    }

    #[test]
    fn packing_and_unpacking_are_inverse() {
        let layout = MultiplexedLayout::dense(16, 32, 32).on_same_grid(2, 32, 16, 16);
        let tensor: Vec<f64> = (0..32 * 256)
            .map(|element| f64::from(element as u32))
            .collect();
        assert_eq!(layout.unpack(&layout.pack(&tensor)), tensor);
    }
}
