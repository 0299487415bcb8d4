//! The grid that all feature maps of a network share, and the pieces that large ones are cut into.
//!
//! A plane of slots has the rows and columns of the grid. A map keeps its place on it: a stride
//! multiplies the gap between neighbouring elements, and what one element of a small map reads of a
//! large one lies close by. The grid has the size of the image where all maps fit that, and more
//! where a map is larger than the image.
//!
//! A plane that one ciphertext cannot hold is cut into *bands*: runs of the grid's rows. Bands are
//! the same for all maps, so that a band of a convolution's result reads the same band of its
//! operand and a few rows of its neighbours.

use heddle_ir::ValueId;
use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::nn::{LinearOp, Model, Op, Region};

use crate::error::Error;

/// The grid of a network's feature maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows of a plane.
    pub height: usize,
    /// Columns of a plane.
    pub width: usize,
    /// Rows of a band; all rows where a ciphertext holds a plane.
    pub band: usize,
    /// Slots of a ciphertext.
    pub slots: usize,
}

impl Grid {
    /// The grid of a network in ciphertexts of `slots` slots. The image's size, rounded up to
    /// powers of two, is preferred; where maps take several ciphertexts, tighter grids are tried,
    /// and the one that takes the fewest ciphertexts for activations is chosen.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if a row of some map has more elements than a ciphertext has slots.
    pub fn of(model: &Model, slots: usize) -> Result<Self, Error> {
        let maps = Maps::of(model);
        let [height, width] = maps.largest;
        let powers = [height, width].map(usize::next_power_of_two);
        let usual = Self::banded(powers, slots, maps.gap);
        if powers[0] * powers[1] <= slots && maps.ciphertexts(usual) == maps.on_grid.len() {
            return Ok(usual);
        }
        let spread = maps.spread;
        let extents = [0, 1].map(|axis| {
            let tight = spread[axis].next_multiple_of(maps.gap[axis]);
            [powers[axis], spread[axis].next_power_of_two(), tight]
        });
        let [heights, widths] = extents;
        let candidates = heights
            .into_iter()
            .flat_map(|height| widths.map(|width| [height, width]))
            .filter(|[height, width]| {
                // In bands, a gap that the grid does not hold would tear the bands apart.
                *width <= slots && (height * width <= slots || *height >= spread[0])
            })
            .map(|extents| Self::banded(extents, slots, maps.gap));
        let fewest = candidates.min_by_key(|grid| maps.ciphertexts(*grid));
        fewest.ok_or_else(|| maps.too_wide(model, slots))
    }

    /// A grid of `[height, width]`, in bands where a ciphertext does not hold a plane; gaps up to
    /// `gap` down fit a band.
    fn banded([height, width]: [usize; 2], slots: usize, [gap, _]: [usize; 2]) -> Self {
        let rows = (slots / width.max(1)).max(1);
        let band = match height * width <= slots {
            true => height,
            false if rows >= gap => rows - rows % gap,
            false => 1 << rows.ilog2(),
        };
        Self {
            height,
            width,
            band,
            slots,
        }
    }

    /// Where a map of gap 1 would lie if a ciphertext had as many slots; a vector has no grid.
    pub fn dense(&self, [channels, height, width]: [usize; 3]) -> MultiplexedLayout {
        if height * width == 1 {
            return MultiplexedLayout::dense(channels, 1, 1);
        }
        MultiplexedLayout {
            gap: [1; 2],
            height,
            width,
            channels,
            grid_height: self.height,
            grid_width: self.width,
        }
    }

    /// Where an image, or a piece of one, lies: as [`dense`](Self::dense), on the rows of one band.
    pub fn image(&self, shape: [usize; 3]) -> MultiplexedLayout {
        let layout = self.dense(shape);
        MultiplexedLayout {
            grid_height: layout.grid_height.min(self.band),
            ..layout
        }
    }

