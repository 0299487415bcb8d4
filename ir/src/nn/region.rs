//! Regions of an image. An image that one ciphertext cannot hold enters as several pieces, each
//! with a run of channels and a band of rows.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Most pieces of an image.
pub const MAX_PIECES: usize = 1 << 12;

/// A part of an image: a run of channels in a band of rows, with all columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// The channels.
    pub channels: Range<usize>,
    /// The rows.
    pub rows: Range<usize>,
}

impl Region {
    /// All of an image of the given channels, height and width.
    pub fn whole([channels, height, _]: [usize; 3]) -> Self {
        Self {
            channels: 0..channels,
            rows: 0..height,
        }
    }

    /// Channels, height and width of the region of an image whose rows have `width` elements.
    pub fn shape(&self, width: usize) -> [usize; 3] {
        [self.channels.len(), self.rows.len(), width]
    }

    /// The region's elements, row-major, of the row-major `C, H, W` elements of an image of the
    /// given shape.
    ///
    /// # Panics
    /// If the region is not within the image.
    pub fn cut<T: Copy>(&self, image: &[T], [_, height, width]: [usize; 3]) -> Vec<T> {
        let [channels, rows, _] = self.shape(width);
        let mut elements = Vec::with_capacity(channels * rows * width);
        for channel in self.channels.clone() {
            let first = (channel * height + self.rows.start) * width;
            elements.extend_from_slice(&image[first..first + rows * width]);
        }
        elements
    }

    /// Number of rows of all channels; `None` where it is more than a number can hold.
    fn area(&self) -> Option<usize> {
        self.channels.len().checked_mul(self.rows.len())
    }

    /// Whether the two have an element in common.
    fn meets(&self, other: &Self) -> bool {
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        meet(&self.channels, &other.channels) && meet(&self.rows, &other.rows)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, rows } = self;
        write!(f, "channels {}..{} ", channels.start, channels.end)?;
        write!(f, "rows {}..{}", rows.start, rows.end)
    }
}

/// Checks that the regions cover an image of the given shape, every element once.
///
/// # Errors
/// A sentence that says what does not fit.
pub(crate) fn check_tiling(
    regions: &[&Region],
    [channels, height, _]: [usize; 3],
) -> Result<(), String> {
    if regions.is_empty() || regions.len() > MAX_PIECES {
        let count = regions.len();
        return Err(format!(
            "an image of {count} pieces; 1 to {MAX_PIECES} are possible"
        ));
    }
    let is_inside = |range: &Range<usize>, extent: usize| !range.is_empty() && range.end <= extent;
    for region in regions {
        if !is_inside(&region.channels, channels) || !is_inside(&region.rows, height) {
            return Err(format!(
                "{region} is empty or not within {channels} channels of {height} rows"
            ));
        }
    }
    let mut areas = regions.iter().map(|region| region.area());
    let covered = areas.try_fold(0_usize, |sum, area| sum.checked_add(area?));
    if covered != channels.checked_mul(height) {
        return Err(format!(
            "the regions do not cover {channels} channels of {height} rows, every row once"
        ));
    }
    for (index, region) in regions.iter().enumerate() {
        if let Some(other) = regions[..index].iter().find(|other| other.meets(region)) {
            return Err(format!("{other} and {region} have rows in common"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(channels: Range<usize>, rows: Range<usize>) -> Region {
        Region { channels, rows }
    }

    #[test]
    fn a_cut_takes_all_columns_of_its_rows() {
        let image: Vec<usize> = (0..2 * 3 * 2).collect();
        let cut = region(0..2, 1..3).cut(&image, [2, 3, 2]);
        assert_eq!(cut, [2, 3, 4, 5, 8, 9, 10, 11]);
        assert_eq!(Region::whole([2, 3, 2]).cut(&image, [2, 3, 2]), image);
        assert_eq!(region(1..2, 2..3).cut(&image, [2, 3, 2]), [10, 11]);
    }

    #[test]
    fn regions_cover_every_element_once() {
        let check = |regions: &[Region]| {
            let regions: Vec<&Region> = regions.iter().collect();
            check_tiling(&regions, [3, 4, 5])
        };
        assert_eq!(check(&[Region::whole([3, 4, 5])]), Ok(()));
        // In any order, and cut differently in each channel.
        let pieces = [
            region(1..3, 3..4),
            region(0..1, 0..1),
            region(1..3, 0..3),
            region(0..1, 1..4),
        ];
        assert_eq!(check(&pieces), Ok(()));
        let refused = |regions: &[Region], said: &str| {
            let message = check(regions).unwrap_err();
            assert!(message.contains(said), "{message}");
        };
        refused(&[], "an image of 0 pieces");
        refused(&vec![region(0..1, 0..1); MAX_PIECES + 1], "4097 pieces");
        refused(&pieces[..3], "do not cover");
        refused(&[region(0..3, 0..5)], "not within");
        refused(&[region(0..3, 0..4), region(1..1, 0..1)], "empty");
        refused(&[region(0..usize::MAX, 0..4)], "not within");
        refused(&[region(0..3, 0..2), region(0..3, 1..3)], "in common");
    }
}
