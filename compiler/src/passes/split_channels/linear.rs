//! Affine operations on pieces.

use std::collections::BTreeMap;
use std::ops::Range;

use heddle_ir::nn::linear::OnChannels;
use heddle_ir::nn::{
    AveragePool, Conv, Gemm, LinearOp, Pad, Rearrange, Region, Separable, Slice, TensorType,
};
use heddle_ir::{Tensor, ValueId, WeightId};

use super::axes::{AlongAxes, Channels, Matrix};
use super::band_window::BandWindow;
use super::{Filter, Piece, Splitter};
use crate::error::Error;

impl Splitter<'_> {
    /// What an operation makes of the pieces of its operand, in the given regions.
    pub(super) fn linear(
        &mut self,
        op: &LinearOp,
        operand: ValueId,
        value: ValueId,
        regions: Vec<Region>,
    ) -> Result<Vec<Piece>, Error> {
        if self.is_flattened(operand) && !matches!(op, LinearOp::Gemm(_) | LinearOp::Rearrange(_)) {
            return self.on_features(op, operand, value);
        }
        match op {
            LinearOp::Conv(conv) => Ok(regions
                .into_iter()
                .map(|region| {
                    let value = self.conv(conv, operand, &region, value);
                    Piece { region, value }
                })
                .collect()),
            LinearOp::Gemm(gemm) => {
                let whole = self.gemm(gemm, operand, value);
                Ok(self.cut(whole, regions, value))
            }
            LinearOp::Rearrange(rearrange) => Ok(regions
                .into_iter()
                .map(|region| {
                    let value = self.rearranged(rearrange, operand, &region, value);
                    Piece { region, value }
                })
                .collect()),
            // Nothing is gained by bringing the pieces together here.
            LinearOp::Flatten => {
                let pieces = self.pieces(operand);
                let flatten = |Piece {
                                   region,
                                   value: piece,
                               }: Piece| {
                    let ty = TensorType::new([self.ty_of(piece).elements()]);
                    let value = self.add(LinearOp::Flatten, piece, ty, value);
                    Piece { region, value }
                };
                Ok(pieces.into_iter().map(flatten).collect())
            }
            LinearOp::GlobalAveragePool if !self.is_banded(operand) => {
                let pieces = self.pieces(operand);
                let pool = |Piece {
                                region,
                                value: piece,
                            }: Piece| {
                    let ty = TensorType::new([region.channels.len(), 1, 1]);
                    let value = self.add(LinearOp::GlobalAveragePool, piece, ty, value);
                    let channels = region.channels;
                    Piece {
                        region: Region {
                            channels,
                            rows: 0..1,
                        },
                        value,
                    }
                };
                Ok(pieces.into_iter().map(pool).collect())
            }
            _ => {
                let bands = bands(&regions);
                let pieces = match self.is_banded(operand) || bands.len() > 1 {
                    true => self.restricted_to_bands(op, operand, value, &bands)?,
                    false => self.restricted(op, operand, value)?,
                };
                if matches!(op, LinearOp::GlobalAveragePool) {
                    return Ok(pieces);
                }
                let assembled = regions.into_iter().map(|region| {
                    let value = self.assemble(&region, &pieces, value)?;
                    Ok(Piece { region, value })
                });
                assembled.collect()
            }
        }
    }

    /// Whether some piece of a map lacks rows.
    fn is_banded(&self, value: ValueId) -> bool {
        let map = &self.maps[value.index()];
        let height = map.layout.height;
        map.pieces
            .iter()
            .any(|piece| piece.region.rows.len() < height)
    }

    /// Whether a map of several pieces is a vector that was flattened piece by piece.
    fn is_flattened(&self, value: ValueId) -> bool {
        let map = &self.maps[value.index()];
        let [_, height, width] = map.shape();
        map.pieces.len() > 1 && height * width > 1 && self.model.graph.ty(value).shape.len() == 1
    }

    /// The places of a region's elements in the flattened map, in runs.
    fn features(&self, operand: ValueId, region: &Region) -> Vec<Range<usize>> {
        let [_, height, width] = self.maps[operand.index()].shape();
        let rows = region.rows.clone();
        if rows == (0..height) {
            let plane = height * width;
            let all = region.channels.start * plane..region.channels.end * plane;
            return vec![all];
        }
        let run = |channel: usize| {
            let first = channel * height;
            (first + rows.start) * width..(first + rows.end) * width
        };
        region.channels.clone().map(run).collect()
    }

    /// A feature-wise operation on a vector that was flattened piece by piece: each piece takes the
    /// weights of its features.
    fn on_features(
        &mut self,
        op: &LinearOp,
        operand: ValueId,
        value: ValueId,
    ) -> Result<Vec<Piece>, Error> {
        if !matches!(
            op,
            LinearOp::BatchNorm(_) | LinearOp::ChannelAffine(_) | LinearOp::ElementAffine(_)
        ) {
            return Err(self.unsplit(value));
        }
        let mut results = Vec::new();
        for piece in self.pieces(operand) {
            let features = self.features(operand, &piece.region);
            let mut op = op.clone();
            for id in op.weights_mut() {
                let tensor = self.weights.get(*id);
                let runs = features.iter().map(|run| &tensor.data[run.clone()]);
                let data: Vec<f32> = runs.flatten().copied().collect();
                let cut = Tensor::new(&tensor.name, vec![data.len()], data);
                *id = self.weights.push(cut);
            }
            let ty = self.ty_of(piece.value);
            results.push(Piece {
                value: self.add(op, piece.value, ty, value),
                ..piece
            });
        }
        Ok(results)
    }

    /// What an operation that keeps channels apart makes of every piece of its operand, where
    /// pieces have all rows.
    fn restricted(
        &mut self,
        op: &LinearOp,
        operand: ValueId,
        value: ValueId,
    ) -> Result<Vec<Piece>, Error> {
        let [_, height, width] = self.model.graph.ty(value).chw();
        let mut pieces = Vec::new();
        for Piece {
            region,
            value: piece,
        } in self.pieces(operand)
        {
            let (channels, value) = match op
                .as_operation()
                .on_channels(&region.channels, &mut self.weights)
            {
                OnChannels::Dropped => continue,
                OnChannels::Moved(channels) => (channels, piece),
                OnChannels::Applied(op, channels) => {
                    let ty = TensorType::new([channels.len(), height, width]);
                    (channels, self.add(op, piece, ty, value))
                }
                OnChannels::Mixed => return Err(self.unsplit(value)),
            };
            let region = Region {
                channels,
                rows: 0..height,
            };
            pieces.push(Piece { region, value });
        }
        Ok(pieces)
    }

    /// As [`restricted`](Self::restricted) where pieces are bands of rows: what the operation makes
    /// of them in the rows `bands` of its result.
    fn restricted_to_bands(
        &mut self,
        op: &LinearOp,
        operand: ValueId,
        value: ValueId,
        bands: &[Range<usize>],
    ) -> Result<Vec<Piece>, Error> {
        let pieces = self.pieces(operand);
        if matches!(
            op,
            LinearOp::BatchNorm(_) | LinearOp::ChannelAffine(_) | LinearOp::ElementAffine(_)
        ) {
            return Ok(self.elementwise(op, operand, value));
        }
        let shape = self.maps[operand.index()].shape();
        let [_, height, width] = self.model.graph.ty(value).chw();
        let Some(axes) = self.along_axes(op, shape, [height, width]) else {
            return Err(self.unsplit(value));
        };
        // By channels of the result, then rows: the sum over the bands of the operand.
        let mut sums: BTreeMap<(usize, usize), Piece> = BTreeMap::new();
        let columns = axes.columns.as_ref().filter(|matrix| !matrix.is_identity());
        let columns = columns.map(|matrix| self.store(matrix, value));
        for Piece {
            region,
            value: piece,
        } in pieces
        {
            let Some((channels, piece)) = self.moved_channels(&axes, &region, piece, value)? else {
                continue;
            };
            for band in bands {
                let matrix = match &axes.rows {
                    Some(matrix) => matrix.part(band, &region.rows),
                    None => Matrix::identity(shape[1]).part(band, &region.rows),
                };
                if matrix.is_zero() {
                    continue;
                }
                let rows = (!matrix.is_identity()).then(|| self.store(&matrix, value));
                let part = match (rows, columns) {
                    (None, None) => piece,
                    (rows, columns) => {
                        let op = LinearOp::Separable(Separable {
                            rows,
                            columns,
                            stride: axes.stride,
                        });
                        let ty = TensorType::new([channels.len(), band.len(), width]);
                        self.add(op, piece, ty, value)
                    }
                };
                let key = (channels.start, band.start);
                let before = sums.get(&key).map(|sum| sum.value);
                let sum = Piece {
                    region: Region {
                        channels: channels.clone(),
                        rows: band.clone(),
                    },
                    value: self.sum(before, part, value),
                };
                sums.insert(key, sum);
            }
        }
        match sums.is_empty() {
            true => Err(self.unsplit(value)),
            false => Ok(sums.into_values().collect()),
        }
    }

    /// An operation that acts on every element by itself.
    fn elementwise(&mut self, op: &LinearOp, operand: ValueId, value: ValueId) -> Vec<Piece> {
        let shape = self.maps[operand.index()].shape();
        let mut results = Vec::new();
        for piece in self.pieces(operand) {
            let mut op = op.clone();
            let region = &piece.region;
            for id in op.weights_mut() {
                let tensor = self.weights.get(*id);
                let cut = match tensor.shape.len() {
                    1 => {
                        let data = tensor.data[region.channels.clone()].to_vec();
                        Tensor::new(&tensor.name, vec![data.len()], data)
                    }
                    _ => {
                        let data = region.cut(&tensor.data, shape);
                        Tensor::new(&tensor.name, region.shape(shape[2]).to_vec(), data)
                    }
                };
                *id = self.weights.push(cut);
            }
            let ty = self.ty_of(piece.value);
            results.push(Piece {
                value: self.add(op, piece.value, ty, value),
                ..piece
            });
        }
        results
    }

    /// What the channel part of an operation along axes makes of a piece, with its channels in the
    /// result.
    fn moved_channels(
        &mut self,
        axes: &AlongAxes,
        region: &Region,
        piece: ValueId,
        value: ValueId,
    ) -> Result<Option<(Range<usize>, ValueId)>, Error> {
        let [_, rows, columns] = self.ty_of(piece).chw();
        let op = match &axes.channels {
            Channels::Kept => return Ok(Some((region.channels.clone(), piece))),
            Channels::Padded { before } => LinearOp::Pad(Pad {
                before: [*before, 0, 0],
                after: [0; 3],
            }),
            Channels::Sliced { start, end, step } => LinearOp::Slice(Slice {
                start: [*start, 0, 0],
                end: [*end, rows, columns],
                step: [*step, 1, 1],
            }),
        };
        match op
            .as_operation()
            .on_channels(&region.channels, &mut self.weights)
        {
            OnChannels::Dropped => Ok(None),
            OnChannels::Moved(channels) => Ok(Some((channels, piece))),
            OnChannels::Applied(op, channels) => {
                let ty = TensorType::new([channels.len(), rows, columns]);
                let moved = self.add(op, piece, ty, value);
                Ok(Some((channels, moved)))
            }
            OnChannels::Mixed => Err(self.unsplit(value)),
        }
    }

    fn store(&mut self, matrix: &Matrix, value: ValueId) -> WeightId {
        let mut data = vec![0.0; matrix.rows.len() * matrix.operands];
        for (row, entries) in data.chunks_exact_mut(matrix.operands).zip(&matrix.rows) {
            for (operand, factor) in entries {
                row[*operand] += factor;
            }
        }
        let shape = vec![matrix.rows.len(), matrix.operands];
        let name = format!("{}/band", self.model.graph.node(value).name);
        self.weights.push(Tensor::new(name, shape, data))
    }

    /// A region of a convolution's result: the sum over the operand's pieces that it reads.
    fn conv(&mut self, conv: &Conv, operand: ValueId, region: &Region, value: ValueId) -> ValueId {
        let bias = conv.bias.map(|id| {
            let tensor = self.weights.get(id);
            let run = region.channels.clone();
            let (name, data) = (tensor.name.clone(), tensor.data[run.clone()].to_vec());
            self.weights.push(Tensor::new(name, vec![run.len()], data))
        });
        let [_, height, width] = self.model.graph.ty(value).chw();
        let all_rows = self.maps[operand.index()].layout.height;
        let ty = TensorType::new(region.shape(width));
        let mut sum: Option<ValueId> = None;
        let pieces = self.pieces(operand);
        for (i, piece) in pieces.iter().enumerate() {
            let is_last = i + 1 == pieces.len();
            let is_needed = is_last && sum.is_none();
            let filter = self.filter(conv, &piece.region.channels, &region.channels);
            if filter.is_zero && !is_needed {
                continue;
            }
            let is_whole = region.rows == (0..height) && piece.region.rows == (0..all_rows);
            let (window, read) = match is_whole {
                true => (conv.window, piece.value),
                false => match BandWindow::of(&conv.window, &region.rows, &piece.region.rows) {
                    Some(band) => (band.window, self.rows(piece, &band.reads, value)),
                    None if is_needed => {
                        let rows = piece.region.rows.len();
                        let zero = self.zero(piece.value, rows, region, value);
                        return self.with_bias(zero, bias, &ty, value);
                    }
                    None => continue,
                },
            };
            let op = LinearOp::Conv(Conv {
                weight: filter.weight,
                bias: bias.filter(|_| sum.is_none()),
                window,
                groups: 1,
            });
            let term = self.add(op, read, ty.clone(), value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one piece")
    }

    /// The filter from some channels to others, made once.
    fn filter(&mut self, conv: &Conv, from: &Range<usize>, to: &Range<usize>) -> Filter {
        let key = (conv.weight, [from.start, from.end, to.start, to.end]);
        if let Some(known) = self.filters.get(&key) {
            return *known;
        }
        let filter = conv.filter_between(from, to, &self.weights);
        let made = Filter {
            is_zero: filter.data.iter().all(|tap| *tap == 0.0),
            weight: self.weights.push(filter),
        };
        self.filters.insert(key, made);
        made
    }

    fn with_bias(
        &mut self,
        zero: ValueId,
        bias: Option<WeightId>,
        ty: &TensorType,
        value: ValueId,
    ) -> ValueId {
        let Some(shift) = bias else { return zero };
        let op = LinearOp::ChannelAffine(heddle_ir::nn::ChannelAffine {
            scale: None,
            shift: Some(shift),
        });
        self.add(op, zero, ty.clone(), value)
    }

    /// Some rows of a piece, counted as those of the map.
    fn rows(&mut self, piece: &Piece, rows: &Range<usize>, value: ValueId) -> ValueId {
        let held = &piece.region.rows;
        if rows == held {
            return piece.value;
        }
        let [channels, _, width] = self.ty_of(piece.value).chw();
        let op = LinearOp::Slice(Slice {
            start: [0, rows.start - held.start, 0],
            end: [channels, rows.end - held.start, width],
            step: [1; 3],
        });
        let ty = TensorType::new([channels, rows.len(), width]);
        self.add(op, piece.value, ty, value)
    }

    /// A region of a rearrangement: the sum over the operand's pieces.
    fn rearranged(
        &mut self,
        rearrange: &Rearrange,
        operand: ValueId,
        region: &Region,
        value: ValueId,
    ) -> ValueId {
        let shape = self.maps[operand.index()].shape();
        let mut sum: Option<ValueId> = None;
        let pieces = self.pieces(operand);
        for (i, piece) in pieces.iter().enumerate() {
            let part = rearrange.between(shape, &piece.region, region);
            let is_last = i + 1 == pieces.len();
            if part.is_zero() && !(is_last && sum.is_none()) {
                continue;
            }
            let ty = TensorType::new(part.to.clone());
            let term = self.add(part.into(), piece.value, ty, value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one piece")
    }

    /// A matrix product: the sum over the operand's pieces.
    fn gemm(&mut self, gemm: &Gemm, operand: ValueId, value: ValueId) -> ValueId {
        let ty = self.model.graph.ty(value).clone();
        let mut sum: Option<ValueId> = None;
        for piece in self.pieces(operand) {
            let features = self.features(operand, &piece.region);
            let matrix = gemm.columns(&features, &self.weights);
            let op = LinearOp::Gemm(Gemm {
                weight: self.weights.push(matrix),
                bias: gemm.bias.filter(|_| sum.is_none()),
            });
            let term = self.add(op, piece.value, ty.clone(), value);
            sum = Some(self.sum(sum, term, value));
        }
        sum.expect("an operand has at least one piece")
    }

    /// A vector in runs of its features.
    fn cut(&mut self, whole: ValueId, regions: Vec<Region>, value: ValueId) -> Vec<Piece> {
        if let [region] = &regions[..] {
            return vec![Piece {
                region: region.clone(),
                value: whole,
            }];
        }
        let cut = |region: Region| {
            let op = LinearOp::Slice(Slice {
                start: [region.channels.start, 0, 0],
                end: [region.channels.end, 1, 1],
                step: [1; 3],
            });
            let ty = TensorType::new([region.channels.len()]);
            let value = self.add(op, whole, ty, value);
            Piece { region, value }
        };
        regions.into_iter().map(cut).collect()
    }

    /// An operation that is a linear map along each axis.
    fn along_axes(
        &self,
        op: &LinearOp,
        [_, height, width]: [usize; 3],
        [out_height, out_width]: [usize; 2],
    ) -> Option<AlongAxes> {
        let stored = |id: Option<WeightId>| {
            id.map(|id| {
                let tensor = self.weights.get(id);
                Matrix::dense(&tensor.data, tensor.shape[1])
            })
        };
        let [down, right] = op.as_operation().strides();
        let axes = |rows, columns, channels| AlongAxes {
            rows,
            columns,
            channels,
            stride: [down, right],
        };
        Some(match op {
            LinearOp::Separable(Separable { rows, columns, .. }) => {
                axes(stored(*rows), stored(*columns), Channels::Kept)
            }
            LinearOp::GlobalAveragePool => axes(
                Some(Matrix::mean(height)),
                Some(Matrix::mean(width)),
                Channels::Kept,
            ),
            LinearOp::AveragePool(AveragePool { window, padding }) => {
                let matrix = |axis, extent, positions| {
                    Some(Matrix::means(window, *padding, axis, extent, positions))
                };
                axes(
                    matrix(0, height, out_height),
                    matrix(1, width, out_width),
                    Channels::Kept,
                )
            }
            LinearOp::Pad(Pad { before, after: _ }) => axes(
                Some(Matrix::padded(before[1], height, out_height)),
                Some(Matrix::padded(before[2], width, out_width)),
                Channels::Padded { before: before[0] },
            ),
            LinearOp::Slice(Slice { start, end, step }) => axes(
                Some(Matrix::picked(start[1]..end[1], step[1], height)),
                Some(Matrix::picked(start[2]..end[2], step[2], width)),
                Channels::Sliced {
                    start: start[0],
                    end: end[0],
                    step: step[0],
                },
            ),
            _ => return None,
        })
    }
}

/// The rows of regions, without repetition.
fn bands(regions: &[Region]) -> Vec<Range<usize>> {
    let mut bands: Vec<Range<usize>> = regions.iter().map(|region| region.rows.clone()).collect();
    bands.sort_by_key(|rows| rows.start);
    bands.dedup();
    bands
}
