//! Where the elements of input and output lie, as protobuf messages.

use prost::Message;

use super::super::{InputPacking, InputPiece};
use crate::layout::MultiplexedLayout;
use crate::nn::Region;
use crate::slot::SlotType;

/// An extent of a layout or an image, which are at most the slots of some rings.
fn saturated(extent: usize) -> u32 {
    u32::try_from(extent).unwrap_or(u32::MAX)
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::plan) struct WireSlotType {
    #[prost(double, tag = "7")]
    range: f64,
    #[prost(message, required, tag = "8")]
    layout: WireLayout,
}

impl From<&SlotType> for WireSlotType {
    fn from(ty: &SlotType) -> Self {
        Self {
            range: ty.range,
            layout: (&ty.layout).into(),
        }
    }
}

impl From<WireSlotType> for SlotType {
    fn from(wire: WireSlotType) -> Self {
        Self {
            layout: wire.layout.into(),
            range: wire.range,
        }
    }
}

/// The image; its pieces stand beside it.
#[derive(Clone, PartialEq, Message)]
pub(in crate::plan) struct WireInput {
    #[prost(uint32, tag = "1")]
    channels: u32,
    #[prost(uint32, tag = "2")]
    height: u32,
    #[prost(uint32, tag = "3")]
    width: u32,
    #[prost(double, tag = "4")]
    range: f64,
}

impl From<&InputPacking> for WireInput {
    fn from(input: &InputPacking) -> Self {
        let [channels, height, width] = input.shape.map(saturated);
        Self {
            channels,
            height,
            width,
            range: input.range,
        }
    }
}

impl WireInput {
    /// The image with its pieces.
    pub(in crate::plan) fn with_pieces(self, pieces: Vec<WireInputPiece>) -> InputPacking {
        InputPacking {
            shape: [self.channels, self.height, self.width].map(|extent| extent as usize),
            range: self.range,
            pieces: pieces.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::plan) struct WireInputPiece {
    #[prost(uint32, tag = "1")]
    first_channel: u32,
    #[prost(uint32, tag = "2")]
    end_channel: u32,
    #[prost(uint32, tag = "3")]
    first_row: u32,
    #[prost(uint32, tag = "4")]
    end_row: u32,
    #[prost(message, required, tag = "5")]
    layout: WireLayout,
}

impl From<&InputPiece> for WireInputPiece {
    fn from(piece: &InputPiece) -> Self {
        let Region { channels, rows } = &piece.region;
        Self {
            first_channel: saturated(channels.start),
            end_channel: saturated(channels.end),
            first_row: saturated(rows.start),
            end_row: saturated(rows.end),
            layout: (&piece.layout).into(),
        }
    }
}

impl From<WireInputPiece> for InputPiece {
    fn from(wire: WireInputPiece) -> Self {
        Self {
            region: Region {
                channels: wire.first_channel as usize..wire.end_channel as usize,
                rows: wire.first_row as usize..wire.end_row as usize,
            },
            layout: wire.layout.into(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct WireLayout {
    #[prost(uint32, tag = "1")]
    gap_down: u32,
    #[prost(uint32, tag = "7")]
    gap_right: u32,
    #[prost(uint32, tag = "2")]
    height: u32,
    #[prost(uint32, tag = "3")]
    width: u32,
    #[prost(uint32, tag = "4")]
    channels: u32,
    #[prost(uint32, tag = "5")]
    grid_height: u32,
    #[prost(uint32, tag = "6")]
    grid_width: u32,
}

impl From<&MultiplexedLayout> for WireLayout {
    fn from(layout: &MultiplexedLayout) -> Self {
        Self {
            gap_down: saturated(layout.gap[0]),
            gap_right: saturated(layout.gap[1]),
            height: saturated(layout.height),
            width: saturated(layout.width),
            channels: saturated(layout.channels),
            grid_height: saturated(layout.grid_height),
            grid_width: saturated(layout.grid_width),
        }
    }
}

impl From<WireLayout> for MultiplexedLayout {
    fn from(wire: WireLayout) -> Self {
        Self {
            gap: [wire.gap_down as usize, wire.gap_right as usize],
            height: wire.height as usize,
            width: wire.width as usize,
            channels: wire.channels as usize,
            grid_height: wire.grid_height as usize,
            grid_width: wire.grid_width as usize,
        }
    }
}