    /// The pieces of a map that lies at `layout` if a ciphertext had as many slots: the whole map
    /// where it fits, else runs of channels, and bands of rows where not even a plane fits. By
    /// ascending channels, then rows. A map that no cut can make fit stays whole.
    pub fn regions(&self, layout: &MultiplexedLayout) -> Vec<Region> {
        let whole = Region {
            channels: 0..layout.channels,
            rows: 0..layout.height,
        };
        if layout.period() <= self.slots {
            return vec![whole];
        }
        let is_banded = layout.plane() > self.slots;
        let rows = match is_banded {
            true => self.band / layout.gap[0],
            false => layout.height,
        };
        let plane = layout.grid_height.min(self.band) * layout.grid_width;
        let planes = self.slots / plane.max(1);
        if rows == 0 || planes == 0 {
            return vec![whole];
        }
        runs(layout.channels, planes * layout.cell())
            .flat_map(|channels| {
                runs(layout.height, rows).map(move |rows| Region {
                    channels: channels.clone(),
                    rows,
                })
            })
            .collect()
    }
}

/// `0..extent` in runs of `size`, the last one shorter.
fn runs(extent: usize, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let starts = (0..extent).step_by(size);
    starts.map(move |start| start..extent.min(start + size))
}

/// What a network's feature maps ask of the grid.
struct Maps {
    /// The largest height and the largest width of a map.
    largest: [usize; 2],
    /// As `largest`, with the gaps that the strides in front of a map leave.
    spread: [usize; 2],
    /// The largest of these gaps, down and to the right.
    gap: [usize; 2],
    /// Shape and gap of the maps that take ciphertexts: images and what activations take.
    on_grid: Vec<([usize; 3], [usize; 2])>,
    /// The map of the largest width.
    widest: Option<ValueId>,
}

impl Maps {
    fn of(model: &Model) -> Self {
        let graph = &model.graph;
        let mut maps = Self {
            largest: [1; 2],
            spread: [1; 2],
            gap: [1; 2],
            on_grid: Vec::new(),
            widest: None,
        };
        let mut gaps: Vec<[usize; 2]> = Vec::with_capacity(graph.len());
        for value in graph.values() {
            let operands = graph.operands(value);
            let of_operand = operands.first().map(|operand| gaps[operand.index()]);
            let op = &graph.node(value).op;
            let gap = match (op, of_operand) {
                (_, None) | (Op::Linear(LinearOp::Gemm(_)), _) => [1; 2],
                (Op::Linear(op), Some(gap)) => {
                    let strides = op.as_operation().strides();
                    [0, 1].map(|axis| gap[axis].saturating_mul(strides[axis]))
                }
                (_, Some(gap)) => gap,
            };
            let shape = graph.ty(value).chw();
            let [_, height, width] = shape;
            // A single row or column has room on any grid, whatever its gap.
            let gap = gap.map(|gap| gap.min(1 << 16));
            gaps.push(gap);
            for (axis, extent) in [height, width].into_iter().enumerate() {
                if extent > 1 {
                    maps.gap[axis] = maps.gap[axis].max(gap[axis]);
                    maps.spread[axis] = maps.spread[axis].max(extent.saturating_mul(gap[axis]));
                    if extent > maps.largest[axis] {
                        maps.largest[axis] = extent;
                        if axis == 1 {
                            maps.widest = Some(value);
                        }
                    }
                }
            }
            if !matches!(op, Op::Linear(_) | Op::Add | Op::Identity) {
                maps.on_grid.push((shape, gap));
            }
        }
        maps
    }

    /// Ciphertexts that the maps take on a grid.
    fn ciphertexts(&self, grid: Grid) -> usize {
        let of_map = |(shape, gap): &([usize; 3], [usize; 2])| {
            let dense = grid.dense(*shape);
            let [channels, height, width] = *shape;
            let room = [(grid.height / height).min(grid.band), grid.width / width];
            let gap = [0, 1].map(|axis| gap[axis].min(room[axis]).max(1));
            let layout = match height * width {
                1 => dense,
                _ => dense.on_same_grid(gap, channels, height, width),
            };
            grid.regions(&layout).len()
        };
        self.on_grid.iter().map(of_map).sum()
    }

    fn too_wide(&self, model: &Model, slots: usize) -> Error {
        let name = |value: ValueId| model.graph.node(value).name.clone();
        let node = self.widest.map(name).unwrap_or_default();
        let [height, width] = self.largest;
        Error::TooLarge {
            node,
            extents: format!("{height}×{width}"),
            slots,
        }
    }
}
