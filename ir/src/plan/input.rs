//! How an image enters a plan: its shape, its range, and the pieces that ciphertexts hold.

use super::checks::check_packing;
use crate::ckks::CiphertextType;
use crate::layout::MultiplexedLayout;
use crate::nn::{Region, check_tiling};
use crate::slot::SlotType;

/// A piece of an image, which one ciphertext holds.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPiece {
    /// Which elements of the image it has.
    pub region: Region,
    /// Where these lie in the slots.
    pub layout: MultiplexedLayout,
}

/// Where the elements of an image lie, and their range.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPacking {
    /// Channels, height and width of the image.
    pub shape: [usize; 3],
    /// Elements stay within ±range; slots hold element/range.
    pub range: f64,
    /// One for each input of the schedule, in its order. Together they are the image.
    pub pieces: Vec<InputPiece>,
}

impl InputPacking {
    /// An image that one ciphertext holds.
    pub fn whole(ty: &SlotType) -> Self {
        let layout = ty.layout;
        let shape = [layout.channels, layout.height, layout.width];
        Self {
            shape,
            range: ty.range,
            pieces: vec![InputPiece {
                region: Region::whole(shape),
                layout,
            }],
        }
    }

    /// Number of elements of the image.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// What does not hold together: layouts that are none or are not those of their regions,
    /// regions that are not the image.
    pub(super) fn check(&self) -> Result<(), String> {
        for (index, InputPiece { region, layout }) in self.pieces.iter().enumerate() {
            check_packing(&SlotType {
                layout: *layout,
                range: self.range,
            })?;
            let extents = [layout.channels, layout.height, layout.width];
            if extents != region.shape(self.shape[2]) {
                let width = self.shape[2];
                return Err(format!(
                    "piece {index} is {region} of {width} columns, its layout {layout}"
                ));
            }
        }
        let regions: Vec<&Region> = self.pieces.iter().map(|piece| &piece.region).collect();
        check_tiling(&regions, self.shape)
    }
}

/// The input of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPort {
    /// Where the elements lie in the slots, and their range.
    pub packing: InputPacking,
    /// The ciphertext that holds each piece, all at one level and scale.
    pub ciphertexts: Vec<CiphertextType>,
}

impl InputPort {
    /// The level that images are encrypted at.
    pub fn level(&self) -> usize {
        self.ciphertexts.first().map_or(0, |first| first.level)
    }

    /// Checks the packing, and that the ciphertexts hold it.
    pub(super) fn check(&self) -> Result<(), String> {
        self.packing.check()?;
        let pieces = &self.packing.pieces;
        if pieces.len() != self.ciphertexts.len() {
            let (pieces, found) = (pieces.len(), self.ciphertexts.len());
            return Err(format!("{found} ciphertexts for {pieces} pieces"));
        }
        for (piece, ciphertext) in pieces.iter().zip(&self.ciphertexts) {
            if ciphertext.slots() < piece.layout.period() {
                return Err(format!("{ciphertext} does not hold {}", piece.layout));
            }
        }
        let first = self.ciphertexts.first();
        let differs = |ty: &&CiphertextType| {
            first.is_some_and(|first| (first.level, first.log_scale) != (ty.level, ty.log_scale))
        };
        match (first, self.ciphertexts.iter().find(differs)) {
            (Some(first), Some(other)) => Err(format!(
                "{first} and {other} are pieces of one image, but differ in level or scale"
            )),
            _ => Ok(()),
        }
    }
}
